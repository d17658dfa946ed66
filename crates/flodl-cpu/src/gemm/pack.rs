//! Packing: copies of A and B in the order in which the micro-kernel reads them.
//!
//! Both operands have one form: `count` lines (rows of A, columns of B) of `k` values, cut in
//! panels of `width` lines (`Kernel::mr` or `Kernel::nr`). Panel q starts at `q * width * k`; in
//! it, value p of line i is at `p * width + i`. Lines past the last one are zeros.

use super::kernel::Gemm;
use crate::simd::{self, Isa};

/// Number of values that `count` lines of `k` values take when packed in panels of `width` lines.
pub fn packed_len(width: usize, count: usize, k: usize) -> usize {
    count.div_ceil(width) * width * k
}

/// Packs `count` lines of `k` values; line i has its values at `i * line_stride + p * k_stride`.
///
/// # Panics
/// If `src` does not hold all of that, or `dst` fewer than [`packed_len`] values.
pub fn pack<T: Gemm>(
    isa: Isa,
    width: usize,
    dst: &mut [T],
    src: &[T],
    line_stride: usize,
    k_stride: usize,
    count: usize,
    k: usize,
) {
    assert!(dst.len() >= packed_len(width, count, k), "packed panels do not fit");
    if count == 0 || k == 0 {
        return;
    }
    assert!(src.len() > (count - 1) * line_stride + (k - 1) * k_stride, "operand too short");
    // SAFETY: checked above.
    unsafe { pack_raw(isa, width, dst.as_mut_ptr(), src.as_ptr(), line_stride, k_stride, count, k) }
}

/// [`pack`] without the checks, for callers that pack parts of an operand in parallel.
///
/// # Safety
/// `src` is readable at `i * line_stride + p * k_stride` for i below `count` and p below `k`;
/// `dst` is writable for [`packed_len`] values that nobody else uses.
pub unsafe fn pack_raw<T: Gemm>(
    isa: Isa,
    width: usize,
    dst: *mut T,
    src: *const T,
    line_stride: usize,
    k_stride: usize,
    count: usize,
    k: usize,
) {
    let whole = count / width;
    // SAFETY: parts of what the caller promises.
    unsafe {
        if line_stride == 1 {
            match width {
                32 => copy_panels::<T, 32>(dst, src, k_stride, whole, k),
                16 => copy_panels::<T, 16>(dst, src, k_stride, whole, k),
                12 => copy_panels::<T, 12>(dst, src, k_stride, whole, k),
                8 => copy_panels::<T, 8>(dst, src, k_stride, whole, k),
                6 => copy_panels::<T, 6>(dst, src, k_stride, whole, k),
                _ => {
                    for q in 0..whole {
                        let (dst, src) = (dst.add(q * width * k), src.add(q * width));
                        gather(width, dst, src, 1, k_stride, width, 0..k);
                    }
                }
            }
        } else {
            for q in 0..whole {
                let (dst, src) = (dst.add(q * width * k), src.add(q * width * line_stride));
                strided_panel(isa, width, dst, src, line_stride, k_stride, width, k);
            }
        }
        let rest = count - whole * width;
        if rest > 0 {
            let (dst, src) = (dst.add(whole * width * k), src.add(whole * width * line_stride));
            strided_panel(isa, width, dst, src, line_stride, k_stride, rest, k);
        }
    }
}

/// Panels whose lines are adjacent. Some panels go together, so that each step of k reads a few
/// cache lines in a row; no more than the first-level cache has ways, because panels lie a power
/// of two apart and their lines compete for the same places. The steps of k are far apart, often
/// in pages of their own, where no hardware looks ahead (bench: `gemm_bench`).
///
/// # Safety
/// As for [`pack_raw`] with `panels` whole panels of width `W` and lines that are adjacent.
unsafe fn copy_panels<T: Copy, const W: usize>(
    dst: *mut T,
    src: *const T,
    k_stride: usize,
    panels: usize,
    k: usize,
) {
    const TOGETHER: usize = 8;
    const AHEAD: usize = 8;
    for first in (0..panels).step_by(TOGETHER) {
        let last = (first + TOGETHER).min(panels);
        for p in 0..k {
            let ahead = src.wrapping_add((p + AHEAD) * k_stride);
            simd::prefetch(ahead.wrapping_add(first * W), (last - first) * W);
            for q in first..last {
                // SAFETY: inside what the caller of `pack_raw` promises.
                unsafe {
                    let from = src.add(p * k_stride + q * W).cast::<[T; W]>();
                    dst.add((q * k + p) * W).cast::<[T; W]>().write(from.read());
                }
            }
        }
    }
}

/// One panel of `count` lines with any strides.
///
/// # Safety
/// As for [`pack_raw`], with no more lines than the panel is wide.
unsafe fn strided_panel<T: Gemm>(
    isa: Isa,
    width: usize,
    dst: *mut T,
    src: *const T,
    line_stride: usize,
    k_stride: usize,
    count: usize,
    k: usize,
) {
    // SAFETY: inside what the caller of `pack_raw` promises.
    unsafe {
        let done =
            if k_stride == 1 { transposed(isa, width, dst, src, line_stride, count, k) } else { 0 };
        gather(width, dst, src, line_stride, k_stride, count, done..k);
    }
}

/// The steps of k that can go through a transpose in registers; how many these were.
///
/// # Safety
/// As for [`pack_raw`], with no more lines than the panel is wide and values that are adjacent.
unsafe fn transposed<T: Gemm>(
    isa: Isa,
    width: usize,
    dst: *mut T,
    src: *const T,
    stride: usize,
    count: usize,
    k: usize,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        use super::x86;
        use std::any::TypeId;
        let (single, double) = (TypeId::of::<f32>(), TypeId::of::<f64>());
        let (own, isa) = (TypeId::of::<T>(), isa.min(simd::supported()));
        let isa = if width.is_multiple_of(2) { isa } else { Isa::Baseline };
        // SAFETY: the type is the one that the function is for; the CPU has the instruction set.
        unsafe {
            match isa {
                Isa::Avx512 if own == single => {
                    return x86::pack_f32_avx512(dst.cast(), width, src.cast(), stride, count, k);
                }
                Isa::Avx512 if own == double => {
                    return x86::pack_f64_avx512(dst.cast(), width, src.cast(), stride, count, k);
                }
                Isa::Avx2 if own == single => {
                    return x86::pack_f32_avx2(dst.cast(), width, src.cast(), stride, count, k);
                }
                Isa::Avx2 if own == double => {
                    return x86::pack_f64_avx2(dst.cast(), width, src.cast(), stride, count, k);
                }
                _ => {}
            }
        }
    }
    let _ = (isa, width, dst, src, stride, count, k);
    0
}

/// Some steps of k of one panel, value by value.
///
/// # Safety
/// As for [`pack_raw`] with `k` the end of the steps, and no more lines than the panel is wide.
unsafe fn gather<T: Gemm>(
    width: usize,
    dst: *mut T,
    src: *const T,
    line_stride: usize,
    k_stride: usize,
    count: usize,
    steps: std::ops::Range<usize>,
) {
    for p in steps {
        // SAFETY: inside what the caller of `pack_raw` promises.
        unsafe {
            let (dst, src) = (dst.add(p * width), src.add(p * k_stride));
            for i in 0..count {
                *dst.add(i) = *src.add(i * line_stride);
            }
            for i in count..width {
                *dst.add(i) = T::ZERO;
            }
        }
    }
}
