//! What the machine can do at best.

use std::hint::black_box;
use std::time::Instant;

use flodl_cpu::peak::{fma_chains, operations};
use flodl_cpu::threads;

/// Rounds of one measurement, some milliseconds.
const ROUNDS: usize = 1 << 20;
/// Measurements, of which the best counts.
const TRIES: usize = 10;

/// The best rate that so many threads reach together, in 10^9 operations a second.
pub fn fma_gflops(threads: usize) -> f64 {
    let all = (operations() * ROUNDS * threads) as f64;
    let once = |_| {
        let start = Instant::now();
        threads::parallel_for(threads, |_| {
            black_box(fma_chains(ROUNDS, black_box(1.0)));
        });
        all / start.elapsed().as_secs_f64() * 1e-9
    };
    (0..TRIES).map(once).fold(0.0, f64::max)
}
