//! Every setting that changes results is in the structural hash: a checkpoint of another model does
//! not load.

use std::collections::HashSet;

use flodl::*;

/// Checks that a layer's hashes are all there and all differ; the first is that of the defaults.
fn differ(layers: Vec<Box<dyn Module>>) {
    let hashes: Vec<String> = layers
        .iter()
        .map(|m| format!("{}: {}", m.name(), m.structural_hash().unwrap_or_default()))
        .collect();
    assert!(layers.iter().all(|m| m.structural_hash().is_some()), "{hashes:#?}");
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len(), "{hashes:#?}");
}

macro_rules! differ {
    ($($layer:expr),* $(,)?) => { differ(vec![$(Box::new($layer)),*]) };
}

#[test]
fn convolutions() -> Result<()> {
    let conv = || Conv2d::configure(4, 4, 3);
    differ![
        Conv2d::new(4, 4, 3)?,
        conv().with_stride(2).done()?,
        conv().with_stride([1, 2]).done()?,
        conv().with_padding(1).done()?,
        conv().with_dilation(2).done()?,
        conv().with_groups(2).done()?,
        conv().with_same_padding().with_padding_mode(PaddingMode::Reflect).done()?,
        conv().with_same_padding().with_padding_mode(PaddingMode::Circular).done()?,
    ];
    let back = || ConvTranspose1d::configure(4, 4, 3);
    differ![
        ConvTranspose1d::new(4, 4, 3)?,
        back().with_stride(2).done()?,
        back().with_stride(2).with_output_padding(1).done()?,
        back().with_padding(1).done()?,
        back().with_dilation(2).done()?,
        back().with_dilation(2).with_output_padding(1).done()?,
        back().with_groups(2).done()?,
    ];
    Ok(())
}

#[test]
fn pools() -> Result<()> {
    differ![
        MaxPool2d::new(2),
        MaxPool2d::new(3),
        MaxPool2d::with_stride(2, 1),
        MaxPool2d::new(2).padding(1),
        MaxPool2d::new(2).dilation(2),
        MaxPool2d::new(2).ceil_mode(true),
    ];
    differ![
        AvgPool2d::new(2),
        AvgPool2d::with_stride(2, 1),
        AvgPool2d::new(2).padding(1),
        AvgPool2d::new(2).ceil_mode(true),
        AvgPool2d::new(2).count_include_pad(false),
        AvgPool2d::new(2).divisor_override(3),
    ];
    differ![LPPool1d::new(2.0, 2), LPPool1d::new(3.0, 2), LPPool1d::new(2.0, 3)];
    differ![
        AdaptiveAvgPool2d::new(2),
        AdaptiveAvgPool2d::new([2, 3]),
        AdaptiveAvgPool2d::new([Some(2), None]),
        AdaptiveMaxPool2d::new(2, 2),
        AdaptiveMaxPool2d::with_size([None, None]),
    ];
    differ![
        FractionalMaxPool2d::new(2, 3),
        FractionalMaxPool2d::new(2, 4),
        FractionalMaxPool2d::with_ratio(2, 0.5),
    ];
    Ok(())
}

#[test]
fn norms() -> Result<()> {
    differ![
        BatchNorm::new(2)?,
        BatchNorm::new(2)?.eps(1e-3),
        BatchNorm::new(2)?.momentum(0.3),
        BatchNorm::new(2)?.cumulative_average(),
        BatchNorm::new(2)?.track_running_stats(false),
    ];
    differ![LayerNorm::new(2)?, LayerNorm::new(2)?.eps(1e-3), LayerNorm::over(&[2, 2])?];
    differ![RMSNorm::new(2)?, RMSNorm::new(2)?.eps(1e-3), RMSNorm::new(3)?];
    differ![GroupNorm::new(2, 4)?, GroupNorm::new(1, 4)?, GroupNorm::new(2, 4)?.eps(1e-3)];
    differ![
        InstanceNorm::new(2, true)?,
        InstanceNorm::new(2, true)?.eps(1e-3),
        InstanceNorm::new(2, true)?.track_running_stats(true)?,
        InstanceNorm::new(2, true)?.track_running_stats(true)?.momentum(0.3),
        InstanceNorm2d::new(2, true)?,
    ];
    let response = LocalResponseNorm::new;
    differ![
        response(2),
        response(3),
        response(2).alpha(0.1),
        response(2).beta(0.5),
        response(2).k(2.0)
    ];
    Ok(())
}

#[test]
fn resizing_padding_and_patches() -> Result<()> {
    differ![
        Upsample::new(&[2], 0),
        Upsample::new(&[3], 0),
        Upsample::new(&[2], 1),
        Upsample::new(&[2], 1).align_corners(true),
        Upsample::with_scale(2.0, Interpolation::Linear),
    ];
    differ![
        PixelShuffle::new(2),
        PixelShuffle::new(3),
        PixelUnshuffle::new(2),
        ChannelShuffle::new(2)
    ];
    let unfold = || Unfold::with_kernel(2);
    differ![
        unfold(),
        unfold().stride(2),
        unfold().padding(1),
        unfold().dilation(2),
        Unfold::with_kernel(3)
    ];
    let fold = || Fold::with_kernel([4, 4], 2);
    differ![
        fold(),
        fold().stride(2),
        fold().padding(1),
        fold().dilation(2),
        Fold::with_kernel([4, 5], 2),
    ];
    differ![
        ZeroPad2d::new(1),
        ZeroPad2d::asymmetric(1, 1, 1, 0),
        ConstantPad2d::new(1, 2.0),
        ConstantPad2d::new(1, 3.0),
        ReflectionPad2d::new(1),
    ];
    Ok(())
}

#[test]
fn tables_attention_and_the_rest() -> Result<()> {
    differ![
        Embedding::new(5, 2)?,
        Embedding::with_padding_idx(5, 2, Some(1))?,
        Embedding::new(5, 2)?.max_norm(1.0),
        Embedding::new(5, 2)?.max_norm(1.0).norm_type(1.0),
        Embedding::new(5, 2)?.scale_grad_by_freq(true),
    ];
    differ![
        EmbeddingBag::new(5, 2)?,
        EmbeddingBag::new(5, 2)?.mode(Bag::Max),
        EmbeddingBag::new(5, 2)?.padding_idx(1)?,
        EmbeddingBag::new(5, 2)?.include_last_offset(true),
        EmbeddingBag::new(5, 2)?.max_norm(1.0),
    ];
    let mha = || MultiheadAttention::new(8, 2);
    differ![
        mha()?,
        MultiheadAttention::new(8, 4)?,
        mha()?.dropout(0.1)?,
        mha()?.batch_first(false),
        mha()?.add_zero_attn(),
        mha()?.rotary(RotaryEmbedding::new(4, 9)?)?,
    ];
    differ![Dropout::new(0.1), Dropout::new(0.2), Dropout2d::new(0.1), AlphaDropout::new(0.1)];
    differ![GELU::with_approximate(GeluApprox::Exact), GELU::with_approximate(GeluApprox::Tanh)];
    differ![Softplus::new(1.0, 20.0), Softplus::new(2.0, 20.0), Softplus::new(1.0, 10.0)];
    differ![
        CosineSimilarity::new(1, 1e-8),
        CosineSimilarity::new(1, 1e-6),
        PairwiseDistance::new(2.0)
    ];
    differ![
        Flatten::new(1, -1),
        Flatten::new(0, -1),
        Unflatten::new(1, &[2, 2]),
        Reshape::new(&[4])
    ];
    Ok(())
}
