//! Products of few elements with long sums, such as the weight gradient of a narrow layer over a
//! large batch: C has too few tiles to share among threads, so the sums are cut instead.

use std::sync::Mutex;

use super::blocked::{Problem, blocked, parallel};
use super::kernel::{Gemm, Kernel};
use crate::alloc::{OutOfMemory, Scratch};
use crate::threads::{self, SharedMut};

/// Least length of a part: what one block of the plain way sums in registers
/// (bench: `kernels --only 16x8192x16`).
const LEAST: usize = 512;
/// Most parts; more would add up more partial sums than they have threads to serve.
const MOST: usize = 32;
/// Elements of C that are added up together: one after the other they take a tenth of the time
/// (bench: `kernels --only 64x8192x64`).
const TOGETHER: usize = 16;

/// Number of parts that the sums of a product are cut in, and so the order of the sums. It depends
/// on the sizes alone, never on the number of threads or the instruction set.
pub(super) fn parts(m: usize, n: usize, k: usize) -> usize {
    // Tiles of C, which the plain way shares among the threads: about 8 rows of 32 columns each.
    let tiles = m.div_ceil(8).saturating_mul(n.div_ceil(32));
    let parts = (k / LEAST).min(MOST);
    if parts >= tiles.max(2) && parallel(m, n, k) { parts } else { 1 }
}

/// Computes the product as the sum of `parts` products, each one task, added up in their order.
///
/// # Safety
/// The problem is valid and nobody else uses C.
pub(super) unsafe fn split<T: Gemm>(
    kernel: &Kernel<T>,
    p: &Problem<T>,
    parts: usize,
) -> Result<(), OutOfMemory> {
    let step = p.k.div_ceil(parts).next_multiple_of(8);
    let (parts, size) = (p.k.div_ceil(step), p.m * p.n);
    let mut sums = Scratch::<T>::new(parts * size)?;
    let shared = SharedMut::new(&mut sums);
    let failed = Mutex::new(None);
    threads::parallel_for(parts, |i| {
        let first = i * step;
        let part = Problem {
            k: step.min(p.k - first),
            a: p.a.wrapping_add(first * p.a_col),
            b: p.b.wrapping_add(first * p.b_row),
            // SAFETY: this part of the sums is this task's.
            c: unsafe { shared.range(i * size..(i + 1) * size) }.as_mut_ptr(),
            ldc: p.n,
            accumulate: false,
            alpha: T::ONE,
            bias: std::ptr::null(),
            row_bias: std::ptr::null(),
            relu: false,
            ..*p
        };
        // SAFETY: a part of a valid problem, whose C is this task's.
        if let Err(error) = unsafe { blocked(kernel, &part, None, None, None) } {
            *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        return Err(error);
    }
    let sums = &sums[..];
    threads::parallel_rows(p.m, parts * p.n, |rows| {
        for i in rows {
            // SAFETY: the problem's C has `m` rows of `n` values, and this row is this task's; a
            // bias that is not null has a value for each column or row.
            let (c, bias, row_bias) = unsafe {
                let c = std::slice::from_raw_parts_mut(p.c.wrapping_add(i * p.ldc), p.n);
                let bias = (!p.bias.is_null()).then(|| std::slice::from_raw_parts(p.bias, p.n));
                (c, bias, if p.row_bias.is_null() { T::ZERO } else { *p.row_bias.add(i) })
            };
            for (start, c) in (0..p.n).step_by(TOGETHER).zip(c.chunks_mut(TOGETHER)) {
                let of_part = |part: usize| &sums[part * size + i * p.n + start..][..c.len()];
                let mut sum = [T::ZERO; TOGETHER];
                sum[..c.len()].copy_from_slice(of_part(0));
                for part in 1..parts {
                    sum.iter_mut().zip(of_part(part)).for_each(|(sum, &x)| *sum += x);
                }
                for ((j, c), sum) in (start..).zip(c).zip(sum) {
                    let mut x = sum * p.alpha + bias.map_or(T::ZERO, |b| b[j]) + row_bias;
                    if p.accumulate {
                        x += *c;
                    }
                    *c = if p.relu && x < T::ZERO { T::ZERO } else { x };
                }
            }
        }
    });
    Ok(())
}
