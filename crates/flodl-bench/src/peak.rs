//! What the machine can do at best: multiplications and additions that never leave the registers.

use std::hint::black_box;
use std::time::Instant;

use flodl_cpu::element::Float;
use flodl_cpu::simd::{Arch, Isa};
use flodl_cpu::simd_fn;
use flodl_cpu::threads;

/// Independent chains: more than a unit's latency times the units, so that none ever waits.
const CHAINS: usize = 12;
/// Steps of a chain in one measurement, some milliseconds.
const ROUNDS: usize = 1 << 20;
/// Measurements, of which the best counts.
const TRIES: usize = 10;

/// Lanes of a vector.
fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Baseline => 4,
    }
}

simd_fn! {
    /// Runs all chains for so many rounds, each from its own start.
    fn run<A>(rounds: usize, starts: &'x [[f32; 16]; CHAINS]) -> f32 {
        match A::ISA {
            Isa::Avx512 => chains::<A, 16>(rounds, starts),
            Isa::Avx2 => chains::<A, 8>(rounds, starts),
            Isa::Baseline => chains::<A, 4>(rounds, starts),
        }
    }
}

#[inline(always)]
fn chains<A: Arch, const L: usize>(rounds: usize, starts: &[[f32; 16]; CHAINS]) -> f32 {
    let mut x: [[f32; L]; CHAINS] = starts.map(|start| std::array::from_fn(|i| start[i]));
    let (factor, more) = (black_box(0.5), black_box(1.0));
    for _ in 0..rounds {
        // A loop, not a closure: what is not inlined would be compiled without the instruction set.
        for chain in &mut x {
            for value in chain {
                *value = value.mul_add_::<A>(factor, more);
            }
        }
    }
    x.iter().flatten().sum()
}

/// The best rate that so many threads reach together, in 10^9 operations a second.
pub fn fma_gflops(threads: usize) -> f64 {
    let starts = black_box([[1.0; 16]; CHAINS].map(|s| s.map(black_box)));
    let operations = (2 * CHAINS * lanes(flodl_cpu::simd::isa()) * ROUNDS * threads) as f64;
    let once = |_| {
        let start = Instant::now();
        threads::parallel_for(threads, |_| {
            black_box(run(ROUNDS, &starts));
        });
        operations / start.elapsed().as_secs_f64() * 1e-9
    };
    (0..TRIES).map(once).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a chain starts from, halving it and adding 1 leads to 2.
    #[test]
    fn chains_compute_what_they_say() {
        let starts = std::array::from_fn(|i| [i as f32; 16]);
        let lanes = lanes(flodl_cpu::simd::isa());
        assert_eq!(run(100, &starts), (2 * CHAINS * lanes) as f32);
    }
}
