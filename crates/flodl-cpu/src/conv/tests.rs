use super::*;

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
    let (xs, ys) = (g.batch * g.c_in * g.in_size(), g.batch * g.c_out * g.out_size());
    let x = numbers::<T>(xs, 1);
    let w = numbers::<T>(g.c_out * g.group_in() * g.taps(), 2);
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
        *value += by[o / g.out_size() % g.c_out].to_f64();
    }
    for (i, value) in want[1].iter_mut().enumerate() {
        *value += bx[i / g.in_size() % g.c_in].to_f64();
    }
    conv_forward(g, &x, &w, Some(&by), &mut y).unwrap();
    close("forward with bias", g, &y, &want[0]);
    conv_backward_data(g, &dy, &w, Some(&bx), &mut dx).unwrap();
    close("data with bias", g, &dx, &want[1]);

    let mut db = vec![nan; g.c_out];
    channel_sums([g.batch, g.c_out, g.out_size()], &dy, &mut db).unwrap();
    let mut want = vec![0f64; g.c_out];
    for (o, value) in dy.iter().enumerate() {
        want[o / g.out_size() % g.c_out] += value.to_f64();
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
