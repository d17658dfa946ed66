//! When kernels call the team. The count is the process's, so one test has this file to itself.

use flodl_cpu::elementwise::{UnaryOp, unary};
use flodl_cpu::gemm::{Epilogue, Mat, gemm};
use flodl_cpu::strided::View;
use flodl_cpu::threads::{regions, set_num_threads};

/// How often the team is called for a product.
fn product(m: usize, n: usize, k: usize) -> u64 {
    let (a, b, mut c) = (vec![1.0f32; m * k], vec![1.0f32; k * n], vec![0.0f32; m * n]);
    let before = regions();
    let (a, b) = (Mat::row_major(&a, k), Mat::row_major(&b, n));
    gemm(m, n, k, a, b, &mut c, n, &Epilogue::default()).expect("memory");
    assert!(c.iter().all(|&x| x == k as f32), "{m}x{k}x{n}");
    regions() - before
}

/// How often the team is called for a function of this many elements.
fn exponential(len: usize) -> u64 {
    let (x, mut y) = (vec![0.0f32; len], vec![0.0f32; len]);
    let before = regions();
    unary(UnaryOp::Exp, View { data: &x, dims: &[len], strides: &[1] }, &mut y);
    assert!(y.iter().all(|&v| v == 1.0));
    regions() - before
}

#[test]
fn small_work_stays_on_its_thread_and_large_work_does_not() {
    set_num_threads(2);
    for (m, n, k) in
        [(1, 1, 1), (16, 16, 1), (16, 16, 16), (64, 10, 128), (1, 64, 64), (4, 4, 4096)]
    {
        assert_eq!(product(m, n, k), 0, "{m}x{k}x{n} woke the team");
    }
    assert_eq!([exponential(100), exponential(20_000)], [0, 0]);
    for (m, n, k) in [(256, 256, 256), (4096, 16, 512), (16, 16, 8192)] {
        assert!(product(m, n, k) > 0, "{m}x{k}x{n} ran on one thread");
    }
    assert!(exponential(1 << 20) > 0);
}
