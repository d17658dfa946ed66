//! Functions of one number, written so that loops over them vectorise.
//!
//! For `f32` the hot ones are branch-free polynomials, accurate to about 1e-7 relative and right
//! at ±0, denormals, infinities and NaN; the rare ones call the system's library. `f64` always
//! takes the library's exact functions. Names end in `_` so that they never hide behind the
//! inherent methods of the same name.
//!
//! Sources: the exponential, logarithm, sine and cosine polynomials are those of Cephes
//! (S. Moshier); the error function's are N. Juffa's.

use crate::element::{Element, Float};
use crate::elementwise::{self, BinaryOp, UnaryOp};
use crate::simd::Arch;

/// The largest magnitude for which [`FloatMath::sin_fast`] and [`FloatMath::cos_fast`] hold.
pub const TRIG_LIMIT: f64 = 1e6;

macro_rules! declare {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {$(
        $(#[$meta])*
        fn $name<A: Arch>(self) -> Self;
    )*};
}

/// Transcendental functions on top of [`Float`].
pub trait FloatMath: Float {
    declare! {
        /// e^x.
        exp_,
        /// e^x for x <= 88, and infinity at 89; what is below the smallest normal number may be 0;
        /// cheaper.
        exp_normal_,
        /// e^x - 1, accurate near 0.
        expm1_,
        /// Natural logarithm; NaN below 0.
        ln_,
        /// ln(1 + x), accurate near 0.
        log1p_,
        /// ln(1 + x) for 0 <= x <= 1, accurate near 0; cheaper.
        log1p_unit_,
        /// Logarithm to base 2, exact at powers of 2.
        log2_,
        /// Logarithm to base 10.
        log10_,
        /// Hyperbolic tangent.
        tanh_,
        /// 1 / (1 + e^-x), of which what is below the smallest normal number may be 0.
        sigmoid_,
        /// 1 + e^-x.
        sigmoid_divisor_,
        /// Error function.
        erf_,
        /// 1 - erf(x), accurate in the tail.
        erfc_,
        /// 1 / sqrt(x).
        rsqrt_,
        /// Sine.
        sin_,
        /// Cosine.
        cos_,
        /// Sine for magnitudes below [`TRIG_LIMIT`], vectorised for `f32`.
        sin_fast,
        /// Cosine for magnitudes below [`TRIG_LIMIT`], vectorised for `f32`.
        cos_fast,
        /// Tangent.
        tan_,
        /// Inverse sine.
        asin_,
        /// Inverse cosine.
        acos_,
        /// Inverse tangent.
        atan_,
        /// Hyperbolic sine.
        sinh_,
        /// Hyperbolic cosine.
        cosh_,
        /// Towards negative infinity.
        floor_,
        /// Towards positive infinity.
        ceil_,
        /// To the nearest integer, halves to even.
        round_,
        /// Towards zero.
        trunc_,
    }
    /// Φ(-|x|), the part of a standard normal distribution beyond |x|, and e^(-x²/2).
    fn tail_<A: Arch>(self) -> (Self, Self);
    /// Φ(x), the part of a standard normal distribution below x, and e^(-x²/2).
    #[inline(always)]
    fn normal_<A: Arch>(self) -> (Self, Self) {
        let (tail, e) = self.tail_::<A>();
        (if self < Self::ZERO { tail } else { Self::ONE - tail }, e)
    }
    /// x^y with the rules of IEEE 754.
    fn pow_<A: Arch>(self, y: Self) -> Self;
    /// The angle of the point (`x`, `self`).
    fn atan2_<A: Arch>(self, x: Self) -> Self;
    /// sqrt(self² + other²) without overflow.
    fn hypot_<A: Arch>(self, other: Self) -> Self;
    /// The remainder of the division, with the sign of `self`.
    fn fmod_<A: Arch>(self, other: Self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    fn copysign_(self, sign: Self) -> Self;
    // Methods, so that the loops are compiled in this crate, optimised in every profile, and not
    // again in each crate that calls the generic kernels.
    #[doc(hidden)]
    fn unary_block(op: UnaryOp, x: &[Self], out: &mut [Self]);
    #[doc(hidden)]
    fn binary_block(op: BinaryOp, a: &[Self], b: &[Self], out: &mut [Self]);
}

macro_rules! through_std {
    ($t:ty: $($name:ident = $std:ident),*) => {$(
        #[inline(always)]
        fn $name<A: Arch>(self) -> Self { <$t>::$std(self) }
    )*};
}

macro_rules! common {
    ($t:ty) => {
        through_std!($t: tan_ = tan, asin_ = asin, acos_ = acos, atan_ = atan, sin_ = sin,
            cos_ = cos, floor_ = floor, ceil_ = ceil, round_ = round_ties_even, trunc_ = trunc);
        #[inline(always)]
        fn rsqrt_<A: Arch>(self) -> Self {
            1.0 / self.sqrt()
        }
        #[inline(always)]
        fn pow_<A: Arch>(self, y: Self) -> Self {
            self.powf(y)
        }
        #[inline(always)]
        fn atan2_<A: Arch>(self, x: Self) -> Self {
            self.atan2(x)
        }
        #[inline(always)]
        fn hypot_<A: Arch>(self, other: Self) -> Self {
            self.hypot(other)
        }
        #[inline(always)]
        fn fmod_<A: Arch>(self, other: Self) -> Self {
            self % other
        }
        #[inline(always)]
        fn copysign_(self, sign: Self) -> Self {
            self.copysign(sign)
        }
        fn unary_block(op: UnaryOp, x: &[Self], out: &mut [Self]) {
            elementwise::unary_block(op, x, out);
        }
        fn binary_block(op: BinaryOp, a: &[Self], b: &[Self], out: &mut [Self]) {
            elementwise::binary_block(op, a, b, out);
        }
    };
}

impl FloatMath for f64 {
    common!(f64);
    through_std!(f64: exp_ = exp, exp_normal_ = exp, log1p_unit_ = ln_1p, expm1_ = exp_m1, ln_ = ln,
        log1p_ = ln_1p, log2_ = log2, log10_ = log10, tanh_ = tanh, sinh_ = sinh, cosh_ = cosh,
        sin_fast = sin, cos_fast = cos);
    #[inline(always)]
    fn sigmoid_<A: Arch>(self) -> Self {
        let e = (-self.abs()).exp();
        (if self < 0.0 { e } else { 1.0 }) / (1.0 + e)
    }
    #[inline(always)]
    fn sigmoid_divisor_<A: Arch>(self) -> Self {
        1.0 + (-self).exp()
    }
    #[inline(always)]
    fn erf_<A: Arch>(self) -> Self {
        libm::erf(self)
    }
    #[inline(always)]
    fn erfc_<A: Arch>(self) -> Self {
        libm::erfc(self)
    }
    #[inline(always)]
    fn tail_<A: Arch>(self) -> (Self, Self) {
        let tail = 0.5 * libm::erfc(self.abs() * std::f64::consts::FRAC_1_SQRT_2);
        (tail, (-0.5 * self * self).exp())
    }
}

impl FloatMath for f32 {
    common!(f32);
    through_std!(f32: sinh_ = sinh, cosh_ = cosh);

    #[inline(always)]
    fn exp_<A: Arch>(self) -> Self {
        // Beyond these e^x is 0 or infinite; NaN passes both tests.
        let x = clamp(self, -104.0, 89.0);
        let (n, r) = reduce_exp::<A>(x);
        let p = (r * r).mul_add_::<A>(exp_poly::<A>(r), r) + 1.0;
        // 2^n in two factors, so that denormal results round once and 2^128 is reached.
        let half = n >> 1;
        p * pow2(half) * pow2(n - half)
    }

    #[inline(always)]
    fn exp_normal_<A: Arch>(self) -> Self {
        if !A::FMA {
            return self.exp_::<A>();
        }
        // Here 2^-127 is asked for, whose bits are those of 0.
        let x = if self < -88.03 { -88.03 } else { self };
        let t = x.mul_add_::<A>(std::f32::consts::LOG2_E, ROUND);
        let n = t.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        // What is left beside the integer, and what the rounding of log2 e has lost of it.
        let f = x.mul_add_::<A>(std::f32::consts::LOG2_E, ROUND - t);
        exp2_poly::<A>(x.mul_add_::<A>(1.925_963e-8, f)) * pow2(n)
    }

    #[inline(always)]
    fn expm1_<A: Arch>(self) -> Self {
        let x = clamp(self, -40.0, 89.0);
        let (n, r) = reduce_exp::<A>(x);
        let p = (r * r).mul_add_::<A>(exp_poly::<A>(r), r);
        let s = pow2(n - 1);
        (2.0 * s.mul_add_::<A>(p, s - 0.5)).copysign(self)
    }

    #[inline(always)]
    fn ln_<A: Arch>(self) -> Self {
        let (e, f, y) = reduce_ln::<A>(self);
        let y = e.mul_add_::<A>(-2.121_944_4e-4, y);
        ln_special(self, e.mul_add_::<A>(0.693_359_4, f + y))
    }

    #[inline(always)]
    fn log1p_<A: Arch>(self) -> Self {
        let u = 1.0 + self;
        // What the rounding of 1 + x lost, to first order.
        let lost = (self - (u - 1.0)) / u;
        let usable = u > 0.0 && u < f32::INFINITY;
        (u.ln_::<A>() + if usable { lost } else { 0.0 }).copysign(self)
    }

    #[inline(always)]
    fn log1p_unit_<A: Arch>(self) -> Self {
        // Half of 1 + x where that is above sqrt 2.
        let high = self > 0.414_213_57;
        let f = if high { 0.5 * self - 0.5 } else { self };
        let e = if high { 1.0f32 } else { 0.0 };
        let y = e.mul_add_::<A>(-2.121_944_4e-4, ln_poly::<A>(f));
        e.mul_add_::<A>(0.693_359_4, f + y)
    }

    #[inline(always)]
    fn log2_<A: Arch>(self) -> Self {
        let (e, f, y) = reduce_ln::<A>(self);
        ln_special(self, (f + y).mul_add_::<A>(std::f32::consts::LOG2_E, e))
    }

    #[inline(always)]
    fn log10_<A: Arch>(self) -> Self {
        let (e, f, y) = reduce_ln::<A>(self);
        let low = e.mul_add_::<A>(4.605_039e-6, (f + y) * std::f32::consts::LOG10_E);
        ln_special(self, e.mul_add_::<A>(0.301_025_4, low))
    }

    #[inline(always)]
    fn tanh_<A: Arch>(self) -> Self {
        // tanh is 1 to the last bit from 9.02 on.
        let t = (2.0 * clamp(self.abs(), 0.0, 10.0)).expm1_::<A>();
        (t / (t + 2.0)).copysign(self)
    }

    #[inline(always)]
    fn sigmoid_<A: Arch>(self) -> Self {
        1.0 / self.sigmoid_divisor_::<A>()
    }

    #[inline(always)]
    fn sigmoid_divisor_<A: Arch>(self) -> Self {
        // Beyond 88 the power of 2 is infinite, and below -88 nothing is left beside 1.
        1.0 + (-clamp(self, -89.0, 88.0)).exp_normal_::<A>()
    }

    #[inline(always)]
    fn erf_<A: Arch>(self) -> Self {
        let s = self * self;
        let mut p = -5.967_617e-4f32;
        p = p.mul_add_::<A>(s, 4.991_194_2e-3);
        p = p.mul_add_::<A>(s, -2.676_813_5e-2);
        p = p.mul_add_::<A>(s, 1.128_199_25e-1);
        p = p.mul_add_::<A>(s, -3.761_253_4e-1);
        p = p.mul_add_::<A>(s, 1.283_791_7e-1);
        let near = p.mul_add_::<A>(self, self);
        // erf is 1 to the last bit from 3.92 on.
        let t = clamp(self.abs(), 0.0, 4.0);
        let s = t * t;
        let q = (-1.728_534_7e-5f32).mul_add_::<A>(t, 3.831_971_3e-4);
        let u = (-3.883_964_4e-3f32).mul_add_::<A>(t, 2.425_462_2e-2);
        let mut q = q.mul_add_::<A>(s, u);
        q = q.mul_add_::<A>(t, -1.067_778_8e-1);
        q = q.mul_add_::<A>(t, -6.348_467e-1);
        q = q.mul_add_::<A>(t, -1.287_175_1e-1);
        let (n, r) = reduce_exp::<A>(q.mul_add_::<A>(t, -t));
        let e = ((r * r).mul_add_::<A>(exp_poly::<A>(r), r) + 1.0) * pow2(n);
        let far = (1.0 - e).copysign(self);
        if t > 0.927_734_4 { far } else { near }
    }

    #[inline(always)]
    fn erfc_<A: Arch>(self) -> Self {
        libm::erfcf(self)
    }

    /// The tail Φ(-t) is e^(-t²/2) times a smooth function of t, here a polynomial fitted to
    /// 7e-8 of the tail's scale; Φ is right to 2e-7. One exponential serves both results.
    #[inline(always)]
    fn tail_<A: Arch>(self) -> (Self, Self) {
        let t = self.abs();
        let e = exp_of_square::<A>(t);
        // Beyond this the tail is less than half the last bit of 1.
        let t = if t > 6.5 { 6.5 } else { t };
        let mut p = 1.678_214_7e-6f32;
        p = p.mul_add_::<A>(t, -3.603_979_7e-5);
        p = p.mul_add_::<A>(t, 3.459_825_5e-4);
        p = p.mul_add_::<A>(t, -2.000_291_6e-3);
        p = p.mul_add_::<A>(t, 8.002_632e-3);
        p = p.mul_add_::<A>(t, -2.441_008_2e-2);
        p = p.mul_add_::<A>(t, 6.124_434_2e-2);
        p = p.mul_add_::<A>(t, -1.325_625_8e-1);
        p = p.mul_add_::<A>(t, 2.499_310_2e-1);
        p = p.mul_add_::<A>(t, -3.989_383_6e-1);
        p = p.mul_add_::<A>(t, 0.5);
        (e * p, e)
    }

    #[inline(always)]
    fn sin_fast<A: Arch>(self) -> Self {
        let (quadrant, r) = reduce_trig(self);
        let y = quarter_wave::<A>(quadrant & 1, r);
        let y = f32::from_bits(y.to_bits() ^ ((quadrant & 2) << 30));
        if self == 0.0 { self } else { y }
    }

    #[inline(always)]
    fn cos_fast<A: Arch>(self) -> Self {
        let (quadrant, r) = reduce_trig(self);
        let y = quarter_wave::<A>(!quadrant & 1, r);
        f32::from_bits(y.to_bits() ^ ((quadrant.wrapping_add(1) & 2) << 30))
    }
}

/// `x` brought into `lo..=hi`; NaN stays NaN, which `f32::max` would not do.
#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// 2^n for -126 <= n <= 127, and 0 for -127.
#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits: one addition where a rounding
/// instruction and a conversion would be two, and every instruction set has it.
const ROUND: f32 = 12_582_912.0;

/// n and r with x = n ln 2 + r and |r| <= ln 2 / 2.
#[inline(always)]
fn reduce_exp<A: Arch>(x: f32) -> (i32, f32) {
    let t = x.mul_add_::<A>(std::f32::consts::LOG2_E, ROUND);
    let n = t.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let nf = t - ROUND;
    // ln 2 in two parts; the first has so few bits that n times it is exact.
    let r = nf.mul_add_::<A>(-0.693_359_4, x);
    (n, nf.mul_add_::<A>(2.121_944_4e-4, r))
}

/// e^(-t²/2), which is 0 where it is below the smallest normal number. As a power of 2 it needs no ln 2
/// in two parts: what is left beside the integer is exact.
#[inline(always)]
fn exp_of_square<A: Arch>(t: f32) -> f32 {
    const TO_POWER: f32 = -0.5 * std::f32::consts::LOG2_E;
    // Here 2^-127 is asked for, whose bits are those of 0.
    let square = t * t;
    let square = if square > 176.06 { 176.06 } else { square };
    let rounded = square.mul_add_::<A>(TO_POWER, ROUND);
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    exp2_poly::<A>(square.mul_add_::<A>(TO_POWER, ROUND - rounded)) * pow2(n)
}

/// 2^f for |f| <= 1/2, right to 2e-9 of it.
#[inline(always)]
fn exp2_poly<A: Arch>(f: f32) -> f32 {
    let mut p = 1.535_336e-4f32;
    p = p.mul_add_::<A>(f, 1.339_887_5e-3);
    p = p.mul_add_::<A>(f, 9.618_437e-3);
    p = p.mul_add_::<A>(f, 5.550_332_4e-2);
    p = p.mul_add_::<A>(f, 2.402_264_8e-1);
    p = p.mul_add_::<A>(f, std::f32::consts::LN_2);
    p.mul_add_::<A>(f, 1.0)
}

/// (e^r - 1 - r) / r² for |r| <= ln 2 / 2.
#[inline(always)]
fn exp_poly<A: Arch>(r: f32) -> f32 {
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add_::<A>(r, 1.398_2e-3);
    p = p.mul_add_::<A>(r, 8.333_452e-3);
    p = p.mul_add_::<A>(r, 4.166_579_6e-2);
    p = p.mul_add_::<A>(r, 1.666_666_5e-1);
    p.mul_add_::<A>(r, 0.5)
}

/// e, f, y with ln x = e ln 2 + f + y and 1 + f in [sqrt(1/2), sqrt 2), for positive finite x.
#[inline(always)]
fn reduce_ln<A: Arch>(x: f32) -> (f32, f32, f32) {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits().wrapping_add(0x3f80_0000 - SQRT_HALF);
    let e = (bits >> 23) as i32 - if small { 127 + 23 } else { 127 };
    let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    (e as f32, f, ln_poly::<A>(f))
}

/// ln(1 + f) - f for 1 + f in [sqrt(1/2), sqrt 2].
#[inline(always)]
fn ln_poly<A: Arch>(f: f32) -> f32 {
    let z = f * f;
    let mut p = 7.037_683_6e-2f32;
    p = p.mul_add_::<A>(f, -1.151_461e-1);
    p = p.mul_add_::<A>(f, 1.167_699_9e-1);
    p = p.mul_add_::<A>(f, -1.242_014_1e-1);
    p = p.mul_add_::<A>(f, 1.424_932_3e-1);
    p = p.mul_add_::<A>(f, -1.666_805_8e-1);
    p = p.mul_add_::<A>(f, 2.000_071_5e-1);
    p = p.mul_add_::<A>(f, -2.499_999_4e-1);
    p = p.mul_add_::<A>(f, 3.333_333e-1);
    z.mul_add_::<A>(-0.5, f * z * p)
}

/// `y`, or what a logarithm is where `x` is not positive and finite.
#[inline(always)]
fn ln_special(x: f32, y: f32) -> f32 {
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

/// The quarter turn nearest to x, and what is left, |r| <= π/4; for |x| < [`TRIG_LIMIT`].
#[inline(always)]
fn reduce_trig(x: f32) -> (u32, f32) {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
    let x = x as f64;
    let t = x * std::f64::consts::FRAC_2_PI + ROUND;
    let n = t - ROUND;
    // π/2 in two parts; the first has 33 bits, so that n times it is exact below the limit.
    let r = x - n * 1.570_796_310_901_641_8;
    (t.to_bits() as u32, (r - n * 1.589_325_471_229_585_7e-8) as f32)
}

/// sin r, or cos r where `cosine` is 1.
#[inline(always)]
fn quarter_wave<A: Arch>(cosine: u32, r: f32) -> f32 {
    let z = r * r;
    let mut s = -1.951_529_6e-4f32;
    s = s.mul_add_::<A>(z, 8.332_161e-3);
    s = s.mul_add_::<A>(z, -1.666_665_5e-1);
    let s = (s * z).mul_add_::<A>(r, r);
    let mut c = 2.443_315_7e-5f32;
    c = c.mul_add_::<A>(z, -1.388_731_6e-3);
    c = c.mul_add_::<A>(z, 4.166_664_6e-2);
    let c = (z * z).mul_add_::<A>(c, z.mul_add_::<A>(-0.5, 1.0));
    if cosine == 1 { c } else { s }
}

/// The largest of `x` and `y`, NaN if either is.
#[inline(always)]
pub fn max_nan<T: Element>(x: T, y: T) -> T {
    if x > y || x.is_nan() { x } else { y }
}

/// The smallest of `x` and `y`, NaN if either is.
#[inline(always)]
pub fn min_nan<T: Element>(x: T, y: T) -> T {
    if x < y || x.is_nan() { x } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Avx2, Avx512, Baseline};

    fn points() -> Vec<f32> {
        let mut v = vec![0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-40, f32::MIN_POSITIVE];
        v.extend([f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        v.extend([88.7, 88.73, 89.5, -87.4, -100.0, -103.9, -104.5, 1e6]);
        let mut x = 1e-8f32;
        while x < 120.0 {
            v.extend([x, -x]);
            x *= 1.0037;
        }
        v.extend((0..4000).map(|i| i as f32 * 0.005 - 10.0));
        v
    }

    /// Checks `f` against `exact` to `rel` relative error, half a denormal step being free.
    fn check(name: &str, rel: f64, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) {
        check_at(points(), name, rel, f, exact);
    }

    fn check_at(
        points: impl IntoIterator<Item = f32>,
        name: &str,
        rel: f64,
        f: impl Fn(f32) -> f32,
        exact: impl Fn(f64) -> f64,
    ) {
        for x in points {
            let (got, want) = (f(x), exact(x as f64));
            let same = got as f64 == want || (got.is_nan() && want.is_nan());
            let rounded = want as f32 == got && got.is_sign_negative() == want.is_sign_negative();
            let near = (got as f64 - want).abs() <= rel * want.abs() + 1.5e-45;
            assert!(same || rounded || near, "{name}({x:e}) = {got:e}, not {want:e}");
            if want == 0.0 && !want.is_nan() {
                assert_eq!(got.is_sign_negative(), want.is_sign_negative(), "{name}({x:e})");
            }
        }
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    fn all<A: Arch>() {
        check("exp", 1.5e-7, |x| x.exp_::<A>(), f64::exp);
        check("expm1", 2e-7, |x| x.expm1_::<A>(), f64::exp_m1);
        check("ln", 1.2e-7, |x| x.ln_::<A>(), f64::ln);
        check("log1p", 2.5e-7, |x| x.log1p_::<A>(), f64::ln_1p);
        check("log2", 2e-7, |x| x.log2_::<A>(), f64::log2);
        check("log10", 2e-7, |x| x.log10_::<A>(), f64::log10);
        check("tanh", 3e-7, |x| x.tanh_::<A>(), f64::tanh);
        // These two may be 0 where they are below the smallest normal number, from -87.33 on.
        let (low, high): (Vec<f32>, Vec<f32>) = points().iter().partition(|&&x| x < -87.33);
        for x in low {
            let (e, s) = (x.exp_normal_::<A>(), x.sigmoid_::<A>());
            assert!(
                (0.0..1.2e-38).contains(&e) && (0.0..1.2e-38).contains(&s),
                "{x:e}: {e:e} {s:e}"
            );
        }
        check_at(high.iter().copied(), "sigmoid", 2.5e-7, |x| x.sigmoid_::<A>(), sigmoid);
        let small = high.iter().copied().filter(|x| x.is_nan() || *x <= 88.0);
        check_at(small, "exp_normal", 1.5e-7, |x| x.exp_normal_::<A>(), f64::exp);
        let unit = points().into_iter().filter(|x| (0.0..=1.0).contains(x) && x.is_sign_positive());
        check_at(unit, "log1p_unit", 1.5e-7, |x| x.log1p_unit_::<A>(), f64::ln_1p);
        check("erf", 1.8e-7, |x| x.erf_::<A>(), libm::erf);
        check("erfc", 2e-7, |x| x.erfc_::<A>(), libm::erfc);
        for x in points() {
            let (cdf, e) = x.normal_::<A>();
            let (x, near) = (x as f64, |a: f32, b: f64| (a as f64 - b).abs() <= 2e-7);
            let exact = 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
            assert!(x.is_nan() == cdf.is_nan() && (x.is_nan() || near(cdf, exact)), "Φ({x:e})");
            assert!(x.is_nan() == e.is_nan() && (x.is_nan() || near(e, (-x * x / 2.0).exp())));
        }
    }

    #[test]
    fn polynomials_are_accurate_everywhere() {
        all::<Baseline>();
    }

    // Without the target feature the fused operations are library calls with the same result.
    #[test]
    fn polynomials_with_fused_operations_are_accurate_everywhere() {
        all::<Avx2>();
        all::<Avx512>();
    }

    #[test]
    fn sine_and_cosine_hold_below_their_limit() {
        let big = (0..5000).map(|i| i as f32 * 199.37 - 498_000.0);
        for x in points().into_iter().chain(big).filter(|x| x.abs() < TRIG_LIMIT as f32) {
            let (s, c) = (x.sin_fast::<Baseline>() as f64, x.cos_fast::<Avx2>() as f64);
            let (es, ec) = ((x as f64).sin(), (x as f64).cos());
            assert!((s - es).abs() <= 2e-7 * es.abs() + 1.5e-45, "sin {x:e}: {s:e} {es:e}");
            assert!((c - ec).abs() <= 2e-7 * ec.abs(), "cos {x:e}: {c:e} {ec:e}");
        }
        assert!((-0.0f32).sin_fast::<Baseline>().is_sign_negative());
        assert!(f32::NAN.sin_fast::<Baseline>().is_nan());
    }

    #[test]
    fn double_precision_is_the_librarys() {
        for x in [-3.5f64, -0.2, 0.0, 1e-9, 0.7, 20.0] {
            assert_eq!(x.tanh_::<Baseline>(), x.tanh());
            assert!((x.sigmoid_::<Baseline>() - sigmoid(x)).abs() < 1e-15);
            assert_eq!(x.erf_::<Baseline>(), libm::erf(x));
        }
    }
}
