//! Panels for the tile unit of [`super::amx`], which multiplies numbers of 8 significant bits: each
//! `f32`, which has 24, is the sum of three such parts.
//!
//! A panel has 32 lines in blocks of 32 steps along k; a block holds the first part of its values,
//! then the second, then the third. Each of these is two tiles of 16 lines, and a tile 16 rows of 16
//! pairs: the pairs of a line in a left operand, the pairs of all lines at one place in a right one.
//! A pair is the part at step p in its low half and that at step p + 16 in its high half.

use std::arch::x86_64::*;

use super::kernel::Side;
use super::x86::{quarters_ps, transpose_512_ps};

/// Lines of a panel.
pub(super) const WIDTH: usize = 32;
/// Steps along k of a block.
pub(super) const STEPS: usize = 32;
/// Lines of a tile, and rows and pairs of one.
pub(super) const HALF: usize = 16;
/// Pairs of a tile; of the tiles of a part; of a block.
const TILE: usize = HALF * HALF;
pub(super) const PART: usize = 2 * TILE;
pub(super) const BLOCK: usize = 3 * PART;
/// What is left of a number without its lowest 16 bits.
const HIGH: i32 = 0xFFFF_0000_u32 as i32;

/// Room for `count` lines of `k` values, in values of four bytes.
pub(super) fn packed_len(count: usize, k: usize) -> usize {
    count.div_ceil(WIDTH) * k.div_ceil(STEPS) * BLOCK
}

/// Packs `count` lines of `k` values; line i has its values at `i * line_stride + p * k_stride`.
/// Steps past the last one are zeros, and so are lines in a tile that has any. Other tiles of the
/// last panel are left as they were.
///
/// # Safety
/// As for [`super::pack::pack_raw`], with the room that [`packed_len`] names. The CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) unsafe fn pack(
    side: Side,
    dst: *mut f32,
    src: *const f32,
    [line_stride, k_stride]: [usize; 2],
    count: usize,
    k: usize,
) {
    let (blocks, tiles) = (k.div_ceil(STEPS), count.div_ceil(HALF));
    let tile = |tile: usize, block: usize| {
        let (panel, half) = (tile / 2, tile % 2);
        let dst = dst.wrapping_add((panel * blocks + block) * BLOCK + half * TILE);
        let (line, step) = (tile * HALF, block * STEPS);
        let src = src.wrapping_add(line * line_stride + step * k_stride);
        let (lines, steps) = (HALF.min(count - line), STEPS.min(k - step));
        // SAFETY: these lines and steps are there; the tile is inside its block.
        unsafe { pack_tile(side, dst.cast(), src, [line_stride, k_stride], lines, steps) }
    };
    for first in (0..tiles).step_by(2) {
        for b in 0..blocks {
            (first..(first + 2).min(tiles)).for_each(|t| tile(t, b));
        }
    }
}

/// Packs the three parts of one tile.
///
/// # Safety
/// The lines and steps are readable, and the tile in each part of its block is the caller's. The CPU
/// has AVX-512.
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn pack_tile(
    side: Side,
    dst: *mut u32,
    src: *const f32,
    [line_stride, k_stride]: [usize; 2],
    lines: usize,
    steps: usize,
) {
    let adjacent = line_stride == 1 || k_stride == 1;
    // SAFETY: the caller's promise; a whole tile of a source with adjacent lines or steps has 16
    // vectors and 16 more, and the copy of a part of one has zeros where the source ends.
    unsafe {
        if lines == HALF && steps == STEPS && adjacent {
            let (apart, second) =
                if k_stride == 1 { (line_stride, HALF) } else { (k_stride, HALF * k_stride) };
            return match (side, k_stride == 1) {
                (Side::A, true) | (Side::B, false) => straight(dst, src, apart, second),
                _ => turned(dst, src, apart, second),
            };
        }
        let mut copy = [0.0; HALF * STEPS];
        let (line, step) = match side {
            Side::A => (STEPS, 1),
            Side::B => (1, HALF),
        };
        for i in 0..lines {
            for p in 0..steps {
                copy[i * line + p * step] = *src.add(i * line_stride + p * k_stride);
            }
        }
        let apart = line.max(step);
        let second = if step == 1 { HALF } else { HALF * step };
        straight(dst, copy.as_ptr(), apart, second);
    }
}

/// A tile whose rows are vectors of the source.
///
/// # Safety
/// `src` is readable for 16 vectors, `apart` from each other, and for as many `second` further on.
/// The tile in each part of its block is the caller's. The CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn straight(dst: *mut u32, src: *const f32, apart: usize, second: usize) {
    for row in 0..HALF {
        let at = src.wrapping_add(row * apart);
        // SAFETY: the caller's promise.
        unsafe {
            let pair = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(second))];
            store(dst.add(row * HALF), pair);
        }
    }
}

/// A tile whose columns are vectors of the source.
///
/// # Safety
/// As for [`straight`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn turned(dst: *mut u32, src: *const f32, apart: usize, second: usize) {
    for first in (0..HALF).step_by(4) {
        // SAFETY: the caller's promise.
        let columns = |src: *const f32| unsafe {
            let at = |i: usize| {
                let row = |part: usize| src.wrapping_add((4 * part + i) * apart + first);
                [row(0), row(1), row(2), row(3)]
            };
            let quarters = [at(0), at(1), at(2), at(3)];
            transpose_512_ps([
                quarters_ps(quarters[0]),
                quarters_ps(quarters[1]),
                quarters_ps(quarters[2]),
                quarters_ps(quarters[3]),
            ])
        };
        let (low, high) = (columns(src), columns(src.wrapping_add(second)));
        for i in 0..4 {
            // SAFETY: the caller's promise.
            unsafe { store(dst.add((first + i) * HALF), [low[i], high[i]]) };
        }
    }
}

/// Writes a row of pairs in all three parts of a block.
///
/// # Safety
/// The rows are the caller's; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn store(dst: *mut u32, x: [__m512; 2]) {
    let high = x.map(|x| rounded(x));
    let rest = [_mm512_sub_ps(x[0], high[0]), _mm512_sub_ps(x[1], high[1])];
    // What is not finite leaves a rest that is not, and so does what rounds up to infinity.
    let (high, rest) = match unbounded(rest[0]) | unbounded(rest[1]) {
        0 => (high, rest),
        _ => apart(x),
    };
    let middle = rest.map(|x| rounded(x));
    let low = [_mm512_sub_ps(rest[0], middle[0]), _mm512_sub_ps(rest[1], middle[1])];
    for (part, values) in [high, middle, low].into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(dst.add(part * PART).cast(), paired(values)) };
    }
}

/// To 8 significant bits, halves away from zero.
///
/// # Safety
/// The CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(x: __m512) -> __m512 {
    let up = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(HIGH)))
}

/// Which are infinite or NaN.
///
/// # Safety
/// The CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "avx512dq")]
pub(super) fn unbounded(x: __m512) -> __mmask16 {
    const NAN: i32 = 0x01 | 0x80;
    const INFINITE: i32 = 0x08 | 0x10;
    _mm512_fpclass_ps_mask::<{ NAN | INFINITE }>(x)
}

/// The first part of values some of which are infinite, NaN or next to infinity, and the rest, which
/// is 0 for what is not finite.
///
/// # Safety
/// The CPU has the features that the attribute names.
#[cold]
#[target_feature(enable = "avx512f,avx512dq")]
fn apart(x: [__m512; 2]) -> ([__m512; 2], [__m512; 2]) {
    let first = x.map(|x| {
        let bits = _mm512_castps_si512(x);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        // A NaN's bits may all be low ones.
        let bits = _mm512_mask_or_epi32(bits, nan, bits, _mm512_set1_epi32(0x0040_0000));
        _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(HIGH)))
    });
    let rest = |i: usize| _mm512_maskz_sub_ps(!unbounded(x[i]), x[i], first[i]);
    (first, [rest(0), rest(1)])
}

/// The upper halves of both, side by side, the second one's above.
///
/// # Safety
/// The CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "avx512f")]
fn paired([low, high]: [__m512; 2]) -> __m512i {
    let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(low));
    let high = _mm512_and_si512(_mm512_castps_si512(high), _mm512_set1_epi32(HIGH));
    _mm512_or_si512(low, high)
}

/// The values of a block again, each the sum of its parts: those of a left operand line by line,
/// those of a right one step by step, 32 to a row; zeros for tiles without lines.
///
/// # Safety
/// `block` is readable for the tiles that have some of the `lines`. The CPU has AVX-512.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn joined(side: Side, block: *const f32, lines: usize) -> [[f32; WIDTH]; STEPS] {
    let mut values = [[0.0; WIDTH]; STEPS];
    let pairs: *const u32 = block.cast();
    for tile in 0..lines.div_ceil(HALF) {
        for row in 0..HALF {
            let at = tile * TILE + row * HALF;
            // SAFETY: the caller's promise.
            let parts: [__m512i; 3] = std::array::from_fn(|part| unsafe {
                _mm512_loadu_si512(pairs.add(part * PART + at).cast())
            });
            let low = parts.map(|part| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(part)));
            let high = parts
                .map(|part| _mm512_castsi512_ps(_mm512_and_si512(part, _mm512_set1_epi32(HIGH))));
            for (half, [a, b, c]) in [low, high].into_iter().enumerate() {
                let (to, from) = match side {
                    Side::A => (tile * HALF + row, half * HALF),
                    Side::B => (half * HALF + row, tile * HALF),
                };
                let sum = _mm512_add_ps(a, _mm512_add_ps(b, c));
                let to = &mut values[to][from..from + HALF];
                // SAFETY: 16 values.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sum) };
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{self, Isa};

    /// Values of every kind, among them those whose parts need care.
    fn values(len: usize) -> Vec<f32> {
        let odd = [
            f32::INFINITY,
            -f32::INFINITY,
            f32::NAN,
            f32::from_bits(0x7F80_0001),
            f32::from_bits(0xFFFF_FFFF),
            f32::MAX,
            f32::MIN,
            f32::from_bits(0x7F7F_8000),
            0.0,
            -0.0,
            1.0,
            1e-30,
        ];
        let bits = |i: usize| (i as u32).wrapping_mul(0x9E37_79B9) & 0x8FFF_FFFF | 0x3000_0000;
        (0..len)
            .map(|i| if i % 7 == 3 { odd[i / 7 % odd.len()] } else { f32::from_bits(bits(i)) })
            .collect()
    }

    #[test]
    fn the_parts_of_every_value_add_up_to_it() {
        if simd::supported() < Isa::Avx512 {
            return;
        }
        for side in [Side::A, Side::B] {
            for (count, k) in [(1, 1), (5, 31), (16, 32), (17, 33), (32, 64), (40, 70), (64, 100)] {
                for [line, step] in [[1, count + 3], [k + 2, 1], [2, 2 * count]] {
                    let src = values((count - 1) * line + (k - 1) * step + 1);
                    let mut packed = vec![f32::NAN; packed_len(count, k)];
                    // SAFETY: the source has all lines, the panels have room; AVX-512 is there.
                    unsafe {
                        pack(side, packed.as_mut_ptr(), src.as_ptr(), [line, step], count, k)
                    };
                    let blocks = k.div_ceil(STEPS);
                    for (at, block) in packed.chunks(BLOCK).enumerate() {
                        let (first, start) = (at / blocks * WIDTH, at % blocks * STEPS);
                        // SAFETY: a block with those of these lines that it has; AVX-512 is there.
                        let got = unsafe { joined(side, block.as_ptr(), WIDTH.min(count - first)) };
                        for (i, p) in (0..WIDTH).flat_map(|i| (0..STEPS).map(move |p| (i, p))) {
                            let there = first + i < count && start + p < k;
                            let want = match there {
                                true => src[(first + i) * line + (start + p) * step],
                                false => 0.0,
                            };
                            let got = if side == Side::A { got[i][p] } else { got[p][i] };
                            assert!(
                                got == want || (got.is_nan() && want.is_nan()),
                                "{side:?} {count}x{k}, strides {line} {step}: {got:e}, not {want:e}"
                            );
                        }
                    }
                }
            }
        }
    }
}
