//! Times matrix products, and the copies that they make: `gemm_bench [m k n ...]`. Prints the layout,
//! m, k, n, and the least and the median time in µs.

use std::time::Instant;

use flodl_cpu::gemm::pack::{pack, packed_len};
use flodl_cpu::gemm::{Epilogue, Gemm, Kernel, Mat, PackedB, gemm, gemm_packed};

const SHAPES: &[[usize; 3]] = &[
    [256, 1024, 2048],
    [256, 2048, 2048],
    [4096, 512, 512],
    [4096, 512, 8192],
    [128, 256, 768],
    [128, 512, 2048],
    [256, 1024, 1024],
    [128, 512, 512],
    [64, 784, 128],
    [64, 128, 10],
    [32, 128, 512],
    [8, 512, 512],
    [2, 512, 512],
    [16, 16, 16],
    [16, 16, 1],
    [16, 1, 16],
    [1, 2048, 2048],
    [2048, 2048, 1],
];

/// Least and median seconds per call, over some 0.15 s.
fn time(mut f: impl FnMut()) -> (f64, f64) {
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().as_secs_f64().max(1e-8);
    let calls = (2e-4 / once).clamp(1.0, 10_000.0) as usize;
    let rounds = (0.15 / (once * calls as f64)).clamp(7.0, 500.0) as usize;
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                f();
            }
            start.elapsed().as_secs_f64() / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[rounds / 2])
}

fn row<T: Gemm>(name: &str, [m, k, n]: [usize; 3]) {
    let numbers = |len: usize| -> Vec<T> {
        (0..len).map(|i| T::from_f64((i * 7919 % 31) as f64 / 31.0 - 0.5)).collect()
    };
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), numbers(m * n));
    for layout in ["NN", "NT", "TN", "TT", "NN packed", "TN packed"] {
        let t = layout.as_bytes();
        let a = if t[0] == b'T' { Mat::row_major(&a, m).t() } else { Mat::row_major(&a, k) };
        let b = if t[1] == b'T' { Mat::row_major(&b, k).t() } else { Mat::row_major(&b, n) };
        let ep = Epilogue::default();
        let packed = PackedB::new(m, k, n, b).expect("memory");
        let (least, median) = time(|| {
            let done = if layout.len() > 2 {
                gemm_packed(m, a, &packed, &mut c, n, &ep)
            } else {
                gemm(m, n, k, a, b, &mut c, n, &ep)
            };
            done.expect("memory");
            std::hint::black_box(&mut c);
        });
        let rate = 2.0 * (m * n * k) as f64 / least / 1e9;
        println!(
            "{name} {layout:9} {m:5} {k:5} {n:5} {:10.3} {:10.3} µs {rate:6.1} GFLOP/s",
            least * 1e6,
            median * 1e6
        );
    }
}

/// Copies of B, or of its transpose, in such parts as one thread makes of a large operand.
fn copies<T: Gemm>(name: &str, [m, k, n]: [usize; 3]) {
    const PANELS: usize = 8;
    const DEPTH: usize = 512;
    let b: Vec<T> = (0..k * n).map(|i| T::from_f64(i as f64)).collect();
    let kernel = Kernel::<T>::best();
    for (layout, width, line, step) in [
        ("rows of A", kernel.mr, k, 1),
        ("cols of A", kernel.mr, 1, n),
        ("rows of B", kernel.nr, k, 1),
        ("cols of B", kernel.nr, 1, n),
    ] {
        let mut panels = vec![T::ZERO; packed_len(width, PANELS * width, DEPTH)];
        let (least, median) = time(|| {
            for k0 in (0..k).step_by(DEPTH) {
                for first in (0..n).step_by(PANELS * width) {
                    let (count, k) = ((PANELS * width).min(n - first), DEPTH.min(k - k0));
                    let src = &b[first * line + k0 * step..];
                    pack(kernel.isa, width, &mut panels, src, line, step, count, k);
                    std::hint::black_box(&mut panels);
                }
            }
        });
        let rate = (n * k * size_of::<T>()) as f64 / least / 1e9;
        println!(
            "{name} {layout:9} {m:5} {k:5} {n:5} {:10.3} {:10.3} µs {rate:6.1} GB/s",
            least * 1e6,
            median * 1e6
        );
    }
}

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let given: Vec<[usize; 3]> = given.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
    for &shape in if given.is_empty() { SHAPES } else { &given } {
        row::<f32>("f32", shape);
        copies::<f32>("f32", shape);
        if std::env::var_os("GEMM_F64").is_some() {
            row::<f64>("f64", shape);
        }
    }
}
