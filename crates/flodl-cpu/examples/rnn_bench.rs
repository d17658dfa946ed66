//! Times of the parts of recurrent networks at the sizes of the benchmark's models.
//!
//!     cargo run --release -p flodl-cpu --example rnn_bench

use std::time::Duration;

use flodl_cpu::gemm::{Epilogue, Mat, PackedB, gemm, gemm_packed};
use flodl_cpu::rnn::*;

/// CPU time of this process, which others on the machine disturb least.
fn cpu() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// The least CPU time of some runs, in ms.
fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    f();
    let times = (0..runs).map(|_| {
        let start = cpu();
        f();
        (cpu() - start).as_secs_f64() * 1e3
    });
    times.fold(f64::INFINITY, f64::min)
}

fn random(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i as u64).wrapping_mul(2_654_435_761) % 1000) as f32 / 10_000.0).collect()
}

fn main() {
    let geom = RnnGeom {
        mode: Mode::Lstm,
        steps: 50,
        batch: 128,
        input: 512,
        hidden: 512,
        layers: 1,
        directions: 1,
        dropout: None,
    };
    let (rows, wide) = (geom.rows(), 4 * 512);
    let (a, w) = (random(rows * wide), random(wide * 512));
    let mut c = vec![0f32; rows * wide];
    let report = |name: &str, flops: f64, ms: f64| {
        println!("{name:28} {ms:8.2} ms {:7.1} GFLOP/s", flops / ms / 1e6);
    };
    let work = 2.0 * (rows * wide * 512) as f64;
    let plain = Epilogue::default();
    let add = Epilogue { accumulate: true, ..plain };
    let x = Mat::row_major(&a[..rows * 512], 512);
    let ms = best(3, || {
        gemm(rows, wide, 512, x, Mat::row_major(&w, 512).t(), &mut c, wide, &plain).unwrap()
    });
    report("x Wt, all steps", work, ms);
    let packed = PackedB::new(128, 512, wide, Mat::row_major(&w, 512).t()).unwrap();
    let ms = best(3, || {
        for t in 0..50 {
            let h = Mat::row_major(&a[t * 128 * 512..], 512);
            gemm_packed(128, h, &packed, &mut c[t * 128 * wide..], wide, &add).unwrap();
        }
    });
    report("h Ut, step by step", work, ms);
    let back = PackedB::new(128, wide, 512, Mat::row_major(&w, 512)).unwrap();
    let ms = best(3, || {
        for t in 0..50 {
            let d = Mat::row_major(&a[t * 128 * wide..], wide);
            gemm_packed(128, d, &back, &mut c[t * 128 * 512..], 512, &plain).unwrap();
        }
    });
    report("d U, step by step", work, ms);
    let d = Mat::row_major(&a, wide);
    let ms =
        best(3, || gemm(rows, 512, wide, d, Mat::row_major(&w, 512), &mut c, 512, &plain).unwrap());
    report("d W, all steps", work, ms);
    let h = random(rows * 512);
    let ms = best(3, || {
        gemm(wide, 512, rows, d.t(), Mat::row_major(&h, 512), &mut c, 512, &plain).unwrap()
    });
    report("dt x, all steps", work, ms);

    let weights =
        [Weights { w_ih: &w[..], w_hh: &w[..], b_ih: Some(&w[..wide]), b_hh: Some(&w[..wide]) }];
    let reserve = Reserve::new(geom, true);
    let mut memory = vec![0f32; reserve.len()];
    let (mut out, mut hn, mut cn) =
        (vec![0f32; rows * 512], vec![0f32; 128 * 512], vec![0f32; 128 * 512]);
    let ms = best(3, || {
        sequence_forward(
            &a[..rows * 512],
            [None, None],
            &weights,
            &mut out,
            &mut hn,
            Some(&mut cn),
            &reserve,
            &mut memory,
        )
        .unwrap()
    });
    report("LSTM forward", 2.0 * work, ms);
    let (mut dx, mut dw, mut du) = (vec![0f32; rows * 512], w.clone(), w.clone());
    let (mut bi, mut bh) = (vec![0f32; wide], vec![0f32; wide]);
    let ms = best(3, || {
        let grads = WeightGrads {
            w_ih: Some(&mut dw),
            w_hh: Some(&mut du),
            b_ih: Some(&mut bi),
            b_hh: Some(&mut bh),
            accumulate: [false; 4],
        };
        let grads = SequenceGrads { x: Some(&mut dx), h0: None, c0: None, weights: vec![grads] };
        let given = [Some(&a[..rows * 512]), None, None];
        sequence_backward(
            &a[..rows * 512],
            [None, None],
            &weights,
            &out,
            &reserve,
            &memory,
            given,
            grads,
        )
        .unwrap()
    });
    report("LSTM backward", 4.0 * work, ms);
}
