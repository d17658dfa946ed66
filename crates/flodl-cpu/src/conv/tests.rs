use super::*;
use crate::element::Float;

/// Numbers in -1..1 from a simple generator.
pub(super) fn numbers<T: Float>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            T::from_f64((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
        })
        .collect()
}

pub(super) fn geom(
    (batch, groups, c_in, c_out): (usize, usize, usize, usize),
    input: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
) -> ConvGeom {
    let output = [0, 1, 2]
        .map(|i| (input[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1);
    ConvGeom { batch, groups, c_in, c_out, input, output, kernel, stride, padding, dilation }
}

/// Calls `f(x, w, y)` with the places of every product in the convolution.
pub(super) fn products(g: &ConvGeom, mut f: impl FnMut(usize, usize, usize)) {
    let (ci, co) = (g.c_in / g.groups, g.c_out / g.groups);
    let at = |i: usize, o: usize, k: usize| {
        let x = (o * g.stride[i] + k * g.dilation[i]) as isize - g.padding[i] as isize;
        (0..g.input[i] as isize).contains(&x).then_some(x as usize)
    };
    for n in 0..g.batch {
        for c in 0..g.c_out {
            for o in 0..size(g.output) {
                let [_, oh, ow] = g.output;
                let o3 = [o / (oh * ow), o / ow % oh, o % ow];
                for k in 0..size(g.kernel) {
                    let [_, kh, kw] = g.kernel;
                    let k3 = [k / (kh * kw), k / kw % kh, k % kw];
                    let (Some(d), Some(h), Some(w)) =
                        (at(0, o3[0], k3[0]), at(1, o3[1], k3[1]), at(2, o3[2], k3[2]))
                    else {
                        continue;
                    };
                    for i in 0..ci {
                        let channel = n * g.c_in + c / co * ci + i;
                        let x = ((channel * g.input[0] + d) * g.input[1] + h) * g.input[2] + w;
                        let y = (n * g.c_out + c) * size(g.output) + o;
                        f(x, (c * ci + i) * size(g.kernel) + k, y);
                    }
                }
            }
        }
    }
}

fn close<T: Float>(what: &str, g: &ConvGeom, got: &[T], want: &[f64], tolerance: f64) {
    let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len().max(1) as f64).sqrt();
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got.to_f64() - want).abs();
        assert!(error <= tolerance * (rms + 1.0), "{what} at {i}: {got:?} for {want}, {g:?}");
    }
}

fn check<T: Gemm>(g: &ConvGeom, tolerance: f64) {
    let (x, w, dy) = (numbers::<T>(g.x_len(), 1), numbers(g.w_len(), 2), numbers(g.y_len(), 3));
    let (b, c) = (numbers::<T>(g.c_out, 4), numbers::<T>(g.c_in, 5));
    let value = |v: &T| v.to_f64();
    let (fx, fw, fdy): (Vec<_>, Vec<_>, Vec<_>) = (
        x.iter().map(value).collect(),
        w.iter().map(value).collect(),
        dy.iter().map(value).collect(),
    );
    let mut y: Vec<f64> =
        (0..g.y_len()).map(|i| b[i / size(g.output) % g.c_out].to_f64()).collect();
    let mut dx: Vec<f64> = (0..g.x_len()).map(|i| c[i / size(g.input) % g.c_in].to_f64()).collect();
    let mut dw = vec![0.0; g.w_len()];
    products(g, |i, j, o| {
        y[o] += fx[i] * fw[j];
        dx[i] += fdy[o] * fw[j];
        dw[j] += fdy[o] * fx[i];
    });
    // What was there before must not matter, not even NaN.
    let mut got = vec![T::NAN; g.y_len()];
    conv_forward(g, &x, &w, Some(&b), &mut got).unwrap();
    close("forward", g, &got, &y, tolerance);
    let mut got = vec![T::NAN; g.x_len()];
    conv_backward_data(g, &dy, &w, Some(&c), &mut got).unwrap();
    close("data", g, &got, &dx, tolerance);
    let mut got = vec![T::NAN; g.w_len()];
    conv_backward_weight(g, &x, &dy, &mut got).unwrap();
    close("weight", g, &got, &dw, tolerance);
}

pub(super) const ONE: [usize; 3] = [1; 3];
pub(super) const ZERO: [usize; 3] = [0; 3];

fn geometries() -> Vec<ConvGeom> {
    let plane = |h, w| [1, h, w];
    let same = [0, 1, 1];
    vec![
        // Tiny and odd ones.
        geom((1, 1, 3, 8), plane(8, 8), plane(3, 3), ONE, same, ONE),
        geom((2, 1, 1, 1), ONE, ONE, ONE, ZERO, ONE),
        geom((2, 1, 5, 7), plane(5, 6), plane(3, 2), [1, 2, 3], [0, 2, 1], [1, 2, 1]),
        // 3x3 with images of all widths; several images in a task, bands, odd channels.
        geom((9, 1, 17, 33), plane(4, 4), plane(3, 3), ONE, same, ONE),
        geom((5, 1, 20, 13), plane(7, 7), plane(3, 3), ONE, same, ONE),
        geom((3, 1, 16, 24), plane(8, 8), plane(3, 3), ONE, same, ONE),
        geom((2, 1, 9, 16), plane(14, 14), plane(3, 3), ONE, same, ONE),
        geom((2, 1, 1, 16), plane(28, 28), plane(3, 3), ONE, ZERO, ONE),
        geom((2, 1, 6, 14), plane(41, 39), plane(3, 3), ONE, same, ONE),
        geom((1, 1, 3, 12), plane(50, 70), plane(5, 5), ONE, [0, 2, 2], ONE),
        // The sum in several parts.
        geom((2, 1, 120, 14), plane(6, 6), plane(3, 3), ONE, same, ONE),
        geom((1, 1, 2, 5), plane(30, 30), plane(25, 24), ONE, [0, 12, 12], ONE),
        // Small images in whole blocks.
        geom((32, 1, 64, 26), plane(4, 4), plane(3, 3), ONE, same, ONE),
        geom((30, 2, 128, 24), plane(5, 4), plane(4, 4), [1, 2, 2], same, ONE),
        geom((64, 1, 64, 64), plane(2, 3), plane(3, 3), [1, 2, 1], [0, 2, 2], ONE),
        // Strides and dilations, with rests and without.
        geom((3, 1, 8, 12), plane(16, 16), plane(4, 4), [1, 2, 2], same, ONE),
        geom((3, 1, 8, 12), plane(15, 17), plane(3, 3), [1, 2, 2], same, ONE),
        geom((2, 1, 12, 9), plane(20, 23), plane(3, 4), [1, 3, 2], [0, 3, 0], [1, 2, 3]),
        geom((2, 1, 10, 20), plane(19, 18), plane(3, 3), ONE, [0, 2, 2], [1, 2, 2]),
        // Phases that share a task: sums in several parts, several images, volumes.
        geom((2, 1, 12, 300), plane(11, 10), plane(3, 3), [1, 2, 2], same, ONE),
        geom((24, 1, 12, 20), plane(5, 7), plane(3, 3), [1, 2, 2], same, ONE),
        geom((2, 1, 10, 30), [8, 9, 16], [4, 4, 4], [2, 2, 2], ONE, ONE),
        geom((2, 1, 16, 24), plane(14, 15), plane(1, 1), [1, 2, 2], ZERO, ONE),
        geom((2, 1, 8, 20), plane(24, 24), plane(8, 8), [1, 8, 8], ZERO, ONE),
        geom((2, 1, 8, 16), plane(12, 13), plane(2, 2), [1, 4, 5], ZERO, ONE),
        geom((2, 1, 16, 8), plane(9, 9), plane(2, 2), ONE, [0, 4, 4], ONE),
        // Few output channels, many input channels, in one direction or the other.
        geom((3, 1, 20, 3), plane(9, 13), plane(3, 3), ONE, same, ONE),
        geom((3, 1, 3, 20), plane(19, 21), plane(4, 4), [1, 2, 2], same, ONE),
        geom((2, 2, 40, 4), plane(12, 11), plane(3, 2), ONE, [0, 4, 3], [1, 2, 1]),
        geom((2, 1, 2, 33), [5, 9, 14], [2, 3, 4], [1, 2, 3], [1, 0, 1], [1, 1, 2]),
        geom((2, 1, 17, 1), [1, 1, 90], [1, 1, 7], ONE, [0, 0, 3], ONE),
        geom((2, 1, 2, 20), [1, 1, 301], [1, 1, 2], [1, 1, 3], ZERO, ONE),
        // Few rows and long sums over rows of whole vectors: patches are read where they lie.
        geom((3, 1, 16, 20), [4, 6, 16], [3, 3, 3], ONE, ONE, ONE),
        geom((2, 1, 20, 30), plane(12, 24), plane(3, 3), ONE, [0, 2, 2], [1, 2, 2]),
        geom((2, 1, 64, 28), plane(8, 8), plane(3, 3), ONE, [0, 2, 2], [1, 2, 2]),
        geom((2, 1, 20, 24), plane(32, 32), plane(3, 3), [1, 2, 2], same, ONE),
        // 1x1.
        geom((3, 1, 30, 20), plane(9, 9), ONE, ONE, ZERO, ONE),
        geom((3, 1, 64, 40), plane(16, 16), ONE, ONE, ZERO, ONE),
        geom((2, 2, 40, 64), plane(5, 5), ONE, ONE, same, ONE),
        // Groups and depthwise.
        geom((2, 3, 12, 18), plane(13, 11), plane(3, 3), ONE, same, ONE),
        geom((2, 16, 16, 16), plane(17, 35), plane(3, 3), ONE, same, ONE),
        geom((2, 16, 16, 16), plane(9, 20), plane(5, 3), [1, 2, 2], [0, 2, 1], ONE),
        geom((2, 8, 8, 16), plane(10, 4), plane(3, 3), ONE, same, [1, 2, 1]),
        geom((2, 8, 8, 32), plane(40, 40), plane(3, 3), ONE, same, ONE),
        // 1-d and 3-d.
        geom((3, 1, 10, 14), [1, 1, 70], [1, 1, 5], ONE, [0, 0, 2], ONE),
        geom((2, 2, 8, 12), [1, 1, 3000], [1, 1, 3], [1, 1, 2], [0, 0, 4], [1, 1, 3]),
        geom((2, 1, 4, 9), [6, 7, 8], [3, 3, 3], ONE, ONE, ONE),
        geom((1, 1, 3, 6), [9, 12, 14], [3, 2, 3], [2, 1, 2], [1, 0, 2], [1, 2, 2]),
        geom((2, 4, 4, 4), [5, 6, 7], [2, 3, 2], [1, 2, 1], [1, 1, 0], ONE),
    ]
}

#[test]
fn all_three_passes_agree_with_their_definition_in_f32() {
    geometries().iter().for_each(|g| check::<f32>(g, 1e-5));
}

#[test]
fn all_three_passes_agree_with_their_definition_in_f64() {
    geometries().iter().for_each(|g| check::<f64>(g, 1e-13));
}

#[test]
fn inputs_beyond_the_last_patch_get_no_gradient() {
    let g = geom((1, 1, 20, 12), [1, 10, 10], [1, 3, 3], [1, 4, 4], ZERO, ONE);
    let (dy, w) = (vec![1.0f32; g.y_len()], vec![1.0; g.w_len()]);
    let mut dx = vec![f32::NAN; g.x_len()];
    conv_backward_data(&g, &dy, &w, None, &mut dx).unwrap();
    assert_eq!(dx[3], 0.0);
    assert_eq!(dx[99], 0.0);
    assert_eq!(dx[0], 12.0);
}

#[test]
fn empty_batches_pass_through() {
    let g = geom((0, 1, 4, 6), [1, 8, 8], [1, 3, 3], ONE, ZERO, ONE);
    let w = vec![1.0f32; g.w_len()];
    conv_forward(&g, &[], &w, None, &mut []).unwrap();
    conv_backward_data(&g, &[], &w, None, &mut []).unwrap();
    let mut dw = vec![f32::NAN; g.w_len()];
    conv_backward_weight(&g, &[], &[], &mut dw).unwrap();
    assert!(dw.iter().all(|&v| v == 0.0));
}

#[test]
fn channel_sums_add_up() {
    for (batch, channels, spatial) in
        [(1, 1, 1), (3, 5, 7), (2, 3, 1000), (4, 2, 20_000), (40, 3, 5000)]
    {
        let dy = numbers::<f32>(batch * channels * spatial, 7);
        let mut db = vec![f32::NAN; channels];
        channel_sums([batch, channels, spatial], &dy, &mut db).unwrap();
        for (c, &got) in db.iter().enumerate() {
            let want: f64 = (0..batch)
                .flat_map(|n| &dy[(n * channels + c) * spatial..][..spatial])
                .map(|&v| v as f64)
                .sum();
            assert!((got as f64 - want).abs() < 1e-4, "{got} for {want}");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let all = [
        geom((64, 1, 20, 30), [1, 9, 9], [1, 3, 3], ONE, [0, 1, 1], ONE),
        geom((32, 1, 64, 40), [1, 4, 4], [1, 4, 4], [1, 2, 2], [0, 1, 1], ONE),
        geom((8, 32, 32, 32), [1, 30, 30], [1, 3, 3], ONE, [0, 1, 1], ONE),
    ];
    for g in all {
        let (x, w, dy) =
            (numbers::<f32>(g.x_len(), 1), numbers(g.w_len(), 2), numbers(g.y_len(), 3));
        let run = |threads| {
            crate::threads::set_num_threads(threads);
            let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
            conv_forward(&g, &x, &w, None, &mut y).unwrap();
            conv_backward_data(&g, &dy, &w, None, &mut dx).unwrap();
            conv_backward_weight(&g, &x, &dy, &mut dw).unwrap();
            crate::threads::set_num_threads(0);
            (y, dx, dw)
        };
        assert_eq!(run(1), run(5));
    }
}

#[test]
fn the_data_gradient_is_the_transpose_of_the_forward_pass() {
    for mut g in geometries() {
        // A size that a transposed convolution with output padding may have.
        g.output[2] += (g.dilation[2] > 1) as usize;
        let (x, w, dy) =
            (numbers::<f64>(g.x_len(), 1), numbers(g.w_len(), 2), numbers(g.y_len(), 3));
        let (mut y, mut dx) = (vec![f64::NAN; g.y_len()], vec![f64::NAN; g.x_len()]);
        conv_forward(&g, &x, &w, None, &mut y).unwrap();
        conv_backward_data(&g, &dy, &w, None, &mut dx).unwrap();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (left, right) = (dot(&y, &dy), dot(&x, &dx));
        assert!((left - right).abs() <= 1e-9 * (1.0 + left.abs()), "{left} {right} {g:?}");
    }
}

#[test]
fn output_size_of_windows_that_do_and_do_not_fit() {
    assert_eq!(conv_output_size(5, 3, 1, 1, 1), Some(5));
    assert_eq!(conv_output_size(8, 4, 2, 1, 1), Some(4));
    assert_eq!(conv_output_size(2, 3, 1, 0, 1), None);
    assert_eq!(conv_output_size(4, 3, 0, 0, 1), None);
    assert_eq!(conv_output_size(4, 0, 1, 0, 1), None);
}

#[test]
fn the_depthwise_weight_gradient_keeps_infinities_to_their_taps() {
    let plane = |h, w| [1, h, w];
    for (at, of_dy) in [(0, false), (19, false), (7, false), (0, true), (11, true)] {
        let g = geom((1, 3, 3, 3), plane(4, 5), plane(3, 3), ONE, [0, 1, 1], ONE);
        let (mut x, mut dy) = (numbers::<f32>(g.x_len(), 1), numbers::<f32>(g.y_len(), 2));
        let place = if of_dy { &mut dy[at] } else { &mut x[at] };
        *place = f32::INFINITY;
        let mut touched = vec![false; g.w_len()];
        let mut expected = vec![0.0; g.w_len()];
        products(&g, |i, j, o| {
            touched[j] |= if of_dy { o == at } else { i == at };
            expected[j] += f64::from(x[i]) * f64::from(dy[o]);
        });
        let mut dw = vec![f32::NAN; g.w_len()];
        conv_backward_weight(&g, &x, &dy, &mut dw).unwrap();
        for ((got, want), touched) in dw.iter().zip(expected).zip(touched) {
            if touched {
                assert!(!got.is_finite());
            } else {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{got} for {want}");
            }
        }
    }
}
