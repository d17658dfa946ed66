//! One value for each of the tiles or channels that are transformed together: eight, or with AVX-512
//! sixteen.
//!
//! Written with vectors where the CPU has them: a transform of plain loops is unrolled to some
//! hundred values, of which the compiler makes gathers and scatters for AVX-512 that take several
//! times as long as the arithmetic (bench: `layers --only "k3 p1"`).

use std::marker::PhantomData;
use std::ops::{Add, Range, Sub};

use crate::element::Float;
use crate::simd::Arch;
#[cfg(target_arch = "x86_64")]
use crate::simd::Isa;

/// Tiles that are read as neighbours: a vector of AVX2, half of one of AVX-512.
pub(super) const PIECE: usize = 8;
/// A vector of AVX-512. Pieces are laid out in whole pairs, whatever the vectors are.
pub(super) const PAIR: usize = 2 * PIECE;

/// Calls a method that is generic over the instruction set `A` and the width of lanes of `T`, with the
/// width that suits them.
macro_rules! by_width {
    ($A:ident, $T:ty, $kernel:ident.$method:ident()) => {
        if $A::ISA as u8 >= $crate::simd::Isa::Avx512 as u8 && size_of::<$T>() == 4 {
            $kernel.$method::<$A, { $crate::conv::winograd::lanes::PAIR }>()
        } else {
            $kernel.$method::<$A, { $crate::conv::winograd::lanes::PIECE }>()
        }
    };
}
pub(super) use by_width;

/// Lanes whose values lie side by side.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Which lanes, bit by bit.
    lanes: u16,
    /// Where lane 0 would be, which may be before all places.
    pub place: usize,
}

impl Run {
    pub const NONE: Self = Self { lanes: 0, place: 0 };

    /// Lanes of a piece of which the first is at `place`.
    pub fn new(lanes: Range<usize>, place: usize) -> Self {
        let below = |lane: usize| (1_u32 << lane) - 1;
        let bits = (below(lanes.end) & !below(lanes.start)) as u16;
        Self { lanes: bits, place: place.wrapping_sub(lanes.start) }
    }

    /// Whether it is all of a piece.
    pub fn is_piece(&self) -> bool {
        self.lanes == (1 << PIECE) - 1
    }

    /// The same so many lanes later.
    pub fn after(&self, lanes: usize) -> Self {
        Self { lanes: self.lanes << lanes, place: self.place.wrapping_sub(lanes) }
    }
}

/// One value of each of `W` tiles or channels.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Lanes<A, T, const W: usize>(pub [T; W], PhantomData<A>);

/// What [`avx`] or [`avx512`] computes of operands where one of them does, given as places of `f32`
/// and factors. Where neither does, goes on.
macro_rules! vectors {
    ($operation:ident($($arg:expr),*)) => {
        #[cfg(target_arch = "x86_64")]
        if Self::AVX {
            // SAFETY: the operands are eight values of `f32`; the CPU has AVX2 and FMA, as `A` says.
            return Self::of(unsafe { avx::$operation($($arg),*) });
        } else if Self::AVX512 {
            // SAFETY: the operands are sixteen values of `f32`; the CPU has AVX-512, as `A` says.
            return Self::of(unsafe { avx512::$operation($($arg),*) });
        }
    };
}

impl<A: Arch, T: Float, const W: usize> Lanes<A, T, W> {
    pub const ZERO: Self = Self::new([T::ZERO; W]);

    /// Whether [`avx`] computes what these are.
    #[cfg(target_arch = "x86_64")]
    const AVX: bool = W == 8 && A::ISA as u8 >= Isa::Avx2 as u8 && size_of::<T>() == 4;
    /// Whether [`avx512`] does.
    #[cfg(target_arch = "x86_64")]
    const AVX512: bool = W == 16 && A::ISA as u8 >= Isa::Avx512 as u8 && size_of::<T>() == 4;

    pub const fn new(values: [T; W]) -> Self {
        Self(values, PhantomData)
    }

    /// Reads them from `W` adjacent places.
    ///
    /// # Safety
    /// These places are readable.
    #[inline(always)]
    pub unsafe fn read(from: *const T) -> Self {
        // SAFETY: the caller's promise.
        vectors!(read(from.cast()));
        // SAFETY: the caller's promise.
        Self::new(unsafe { from.cast::<[T; W]>().read() })
    }

    /// Reads them from one place for each [`PIECE`] of them.
    ///
    /// # Safety
    /// A piece is readable from each of these places on.
    #[inline(always)]
    pub unsafe fn read_pieces(from: [*const T; 2]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::AVX512 {
            // SAFETY: the caller's promise; the CPU has AVX-512, as `A` says.
            return Self::of(unsafe { avx512::read_halves(from[0].cast(), from[1].cast()) });
        }
        if W == PIECE {
            // SAFETY: the caller's promise.
            return unsafe { Self::read(from[0]) };
        }
        let mut lanes = Self::ZERO;
        for (to, from) in lanes.0.chunks_exact_mut(PIECE).zip(from) {
            // SAFETY: the caller's promise.
            to.copy_from_slice(unsafe { std::slice::from_raw_parts(from, PIECE) });
        }
        lanes
    }

    /// Reads them run by run; what is in none is 0.
    ///
    /// # Safety
    /// The places of all lanes of the runs, counted from `from` on, are readable; with less than
    /// sixteen lanes, those of whole pieces.
    #[inline(always)]
    pub unsafe fn read_runs(runs: &[Run], from: *const T) -> Self {
        // SAFETY: the caller's promise.
        vectors!(read_runs(runs, from.cast()));
        let mut lanes = Self::ZERO;
        for run in runs {
            for (lane, to) in lanes.0.iter_mut().enumerate() {
                if run.lanes >> lane & 1 == 1 {
                    // SAFETY: the caller's promise.
                    *to = unsafe { *from.wrapping_add(run.place).add(lane) };
                }
            }
        }
        lanes
    }

    /// Writes them to `W` adjacent places.
    ///
    /// # Safety
    /// These places are writable, and nobody else's.
    #[inline(always)]
    pub unsafe fn write(&self, to: *mut T) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[T; W]>().write(self.0) }
    }

    /// Writes the first `count` of them, no more than there are.
    ///
    /// # Safety
    /// These places are writable, and nobody else's.
    #[inline(always)]
    pub unsafe fn write_first(&self, to: *mut T, count: usize) {
        debug_assert!(count <= W);
        #[cfg(target_arch = "x86_64")]
        if Self::AVX512 {
            // SAFETY: the caller's promise; the CPU has AVX-512, as `A` says.
            unsafe { avx512::write_first(self.place(), to.cast(), count) };
            return;
        }
        for (i, &value) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = value };
        }
    }

    /// `self * factor`.
    #[inline(always)]
    pub fn times(self, factor: f64) -> Self {
        vectors!(times(self.place(), factor as f32));
        let factor = T::from_f64(factor);
        Self::new(self.0.map(|v| v * factor))
    }

    /// `self * factor + other`.
    #[inline(always)]
    pub fn fma(self, factor: f64, other: Self) -> Self {
        vectors!(fma(self.place(), factor as f32, other.place()));
        let factor = T::from_f64(factor);
        Self::new(std::array::from_fn(|i| self.0[i].mul_add_::<A>(factor, other.0[i])))
    }

    /// Those of each row, plus `bias`, value by value in turn.
    #[inline(always)]
    pub fn interleave(rows: &[Self], bias: T, to: &mut [T]) {
        assert!(to.len() >= rows.len() * W);
        #[cfg(target_arch = "x86_64")]
        if let ([a, b, c, d], true) = (rows, Self::AVX || Self::AVX512) {
            let rows = [a.place(), b.place(), c.place(), d.place()];
            let (bias, to) = (bias.to_f64() as f32, to.as_mut_ptr().cast());
            // SAFETY: the target holds four rows of `f32`, each of which is as wide as the vectors;
            // the CPU has AVX2 or AVX-512, as `A` says.
            unsafe {
                if Self::AVX {
                    avx::interleave4(rows, bias, to);
                } else {
                    avx512::interleave4(rows, bias, to);
                }
            }
            return;
        }
        for (t, to) in to.chunks_exact_mut(rows.len()).enumerate().take(W) {
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
        if Self::AVX || Self::AVX512 {
            let (from, len, to) = (from.as_ptr().cast(), from.len(), to.as_mut_ptr().cast());
            // SAFETY: of `from` no more than its values are read, and the four runs of whole pieces
            // are inside `to`; both are of `f32`; the CPU has AVX2 or AVX-512, as `A` says.
            unsafe {
                if Self::AVX {
                    avx::split4(from, len, before, to, run);
                } else {
                    avx512::split4(from, len, before, to, run);
                }
            }
            return true;
        }
        let _ = (from, before);
        false
    }

    /// Where the first is, of lanes that are `f32`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn place(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn of<const N: usize>(values: [f32; N]) -> Self {
        assert!(N == W && size_of::<T>() == 4);
        // SAFETY: T is the only float of four bytes, f32, and there are as many.
        unsafe { std::ptr::from_ref(&values).cast::<Self>().read() }
    }
}

/// A sum or difference of lanes.
macro_rules! operator {
    ($Trait:ident, $operation:ident, $symbol:tt) => {
        impl<A: Arch, T: Float, const W: usize> $Trait for Lanes<A, T, W> {
            type Output = Self;
            #[inline(always)]
            fn $operation(self, other: Self) -> Self {
                vectors!($operation(self.place(), other.place()));
                Self::new(std::array::from_fn(|i| self.0[i] $symbol other.0[i]))
            }
        }
    };
}

operator!(Add, add, +);
operator!(Sub, sub, -);

/// Declares the arithmetic on vectors of some width. Operands are places, since how vectors are
/// passed depends on the features of a function; all of it is inlined.
#[cfg(target_arch = "x86_64")]
macro_rules! arithmetic {
    ($features:literal, $n:literal, $load:ident, $store:ident, $set:ident, $mul:ident, $fmadd:ident,
     $add:ident, $sub:ident) => {
        /// # Safety
        /// The operand is readable; the CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        pub unsafe fn read(a: *const f32) -> [f32; $n] {
            // SAFETY: the caller's promise.
            values(unsafe { $load(a) })
        }

        /// # Safety
        /// The operand is readable; the CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        pub unsafe fn times(a: *const f32, factor: f32) -> [f32; $n] {
            // SAFETY: the caller's promise.
            values($mul(unsafe { $load(a) }, $set(factor)))
        }

        /// # Safety
        /// The operands are readable; the CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        pub unsafe fn fma(a: *const f32, factor: f32, b: *const f32) -> [f32; $n] {
            // SAFETY: the caller's promise.
            let (a, b) = unsafe { ($load(a), $load(b)) };
            values($fmadd(a, $set(factor), b))
        }

        /// # Safety
        /// The operands are readable; the CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        pub unsafe fn add(a: *const f32, b: *const f32) -> [f32; $n] {
            // SAFETY: the caller's promise.
            values(unsafe { $add($load(a), $load(b)) })
        }

        /// # Safety
        /// The operands are readable; the CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        pub unsafe fn sub(a: *const f32, b: *const f32) -> [f32; $n] {
            // SAFETY: the caller's promise.
            values(unsafe { $sub($load(a), $load(b)) })
        }

        /// # Safety
        /// The CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        fn values(vector: Vector) -> [f32; $n] {
            let mut values = [0.0; $n];
            // SAFETY: there is room for them.
            unsafe { $store(values.as_mut_ptr(), vector) };
            values
        }
    };
}

/// Eight values.
#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;

    type Vector = __m256;

    arithmetic!(
        "avx2,fma",
        8,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps
    );

    /// Values from several runs.
    ///
    /// # Safety
    /// Whole pieces are readable where the runs are; the CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn read_runs(runs: &[super::Run], from: *const f32) -> [f32; 8] {
        let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let mut lanes = _mm256_setzero_ps();
        for run in runs {
            let mask = _mm256_and_si256(_mm256_set1_epi32(run.lanes.into()), bits);
            let mask = _mm256_castsi256_ps(_mm256_cmpeq_epi32(mask, bits));
            // SAFETY: the caller's promise.
            let values = unsafe { _mm256_loadu_ps(from.wrapping_add(run.place)) };
            lanes = _mm256_blendv_ps(lanes, values, mask);
        }
        values(lanes)
    }

    /// Vectors a, b, c, d to a0 b0 c0 d0 a1 b1 and so on.
    ///
    /// # Safety
    /// The rows are readable for eight values and `to` is writable for 32; the CPU has the features
    /// that the attribute names.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub unsafe fn interleave4(rows: [*const f32; 4], bias: f32, to: *mut f32) {
        let bias = _mm256_set1_ps(bias);
        // SAFETY: the caller's promise.
        let row = |i: usize| _mm256_add_ps(unsafe { _mm256_loadu_ps(rows[i]) }, bias);
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
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
    #[target_feature(enable = "avx2")]
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

/// Sixteen values.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    type Vector = __m512;

    arithmetic!(
        "avx512f",
        16,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps
    );

    /// Values from several runs.
    ///
    /// # Safety
    /// The lanes of the runs are readable; the CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn read_runs(runs: &[super::Run], from: *const f32) -> [f32; 16] {
        let mut lanes = _mm512_setzero_ps();
        for run in runs {
            let from = from.wrapping_add(run.place);
            // SAFETY: the caller's promise; no other lanes are read.
            lanes = unsafe { _mm512_mask_loadu_ps(lanes, run.lanes, from) };
        }
        values(lanes)
    }

    /// Eight values from each of two places.
    ///
    /// # Safety
    /// They are readable; the CPU has the features that the attribute names.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    pub unsafe fn read_halves(low: *const f32, high: *const f32) -> [f32; 16] {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe { (_mm256_loadu_ps(low), _mm256_loadu_ps(high)) };
        values(_mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high))
    }

    /// # Safety
    /// The operand is readable, and `to` is writable for `count` values; the CPU has the features
    /// that the attribute names.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn write_first(a: *const f32, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise; no other lanes are written.
        unsafe { _mm512_mask_storeu_ps(to, below(count as isize), _mm512_loadu_ps(a)) };
    }

    /// The lanes below `count`, of which there may be none, or all.
    #[inline(always)]
    fn below(count: isize) -> __mmask16 {
        ((1u32 << count.clamp(0, 16)) - 1) as __mmask16
    }

    /// Vectors a, b, c, d to a0 b0 c0 d0 a1 b1 and so on.
    ///
    /// # Safety
    /// The rows are readable for sixteen values and `to` is writable for 64; the CPU has the features
    /// that the attribute names.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn interleave4(rows: [*const f32; 4], bias: f32, to: *mut f32) {
        let bias = _mm512_set1_ps(bias);
        // SAFETY: the caller's promise.
        let row = |i: usize| _mm512_add_ps(unsafe { _mm512_loadu_ps(rows[i]) }, bias);
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (ab, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        // Lanes 0, 4, 8, 12 of all, lanes 1, 5, 9, 13 and so on; then a transpose of such quarters.
        let (l0, l1) = (_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
        let l2 = _mm512_shuffle_ps::<0x44>(ab_high, cd_high);
        let l3 = _mm512_shuffle_ps::<0xee>(ab_high, cd_high);
        let low01 = _mm512_shuffle_f32x4::<0x44>(l0, l1);
        let low23 = _mm512_shuffle_f32x4::<0x44>(l2, l3);
        let high01 = _mm512_shuffle_f32x4::<0xee>(l0, l1);
        let high23 = _mm512_shuffle_f32x4::<0xee>(l2, l3);
        // SAFETY: the caller's promise.
        unsafe {
            _mm512_storeu_ps(to, _mm512_shuffle_f32x4::<0x88>(low01, low23));
            _mm512_storeu_ps(to.add(16), _mm512_shuffle_f32x4::<0xdd>(low01, low23));
            _mm512_storeu_ps(to.add(32), _mm512_shuffle_f32x4::<0x88>(high01, high23));
            _mm512_storeu_ps(to.add(48), _mm512_shuffle_f32x4::<0xdd>(high01, high23));
        }
    }

    /// The reverse of [`interleave4`] for each sixteen values of four runs, and for the eight that may
    /// be left; what lies beyond the `len` values of `from`, which begin at place `before`, is 0.
    ///
    /// # Safety
    /// `from` is readable for `len` values and `to` writable for four runs; the CPU has the features
    /// that the attribute names.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn split4(from: *const f32, len: usize, before: usize, to: *mut f32, run: usize) {
        let len = len as isize;
        let fours = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
        let next_fours = _mm512_add_epi32(fours, _mm512_set1_epi32(2));
        for t in (0..run).step_by(16) {
            let mut v = [_mm512_setzero_ps(); 4];
            for (i, v) in v.iter_mut().enumerate() {
                let at = (4 * t + 16 * i) as isize - before as isize;
                let inside = below(len - at) & !below(-at);
                // SAFETY: only lanes that are values of `from` are read.
                *v = unsafe { _mm512_maskz_loadu_ps(inside, from.wrapping_offset(at)) };
            }
            // Residues 0 and 1, and 2 and 3, of the first two vectors and of the others.
            let low01 = _mm512_permutex2var_ps(v[0], fours, v[1]);
            let low23 = _mm512_permutex2var_ps(v[0], next_fours, v[1]);
            let high01 = _mm512_permutex2var_ps(v[2], fours, v[3]);
            let high23 = _mm512_permutex2var_ps(v[2], next_fours, v[3]);
            let there = below((run - t) as isize);
            // SAFETY: no more values than are left of each of the four runs.
            unsafe {
                let to = to.add(t);
                let (a, b) = (low01, high01);
                _mm512_mask_storeu_ps(to, there, _mm512_shuffle_f32x4::<0x44>(a, b));
                _mm512_mask_storeu_ps(to.add(run), there, _mm512_shuffle_f32x4::<0xee>(a, b));
                let (a, b) = (low23, high23);
                _mm512_mask_storeu_ps(to.add(2 * run), there, _mm512_shuffle_f32x4::<0x44>(a, b));
                _mm512_mask_storeu_ps(to.add(3 * run), there, _mm512_shuffle_f32x4::<0xee>(a, b));
            }
        }
    }
}
