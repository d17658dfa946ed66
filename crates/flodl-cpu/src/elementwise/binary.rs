//! Operations of two operands, and the gradients of the activations.

use std::marker::PhantomData;

use super::unary::{
    SELU_ALPHA, SELU_SCALE, c, gelu_slope, gelu_tanh_slope, mish_gate, remainder, silu_slope,
};
use super::{float_ops, params};
use crate::math::{FloatMath, TRIG_LIMIT, max_nan, min_nan};
use crate::simd::{Arch, Kernel, dispatch};

/// A formula of two operands.
trait Map2 {
    fn apply<A: Arch, T: FloatMath>(a: T, b: T, p: [T; 2]) -> T;
}

struct MapKernel<'a, M, T> {
    a: &'a [T],
    b: &'a [T],
    out: &'a mut [T],
    p: [T; 2],
    map: PhantomData<M>,
}

impl<M: Map2, T: FloatMath> Kernel for MapKernel<'_, M, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for ((out, &a), &b) in self.out.iter_mut().zip(self.a).zip(self.b) {
            *out = M::apply::<A, T>(a, b, self.p);
        }
    }
}

fn map<M: Map2, T: FloatMath>((a, b): (&[T], &[T]), out: &mut [T], p: [T; 2]) {
    dispatch(MapKernel { a, b, out, p, map: PhantomData::<M> });
}

float_ops! {
    /// An operation of two operands. Those named `…Grad` take the incoming gradient `g` first and
    /// what the forward operation saved second: its input `x`, or its output `y` where that is
    /// cheaper; each says which.
    pub enum BinaryOp; run, map, Map2((&[T], &[T]));
    /// a + b.
    Add => |A, T, a, b| a + b;
    /// a - b.
    Sub => |A, T, a, b| a - b;
    /// a · b.
    Mul => |A, T, a, b| a * b;
    /// a / b.
    Div => |A, T, a, b| a / b;
    /// a + alpha b.
    AddScaled { alpha } => |A, T, a, b| b.mul_add_::<A>(alpha, a);
    /// beta a + alpha b.
    Combine { beta, alpha } => |A, T, a, b| b.mul_add_::<A>(alpha, a * beta);
    /// a + weight (b - a).
    Lerp { weight } => |A, T, a, b| (b - a).mul_add_::<A>(weight, a);
    /// a^b.
    Pow => |A, T, a, b| a.pow_::<A>(b);
    /// The larger; NaN if either is.
    Maximum => |A, T, a, b| max_nan(a, b);
    /// The smaller; NaN if either is.
    Minimum => |A, T, a, b| min_nan(a, b);
    /// Remainder with the sign of a.
    Fmod => |A, T, a, b| a.fmod_::<A>(b);
    /// Remainder with the sign of b.
    Remainder => |A, T, a, b| remainder::<A, T>(a, b);
    /// The angle of the point (b, a).
    Atan2 => |A, T, a, b| a.atan2_::<A>(b);
    /// sqrt(a² + b²).
    Hypot => |A, T, a, b| a.hypot_::<A>(b);
    /// |a - b|.
    AbsDifference => |A, T, a, b| (a - b).abs_();
    /// The sign of a - b.
    DifferenceSign => |A, T, a, b| {
        let negative = if a < b { -T::ONE } else { (a - b) * T::ZERO };
        if a > b { T::ONE } else { negative }
    };
    /// Quadratic in a - b up to beta, then linear: smooth L1 (Girshick, 2015).
    SmoothL1 { beta } => |A, T, a, b| {
        let d = (a - b).abs_();
        let near = c::<T>(0.5) * d * d / beta;
        if d < beta { near } else { d - c::<T>(0.5) * beta }
    };
    /// Slope of the above in a.
    SmoothL1Slope { beta } => |A, T, a, b| {
        let d = a - b;
        let high = if d >= beta { T::ONE } else { d / beta };
        if d <= -beta { -T::ONE } else { high }
    };
    /// Smooth L1 times delta (Huber, 1964).
    Huber { delta } => |A, T, a, b| {
        let d = (a - b).abs_();
        let near = c::<T>(0.5) * d * d;
        if d <= delta { near } else { delta * (d - c::<T>(0.5) * delta) }
    };
    /// Slope of the above in a.
    HuberSlope { delta } => |A, T, a, b| {
        let d = a - b;
        let high = if d > delta { delta } else { d };
        if d < -delta { -delta } else { high }
    };
    /// Cross-entropy of probability a with target b; logarithms are at least -100.
    Bce => |A, T, a, b| {
        let no = (-a).log1p_::<A>().max_(c(-100.0));
        let yes = a.ln_::<A>().max_(c(-100.0));
        (b - T::ONE) * no - b * yes
    };
    /// Slope of the above in a.
    BceSlope => |A, T, a, b| {
        // PyTorch's bound is a single-precision number, also for doubles.
        (a - b) / ((T::ONE - a) * a).max_(c(f64::from(1e-12f32)))
    };
    /// Cross-entropy of logit a with target b.
    BceLogits => |A, T, a, b| {
        a.max_(T::ZERO) - a * b + (-a.abs_()).exp_::<A>().log1p_unit_::<A>()
    };
    /// Slope of the above in a.
    BceLogitsSlope => |A, T, a, b| a.sigmoid_::<A>() - b;
    /// (a - b)².
    SquaredDifference => |A, T, a, b| (a - b) * (a - b);
    /// Of |x|, from the input: g sign(x).
    AbsGrad => |A, T, g, x| {
        let negative = if x < T::ZERO { -g } else { T::ZERO };
        if x > T::ZERO { g } else { negative }
    };
    /// Of the square root, from the output: g / (2 y).
    SqrtGrad => |A, T, g, y| g / (y + y);
    /// Of 1 / sqrt(x), from the output: -g y³ / 2.
    RsqrtGrad => |A, T, g, y| c::<T>(-0.5) * g * (y * y * y);
    /// Of 1 / x, from the output: -g y².
    ReciprocalGrad => |A, T, g, y| -(g * (y * y));
    /// Of x², from the input: 2 g x.
    SquareGrad => |A, T, g, x| g * (x + x);
    /// Of x^exponent, from the input: g · exponent · x^(exponent - 1), 0 for exponent 0.
    PowScalarGrad { exponent } => |A, T, g, x| {
        if exponent == T::ZERO { T::ZERO } else { g * exponent * x.pow_::<A>(exponent - T::ONE) }
    };
    /// Of e^x - 1, from the output: g (y + 1).
    Expm1Grad => |A, T, g, y| g * (y + T::ONE);
    /// Of ln(1 + x), from the input.
    Log1pGrad => |A, T, g, x| g / (x + T::ONE);
    /// Of the logarithm to base 2, from the input.
    Log2Grad => |A, T, g, x| g / (x * c(std::f64::consts::LN_2));
    /// Of the logarithm to base 10, from the input.
    Log10Grad => |A, T, g, x| g / (x * c(std::f64::consts::LN_10));
    /// Of the sine, from the input.
    SinGrad => |A, T, g, x| g * x.cos_fast::<A>();
    /// Of the cosine, from the input.
    CosGrad => |A, T, g, x| -(g * x.sin_fast::<A>());
    /// Of the tangent, from the output.
    TanGrad => |A, T, g, y| g * y.mul_add_::<A>(y, T::ONE);
    /// Of the inverse sine, from the input.
    AsinGrad => |A, T, g, x| g / (T::ONE - x * x).sqrt_();
    /// Of the inverse cosine, from the input.
    AcosGrad => |A, T, g, x| -(g / (T::ONE - x * x).sqrt_());
    /// Of the inverse tangent, from the input.
    AtanGrad => |A, T, g, x| g / x.mul_add_::<A>(x, T::ONE);
    /// Of the hyperbolic sine, from the input.
    SinhGrad => |A, T, g, x| g * x.cosh_::<A>();
    /// Of the hyperbolic cosine, from the input.
    CoshGrad => |A, T, g, x| g * x.sinh_::<A>();
    /// Of the error function, from the input.
    ErfGrad => |A, T, g, x| g * c(std::f64::consts::FRAC_2_SQRT_PI) * (-(x * x)).exp_::<A>();
    /// Of tanh, from the output: g (1 - y²).
    TanhGrad => |A, T, g, y| g * (T::ONE - y * y);
    /// Of the sigmoid, from the output: g y (1 - y).
    SigmoidGrad => |A, T, g, y| g * (T::ONE - y) * y;
    /// Of ReLU, from the output (or the input).
    ReluGrad => |A, T, g, y| if y <= T::ZERO { T::ZERO } else { g };
    /// Of ReLU6, from the input (or the output).
    Relu6Grad => |A, T, g, x| if x <= T::ZERO || x >= c(6.0) { T::ZERO } else { g };
    /// Of GELU, from the input.
    GeluGrad => |A, T, g, x| g * gelu_slope::<A, T>(x);
    /// Of GELU's approximation through tanh, from the input.
    GeluTanhGrad => |A, T, g, x| g * gelu_tanh_slope::<A, T>(x);
    /// Of SiLU, from the input.
    SiluGrad => |A, T, g, x| g * silu_slope::<A, T>(x);
    /// Of Mish, from the input.
    MishGrad => |A, T, g, x| {
        let t = mish_gate::<A, T>(x);
        g * (t + x * x.sigmoid_::<A>() * (T::ONE - t * t))
    };
    /// Of SELU, from the input.
    SeluGrad => |A, T, g, x| {
        let low = g * x.exp_::<A>() * c(SELU_ALPHA * SELU_SCALE);
        if x <= T::ZERO { low } else { g * c(SELU_SCALE) }
    };
    /// Of ELU, from the input.
    EluGrad { alpha } => |A, T, g, x| {
        let low = g * x.exp_::<A>() * alpha;
        if x <= T::ZERO { low } else { g }
    };
    /// Of CELU, from the input.
    CeluGrad { alpha } => |A, T, g, x| {
        let low = g * (x / alpha).exp_::<A>();
        if x <= T::ZERO { low } else { g }
    };
    /// Of leaky ReLU, from the input.
    LeakyReluGrad { slope } => |A, T, g, x| if x > T::ZERO { g } else { g * slope };
    /// Of softplus, from the input.
    SoftplusGrad { beta, threshold } => |A, T, g, x| {
        let z = x * beta;
        let soft = g * z.sigmoid_::<A>();
        if z > threshold { g } else { soft }
    };
    /// Of Hardswish, from the input.
    HardswishGrad => |A, T, g, x| {
        let middle = g * (x / c(3.0) + c(0.5));
        let upper = if x < c(3.0) { middle } else { g };
        if x <= c(-3.0) { T::ZERO } else { upper }
    };
    /// Of Hardsigmoid, from the input.
    HardsigmoidGrad => |A, T, g, x| {
        if x > c(-3.0) && x < c(3.0) { g * c(1.0 / 6.0) } else { T::ZERO }
    };
    /// Of Softsign, from the input: g / (1 + |x|)².
    SoftsignGrad => |A, T, g, x| {
        let d = T::ONE + x.abs_();
        g / (d * d)
    };
    /// Of LogSigmoid, from the input: g (1 - sigmoid(x)).
    LogSigmoidGrad => |A, T, g, x| g * (-x).sigmoid_::<A>();
    /// Of Tanhshrink, from the input.
    TanhshrinkGrad => |A, T, g, x| {
        let t = x.tanh_::<A>();
        g * t * t
    };
    /// Of Hardtanh, from the input.
    HardtanhGrad { min, max } => |A, T, g, x| if x <= min || x >= max { T::ZERO } else { g };
    /// Of Clamp, from the input; at the bounds the gradient passes.
    ClampGrad { min, max } => |A, T, g, x| if x >= min && x <= max { g } else { T::ZERO };
    /// Of Softshrink and Hardshrink, from the input.
    ShrinkGrad { lambda } => |A, T, g, x| if x >= -lambda && x <= lambda { T::ZERO } else { g };
    /// Of Threshold, from the input.
    ThresholdGrad { threshold } => |A, T, g, x| if x <= threshold { T::ZERO } else { g };
}

/// Runs one operation on dense slices of equal length that do not overlap.
pub(crate) fn binary_block<T: FloatMath>(op: BinaryOp, a: &[T], b: &[T], out: &mut [T]) {
    let op = match op {
        BinaryOp::PowScalarGrad { exponent: 2.0 } => BinaryOp::SquareGrad,
        other => other,
    };
    run(op, (a, b), out);
    // The vectorised sine and cosine have a limit; beyond it every element takes the library's.
    let slope: fn(T) -> T = match op {
        BinaryOp::SinGrad => T::cos_::<crate::simd::Baseline>,
        BinaryOp::CosGrad => |x: T| -x.sin_::<crate::simd::Baseline>(),
        _ => return,
    };
    for ((out, &g), &x) in out.iter_mut().zip(a).zip(b) {
        if x.abs_() >= T::from_f64(TRIG_LIMIT) {
            *out = g * slope(x);
        }
    }
}
