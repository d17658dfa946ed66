//! Eight values, one for each of the tiles or channels that are transformed together.
//!
//! Written with vectors where the CPU has them: a transform of plain loops is unrolled to some
//! hundred values, of which the compiler makes gathers and scatters for AVX-512 that take several
//! times as long as the arithmetic (bench: `layers --only "k3 p1"`).

use std::marker::PhantomData;
use std::ops::{Add, Sub};

use crate::element::Float;
use crate::simd::Arch;
#[cfg(target_arch = "x86_64")]
use crate::simd::Isa;

/// Tiles or channels that are transformed together: a vector of AVX2, half of one of AVX-512.
pub(super) const PIECE: usize = 8;

/// One value of each of them.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Lanes<A, T>(pub [T; PIECE], PhantomData<A>);

impl<A: Arch, T: Float> Lanes<A, T> {
    pub const ZERO: Self = Self::new([T::ZERO; PIECE]);

    /// Whether [`avx`] computes what these are.
    #[cfg(target_arch = "x86_64")]
    const VECTORS: bool = A::ISA as u8 >= Isa::Avx2 as u8 && size_of::<T>() == 4;

    pub const fn new(values: [T; PIECE]) -> Self {
        Self(values, PhantomData)
    }

    /// `self * factor`.
    #[inline(always)]
    pub fn times(self, factor: f64) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::VECTORS {
            // SAFETY: the CPU has AVX, as `A` says.
            return Self::from_vector(unsafe { avx::times(self.vector(), factor as f32) });
        }
        let factor = T::from_f64(factor);
        Self::new(self.0.map(|v| v * factor))
    }

    /// `self * factor + other`.
    #[inline(always)]
    pub fn fma(self, factor: f64, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::VECTORS {
            // SAFETY: the CPU has AVX and FMA, as `A` says.
            let sum = unsafe { avx::fma(self.vector(), factor as f32, other.vector()) };
            return Self::from_vector(sum);
        }
        let factor = T::from_f64(factor);
        Self::new(std::array::from_fn(|i| self.0[i].mul_add_::<A>(factor, other.0[i])))
    }

    /// Four of them, each plus `bias`, value by value in turn.
    #[inline(always)]
    pub fn interleave4(rows: [&Self; 4], bias: T, to: &mut [T]) {
        assert!(to.len() >= 4 * PIECE);
        #[cfg(target_arch = "x86_64")]
        if Self::VECTORS {
            let rows = [rows[0].vector(), rows[1].vector(), rows[2].vector(), rows[3].vector()];
            // SAFETY: the target holds four pieces of `f32`; the CPU has AVX, as `A` says.
            unsafe { avx::interleave4(rows, bias.to_f64() as f32, to.as_mut_ptr().cast()) };
            return;
        }
        for (t, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate().take(PIECE) {
            for (to, row) in to.iter_mut().zip(rows) {
                *to = row.0[t] + bias;
            }
        }
    }

    /// Splits a row by the places' residues modulo 4, each `run` values of `to`, whole pieces. The row
    /// is `before` zeros, `from`, and zeros. Whether there are vectors to do it with.
    #[inline(always)]
    pub fn split4(from: &[T], before: usize, to: &mut [T], run: usize) -> bool {
        assert!(to.len() >= 4 * run && run.is_multiple_of(PIECE));
        #[cfg(target_arch = "x86_64")]
        if Self::VECTORS {
            // SAFETY: of `from` no more than its values are read, and the four runs of whole pieces
            // are inside `to`; both are of `f32`; the CPU has AVX2, as `A` says.
            unsafe {
                let (from, len, to) = (from.as_ptr().cast(), from.len(), to.as_mut_ptr().cast());
                avx::split4(from, len, before, to, run);
            }
            return true;
        }
        let _ = (from, before);
        false
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vector(&self) -> &avx::Vector {
        debug_assert!(Self::VECTORS);
        // SAFETY: T is the only float of four bytes, f32; the structure is its values.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn from_vector(vector: avx::Vector) -> Self {
        debug_assert!(Self::VECTORS);
        // SAFETY: likewise; a vector is aligned as the structure is.
        unsafe { *std::ptr::from_ref(&vector).cast() }
    }
}

impl<A: Arch, T: Float> Add for Lanes<A, T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::VECTORS {
            // SAFETY: the CPU has AVX, as `A` says.
            return Self::from_vector(unsafe { avx::add(self.vector(), other.vector()) });
        }
        Self::new(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl<A: Arch, T: Float> Sub for Lanes<A, T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::VECTORS {
            // SAFETY: the CPU has AVX, as `A` says.
            return Self::from_vector(unsafe { avx::sub(self.vector(), other.vector()) });
        }
        Self::new(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
}

/// The operations on vectors. They take references, since how vectors are passed depends on the
/// features of a function; all of it is inlined.
#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;

    pub type Vector = __m256;

    /// # Safety
    /// The CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx")]
    pub fn times(a: &Vector, factor: f32) -> Vector {
        _mm256_mul_ps(*a, _mm256_set1_ps(factor))
    }

    /// # Safety
    /// The CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx,fma")]
    pub fn fma(a: &Vector, factor: f32, b: &Vector) -> Vector {
        _mm256_fmadd_ps(*a, _mm256_set1_ps(factor), *b)
    }

    /// # Safety
    /// The CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx")]
    pub fn add(a: &Vector, b: &Vector) -> Vector {
        _mm256_add_ps(*a, *b)
    }

    /// # Safety
    /// The CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx")]
    pub fn sub(a: &Vector, b: &Vector) -> Vector {
        _mm256_sub_ps(*a, *b)
    }

    /// Vectors a, b, c, d to a0 b0 c0 d0 a1 b1 and so on.
    ///
    /// # Safety
    /// `to` is writable for 32 values; the CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx,avx2")]
    pub unsafe fn interleave4(rows: [&Vector; 4], bias: f32, to: *mut f32) {
        let bias = _mm256_set1_ps(bias);
        let (a, b) = (_mm256_add_ps(*rows[0], bias), _mm256_add_ps(*rows[1], bias));
        let (c, d) = (_mm256_add_ps(*rows[2], bias), _mm256_add_ps(*rows[3], bias));
        let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        // Lanes 0 and 4, 1 and 5, 2 and 6, 3 and 7.
        let (l0, l1) = (_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
        let l2 = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
        let l3 = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(l0, l1));
            _mm256_storeu_ps(to.add(8), _mm256_permute2f128_ps::<0x20>(l2, l3));
            _mm256_storeu_ps(to.add(16), _mm256_permute2f128_ps::<0x31>(l0, l1));
            _mm256_storeu_ps(to.add(24), _mm256_permute2f128_ps::<0x31>(l2, l3));
        }
    }

    /// The reverse of [`interleave4`] for each eight values of four runs; what lies beyond the `len`
    /// values of `from`, which begin at place `before`, is 0.
    ///
    /// # Safety
    /// `from` is readable for `len` values and `to` writable for four runs, of a multiple of eight
    /// values each; the CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx,avx2")]
    pub unsafe fn split4(from: *const f32, len: usize, before: usize, to: *mut f32, run: usize) {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let piece = |place: usize| {
            let (at, len) = (place as isize - before as isize, len as isize);
            if at <= -8 || at >= len {
                return _mm256_setzero_ps();
            }
            let from = from.wrapping_offset(at);
            if at >= 0 && at + 8 <= len {
                // SAFETY: eight values of `from`.
                return unsafe { _mm256_loadu_ps(from) };
            }
            // Lanes from -at on, and below len - at.
            let low = _mm256_set1_epi32((-at).max(0) as i32 - 1);
            let high = _mm256_set1_epi32((len - at).min(8) as i32);
            let inside =
                _mm256_and_si256(_mm256_cmpgt_epi32(lanes, low), _mm256_cmpgt_epi32(high, lanes));
            // SAFETY: only lanes that are values of `from` are read.
            unsafe { _mm256_maskload_ps(from, inside) }
        };
        for t in (0..run).step_by(8) {
            let (a, b) = (piece(4 * t), piece(4 * t + 8));
            let (c, d) = (piece(4 * t + 16), piece(4 * t + 24));
            // Tiles 0 1 and 4 5, 2 3 and 6 7, of which a 4×4 transpose in each half.
            let (l0, l2) =
                (_mm256_permute2f128_ps::<0x20>(a, c), _mm256_permute2f128_ps::<0x20>(b, d));
            let (l1, l3) =
                (_mm256_permute2f128_ps::<0x31>(a, c), _mm256_permute2f128_ps::<0x31>(b, d));
            let (low01, high01) = (_mm256_unpacklo_ps(l0, l1), _mm256_unpackhi_ps(l0, l1));
            let (low23, high23) = (_mm256_unpacklo_ps(l2, l3), _mm256_unpackhi_ps(l2, l3));
            // SAFETY: eight values of each of the four runs.
            unsafe {
                let to = to.add(t);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(low01, low23));
                _mm256_storeu_ps(to.add(run), _mm256_shuffle_ps::<0xee>(low01, low23));
                _mm256_storeu_ps(to.add(2 * run), _mm256_shuffle_ps::<0x44>(high01, high23));
                _mm256_storeu_ps(to.add(3 * run), _mm256_shuffle_ps::<0xee>(high01, high23));
            }
        }
    }
}
