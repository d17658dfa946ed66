//! Attention over a long sequence never holds the matrix of scores. The allocator's counters are the
//! process's, so this file has one test.

use flodl::*;

const LENGTH: i64 = 4096;

fn randn(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), true)
}

/// Bytes that `f` holds at most besides what was there before.
fn peak<T>(f: impl FnOnce() -> T) -> (usize, T) {
    let before = memory_stats().current;
    reset_peak();
    let result = f();
    (memory_stats().peak - before, result)
}

#[test]
fn a_long_sequence_needs_no_matrix_of_scores() {
    let matrix = (LENGTH * LENGTH) as usize * 4;
    let mha = MultiheadAttention::new(16, 2).unwrap();
    let x = randn(&[1, LENGTH, 16]);
    // Inputs, output, projections and gradients are 256 KiB each.
    let (bytes, y) = peak(|| {
        let y = mha.forward(&x).unwrap();
        y.sum().unwrap().backward().unwrap();
        y
    });
    assert_eq!(y.shape(), [1, LENGTH, 16]);
    assert!(x.grad().is_some());
    assert!(bytes * 4 < matrix, "{bytes} bytes at most, a head's matrix has {matrix}");

    // With a causal mask and with padding too.
    let padded: Vec<bool> = (0..LENGTH).map(|i| i >= LENGTH - 100).collect();
    let options = AttentionOptions {
        key_padding_mask: Some(Tensor::from_bool(&padded, &[1, LENGTH], Device::CPU).unwrap()),
        is_causal: true,
        ..AttentionOptions::default()
    };
    let (bytes, _) = peak(|| {
        let (y, _) = mha.forward_with(&x, &x, &x, &options).unwrap();
        y.sum().unwrap().backward().unwrap();
    });
    assert!(bytes * 4 < matrix, "masked: {bytes} bytes at most, a head's matrix has {matrix}");

    // The weights are such matrices: the counter sees them when they are asked for.
    let options = AttentionOptions { need_weights: true, ..AttentionOptions::default() };
    let (bytes, weights) =
        peak(|| no_grad(|| mha.forward_with(&x, &x, &x, &options).unwrap().1.unwrap()));
    assert_eq!(weights.shape(), [1, LENGTH, LENGTH]);
    assert!(bytes >= matrix, "{bytes} bytes at most, the weights have {matrix}");
}
