//! Against loops over every index, in f64.

use super::*;
use crate::random::{Key, uniform};

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut v = vec![0.0; n];
    uniform(Key { seed, offset: 0 }, &mut v);
    v.iter().map(|v| 2.0 * v - 1.0).collect()
}

/// Calls `f(x index, w index, y index)` for every product of the convolution.
fn each_product(g: &ConvGeom, mut f: impl FnMut(usize, usize, usize)) {
    let ((ci, co), taps) = (g.group(), g.taps());
    let split = |i: usize, d: [usize; 3]| [i / (d[1] * d[2]), i / d[2] % d[1], i % d[2]];
    for n in 0..g.batch {
        for o in 0..g.c_out {
            for p in 0..g.out_plane() {
                for c in 0..ci {
                    for t in 0..taps {
                        let (at, k) = (split(p, g.output), split(t, g.kernel));
                        let mut index = Some(0);
                        for d in 0..3 {
                            let i = (at[d] * g.stride[d] + k[d] * g.dilation[d])
                                .checked_sub(g.padding[d])
                                .filter(|&i| i < g.input[d]);
                            index = index.zip(i).map(|(a, i)| a * g.input[d] + i);
                        }
                        if let Some(i) = index {
                            let channel = n * g.c_in + o / co * ci + c;
                            let y = (n * g.c_out + o) * g.out_plane() + p;
                            f(channel * g.in_plane() + i, (o * ci + c) * taps + t, y);
                        }
                    }
                }
            }
        }
    }
}

fn geom(
    [batch, groups, c_in, c_out]: [usize; 4],
    input: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
) -> ConvGeom {
    let output = std::array::from_fn(|d| {
        conv_output_size(input[d], kernel[d], stride[d], padding[d], dilation[d]).unwrap()
    });
    ConvGeom { batch, groups, c_in, c_out, input, output, kernel, stride, padding, dilation }
}

fn cases() -> Vec<ConvGeom> {
    let one = [1; 3];
    let no = [0; 3];
    vec![
        geom([2, 1, 3, 5], [1, 7, 9], [1, 3, 3], one, [0, 1, 1], one),
        geom([2, 1, 4, 6], [1, 8, 8], [1, 1, 1], one, no, one),
        geom([3, 1, 2, 13], [1, 1, 40], [1, 1, 5], [1, 1, 2], [0, 0, 2], one),
        geom([1, 2, 4, 6], [1, 9, 7], [1, 3, 2], [1, 2, 1], [0, 1, 0], [1, 1, 2]),
        geom([2, 4, 4, 8], [1, 6, 11], [1, 3, 3], one, [0, 1, 1], one),
        geom([2, 4, 4, 4], [1, 9, 9], [1, 3, 3], [1, 2, 2], [0, 1, 1], one),
        geom([2, 1, 2, 3], [4, 5, 6], [3, 3, 3], one, one, one),
        geom([1, 1, 2, 3], [5, 5, 6], [2, 3, 1], [2, 1, 3], [1, 2, 0], [1, 2, 1]),
        geom([5, 1, 8, 8], [1, 4, 4], [1, 3, 3], one, [0, 1, 1], one),
        geom([2, 1, 6, 7], [1, 8, 8], [1, 4, 4], [1, 2, 2], [0, 1, 1], one),
        // Padding beyond the kernel's reach: whole windows lie outside.
        geom([1, 1, 2, 2], [1, 3, 3], [1, 2, 2], one, [0, 3, 3], one),
        // Kernels wider than the input: every shift leaves it somewhere.
        geom([2, 1, 2, 3], [1, 2, 3], [1, 5, 9], one, [0, 2, 4], one),
        geom([1, 1, 2, 3], [2, 4, 3], [3, 3, 3], one, [1, 3, 3], [1, 3, 3]),
        geom([0, 1, 2, 2], [1, 3, 3], [1, 2, 2], one, no, one),
        geom([2, 1, 40, 40], [1, 20, 20], [1, 3, 3], one, [0, 1, 1], one),
    ]
}

fn close(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{what}: element {i}: {a} against {b}");
    }
}

#[test]
fn forward_and_both_gradients_equal_the_loops() {
    for g in cases() {
        let x = random(g.batch * g.c_in * g.in_plane(), 1);
        let w = random(g.c_out * g.group().0 * g.taps(), 2);
        let dy = random(g.batch * g.c_out * g.out_plane(), 3);
        let (bo, bi) = (random(g.c_out, 4), random(g.c_in, 5));
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        for (i, y) in y.iter_mut().enumerate() {
            *y = bo[i / g.out_plane() % g.c_out];
        }
        for (i, dx) in dx.iter_mut().enumerate() {
            *dx = bi[i / g.in_plane() % g.c_in];
        }
        each_product(&g, |i, k, o| {
            y[o] += x[i] * w[k];
            dx[i] += dy[o] * w[k];
            dw[k] += dy[o] * x[i];
        });
        let nan = |n: usize| vec![f64::NAN; n];
        let mut out = nan(y.len());
        conv_forward(&g, &x, &w, Some(&bo), &mut out).unwrap();
        close(&out, &y, &format!("forward {g:?}"));
        let mut out = nan(dx.len());
        conv_backward_data(&g, &dy, &w, Some(&bi), &mut out).unwrap();
        close(&out, &dx, &format!("data {g:?}"));
        let mut out = nan(dw.len());
        conv_backward_weight(&g, &x, &dy, &mut out).unwrap();
        close(&out, &dw, &format!("weight {g:?}"));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let g = cases().pop().unwrap();
    let f32s = |n, seed| random(n, seed).iter().map(|&v| v as f32).collect::<Vec<_>>();
    let x = f32s(g.batch * g.c_in * g.in_plane(), 1);
    let w = f32s(g.c_out * g.group().0 * g.taps(), 2);
    let run = || {
        let mut y = vec![0f32; g.batch * g.c_out * g.out_plane()];
        conv_forward(&g, &x, &w, None, &mut y).unwrap();
        let (mut dx, mut dw) = (vec![0f32; x.len()], vec![0f32; w.len()]);
        conv_backward_data(&g, &y, &w, None, &mut dx).unwrap();
        conv_backward_weight(&g, &x, &y, &mut dw).unwrap();
        [y, dx, dw].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let team = run();
    // A region inside a region runs on its caller alone.
    let alone = Mutex::new(Vec::new());
    parallel_for(2, |i| {
        if i == 0 {
            *alone.lock().unwrap() = run();
        }
    });
    assert_eq!(team, alone.into_inner().unwrap());
}

#[test]
fn unfold_and_fold_are_adjoint_and_count_overlaps() {
    let g = geom([2, 1, 3, 1], [1, 6, 5], [1, 3, 2], [1, 2, 1], [0, 1, 0], [1, 1, 2]);
    let x = random(2 * 3 * 30, 1);
    let y = random(2 * 3 * 6 * g.out_plane(), 2);
    let (mut ux, mut fy) = (vec![f64::NAN; y.len()], vec![f64::NAN; x.len()]);
    unfold(&g, &x, &mut ux);
    fold(&g, &y, &mut fy);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert!((dot(&ux, &y) - dot(&x, &fy)).abs() < 1e-10);
    let g = geom([1, 1, 1, 1], [1, 5, 5], [1, 3, 3], [1; 3], [0; 3], [1; 3]);
    let mut counts = vec![0f32; 25];
    fold(&g, &[1f32; 81], &mut counts);
    assert_eq!((counts[0], counts[2], counts[12]), (1.0, 3.0, 9.0));
}

#[test]
fn channel_sums_equal_the_loops() {
    let (n, c, s) = (3, 5, 71);
    let dy = random(n * c * s, 9);
    let mut db = vec![0.0; c];
    channel_sums([n, c, s], &dy, &mut db);
    for (j, db) in db.iter().enumerate() {
        let want: f64 = (0..n).map(|i| dy[(i * c + j) * s..][..s].iter().sum::<f64>()).sum();
        assert!((db - want).abs() < 1e-10);
    }
}
