use super::*;
use crate::element::Float;

/// Numbers in -0.5..0.5 that do not repeat soon.
pub(super) fn numbers<T: Float>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            T::from_f64((state >> 40) as f64 / (1u64 << 24) as f64 - 0.5)
        })
        .collect()
}

/// Calls `f(x index, w index, y index)` for each product of the convolution.
fn products(g: &ConvGeom, mut f: impl FnMut(usize, usize, usize)) {
    let (ci, co) = (g.c_in / g.groups, g.c_out / g.groups);
    let (osize, ksize) = (g.output.iter().product::<usize>(), g.kernel.iter().product::<usize>());
    let unravel = |i: usize, d: [usize; 3]| [i / (d[1] * d[2]), i / d[2] % d[1], i % d[2]];
    for y in 0..g.batch * g.c_out * osize {
        let (n, c, o) = (y / osize / g.c_out, y / osize % g.c_out, unravel(y % osize, g.output));
        for w in 0..ci * ksize {
            let k = unravel(w % ksize, g.kernel);
            let mut x = n * g.c_in + c / co * ci + w / ksize;
            let mut inside = true;
            for i in 0..3 {
                let p =
                    (o[i] * g.stride[i] + k[i] * g.dilation[i]) as isize - g.padding[i] as isize;
                inside &= p >= 0 && (p as usize) < g.input[i];
                x = (x * g.input[i]).wrapping_add_signed(p);
            }
            if inside {
                f(x, c * ci * ksize + w, y);
            }
        }
    }
}

fn close<T: Float>(what: &str, g: &ConvGeom, got: &[T], want: &[f64]) {
    let tolerance = if size_of::<T>() == 4 { 2e-5 } else { 1e-12 };
    for (i, (got, &want)) in got.iter().zip(want).enumerate() {
        let error = (got.to_f64() - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "{what} {g:?} at {i}: {got:?} {want}");
    }
}

/// All four kernels against the definition; the gradients' inputs are y and x in turn.
fn case<T: Gemm>(g: &ConvGeom) {
    let (xs, ys) = (g.batch * g.c_in * size(g.input), g.batch * g.c_out * size(g.output));
    let x = numbers::<T>(xs, 1);
    let w = numbers::<T>(g.c_out * g.c_in / g.groups * size(g.kernel), 2);
    let dy = numbers::<T>(ys, 3);
    let (by, bx) = (numbers::<T>(g.c_out, 4), numbers::<T>(g.c_in, 5));
    let mut want = [vec![0f64; ys], vec![0f64; xs], vec![0f64; w.len()]];
    products(g, |i, k, o| {
        want[0][o] += x[i].to_f64() * w[k].to_f64();
        want[1][i] += dy[o].to_f64() * w[k].to_f64();
        want[2][k] += dy[o].to_f64() * x[i].to_f64();
    });
    let nan = T::NAN;
    let (mut y, mut dx, mut dw) = (vec![nan; ys], vec![nan; xs], vec![nan; w.len()]);
    conv_forward(g, &x, &w, None, &mut y).unwrap();
    close("forward", g, &y, &want[0]);
    conv_backward_data(g, &dy, &w, None, &mut dx).unwrap();
    close("data", g, &dx, &want[1]);
    conv_backward_weight(g, &x, &dy, &mut dw).unwrap();
    close("weight", g, &dw, &want[2]);

    let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum::<f64>();
    let (left, right, third) = (dot(&y, &dy), dot(&x, &dx), dot(&w, &dw));
    let scale = if size_of::<T>() == 4 { 1e-3 } else { 1e-10 } * (1.0 + left.abs());
    assert!((left - right).abs() <= scale && (left - third).abs() <= scale, "adjoint {g:?}");

    for (o, value) in want[0].iter_mut().enumerate() {
        *value += by[o / size(g.output) % g.c_out].to_f64();
    }
    for (i, value) in want[1].iter_mut().enumerate() {
        *value += bx[i / size(g.input) % g.c_in].to_f64();
    }
    conv_forward(g, &x, &w, Some(&by), &mut y).unwrap();
    close("forward with bias", g, &y, &want[0]);
    conv_backward_data(g, &dy, &w, Some(&bx), &mut dx).unwrap();
    close("data with bias", g, &dx, &want[1]);

    let mut db = vec![nan; g.c_out];
    channel_sums([g.batch, g.c_out, size(g.output)], &dy, &mut db).unwrap();
    let mut want = vec![0f64; g.c_out];
    for (o, value) in dy.iter().enumerate() {
        want[o / size(g.output) % g.c_out] += value.to_f64();
    }
    close("bias", g, &db, &want);
}

/// A geometry with the output size that follows; kernel, stride, padding, dilation in this order.
pub(super) fn geom(
    [batch, groups, c_in, c_out]: [usize; 4],
    input: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
) -> ConvGeom {
    let output = std::array::from_fn(|i| {
        conv_output_size(input[i], kernel[i], stride[i], padding[i], dilation[i]).unwrap()
    });
    ConvGeom { batch, groups, c_in, c_out, input, output, kernel, stride, padding, dilation }
}

fn both(g: ConvGeom) {
    case::<f32>(&g);
    case::<f64>(&g);
}

const ONE: [usize; 3] = [1; 3];
const NONE: [usize; 3] = [0; 3];

#[test]
fn one_dim() {
    both(geom([2, 1, 3, 5], [1, 1, 17], [1, 1, 3], ONE, NONE, ONE));
    both(geom([2, 1, 3, 14], [1, 1, 40], [1, 1, 5], [1, 1, 2], [0, 0, 2], ONE));
    both(geom([1, 1, 2, 3], [1, 1, 700], [1, 1, 4], [1, 1, 3], [0, 0, 1], [1, 1, 2]));
    both(geom([3, 1, 5, 4], [1, 1, 9], [1, 1, 2], [1, 1, 3], NONE, ONE));
}

#[test]
fn two_dims() {
    let k3 = [1, 3, 3];
    let p1 = [0, 1, 1];
    both(geom([2, 1, 3, 8], [1, 8, 8], k3, ONE, p1, ONE));
    both(geom([2, 1, 16, 13], [1, 28, 28], k3, ONE, p1, ONE));
    both(geom([5, 1, 20, 25], [1, 4, 4], k3, ONE, p1, ONE));
    both(geom([2, 1, 4, 6], [1, 11, 7], k3, [1, 2, 2], p1, ONE));
    both(geom([2, 1, 4, 6], [1, 11, 13], [1, 2, 3], [1, 3, 2], [0, 1, 2], [1, 2, 1]));
    both(geom([3, 1, 6, 4], [1, 8, 8], [1, 4, 4], [1, 2, 2], p1, ONE));
    both(geom([1, 1, 3, 4], [1, 9, 40], k3, ONE, [0, 3, 4], ONE));
    both(geom([1, 1, 70, 4], [1, 5, 5], k3, ONE, [0, 2, 2], [1, 2, 2]));
}

#[test]
fn three_dims() {
    both(geom([2, 1, 3, 4], [5, 6, 7], [3, 3, 3], ONE, ONE, ONE));
    both(geom([1, 2, 4, 6], [6, 5, 9], [2, 3, 2], [2, 1, 2], [1, 0, 1], [1, 2, 3]));
}

#[test]
fn groups_and_depthwise() {
    both(geom([2, 2, 6, 4], [1, 7, 9], [1, 3, 3], ONE, [0, 1, 1], ONE));
    both(geom([2, 6, 6, 6], [1, 9, 37], [1, 3, 3], ONE, [0, 1, 1], ONE));
    both(geom([3, 5, 5, 5], [1, 9, 21], [1, 3, 5], [1, 2, 2], [0, 1, 2], [1, 1, 2]));
    both(geom([2, 4, 4, 4], [3, 4, 5], [2, 3, 3], ONE, [1, 1, 1], ONE));
    both(geom([2, 4, 4, 8], [1, 6, 6], [1, 3, 3], ONE, [0, 1, 1], ONE));
}

#[test]
fn one_by_one() {
    both(geom([3, 1, 7, 14], [1, 5, 9], ONE, ONE, NONE, ONE));
    both(geom([2, 1, 7, 5], [1, 8, 9], ONE, [1, 2, 2], NONE, ONE));
    both(geom([2, 3, 6, 9], [1, 8, 9], ONE, ONE, NONE, ONE));
    both(geom([2, 1, 3, 4], [1, 4, 4], ONE, ONE, [0, 1, 1], ONE));
}

#[test]
fn empty_batch_and_output_beyond_the_input() {
    both(geom([0, 1, 3, 4], [1, 5, 5], [1, 3, 3], ONE, [0, 1, 1], ONE));
    let mut g = geom([2, 1, 3, 4], [1, 1, 10], [1, 1, 3], [1, 1, 2], [0, 0, 1], [1, 1, 4]);
    g.output[2] += 1;
    both(g);
    // The last inputs are in no window.
    both(geom([2, 1, 3, 4], [1, 1, 12], [1, 1, 2], [1, 1, 5], NONE, ONE));
}

#[test]
fn output_size_of_windows_that_do_not_fit() {
    assert_eq!(conv_output_size(5, 3, 1, 1, 1), Some(5));
    assert_eq!(conv_output_size(8, 4, 2, 1, 1), Some(4));
    assert_eq!(conv_output_size(2, 3, 1, 0, 1), None);
    assert_eq!(conv_output_size(4, 3, 0, 0, 1), None);
    assert_eq!(conv_output_size(4, 0, 1, 0, 1), None);
}

#[test]
fn unfold_and_fold_are_transposes_of_the_definition() {
    for (input, kernel, dilation, padding, stride) in [
        ([5, 6], [3, 3], [1, 1], [1, 1], [1, 1]),
        ([7, 9], [2, 3], [2, 1], [1, 2], [2, 3]),
        ([3, 3], [3, 3], [1, 1], [4, 4], [1, 2]),
    ] {
        let g = FoldGeom { batch: 2, channels: 3, input, kernel, dilation, padding, stride };
        let [oh, ow] = g.output().unwrap();
        let x = numbers::<f32>(6 * input[0] * input[1], 1);
        let (taps, l) = (kernel[0] * kernel[1], oh * ow);
        let mut columns = vec![f32::NAN; 6 * taps * l];
        unfold(&g, &x, &mut columns);
        let back = numbers::<f32>(columns.len(), 2);
        let mut want = vec![0f32; x.len()];
        for (i, got) in columns.iter().enumerate() {
            let (p, tap, row, col) = (i / l / taps, i / l % taps, i % l / ow, i % ow);
            let h = (row * stride[0] + tap / kernel[1] * dilation[0]).wrapping_sub(padding[0]);
            let w = (col * stride[1] + tap % kernel[1] * dilation[1]).wrapping_sub(padding[1]);
            if h < input[0] && w < input[1] {
                assert_eq!(*got, x[(p * input[0] + h) * input[1] + w]);
                want[(p * input[0] + h) * input[1] + w] += back[i];
            } else {
                assert_eq!(*got, 0.0);
            }
        }
        let mut dx = vec![f32::NAN; x.len()];
        fold(&g, &back, &mut dx);
        for (got, want) in dx.iter().zip(&want) {
            assert!((got - want).abs() < 1e-5);
        }
    }
}

/// Shapes at the borders of how the work is cut.
fn geometries() -> Vec<ConvGeom> {
    let plane = |h, w| [1, h, w];
    let same = [0, 1, 1];
    vec![
        // Tiny and odd ones.
        geom([1, 1, 3, 8], plane(8, 8), plane(3, 3), ONE, same, ONE),
        geom([2, 1, 1, 1], ONE, ONE, ONE, NONE, ONE),
        geom([2, 1, 5, 7], plane(5, 6), plane(3, 2), [1, 2, 3], [0, 2, 1], [1, 2, 1]),
        // 3x3 with images of all widths; several images in a task, bands, odd channels.
        geom([9, 1, 17, 33], plane(4, 4), plane(3, 3), ONE, same, ONE),
        geom([5, 1, 20, 13], plane(7, 7), plane(3, 3), ONE, same, ONE),
        geom([3, 1, 16, 24], plane(8, 8), plane(3, 3), ONE, same, ONE),
        geom([2, 1, 9, 16], plane(14, 14), plane(3, 3), ONE, same, ONE),
        geom([2, 1, 1, 16], plane(28, 28), plane(3, 3), ONE, NONE, ONE),
        geom([2, 1, 6, 14], plane(41, 39), plane(3, 3), ONE, same, ONE),
        geom([1, 1, 3, 12], plane(50, 70), plane(5, 5), ONE, [0, 2, 2], ONE),
        // The sum in several parts.
        geom([2, 1, 120, 14], plane(6, 6), plane(3, 3), ONE, same, ONE),
        geom([1, 1, 2, 5], plane(30, 30), plane(25, 24), ONE, [0, 12, 12], ONE),
        // Strides and dilations, with rests and without.
        geom([3, 1, 8, 12], plane(16, 16), plane(4, 4), [1, 2, 2], same, ONE),
        geom([3, 1, 8, 12], plane(15, 17), plane(3, 3), [1, 2, 2], same, ONE),
        geom([2, 1, 12, 9], plane(20, 23), plane(3, 4), [1, 3, 2], [0, 3, 0], [1, 2, 3]),
        geom([2, 1, 10, 20], plane(19, 18), plane(3, 3), ONE, [0, 2, 2], [1, 2, 2]),
        geom([2, 1, 16, 24], plane(14, 15), plane(1, 1), [1, 2, 2], NONE, ONE),
        geom([2, 1, 8, 20], plane(24, 24), plane(8, 8), [1, 8, 8], NONE, ONE),
        geom([2, 1, 8, 16], plane(12, 13), plane(2, 2), [1, 4, 5], NONE, ONE),
        geom([2, 1, 16, 8], plane(9, 9), plane(2, 2), ONE, [0, 4, 4], ONE),
        // Few output channels, many input channels, in one direction or the other.
        geom([3, 1, 20, 3], plane(9, 13), plane(3, 3), ONE, same, ONE),
        geom([3, 1, 3, 20], plane(19, 21), plane(4, 4), [1, 2, 2], same, ONE),
        geom([2, 2, 40, 4], plane(12, 11), plane(3, 2), ONE, [0, 4, 3], [1, 2, 1]),
        geom([2, 1, 2, 33], [5, 9, 14], [2, 3, 4], [1, 2, 3], [1, 0, 1], [1, 1, 2]),
        geom([2, 1, 17, 1], [1, 1, 90], [1, 1, 7], ONE, [0, 0, 3], ONE),
        // 1x1.
        geom([3, 1, 30, 20], plane(9, 9), ONE, ONE, NONE, ONE),
        geom([3, 1, 64, 40], plane(16, 16), ONE, ONE, NONE, ONE),
        geom([2, 2, 40, 64], plane(5, 5), ONE, ONE, same, ONE),
        // Groups and depthwise.
        geom([2, 3, 12, 18], plane(13, 11), plane(3, 3), ONE, same, ONE),
        geom([2, 16, 16, 16], plane(17, 35), plane(3, 3), ONE, same, ONE),
        geom([2, 16, 16, 16], plane(9, 20), plane(5, 3), [1, 2, 2], [0, 2, 1], ONE),
        geom([2, 8, 8, 16], plane(10, 4), plane(3, 3), ONE, same, [1, 2, 1]),
        geom([2, 8, 8, 32], plane(40, 40), plane(3, 3), ONE, same, ONE),
        // 1-d and 3-d.
        geom([3, 1, 10, 14], [1, 1, 70], [1, 1, 5], ONE, [0, 0, 2], ONE),
        geom([2, 2, 8, 12], [1, 1, 3000], [1, 1, 3], [1, 1, 2], [0, 0, 4], [1, 1, 3]),
        geom([2, 1, 4, 9], [6, 7, 8], [3, 3, 3], ONE, ONE, ONE),
        geom([1, 1, 3, 6], [9, 12, 14], [3, 2, 3], [2, 1, 2], [1, 0, 2], [1, 2, 2]),
        geom([2, 4, 4, 4], [5, 6, 7], [2, 3, 2], [1, 2, 1], [1, 1, 0], ONE),
    ]
}

#[test]
fn however_the_work_is_cut() {
    geometries().into_iter().for_each(both);
}

#[test]
fn as_many_bits_on_two_threads_as_on_one() {
    let same = [0, 1, 1];
    for g in [
        geom([16, 1, 24, 40], [1, 16, 16], [1, 3, 3], ONE, same, ONE),
        geom([12, 1, 40, 24], [1, 16, 16], [1, 4, 4], [1, 2, 2], same, ONE),
        geom([8, 32, 32, 32], [1, 24, 24], [1, 3, 3], ONE, same, ONE),
    ] {
        let (x, w, dy) = (numbers(g.x_len(), 1), numbers(g.w_len(), 2), numbers(g.y_len(), 3));
        let all = |threads: usize| {
            let (mut y, mut dx) = (vec![0f32; g.y_len()], vec![0f32; g.x_len()]);
            let (mut dw, mut db) = (vec![0f32; g.w_len()], vec![0f32; g.c_out]);
            threads::set_num_threads(threads);
            conv_forward(&g, &x, &w, None, &mut y).unwrap();
            conv_backward_data(&g, &dy, &w, None, &mut dx).unwrap();
            conv_backward_weight(&g, &x, &dy, &mut dw).unwrap();
            channel_sums([g.batch, g.c_out, size(g.output)], &dy, &mut db).unwrap();
            threads::set_num_threads(0);
            [y, dx, dw, db]
        };
        for (one, two) in all(1).iter().zip(all(2)) {
            assert!(one.iter().zip(&two).all(|(a, b)| a.to_bits() == b.to_bits()), "{g:?}");
        }
    }
}
