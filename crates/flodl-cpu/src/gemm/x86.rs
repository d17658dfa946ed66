//! The micro-kernels for AVX-512 and AVX2.

use std::arch::x86_64::*;

use super::kernel::{Form, Kernel, Tile};
use crate::simd::Isa;

/// Does all steps along k, four to a turn of the loop, each with the sums whose turn it is; a turn
/// ends with what is done once in each.
macro_rules! steps {
    ($k:expr, $sums:ident, $sum:ident, $step:block $(, $once:block)?) => {
        for _ in 0..$k / 4 {
            for i in 0..4 {
                let $sum = &mut $sums[i % S];
                $step
            }
            $($once)?
        }
        for _ in 0..$k % 4 {
            let $sum = &mut $sums[0];
            $step
        }
    };
}

macro_rules! x86_kernel {
    (
        $name:ident, $module:ident, $isa:ident, $features:literal, $t:ty, $vec:ty,
        mr $mr:literal, lanes $lanes:literal, rows [$($rows:literal x $sums:literal),*],
        all [$($row:literal),*],
        $zero:ident, $set1:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $mul:ident,
        $max:ident, $mask:ident -> $masks:ty, $mask_load:ident, $mask_store:ident
    ) => {
        pub(super) static $name: Kernel<$t> =
            Kernel {
                isa: Isa::$isa,
                mr: $mr,
                nr: 2 * $lanes,
                form: Form::Values,
                run: $module::run,
            };

        mod $module {
            use super::*;

            const MR: usize = $mr;
            const NR: usize = 2 * $lanes;
            const LANES: usize = $lanes;

            // How a tile reads its operands. From packed panels, whose steps are constants: with
            // addresses to compute, a core that it shares its decoders with is a tenth slower.
            const PACKED: u8 = 0;
            // The rows of A lie side by side, and all rows and vectors of the tile are readable in
            // each step of k:
            const ADJACENT: u8 = 1;
            // A from packed panels, the rows of B where the tile says:
            const GATHERED: u8 = 2;
            // Anywhere, with fewer rows and columns where the matrices end:
            const IN_PLACE: u8 = 3;

            /// Computes a tile.
            ///
            /// # Safety
            /// As for [`Kernel::run`], on a CPU with the features of this kernel.
            pub(super) unsafe fn run(t: &Tile<$t>) {
                if t.gather.is_some() {
                    $(if t.rows <= $rows {
                        // SAFETY: the caller's promise; the CPU has the features.
                        return unsafe { tile::<$rows, 2, $sums, GATHERED>(t) };
                    })*
                }
                let packed = t.a_row == 1 && t.a_step == MR && t.b_step == NR;
                // Fewer rows and one vector of columns at the edges: less work for padding.
                let whole = t.a_row == 1 && (t.cols == NR || t.cols == LANES);
                $(if t.rows <= $rows {
                    let how = match whole && t.rows == $rows {
                        _ if packed => PACKED,
                        true => ADJACENT,
                        false => IN_PLACE,
                    };
                    // SAFETY: the caller's promise; the CPU has the features.
                    return unsafe {
                        match (how, t.cols <= LANES) {
                            (PACKED, false) => tile::<$rows, 2, $sums, PACKED>(t),
                            (PACKED, true) => tile::<$rows, 1, $sums, PACKED>(t),
                            (ADJACENT, false) => tile::<$rows, 2, $sums, ADJACENT>(t),
                            (ADJACENT, true) => tile::<$rows, 1, $sums, ADJACENT>(t),
                            (_, false) => tile::<$rows, 2, $sums, IN_PLACE>(t),
                            (_, true) => tile::<$rows, 1, $sums, IN_PLACE>(t),
                        }
                    };
                })*
            }

            /// Starts of vectors that lie so far apart.
            #[inline(always)]
            fn vectors<const V: usize>(b: *const $t, apart: usize) -> [*const $t; V] {
                std::array::from_fn(|v| b.wrapping_add(v * apart))
            }

            /// `V` vectors, the last of them up to where the mask cuts it.
            ///
            /// # Safety
            /// They are readable up to there; the CPU has the features.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn values<const V: usize>(p: *const $t, full: bool, mask: $masks) -> [$vec; V] {
                let mut values = [$zero(); V];
                // SAFETY: the caller's promise.
                unsafe {
                    for v in 0..V - 1 {
                        values[v] = $load(p.add(v * LANES));
                    }
                    let last = p.add((V - 1) * LANES);
                    values[V - 1] = if full { $load(last) } else { $mask_load(last, mask) };
                }
                values
            }

            /// One step along k with adjacent rows.
            ///
            /// # Safety
            /// `a` is readable for `R` values and each of `b` for a vector; the CPU has the features.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn step<const R: usize, const V: usize>(
                a: *const $t,
                b: [*const $t; V],
                sum: &mut [[$vec; V]; R],
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut columns = [$zero(); V];
                    for v in 0..V {
                        columns[v] = $load(b[v]);
                    }
                    for i in 0..R {
                        let x = $set1(*a.add(i));
                        for v in 0..V {
                            sum[i][v] = $fma(x, columns[v], sum[i][v]);
                        }
                    }
                }
            }

            /// One step along k with rows that lie anywhere.
            ///
            /// # Safety
            /// A value is readable at `at` in each row, and all vectors of B up to where the mask
            /// cuts the last; the CPU has the features.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn step_in_place<const R: usize, const V: usize>(
                rows: &[*const $t; R],
                at: usize,
                b: *const $t,
                mask: $masks,
                sum: &mut [[$vec; V]; R],
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut columns = [$zero(); V];
                    for v in 0..V - 1 {
                        columns[v] = $load(b.add(v * LANES));
                    }
                    columns[V - 1] = $mask_load(b.add((V - 1) * LANES), mask);
                    for i in 0..R {
                        let x = $set1(*rows[i].add(at));
                        for v in 0..V {
                            sum[i][v] = $fma(x, columns[v], sum[i][v]);
                        }
                    }
                }
            }

            /// A tile of up to `R` rows and `V` vectors of columns. `S` sums of an element take
            /// turns: additions to one of a few would have to wait for each other.
            ///
            /// # Safety
            /// As for [`Kernel::run`]; the tile has no more rows and columns than that, and its
            /// operands lie as `HOW` says. The CPU has the features.
            #[target_feature(enable = $features)]
            unsafe fn tile<const R: usize, const V: usize, const S: usize, const HOW: u8>(
                t: &Tile<$t>,
            ) {
                let mut sums = [[[$zero(); V]; R]; S];
                let full = t.cols == V * LANES;
                let mask = $mask(t.cols - (V - 1) * LANES);
                // SAFETY: see `Kernel::run`. Packed panels are padded; operands read in place are
                // whole unless `IN_PLACE`, where rows are clamped and columns masked.
                unsafe {
                    for i in 0..R {
                        let c = t.c.wrapping_add(i * t.ldc).cast::<i8>();
                        for line in (0..V * LANES * size_of::<$t>()).step_by(64) {
                            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(line));
                        }
                    }
                    if HOW == PACKED || HOW == ADJACENT {
                        let (mut a, mut b) = (t.a, t.b);
                        let (a_step, b_step) =
                            if HOW == PACKED { (MR, NR) } else { (t.a_step, t.b_step) };
                        let mut ahead = t.ahead.from.cast::<i8>();
                        steps!(
                            t.k,
                            sums,
                            sum,
                            {
                                step(a, vectors::<V>(b, LANES), sum);
                                (a, b) = (a.wrapping_add(a_step), b.wrapping_add(b_step));
                            },
                            {
                                if HOW == PACKED {
                                    _mm_prefetch::<_MM_HINT_T1>(ahead);
                                    ahead = ahead.wrapping_add(t.ahead.step);
                                }
                            }
                        );
                    } else if let (GATHERED, Some(gather)) = (HOW, t.gather) {
                        let (mut a, mut row) = (t.a, gather.rows);
                        let b = vectors::<V>(t.b, gather.second);
                        steps!(t.k, sums, sum, {
                            step(a, b.map(|b| b.wrapping_add(*row)), sum);
                            (a, row) = (a.wrapping_add(MR), row.wrapping_add(1));
                        });
                    } else {
                        let mut rows = [t.a; R];
                        for i in 0..R {
                            rows[i] = t.a.add(i.min(t.rows - 1) * t.a_row);
                        }
                        let mut b = t.b;
                        if S == 1 {
                            // Not unrolled, which costs the addresses of the rows a tenth.
                            for p in 0..t.k {
                                step_in_place(&rows, p * t.a_step, b, mask, &mut sums[0]);
                                b = b.wrapping_add(t.b_step);
                            }
                        } else {
                            let mut at = 0;
                            steps!(t.k, sums, sum, {
                                step_in_place(&rows, at, b, mask, sum);
                                (at, b) = (at + t.a_step, b.wrapping_add(t.b_step));
                            });
                        }
                    }
                    let mut sum = sums[0];
                    for more in &sums[1..] {
                        for i in 0..R {
                            for v in 0..V {
                                sum[i][v] = $add(sum[i][v], more[i][v]);
                            }
                        }
                    }
                    // Each part of the end is asked for once, not for each row; and spelled out, because
                    // an index that is not a constant would keep the sums in memory all the time.
                    if t.alpha != 1.0 {
                        let alpha = $set1(t.alpha);
                        $(if $row < R {
                            for v in 0..V {
                                sum[$row][v] = $mul(sum[$row][v], alpha);
                            }
                        })*
                    }
                    if !t.row_bias.is_null() {
                        $(if $row < R && $row < t.rows {
                            let bias = $set1(*t.row_bias.add($row));
                            for v in 0..V {
                                sum[$row][v] = $add(sum[$row][v], bias);
                            }
                        })*
                    }
                    if !t.col_bias.is_null() {
                        let bias = values::<V>(t.col_bias, full, mask);
                        $(if $row < R {
                            for v in 0..V {
                                sum[$row][v] = $add(sum[$row][v], bias[v]);
                            }
                        })*
                    }
                    if t.accumulate {
                        $(if $row < R && $row < t.rows {
                            let old = values::<V>(t.c.add($row * t.ldc), full, mask);
                            for v in 0..V {
                                sum[$row][v] = $add(sum[$row][v], old[v]);
                            }
                        })*
                    }
                    if t.relu {
                        // The second operand is the result when one is NaN.
                        $(if $row < R {
                            for v in 0..V {
                                sum[$row][v] = $max($zero(), sum[$row][v]);
                            }
                        })*
                    }
                    $(if $row < R && $row < t.rows {
                        let c = t.c.add($row * t.ldc);
                        for v in 0..V - 1 {
                            $store(c.add(v * LANES), sum[$row][v]);
                        }
                        let (c, last) = (c.add((V - 1) * LANES), sum[$row][V - 1]);
                        if full { $store(c, last) } else { $mask_store(c, mask, last) }
                    })*
                }
            }
        }
    };
}

// 12 rows of 2 vectors are 24 sums, which leaves registers for B; and 12 divides the usual sizes
// with less waste than 14. On Zen 4 both instruction sets reach the same peak from panels in the
// cache (bench: `gemm_bench`, with `FLODL_ISA=avx2` for the other).
x86_kernel!(
    F32_AVX512, f32_avx512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", f32, __m512,
    mr 12, lanes 16, rows [1 x 2, 2 x 2, 4 x 1, 8 x 1, 12 x 1],
    all [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps,
    _mm512_add_ps, _mm512_mul_ps, _mm512_max_ps, mask16 -> __mmask16, mask_load_16, mask_store_16
);
x86_kernel!(
    F64_AVX512, f64_avx512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", f64, __m512d,
    mr 12, lanes 8, rows [1 x 2, 2 x 2, 4 x 1, 8 x 1, 12 x 1],
    all [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    _mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd,
    _mm512_add_pd, _mm512_mul_pd, _mm512_max_pd, mask8 -> __mmask8, mask_load_8, mask_store_8
);
x86_kernel!(
    F32_AVX2, f32_avx2, Avx2, "avx2,fma", f32, __m256,
    mr 6, lanes 8, rows [1 x 2, 2 x 2, 4 x 1, 6 x 1], all [0, 1, 2, 3, 4, 5],
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps,
    _mm256_add_ps, _mm256_mul_ps, _mm256_max_ps, mask_avx_ps -> __m256i, _mm256_maskload_ps,
    _mm256_maskstore_ps
);
x86_kernel!(
    F64_AVX2, f64_avx2, Avx2, "avx2,fma", f64, __m256d,
    mr 6, lanes 4, rows [1 x 2, 2 x 2, 4 x 1, 6 x 1], all [0, 1, 2, 3, 4, 5],
    _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd,
    _mm256_add_pd, _mm256_mul_pd, _mm256_max_pd, mask_avx_pd -> __m256i, _mm256_maskload_pd,
    _mm256_maskstore_pd
);

/// The first `n` of 16 lanes.
#[inline(always)]
fn mask16(n: usize) -> __mmask16 {
    (u32::MAX >> (32 - n as u32)) as __mmask16
}

/// The first `n` of 8 lanes.
#[inline(always)]
fn mask8(n: usize) -> __mmask8 {
    (u32::MAX >> (32 - n as u32)) as __mmask8
}

/// # Safety
/// `p` is readable in the lanes that the mask names; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn mask_load_16(p: *const f32, mask: __mmask16) -> __m512 {
    // SAFETY: the caller's promise for the masked lanes.
    unsafe { _mm512_maskz_loadu_ps(mask, p) }
}

/// # Safety
/// `p` is writable in the lanes that the mask names; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn mask_store_16(p: *mut f32, mask: __mmask16, x: __m512) {
    // SAFETY: the caller's promise for the masked lanes.
    unsafe { _mm512_mask_storeu_ps(p, mask, x) }
}

/// # Safety
/// `p` is readable in the lanes that the mask names; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn mask_load_8(p: *const f64, mask: __mmask8) -> __m512d {
    // SAFETY: the caller's promise for the masked lanes.
    unsafe { _mm512_maskz_loadu_pd(mask, p) }
}

/// # Safety
/// `p` is writable in the lanes that the mask names; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn mask_store_8(p: *mut f64, mask: __mmask8, x: __m512d) {
    // SAFETY: the caller's promise for the masked lanes.
    unsafe { _mm512_mask_storeu_pd(p, mask, x) }
}

/// The first `n` of 8 lanes.
///
/// # Safety
/// The CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "avx2")]
fn mask_avx_ps(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The first `n` of 4 lanes.
///
/// # Safety
/// The CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "avx2")]
fn mask_avx_pd(n: usize) -> __m256i {
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), _mm256_setr_epi64x(0, 1, 2, 3))
}

/// The 16 bytes at each address, side by side.
///
/// # Safety
/// They are readable; the CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn quarters_ps(at: [*const f32; 4]) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_castps128_ps512(_mm_loadu_ps(at[0]));
        let low = _mm512_insertf32x4::<1>(low, _mm_loadu_ps(at[1]));
        let low = _mm512_insertf32x4::<2>(low, _mm_loadu_ps(at[2]));
        _mm512_insertf32x4::<3>(low, _mm_loadu_ps(at[3]))
    }
}

/// As [`quarters_ps`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn quarters_pd(at: [*const f64; 4]) -> __m512d {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castps_pd(quarters_ps(at.map(<*const f64>::cast))) }
}

/// As [`quarters_ps`], of two.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves_ps(at: [*const f32; 2]) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu2_m128(at[1], at[0]) }
}

/// As [`quarters_ps`], of two.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves_pd(at: [*const f64; 2]) -> __m256d {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu2_m128d(at[1], at[0]) }
}

/// Writes the first `n` lanes, 2, 4 or 6. Not by a mask, which takes AMD's cores a dozen cycles.
///
/// # Safety
/// `p` is writable for them; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_part_ps(p: *mut f32, x: __m256, n: usize) {
    let (low, high) = (_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    // SAFETY: the caller's promise.
    unsafe {
        match n {
            6 => {
                _mm_storeu_ps(p, low);
                _mm_store_sd(p.add(4).cast(), _mm_castps_pd(high));
            }
            4 => _mm_storeu_ps(p, low),
            _ => _mm_store_sd(p.cast(), _mm_castps_pd(low)),
        }
    }
}

/// Writes the first two lanes, all that an even width can leave.
///
/// # Safety
/// `p` is writable for them; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_part_pd(p: *mut f64, x: __m256d, _two: usize) {
    // SAFETY: the caller's promise.
    unsafe { _mm_storeu_pd(p, _mm256_castpd256_pd128(x)) }
}

/// Writes the first `n` lanes.
///
/// # Safety
/// `p` is writable for them; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_part_16(p: *mut f32, x: __m512, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { mask_store_16(p, mask16(n), x) }
}

/// Writes the first `n` lanes.
///
/// # Safety
/// `p` is writable for them; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_part_8(p: *mut f64, x: __m512d, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { mask_store_8(p, mask8(n), x) }
}

/// Transposes 4×4 values of `f32` in each 16 bytes of four vectors, or 2×2 of `f64` in two.
macro_rules! transpose_16_bytes {
    ($name:ident, $features:literal, f32, $vec:ty, $low:ident, $high:ident, $shuffle:ident) => {
        /// # Safety
        /// The CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn $name([a, b, c, d]: [$vec; 4]) -> [$vec; 4] {
            let (ab, ab_high) = ($low(a, b), $high(a, b));
            let (cd, cd_high) = ($low(c, d), $high(c, d));
            [
                $shuffle::<0x44>(ab, cd),
                $shuffle::<0xEE>(ab, cd),
                $shuffle::<0x44>(ab_high, cd_high),
                $shuffle::<0xEE>(ab_high, cd_high),
            ]
        }
    };
    ($name:ident, $features:literal, f64, $vec:ty, $low:ident, $high:ident) => {
        /// # Safety
        /// The CPU has the features that the attribute names.
        #[inline]
        #[target_feature(enable = $features)]
        fn $name([a, b]: [$vec; 2]) -> [$vec; 2] {
            [$low(a, b), $high(a, b)]
        }
    };
}
transpose_16_bytes!(
    transpose_512_ps,
    "avx512f",
    f32,
    __m512,
    _mm512_unpacklo_ps,
    _mm512_unpackhi_ps,
    _mm512_shuffle_ps
);
transpose_16_bytes!(
    transpose_256_ps,
    "avx2",
    f32,
    __m256,
    _mm256_unpacklo_ps,
    _mm256_unpackhi_ps,
    _mm256_shuffle_ps
);
transpose_16_bytes!(
    transpose_512_pd,
    "avx512f",
    f64,
    __m512d,
    _mm512_unpacklo_pd,
    _mm512_unpackhi_pd
);
transpose_16_bytes!(transpose_256_pd, "avx2", f64, __m256d, _mm256_unpacklo_pd, _mm256_unpackhi_pd);

macro_rules! x86_transpose {
    (
        $name:ident, $features:literal, $t:ty, $vec:ty, parts $parts:literal of $values:literal,
        $load:ident, $transpose:ident, $store:ident, $store_part:ident
    ) => {
        /// Packs one panel from `count` rows that are contiguous along k; returns how many steps
        /// of k it did, a multiple of what 16 bytes hold.
        ///
        /// # Safety
        /// `src` is readable for `count <= width` rows of `k` values, `stride` apart, and `dst`
        /// writable for `k * width` values. The width is even. The CPU has the features that the
        /// attribute names.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(
            dst: *mut $t,
            width: usize,
            src: *const $t,
            stride: usize,
            count: usize,
            k: usize,
        ) -> usize {
            const VALUES: usize = $values;
            const LANES: usize = $parts * VALUES;
            // A line of the cache of each row at once: the rows are often so far apart that it does
            // not stay.
            const LINE: usize = 4 * VALUES;
            static NOTHING: [$t; VALUES] = [0.0; VALUES];
            let steps = k / VALUES * VALUES;
            for first in (0..steps).step_by(LINE) {
                for group in (0..width).step_by(LANES) {
                    let (left, rows) = (width - group, count.saturating_sub(group));
                    for p in (first..(first + LINE).min(steps)).step_by(VALUES) {
                        let src = src.wrapping_add(group * stride + p);
                        let row = |i: usize| {
                            if i < rows { src.wrapping_add(i * stride) } else { NOTHING.as_ptr() }
                        };
                        // SAFETY: rows below `count` are readable at p..p + VALUES; the panel has
                        // `left` lanes left.
                        unsafe {
                            let mut block = [$load([NOTHING.as_ptr(); $parts]); VALUES];
                            for i in 0..VALUES {
                                let part = |j: usize| j * VALUES + i;
                                // Whole groups apart: asking for each row costs them 7 per cent.
                                block[i] = if rows >= LANES {
                                    let mut at = [src; $parts];
                                    for j in 0..$parts {
                                        at[j] = src.wrapping_add(part(j) * stride);
                                    }
                                    $load(at)
                                } else {
                                    let mut at = [src; $parts];
                                    for j in 0..$parts {
                                        at[j] = row(part(j));
                                    }
                                    $load(at)
                                };
                            }
                            let block = $transpose(block);
                            let dst = dst.wrapping_add(p * width + group);
                            for i in 0..VALUES {
                                let dst = dst.wrapping_add(i * width);
                                if left >= LANES {
                                    $store(dst, block[i]);
                                } else {
                                    $store_part(dst, block[i], left);
                                }
                            }
                        }
                    }
                }
            }
            steps
        }
    };
}
x86_transpose!(
    pack_f32_avx512, "avx512f,avx512dq", f32, __m512, parts 4 of 4, quarters_ps, transpose_512_ps,
    _mm512_storeu_ps, store_part_16
);
x86_transpose!(
    pack_f64_avx512, "avx512f,avx512dq", f64, __m512d, parts 4 of 2, quarters_pd, transpose_512_pd,
    _mm512_storeu_pd, store_part_8
);
x86_transpose!(
    pack_f32_avx2, "avx2", f32, __m256, parts 2 of 4, halves_ps, transpose_256_ps,
    _mm256_storeu_ps, store_part_ps
);
x86_transpose!(
    pack_f64_avx2, "avx2", f64, __m256d, parts 2 of 2, halves_pd, transpose_256_pd,
    _mm256_storeu_pd, store_part_pd
);
