//! Operations of one operand, and their parameters.

use std::marker::PhantomData;

use super::{float_ops, params};
use crate::math::{FloatMath, TRIG_LIMIT};
use crate::simd::{Arch, Kernel, dispatch};

/// A formula of one operand.
trait Map {
    fn apply<A: Arch, T: FloatMath>(x: T, p: [T; 2]) -> T;
}

struct MapKernel<'a, M, T> {
    x: &'a [T],
    out: &'a mut [T],
    p: [T; 2],
    map: PhantomData<M>,
}

impl<M: Map, T: FloatMath> Kernel for MapKernel<'_, M, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = M::apply::<A, T>(x, self.p);
        }
    }
}

fn map<M: Map, T: FloatMath>(x: &[T], out: &mut [T], p: [T; 2]) {
    dispatch(MapKernel { x, out, p, map: PhantomData::<M> });
}

/// A constant in the type that the formula computes in.
#[inline(always)]
pub(super) fn c<T: FloatMath>(value: f64) -> T {
    T::from_f64(value)
}

/// x Φ(x), the exact GELU.
#[inline(always)]
pub(super) fn gelu<A: Arch, T: FloatMath>(x: T) -> T {
    let positive = if x < T::ZERO { T::ZERO } else { x };
    positive - x.abs_() * x.tail_::<A>().0
}

/// x / sqrt(2 π) e^(-x²/2) + Φ(x), the derivative of the exact GELU.
#[inline(always)]
pub(super) fn gelu_slope<A: Arch, T: FloatMath>(x: T) -> T {
    let (cdf, e) = x.normal_::<A>();
    x.mul_add_::<A>(e * c(0.398_942_280_401_432_7), cdf)
}

/// The argument of the tanh in GELU's approximation.
#[inline(always)]
fn gelu_inner<A: Arch, T: FloatMath>(x: T) -> T {
    let cubic = (x * x * x).mul_add_::<A>(c(0.044_715), x);
    cubic * c(0.797_884_560_802_865_4)
}

/// GELU's approximation through tanh.
#[inline(always)]
pub(super) fn gelu_tanh<A: Arch, T: FloatMath>(x: T) -> T {
    c::<T>(0.5) * x * (T::ONE + gelu_inner::<A, T>(x).tanh_::<A>())
}

/// Its derivative.
#[inline(always)]
pub(super) fn gelu_tanh_slope<A: Arch, T: FloatMath>(x: T) -> T {
    let t = gelu_inner::<A, T>(x).tanh_::<A>();
    let half = c::<T>(0.5);
    let inner = (x * x).mul_add_::<A>(c(3.0 * 0.044_715), T::ONE) * c(0.797_884_560_802_865_4);
    half * (T::ONE + t) + half * x * (T::ONE - t * t) * inner
}

/// x sigmoid(x).
#[inline(always)]
pub(super) fn silu<A: Arch, T: FloatMath>(x: T) -> T {
    x / x.sigmoid_divisor_::<A>()
}

/// Its derivative.
#[inline(always)]
pub(super) fn silu_slope<A: Arch, T: FloatMath>(x: T) -> T {
    let s = x.sigmoid_::<A>();
    s * (T::ONE + x * (T::ONE - s))
}

/// tanh(softplus(x)) as n / (n + 2) with n = e^x (e^x + 2), which is 1 from 20 on.
#[inline(always)]
pub(super) fn mish_gate<A: Arch, T: FloatMath>(x: T) -> T {
    let e = (if x > c(20.0) { c(20.0) } else { x }).exp_::<A>();
    let n = e * (e + c(2.0));
    n / (n + c(2.0))
}

/// ln(1 + e^x) for any x.
#[inline(always)]
pub(super) fn softplus<A: Arch, T: FloatMath>(x: T) -> T {
    let low = (-x.abs_()).exp_::<A>().log1p_unit_::<A>();
    (if x > T::ZERO { x } else { T::ZERO }) + low
}

pub(super) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
pub(super) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

#[inline(always)]
fn clamp<T: FloatMath>(x: T, min: T, max: T) -> T {
    let x = if x < min { min } else { x };
    if x > max { max } else { x }
}

/// x - floor(x / y) y as Python has it: the sign is that of `y`.
#[inline(always)]
pub(super) fn remainder<A: Arch, T: FloatMath>(x: T, y: T) -> T {
    let m = x.fmod_::<A>(y);
    if m != T::ZERO && (m < T::ZERO) != (y < T::ZERO) { m + y } else { m }
}

float_ops! {
    /// An operation of one operand; each is PyTorch's function of the same name.
    pub enum UnaryOp; run, map, Map(&[T]);
    /// -x.
    Neg => |A, T, x| -x;
    /// |x|.
    Abs => |A, T, x| x.abs_();
    /// -1, 0 or 1; 0 for NaN.
    Sign => |A, T, x| {
        let negative = if x < T::ZERO { -T::ONE } else { T::ZERO };
        if x > T::ZERO { T::ONE } else { negative }
    };
    /// e^x.
    Exp => |A, T, x| x.exp_::<A>();
    /// e^x - 1.
    Expm1 => |A, T, x| x.expm1_::<A>();
    /// Natural logarithm.
    Log => |A, T, x| x.ln_::<A>();
    /// Logarithm to base 2.
    Log2 => |A, T, x| x.log2_::<A>();
    /// Logarithm to base 10.
    Log10 => |A, T, x| x.log10_::<A>();
    /// ln(1 + x).
    Log1p => |A, T, x| x.log1p_::<A>();
    /// Square root.
    Sqrt => |A, T, x| x.sqrt_();
    /// 1 / sqrt(x).
    Rsqrt => |A, T, x| x.rsqrt_::<A>();
    /// 1 / x.
    Reciprocal => |A, T, x| T::ONE / x;
    /// x².
    Square => |A, T, x| x * x;
    /// Sine.
    Sin => |A, T, x| x.sin_fast::<A>();
    /// Cosine.
    Cos => |A, T, x| x.cos_fast::<A>();
    /// Tangent.
    Tan => |A, T, x| x.tan_::<A>();
    /// Inverse sine.
    Asin => |A, T, x| x.asin_::<A>();
    /// Inverse cosine.
    Acos => |A, T, x| x.acos_::<A>();
    /// Inverse tangent.
    Atan => |A, T, x| x.atan_::<A>();
    /// Hyperbolic sine.
    Sinh => |A, T, x| x.sinh_::<A>();
    /// Hyperbolic cosine.
    Cosh => |A, T, x| x.cosh_::<A>();
    /// Hyperbolic tangent.
    Tanh => |A, T, x| x.tanh_::<A>();
    /// Towards negative infinity.
    Floor => |A, T, x| x.floor_::<A>();
    /// Towards positive infinity.
    Ceil => |A, T, x| x.ceil_::<A>();
    /// To the nearest integer, halves to even.
    Round => |A, T, x| x.round_::<A>();
    /// Towards zero.
    Trunc => |A, T, x| x.trunc_::<A>();
    /// x - trunc(x).
    Frac => |A, T, x| x - x.trunc_::<A>();
    /// Error function.
    Erf => |A, T, x| x.erf_::<A>();
    /// 1 - erf(x).
    Erfc => |A, T, x| x.erfc_::<A>();
    /// 1 / (1 + e^-x).
    Sigmoid => |A, T, x| x.sigmoid_::<A>();
    /// max(x, 0).
    Relu => |A, T, x| if x < T::ZERO { T::ZERO } else { x };
    /// x between 0 and 6.
    Relu6 => |A, T, x| clamp(x, T::ZERO, c(6.0));
    /// x Φ(x).
    Gelu => |A, T, x| gelu::<A, T>(x);
    /// GELU's approximation through tanh.
    GeluTanh => |A, T, x| gelu_tanh::<A, T>(x);
    /// x sigmoid(x).
    Silu => |A, T, x| silu::<A, T>(x);
    /// x tanh(softplus(x)).
    Mish => |A, T, x| x * mish_gate::<A, T>(x);
    /// Scaled exponential linear unit.
    Selu => |A, T, x| {
        let low = x.expm1_::<A>() * c(SELU_ALPHA * SELU_SCALE);
        if x <= T::ZERO { low } else { x * c(SELU_SCALE) }
    };
    /// x min(max(x + 3, 0), 6) / 6.
    Hardswish => |A, T, x| x * clamp(x + c(3.0), T::ZERO, c(6.0)) * c(1.0 / 6.0);
    /// min(max(x + 3, 0), 6) / 6.
    Hardsigmoid => |A, T, x| clamp(x + c(3.0), T::ZERO, c(6.0)) * c(1.0 / 6.0);
    /// x / (1 + |x|).
    Softsign => |A, T, x| x / (T::ONE + x.abs_());
    /// ln(sigmoid(x)).
    LogSigmoid => |A, T, x| -softplus::<A, T>(-x);
    /// x - tanh(x).
    Tanhshrink => |A, T, x| x - x.tanh_::<A>();
    /// x above 0, slope x below.
    LeakyRelu { slope } => |A, T, x| if x > T::ZERO { x } else { x * slope };
    /// x above 0, alpha (e^x - 1) below.
    Elu { alpha } => |A, T, x| {
        let low = x.expm1_::<A>() * alpha;
        if x <= T::ZERO { low } else { x }
    };
    /// x above 0, alpha (e^(x/alpha) - 1) below.
    Celu { alpha } => |A, T, x| {
        let low = (x / alpha).expm1_::<A>() * alpha;
        if x <= T::ZERO { low } else { x }
    };
    /// ln(1 + e^(beta x)) / beta; x where beta x exceeds the threshold.
    Softplus { beta, threshold } => |A, T, x| {
        let z = x * beta;
        let soft = softplus::<A, T>(z) * (T::ONE / beta);
        if z > threshold { x } else { soft }
    };
    /// x between two bounds.
    Hardtanh { min, max } => |A, T, x| clamp(x, min, max);
    /// x between two bounds, the upper one where they cross; NaN stays.
    Clamp { min, max } => |A, T, x| clamp(x, min, max);
    /// x moved towards 0 by lambda, 0 within.
    Softshrink { lambda } => |A, T, x| {
        let low = if x < -lambda { x + lambda } else { x * T::ZERO };
        if x > lambda { x - lambda } else { low }
    };
    /// x, 0 within lambda of 0.
    Hardshrink { lambda } => |A, T, x| if x >= -lambda && x <= lambda { T::ZERO } else { x };
    /// x above the threshold, a constant below.
    Threshold { threshold, value } => |A, T, x| if x <= threshold { value } else { x };
    /// x^exponent.
    PowScalar { exponent } => |A, T, x| x.pow_::<A>(exponent);
    /// x³.
    Cube => |A, T, x| x * x * x;
    /// x + value.
    AddScalar { value } => |A, T, x| x + value;
    /// x · value.
    MulScalar { value } => |A, T, x| x * value;
    /// x / value.
    DivScalar { value } => |A, T, x| x / value;
    /// value - x.
    RsubScalar { value } => |A, T, x| value - x;
    /// value / x.
    RdivScalar { value } => |A, T, x| value / x;
    /// scale · x + offset.
    Affine { scale, offset } => |A, T, x| x.mul_add_::<A>(scale, offset);
    /// value^x.
    RpowScalar { value } => |A, T, x| value.pow_::<A>(x);
    /// The larger of x and a value; NaN stays.
    MaximumScalar { value } => |A, T, x| if x < value || value.is_nan() { value } else { x };
    /// The smaller of x and a value; NaN stays.
    MinimumScalar { value } => |A, T, x| if x > value || value.is_nan() { value } else { x };
    /// Remainder with the sign of x.
    FmodScalar { value } => |A, T, x| x.fmod_::<A>(value);
    /// Remainder with the sign of the divisor.
    RemainderScalar { value } => |A, T, x| remainder::<A, T>(x, value);
}

impl UnaryOp {
    /// The cheaper operation that gives the same, as PyTorch picks it for whole exponents.
    fn simplified(self) -> Self {
        match self {
            Self::PowScalar { exponent } => match exponent {
                1.0 => Self::MulScalar { value: 1.0 },
                2.0 => Self::Square,
                3.0 => Self::Cube,
                0.5 => Self::Sqrt,
                -0.5 => Self::Rsqrt,
                -1.0 => Self::Reciprocal,
                _ => self,
            },
            other => other,
        }
    }
}

/// Runs one operation on dense slices of equal length that do not overlap.
pub(crate) fn unary_block<T: FloatMath>(op: UnaryOp, x: &[T], out: &mut [T]) {
    let op = op.simplified();
    run(op, x, out);
    // The vectorised sine and cosine have a limit; beyond it every element takes the library's.
    let exact: fn(T) -> T = match op {
        UnaryOp::Sin => T::sin_::<crate::simd::Baseline>,
        UnaryOp::Cos => T::cos_::<crate::simd::Baseline>,
        _ => return,
    };
    for (out, &x) in out.iter_mut().zip(x) {
        if x.abs_() >= T::from_f64(TRIG_LIMIT) {
            *out = exact(x);
        }
    }
}
