use super::*;

fn dense<'a, T>(data: &'a [T], dims: &'a [usize], strides: &'a [usize]) -> View<'a, T> {
    View { data, dims, strides }
}

fn one<T: FloatMath>(op: UnaryOp, x: T) -> T {
    let mut out = [T::ZERO];
    unary(op, dense(&[x], &[], &[]), &mut out);
    out[0]
}

fn two<T: FloatMath>(op: BinaryOp, a: T, b: T) -> T {
    let mut out = [T::ZERO];
    binary(op, dense(&[a], &[1], &[1]), dense(&[b], &[1], &[1]), &mut out);
    out[0]
}

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1000) as f32 * 0.013 - 6.0).collect()
}

#[test]
fn every_layout_gives_what_the_formula_gives() {
    let x = ramp(40_000);
    let cases: &[(&[usize], &[usize])] = &[
        (&[40_000], &[1]),
        (&[200, 200], &[1, 200]),
        (&[7, 130], &[131, 1]),
        (&[13, 5, 3], &[1, 0, 13]),
        (&[4, 100], &[0, 1]),
        (&[300, 128, 2], &[0, 1, 128]),
        (&[0, 3], &[3, 1]),
        (&[], &[]),
    ];
    for (dims, strides) in cases {
        let n: usize = dims.iter().product();
        let mut order = vec![0.0; n];
        copy(dense(&x, dims, strides), &mut order);
        for (flat, &got) in order.iter().enumerate() {
            let (mut rest, mut at) = (flat, 0);
            for (&d, &s) in dims.iter().zip(*strides).rev() {
                at += rest % d * s;
                rest /= d;
            }
            assert_eq!(got, x[at], "{dims:?} {strides:?} {flat}");
        }
        let mut out = vec![0.0; n];
        unary(UnaryOp::Silu, dense(&x, dims, strides), &mut out);
        let want: Vec<f32> = order.iter().map(|&x| one(UnaryOp::Silu, x)).collect();
        assert_eq!(out, want);
        unary_in_place(UnaryOp::Silu, &mut order);
        assert_eq!(order, want);
        binary(BinaryOp::Sub, dense(&x, dims, strides), dense(&x, dims, strides), &mut out);
        assert!(out.iter().all(|&v| v == 0.0));
        binary_in_place(BinaryOp::Sub, &mut order, dense(&want[..], dims, &row_major(dims)));
        assert!(order.iter().all(|&v| v == 0.0));
        let mut order = want.clone();
        binary_in_place(BinaryOp::Add, &mut order, dense(&x, dims, strides));
        binary(
            BinaryOp::Add,
            dense(&want, dims, &row_major(dims)),
            dense(&x, dims, strides),
            &mut out,
        );
        assert_eq!(order, out);
    }
}

fn row_major(dims: &[usize]) -> Vec<usize> {
    (0..dims.len()).map(|d| dims[d + 1..].iter().product()).collect()
}

#[test]
fn activations_and_their_gradients_agree_with_finite_differences() {
    use BinaryOp as B;
    use UnaryOp as U;
    let (slope, alpha, beta, threshold) = (0.1, 0.7, 1.5, 2.0);
    // The last entry: whether the gradient takes the output.
    let table = [
        (U::Sqrt, B::SqrtGrad, true),
        (U::Rsqrt, B::RsqrtGrad, true),
        (U::Reciprocal, B::ReciprocalGrad, true),
        (U::Square, B::SquareGrad, false),
        (U::Abs, B::AbsGrad, false),
        (U::PowScalar { exponent: 2.5 }, B::PowScalarGrad { exponent: 2.5 }, false),
        (U::PowScalar { exponent: 2.0 }, B::PowScalarGrad { exponent: 2.0 }, false),
        (U::PowScalar { exponent: 0.0 }, B::PowScalarGrad { exponent: 0.0 }, false),
        (U::PowScalar { exponent: -1.0 }, B::PowScalarGrad { exponent: -1.0 }, false),
        (U::Exp, B::Mul, true),
        (U::Log, B::Div, false),
        (U::Expm1, B::Expm1Grad, true),
        (U::Log1p, B::Log1pGrad, false),
        (U::Log2, B::Log2Grad, false),
        (U::Log10, B::Log10Grad, false),
        (U::Sin, B::SinGrad, false),
        (U::Cos, B::CosGrad, false),
        (U::Tan, B::TanGrad, true),
        (U::Asin, B::AsinGrad, false),
        (U::Acos, B::AcosGrad, false),
        (U::Atan, B::AtanGrad, false),
        (U::Sinh, B::SinhGrad, false),
        (U::Cosh, B::CoshGrad, false),
        (U::Erf, B::ErfGrad, false),
        (U::Tanh, B::TanhGrad, true),
        (U::Sigmoid, B::SigmoidGrad, true),
        (U::Relu, B::ReluGrad, true),
        (U::Relu6, B::Relu6Grad, false),
        (U::Gelu, B::GeluGrad, false),
        (U::GeluTanh, B::GeluTanhGrad, false),
        (U::Silu, B::SiluGrad, false),
        (U::Mish, B::MishGrad, false),
        (U::Selu, B::SeluGrad, false),
        (U::Elu { alpha }, B::EluGrad { alpha }, false),
        (U::Celu { alpha }, B::CeluGrad { alpha }, false),
        (U::LeakyRelu { slope }, B::LeakyReluGrad { slope }, false),
        (U::Softplus { beta, threshold }, B::SoftplusGrad { beta, threshold }, false),
        (U::Hardswish, B::HardswishGrad, false),
        (U::Hardsigmoid, B::HardsigmoidGrad, false),
        (U::Softsign, B::SoftsignGrad, false),
        (U::LogSigmoid, B::LogSigmoidGrad, false),
        (U::Tanhshrink, B::TanhshrinkGrad, false),
        (U::Hardtanh { min: -0.5, max: 2.0 }, B::HardtanhGrad { min: -0.5, max: 2.0 }, false),
        (U::Clamp { min: -0.5, max: 2.0 }, B::ClampGrad { min: -0.5, max: 2.0 }, false),
        (U::Softshrink { lambda: 0.4 }, B::ShrinkGrad { lambda: 0.4 }, false),
        (U::Hardshrink { lambda: 0.4 }, B::ShrinkGrad { lambda: 0.4 }, false),
        (U::Threshold { threshold: 0.2, value: -3.0 }, B::ThresholdGrad { threshold: 0.2 }, false),
    ];
    for (op, grad, from_output) in table {
        for i in 0..160 {
            let x = i as f64 * 0.0731 - 5.03;
            let h = 1e-6;
            let y = one(op, x);
            // Outside its domain a function has no gradient to compare; at 2 softplus has a step.
            let edge = matches!(op, U::Softplus { .. }) && (x * beta - threshold).abs() < 1e-3;
            if one(op, x - h).is_nan() || one(op, x + h).is_nan() || edge {
                continue;
            }
            let numeric = (one(op, x + h) - one(op, x - h)) / (2.0 * h);
            let got = two(grad, 1.7, if from_output { y } else { x });
            let want = 1.7 * numeric;
            assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{op:?} {x}: {got} {want}");
            // And f32 is f64 to its own precision.
            let (xs, ys) = (x as f32, one(op, x as f32));
            let gap = (ys as f64 - one(op, xs as f64)).abs();
            assert!(gap <= 2e-6 * (1.0 + y.abs()), "{op:?} {x}: off by {gap}");
            let got = two(grad, 1.7f32, if from_output { ys } else { xs }) as f64;
            let want = two(grad, 1.7f64, if from_output { ys as f64 } else { xs as f64 });
            assert!((got - want).abs() <= 4e-6 * (1.0 + want.abs()), "{grad:?} {x}: {got} {want}");
        }
    }
}

#[test]
fn special_values_follow_pytorch() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    assert_eq!(one(UnaryOp::Sign, nan), 0.0);
    for op in [
        UnaryOp::Relu,
        UnaryOp::Relu6,
        UnaryOp::Clamp { min: -1.0, max: 1.0 },
        UnaryOp::Hardtanh { min: -1.0, max: 1.0 },
        UnaryOp::Hardswish,
        UnaryOp::Softshrink { lambda: 0.5 },
        UnaryOp::Hardshrink { lambda: 0.5 },
        UnaryOp::Gelu,
        UnaryOp::Mish,
        UnaryOp::LogSigmoid,
        UnaryOp::Elu { alpha: 1.0 },
    ] {
        assert!(one(op, nan).is_nan(), "{op:?}");
    }
    assert_eq!(one(UnaryOp::Clamp { min: 2.0, max: 1.0 }, 5.0f32), 1.0);
    assert_eq!([0.5f32, 1.5, -0.5].map(|x| one(UnaryOp::Round, x)), [0.0, 2.0, -0.0]);
    assert_eq!(one(UnaryOp::Silu, inf), inf);
    assert_eq!(one(UnaryOp::LogSigmoid, -inf), -inf);
    assert_eq!(one(UnaryOp::LogSigmoid, -100.0f32), -100.0);
    assert!(one(UnaryOp::Softplus { beta: 1.0, threshold: 20.0 }, -100.0f32) > 0.0);
    assert_eq!(one(UnaryOp::PowScalar { exponent: 0.0 }, nan), 1.0);
    assert!(one(UnaryOp::Sin, inf).is_nan());
    assert_eq!(one(UnaryOp::Sin, 3e7f32), 3e7f32.sin());
    assert_eq!(two(BinaryOp::CosGrad, 2.0, 3e7f32), -2.0 * 3e7f32.sin());
    assert!(two(BinaryOp::Maximum, 1.0, nan).is_nan() && two(BinaryOp::Minimum, nan, 1.0).is_nan());
    let rem = |a: f32, b: f32| two(BinaryOp::Remainder, a, b);
    assert_eq!([rem(5., 3.), rem(-5., 3.), rem(5., -3.), rem(-5., -3.)], [2., 1., -1., -2.]);
    assert!(rem(1.0, 0.0).is_nan() && rem(-1.0, inf) == inf);
    assert_eq!(two(BinaryOp::Fmod, -5.0f32, 3.0), -2.0);
    assert_eq!(two(BinaryOp::HardswishGrad, 1.0f32, 3.0), 1.0);
    assert_eq!(two(BinaryOp::ReluGrad, 1.0, nan), 1.0);
}

#[test]
fn integers_masks_and_selection() {
    let (a, b) = ([7i64, -7, 7, -7, i64::MIN], [2i64, 2, -2, 0, -1]);
    let run = |op| {
        let mut out = [0; 5];
        binary_int(op, dense(&a, &[5], &[1]), dense(&b, &[5], &[1]), &mut out);
        out
    };
    assert_eq!(run(IntBinaryOp::Remainder), [1, 1, -1, -7, 0]);
    assert_eq!(run(IntBinaryOp::Fmod), [1, -1, 1, -7, 0]);
    assert_eq!(run(IntBinaryOp::Maximum), [7, 2, 7, 0, -1]);
    let mut out = [0u8; 3];
    binary_int(
        IntBinaryOp::Add,
        dense(&[250, 1, 2], &[3], &[1]),
        dense(&[10], &[3], &[0]),
        &mut out,
    );
    assert_eq!(out, [4, 11, 12]);
    let mut out = [0i32; 3];
    unary_int(IntUnaryOp::Sign, dense(&[-5, 0, 9], &[3], &[1]), &mut out);
    assert_eq!(out, [-1, 0, 1]);

    let x = [1.0f32, f32::NAN, 3.0, f32::INFINITY];
    let mut mask = [9u8; 4];
    compare_scalar(CompareOp::Ge, dense(&x, &[4], &[1]), 3.0, &mut mask);
    assert_eq!(mask, [0, 0, 1, 1]);
    compare(CompareOp::Ne, dense(&x, &[2, 2], &[1, 2]), dense(&x, &[2, 2], &[1, 2]), &mut mask);
    assert_eq!(mask, [0, 0, 1, 0]);
    test(TestOp::IsFinite, dense(&x, &[4], &[1]), &mut mask);
    assert_eq!(mask, [1, 0, 1, 0]);
    assert!(!all_finite(&x) && all_finite(&x[..1]) && all_finite::<f32>(&[]));
    let mut big = vec![1.0f64; 100_000];
    assert!(all_finite(&big));
    big[99_999] = f64::NAN;
    assert!(!all_finite(&big));
    let mut not = [0u8; 4];
    logical_not(dense(&mask, &[4], &[1]), &mut not);
    assert_eq!(not, [0, 1, 0, 1]);
    logical(LogicOp::Or, dense(&mask, &[4], &[1]), dense(&[0, 1, 0, 0], &[4], &[1]), &mut not);
    assert_eq!(not, [1, 1, 1, 0]);
    let mut out = [0i64; 4];
    let cond = dense(&mask[..], &[4], &[1]);
    select(cond, dense(&[1, 2, 3, 4], &[4], &[1]), dense(&[-1], &[4], &[0]), &mut out);
    assert_eq!(out, [1, -1, 3, -1]);
    masked_fill(dense(&[1, 2, 3, 4], &[4], &[1]), cond, 8, &mut out);
    assert_eq!(out, [8, 2, 8, 4]);
}

#[test]
fn casts_fills_and_strided_writes() {
    let mut ints = [0i64; 4];
    cast(dense(&[1.9f32, -1.9, 3e9, f32::NAN], &[4], &[1]), &mut ints);
    assert_eq!(ints, [1, -1, 3_000_000_000, 0]);
    let mut bytes = [0u8; 2];
    cast(dense(&[257i64, -1], &[2], &[1]), &mut bytes);
    assert_eq!(bytes, [1, 255]);
    let mut same = [0i64; 1];
    cast(dense(&[i64::MAX - 1], &[1], &[1]), &mut same);
    assert_eq!(same, [i64::MAX - 1]);
    let mut halves = [half::bf16::ZERO; 2];
    cast(dense(&[1.5f64, 1e9], &[2], &[1]), &mut halves);
    assert_eq!(halves[0].to_f32(), 1.5);
    let mut mask = [0u8; 3];
    cast_bool(dense(&[0.0f32, f32::NAN, -0.5], &[3], &[1]), &mut mask);
    assert_eq!(mask, [0, 1, 1]);

    // The second and third column of a 3 x 4 matrix.
    let mut dst = [0; 12];
    copy_into(dense(&[1, 2, 3, 4, 5, 6], &[3, 2], &[2, 1]), &mut dst[1..], &[3, 2], &[4, 1]);
    assert_eq!(dst, [0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0]);

    let mut turned = [0; 6];
    copy_into(dense(&[1, 2, 3, 4, 5, 6], &[3, 2], &[2, 1]), &mut turned, &[3, 2], &[1, 3]);
    assert_eq!(turned, [1, 3, 5, 2, 4, 6]);
    let overlap = std::panic::catch_unwind(|| {
        copy_into(dense(&[1, 2], &[2], &[1]), &mut [0; 2], &[2], &[0]);
    });
    assert!(overlap.is_err());

    let mut x = [0.0f32; 5];
    linspace(-1.0, 1.0, &mut x);
    assert_eq!(x, [-1.0, -0.5, 0.0, 0.5, 1.0]);
    arange(2.0, -0.5, &mut x);
    assert_eq!(x, [2.0, 1.5, 1.0, 0.5, 0.0]);
    let mut e = [9u8; 6];
    eye(2, &mut e);
    assert_eq!(e, [1, 0, 0, 1, 0, 0]);
}

#[test]
fn casts_to_16_bits_round_to_nearest_even() {
    use half::{bf16, f16};
    // Just below, at and just above the middle between two neighbours, with an even and an odd one
    // below.
    let between = |low: u32, digits: u32| {
        let half = 1 << (digits - 1);
        [half - 1, half, half + 1].map(|rest| f32::from_bits((low << digits) + rest))
    };
    let x: Vec<f32> = [0x3f80, 0x3f81].into_iter().flat_map(|low| between(low, 16)).collect();
    let mut out = vec![bf16::ZERO; 6];
    cast(dense(&x, &[6], &[1]), &mut out);
    let bits: Vec<u16> = out.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [0x3f80, 0x3f80, 0x3f81, 0x3f81, 0x3f82, 0x3f82]);
    let wide: Vec<f64> = x.iter().map(|&v| v.into()).collect();
    cast(dense(&wide, &[6], &[1]), &mut out);
    assert_eq!(out.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);

    let x: Vec<f32> = [0x1fc00, 0x1fc01].into_iter().flat_map(|low| between(low, 13)).collect();
    let mut out = vec![f16::ZERO; 6];
    cast(dense(&x, &[6], &[1]), &mut out);
    let bits: Vec<u16> = out.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [0x3c00, 0x3c00, 0x3c01, 0x3c01, 0x3c02, 0x3c02]);
}

#[test]
fn transposes_of_any_size_are_exact() {
    for (rows, columns) in [(33, 70), (16, 16), (300, 257), (4, 1000), (5, 3)] {
        let x: Vec<i32> = (0..2 * rows * columns).map(|i| i as i32).collect();
        let dims = [2, columns, rows];
        let mut out = vec![0; x.len()];
        copy(dense(&x, &dims, &[rows * columns, 1, columns]), &mut out);
        for (i, &got) in out.iter().enumerate() {
            let (p, c, r) = (i / (rows * columns), i / rows % columns, i % rows);
            assert_eq!(got, x[p * rows * columns + r * columns + c]);
        }
    }
}

#[test]
fn an_activation_with_its_derivative_is_both_alone() {
    fn case<T: FloatMath>() {
        let ops = [
            (SmoothOp::Gelu, UnaryOp::Gelu, BinaryOp::GeluGrad),
            (SmoothOp::GeluTanh, UnaryOp::GeluTanh, BinaryOp::GeluTanhGrad),
            (SmoothOp::Silu, UnaryOp::Silu, BinaryOp::SiluGrad),
        ];
        let from: Vec<T> = (-400..=400).map(|i| T::from_f64(f64::from(i) * 0.037)).collect();
        let ones = vec![T::ONE; from.len()];
        let dims = [from.len()];
        let view = |data| dense(data, &dims, &[1]);
        for (op, value, slope) in ops {
            let (mut x, mut y) = (from.clone(), ones.clone());
            with_slope(op, &mut x, &mut y);
            let (mut values, mut slopes) = (ones.clone(), ones.clone());
            unary(value, view(&from), &mut values);
            binary(slope, view(&ones), view(&from), &mut slopes);
            assert!(y == values && x == slopes, "{op:?}");
        }
    }
    case::<f32>();
    case::<f64>();
}
