//! Multiplications and additions that never leave the registers: what a core can do at best, by which
//! the bench judges the matrix kernels.
//!
//! Written with vectors: of arrays of numbers the compiler makes single instructions for one
//! instruction set, and gathers for another.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::hint::black_box;

#[cfg(not(target_arch = "x86_64"))]
use crate::element::Float;
use crate::simd::{self, Isa};

/// Independent chains: more than a unit's latency times the units, so that none ever waits.
const CHAINS: usize = 12;

/// Floating-point operations of each round of [`fma_chains`].
pub fn operations() -> usize {
    let lanes = match simd::isa() {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Baseline => 4,
    };
    2 * CHAINS * lanes
}

/// Halves all values of all chains and adds 1, so many times, from one start; the sum of them all.
///
/// ```
/// let sum = flodl_cpu::peak::fma_chains(100, 7.0);
/// assert_eq!(sum as usize, flodl_cpu::peak::operations(), "all values lead to 2");
/// ```
pub fn fma_chains(rounds: usize, start: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    match simd::isa() {
        // SAFETY: `isa` gives no more than the CPU has.
        Isa::Avx512 => unsafe { avx512(rounds, start) },
        // SAFETY: likewise.
        Isa::Avx2 => unsafe { avx2(rounds, start) },
        // SAFETY: likewise; every such CPU has it.
        Isa::Baseline => unsafe { sse2(rounds, start) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    plain(rounds, start)
}

/// Four lanes.
#[cfg(not(target_arch = "x86_64"))]
fn plain(rounds: usize, start: f32) -> f32 {
    let (factor, more) = (black_box(0.5), black_box(1.0));
    // From starts of their own, lest the chains be one to the compiler.
    let mut chains = [(); CHAINS].map(|()| [black_box(start); 4]);
    for _ in 0..rounds {
        for value in chains.as_flattened_mut() {
            *value = value.mul_add_::<simd::Baseline>(factor, more);
        }
    }
    chains.as_flattened().iter().sum()
}

#[cfg(target_arch = "x86_64")]
macro_rules! vectors {
    ($name:ident, $features:literal, $vector:ident, $set1:ident, $fma:ident, $add:ident, $lanes:literal) => {
        /// # Safety
        /// The CPU has the features that the attribute names.
        #[target_feature(enable = $features)]
        fn $name(rounds: usize, start: f32) -> f32 {
            let (factor, more) = ($set1(black_box(0.5)), $set1(black_box(1.0)));
            // From starts of their own, lest the chains be one to the compiler.
            let mut chains = [(); CHAINS].map(|()| $set1(black_box(start)));
            for _ in 0..rounds {
                for chain in &mut chains {
                    *chain = $fma(*chain, factor, more);
                }
            }
            let sum = chains[1..].iter().fold(chains[0], |sum, &chain| $add(sum, chain));
            // SAFETY: a vector is its lanes.
            unsafe { std::mem::transmute::<$vector, [f32; $lanes]>(sum) }.iter().sum()
        }
    };
}
#[cfg(target_arch = "x86_64")]
vectors!(avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, 16);
#[cfg(target_arch = "x86_64")]
vectors!(avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, 8);
#[cfg(target_arch = "x86_64")]
vectors!(sse2, "sse2", __m128, _mm_set1_ps, multiply_add, _mm_add_ps, 4);

#[cfg(target_arch = "x86_64")]
/// # Safety
/// The CPU has the features that the attribute names.
#[inline]
#[target_feature(enable = "sse2")]
fn multiply_add(a: __m128, b: __m128, c: __m128) -> __m128 {
    _mm_add_ps(_mm_mul_ps(a, b), c)
}
