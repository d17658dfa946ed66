use super::*;

/// Values of each output, in order, for a view.
fn groups(x: &[f64], dims: &[usize], strides: &[usize], reduced: &[bool]) -> Vec<Vec<f64>> {
    let outputs: usize = dims.iter().zip(reduced).filter(|(_, r)| !**r).map(|(d, _)| *d).product();
    let mut groups = vec![Vec::new(); outputs];
    for flat in 0..dims.iter().product() {
        let (mut rest, mut at, mut slot, mut size) = (flat, 0, 0, 1);
        for d in (0..dims.len()).rev() {
            let i = rest % dims[d];
            rest /= dims[d];
            at += i * strides[d];
            if !reduced[d] {
                slot += i * size;
                size *= dims[d];
            }
        }
        groups[slot].push(x[at]);
    }
    groups
}

type Case = (&'static [usize], &'static [usize], &'static [bool]);
const T: bool = true;
const F: bool = false;
const CASES: &[Case] = &[
    (&[100], &[1], &[T]),
    (&[100], &[3], &[T]),
    (&[7, 300], &[300, 1], &[F, T]),
    (&[7, 300], &[300, 1], &[T, F]),
    (&[7, 300], &[1, 7], &[T, F]),
    (&[300, 70], &[70, 1], &[T, F]),
    (&[300, 70], &[70, 1], &[T, T]),
    (&[3, 150, 66], &[9900, 66, 1], &[F, T, F]),
    (&[3, 150, 66], &[9900, 66, 1], &[T, F, T]),
    (&[3, 5, 4, 6, 7], &[840, 168, 42, 7, 1], &[T, F, T, F, T]),
    (&[3, 5, 4, 6, 7], &[840, 168, 42, 7, 1], &[F, T, F, T, F]),
    (&[5, 4], &[0, 1], &[T, F]),
    (&[5, 4], &[4, 1], &[F, F]),
    (&[5, 4], &[7, 1], &[T, T]),
    (&[5, 4], &[7, 1], &[F, F]),
    (&[5, 4, 3], &[40, 9, 1], &[T, T, F]),
    (&[40, 5000], &[5000, 1], &[T, T]),
    (&[60_000, 3], &[3, 1], &[T, F]),
    (&[2, 100_000], &[100_000, 1], &[F, T]),
    (&[2, 70_000, 2], &[140_000, 2, 1], &[F, T, F]),
    (&[], &[], &[]),
    (&[1, 3], &[3, 1], &[T, F]),
];

fn data() -> Vec<f64> {
    (0..300_000i64).map(|i| ((i * 7919) % 1009) as f64 * 0.002 - 0.9).collect()
}

fn each(
    tolerance: f64,
    run: impl Fn(View<'_, f64>, &[bool], &mut [f64]),
    want: impl Fn(&[f64]) -> f64,
) {
    let x = data();
    for &(dims, strides, reduced) in CASES {
        let groups = groups(&x, dims, strides, reduced);
        let mut out = vec![f64::NAN; groups.len()];
        run(View { data: &x, dims, strides }, reduced, &mut out);
        for (got, group) in out.iter().zip(&groups) {
            let want = want(group);
            let same = *got == want || (got.is_nan() && want.is_nan());
            let near = (got - want).abs() <= tolerance * (1.0 + want.abs());
            assert!(same || near, "{dims:?} {strides:?} {reduced:?}: {got} {want}");
        }
    }
}

#[test]
fn every_layout_and_operation_gives_what_a_plain_loop_gives() {
    let op = |op| {
        move |x: View<'_, f64>, r: &[bool], out: &mut [f64]| assert!(reduce(op, x, r, out).is_ok())
    };
    each(1e-11, op(ReduceOp::Sum), |g| g.iter().sum());
    each(1e-11, op(ReduceOp::Mean), |g| g.iter().sum::<f64>() / g.len() as f64);
    each(1e-11, op(ReduceOp::Prod), |g| g.iter().product());
    each(0.0, op(ReduceOp::Max), |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    each(0.0, op(ReduceOp::Min), |g| g.iter().copied().fold(f64::INFINITY, f64::min));
    each(0.0, op(ReduceOp::MaxAbs), |g| g.iter().fold(0.0, |a, x| x.abs().max(a)));
    each(1e-11, op(ReduceOp::SumSquares), |g| g.iter().map(|x| x * x).sum());
    each(1e-11, op(ReduceOp::L2), |g| g.iter().map(|x| x * x).sum::<f64>().sqrt());
    each(1e-11, op(ReduceOp::L1), |g| g.iter().map(|x| x.abs()).sum());
    each(
        1e-11,
        |x, r, out| assert!(norm(x, r, 3.0, out).is_ok()),
        |g| g.iter().map(|x| x.abs().powi(3)).sum::<f64>().cbrt(),
    );
    each(
        1e-11,
        |x, r, out| assert!(logsumexp(x, r, out).is_ok()),
        |g| g.iter().map(|x| x.exp()).sum::<f64>().ln(),
    );
    each(
        1e-11,
        |x, r, out| assert!(var(x, r, 1.0, out).is_ok()),
        |g| {
            let mean = g.iter().sum::<f64>() / g.len() as f64;
            g.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (g.len() as f64 - 1.0)
        },
    );
}

fn sum32(x: &[f32]) -> f32 {
    let mut out = [0.0];
    let view = View { data: x, dims: &[x.len()], strides: &[1] };
    assert!(reduce(ReduceOp::Sum, view, &[true], &mut out).is_ok());
    out[0]
}

#[test]
fn sums_are_accurate_and_independent_of_the_threads() {
    let x: Vec<f32> = (0..3_000_001).map(|i| 0.1 + (i % 17) as f32 * 1e-3).collect();
    let exact: f64 = x.iter().map(|&x| x as f64).sum();
    let got = sum32(&x);
    assert!((got as f64 - exact).abs() <= 3e-7 * exact, "{got} {exact}");
    let before = crate::threads::num_threads();
    for threads in [1, 3] {
        crate::threads::set_num_threads(threads);
        assert_eq!(sum32(&x), got);
    }
    crate::threads::set_num_threads(before);
}

#[test]
fn nothing_and_nan() {
    let empty = View::<f32> { data: &[], dims: &[0, 3], strides: &[3, 1] };
    let run = |op| {
        let mut out = [7.0f32; 3];
        assert!(reduce(op, empty, &[true, false], &mut out).is_ok());
        out[2]
    };
    assert_eq!([run(ReduceOp::Sum), run(ReduceOp::Prod)], [0.0, 1.0]);
    assert!(run(ReduceOp::Mean).is_nan());
    assert!(reduce(ReduceOp::Sum, empty, &[false, true], &mut []).is_ok());
    let mut x = vec![1.0f32; 100];
    x[63] = f32::NAN;
    for op in [ReduceOp::Max, ReduceOp::Min, ReduceOp::MaxAbs, ReduceOp::Sum] {
        let mut out = [0.0];
        let view = View { data: &x, dims: &[100], strides: &[1] };
        assert!(reduce(op, view, &[true], &mut out).is_ok());
        assert!(out[0].is_nan(), "{op:?}");
    }
    let mut out = [0.0f32];
    let low = [f32::NEG_INFINITY; 3];
    assert!(logsumexp(View { data: &low, dims: &[3], strides: &[1] }, &[true], &mut out).is_ok());
    assert_eq!(out[0], f32::NEG_INFINITY);
    let one = View { data: &[1.0f32], dims: &[1], strides: &[1] };
    assert!(var(one, &[true], 1.0, &mut out).is_ok());
    assert!(out[0].is_nan());
}

#[test]
fn positions_integers_and_masks() {
    let mut x: Vec<f32> = (0..200).map(|i| (i % 50) as f32).collect();
    let mut out = [0i64];
    let mut at = |x: &[f32], op| {
        let view = View { data: x, dims: &[200], strides: &[1] };
        assert!(arg_reduce(op, view, 0, &mut out).is_ok());
        out[0]
    };
    assert_eq!((at(&x, ArgOp::Max), at(&x, ArgOp::Min)), (49, 0));
    x[120] = f32::NAN;
    x[130] = f32::NAN;
    assert_eq!((at(&x, ArgOp::Max), at(&x, ArgOp::Min)), (120, 120));
    let table = View { data: &[1, 5, 5, 9, 2, 9], dims: &[2, 3], strides: &[3, 1] };
    let mut columns = [0i64; 3];
    assert!(arg_reduce(ArgOp::Max, table, 0, &mut columns).is_ok());
    assert_eq!(columns, [1, 0, 1]);
    assert!(reduce_int(IntReduceOp::Sum, table, &[true, false], &mut columns).is_ok());
    assert_eq!(columns, [10, 7, 14]);
    let mut rows = [0i64; 2];
    assert!(reduce_int(IntReduceOp::Prod, table, &[false, true], &mut rows).is_ok());
    assert_eq!(rows, [25, 162]);
    let mask = View { data: &[0u8, 1, 1, 1], dims: &[2, 2], strides: &[2, 1] };
    let mut flags = [9u8; 2];
    assert!(reduce_bool(BoolReduceOp::All, mask, &[false, true], &mut flags).is_ok());
    assert_eq!(flags, [0, 1]);
    assert!(reduce_bool(BoolReduceOp::Any, mask, &[true, false], &mut flags).is_ok());
    assert_eq!(flags, [1, 1]);
}
