//! Attention, transformers, rotary embeddings and gated units.

use flodl::*;

use super::*;

fn mha() -> MultiheadAttention {
    MultiheadAttention::new(8, 2).unwrap()
}

fn mask(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, DType::Bool.into()).unwrap()
}

fn ext(mask: &Tensor) -> Result<Variable> {
    mha().forward_ext(&v(&[2, 3, 8]), &v(&[2, 4, 8]), &v(&[2, 4, 8]), Some(mask))
}

fn sdpa(
    q: &[i64],
    k: &[i64],
    x: &[i64],
    mask: Option<&Tensor>,
    p: f64,
    causal: bool,
) -> Result<Variable> {
    scaled_dot_product_attention(&v(q), &v(k), &v(x), mask, p, causal, None)
}

fn small() -> TransformerConfig {
    TransformerConfig::new(8, 2)
}

fn masked(masks: TransformerMasks) -> Result<Variable> {
    TransformerEncoderLayer::configured(&small())?.forward_with(&v(&[2, 3, 8]), &masks)
}

fn remembered(masks: TransformerMasks) -> Result<Variable> {
    let layer = TransformerDecoderLayer::configured(&small())?;
    layer.forward_with(&v(&[2, 3, 8]), &v(&[2, 4, 8]), &masks)
}

pub const CALLS: &[Row] = &[
    (
        "heads",
        || unit(MultiheadAttention::new(10, 3)),
        "MultiheadAttention: embed_dim 10 must be a multiple of num_heads 3",
    ),
    (
        "no heads",
        || unit(MultiheadAttention::new(8, 0)),
        "MultiheadAttention: embed_dim 8 and num_heads 0 must be positive",
    ),
    ("dropout", || unit(mha().dropout(1.5)), "MultiheadAttention: dropout 1.5 must be in [0, 1]"),
    (
        "dropout NaN",
        || unit(mha().dropout(f64::NAN)),
        "MultiheadAttention: dropout NaN must be in [0, 1]",
    ),
    (
        "key width 0",
        || unit(mha().key_value_dims(0, 4)),
        "MultiheadAttention: kdim 0 and vdim 4 must be positive",
    ),
    (
        "rotary width",
        || unit(mha().rotary(RotaryEmbedding::new(8, 4).unwrap())),
        "MultiheadAttention: a rotary embedding of head_dim 8 does not fit heads of 4",
    ),
    (
        "query width",
        || unit(mha().forward(&v(&[2, 3, 7]))),
        "MultiheadAttention: expected a query [batch, length, 8], got shape [2, 3, 7]",
    ),
    (
        "query rank",
        || unit(mha().forward(&v(&[8]))),
        "MultiheadAttention: expected a query [length, 8], got shape [8]",
    ),
    (
        "key rank",
        || unit(mha().forward_ext(&v(&[2, 3, 8]), &v(&[3, 8]), &v(&[3, 8]), None)),
        "MultiheadAttention: expected a key [batch, length, 8], got shape [3, 8]",
    ),
    (
        "key and value",
        || unit(mha().forward_ext(&v(&[2, 3, 8]), &v(&[2, 4, 8]), &v(&[2, 5, 8]), None)),
        "MultiheadAttention: shapes [2, 4, 8] and [2, 5, 8] do not fit: key and value must have the same batch and length",
    ),
    (
        "batch",
        || unit(mha().forward_ext(&v(&[2, 3, 8]), &v(&[1, 4, 8]), &v(&[1, 4, 8]), None)),
        "MultiheadAttention: shapes [2, 3, 8] and [1, 4, 8] do not fit: query and key must have the same batch",
    ),
    (
        "double",
        || unit(mha().forward(&w(&[2, 3, 8]))),
        "MultiheadAttention: dtypes float32 and float64 do not mix; cast one with to_dtype",
    ),
    (
        "integers",
        || unit(mha().forward(&n(&[2, 3, 8]))),
        "MultiheadAttention: dtypes float32 and int64 do not mix; cast one with to_dtype",
    ),
    (
        "mask size",
        || unit(ext(&mask(&[3, 5]))),
        "MultiheadAttention: expected a mask [3, 4], [4, 3, 4] or [2, 2, 3, 4], got shape [3, 5]",
    ),
    (
        "mask of the batch",
        || unit(ext(&mask(&[2, 3, 4]))),
        "MultiheadAttention: expected a mask [3, 4], [4, 3, 4] or [2, 2, 3, 4], got shape [2, 3, 4]",
    ),
    (
        "mask with a gradient",
        || unit(mha().forward_ext(&v(&[3, 8]), &v(&[3, 8]), &v(&[3, 8]), &v(&[3, 3]))),
        "MultiheadAttention: the mask requires a gradient, which a mask does not get here; detach it, or call scaled_dot_product_attention_bias",
    ),
    (
        "padding mask",
        || {
            unit(mha().forward_with(
                &v(&[2, 3, 8]),
                &v(&[2, 4, 8]),
                &v(&[2, 4, 8]),
                &AttentionOptions {
                    key_padding_mask: Some(mask(&[2, 3])),
                    ..AttentionOptions::default()
                },
            ))
        },
        "MultiheadAttention: expected a key_padding_mask [2, 4], got shape [2, 3]",
    ),
    (
        "attention rank",
        || unit(sdpa(&[3], &[3, 4], &[3, 4], None, 0.0, false)),
        "scaled_dot_product_attention: expected a query of at least 2 dims, [..., length, width], got shape [3]",
    ),
    (
        "attention widths",
        || unit(sdpa(&[3, 4], &[5, 3], &[5, 3], None, 0.0, false)),
        "scaled_dot_product_attention: shapes [3, 4] and [5, 3] do not fit: query and key must have the same width",
    ),
    (
        "attention lengths",
        || unit(sdpa(&[3, 4], &[5, 4], &[6, 4], None, 0.0, false)),
        "scaled_dot_product_attention: shapes [5, 4] and [6, 4] do not fit: key and value must have the same length",
    ),
    (
        "attention batch",
        || unit(sdpa(&[2, 3, 4], &[3, 3, 4], &[3, 3, 4], None, 0.0, false)),
        "scaled_dot_product_attention: shapes [2] and [3] do not fit: sizes 2 and 3 at dim 0 cannot be broadcast",
    ),
    (
        "attention mask",
        || unit(sdpa(&[3, 4], &[3, 4], &[3, 4], Some(&mask(&[2, 3])), 0.0, false)),
        "scaled_dot_product_attention: expected a mask that broadcasts to [3, 3], got shape [2, 3]",
    ),
    (
        "attention mask dtype",
        || unit(sdpa(&[3, 4], &[3, 4], &[3, 4], Some(&double(&[3, 3])), 0.0, false)),
        "scaled_dot_product_attention: expected a mask of bool or float32, got dtype float64",
    ),
    (
        "mask and causal",
        || unit(sdpa(&[3, 4], &[3, 4], &[3, 4], Some(&mask(&[3, 3])), 0.0, true)),
        "scaled_dot_product_attention: attn_mask and is_causal exclude each other; put the triangle into the mask",
    ),
    (
        "attention dropout",
        || unit(sdpa(&[3, 4], &[3, 4], &[3, 4], None, -0.1, false)),
        "scaled_dot_product_attention: dropout_p -0.1 must be in [0, 1]",
    ),
    (
        "attention of integers",
        || {
            unit(scaled_dot_product_attention(
                &n(&[2, 3, 8]),
                &n(&[2, 3, 8]),
                &n(&[2, 3, 8]),
                None,
                0.0,
                false,
                None,
            ))
        },
        "scaled_dot_product_attention: expected a floating-point tensor, got dtype int64",
    ),
    (
        "attention dtypes",
        || {
            unit(scaled_dot_product_attention(
                &v(&[3, 4]),
                &w(&[3, 4]),
                &v(&[3, 4]),
                None,
                0.0,
                false,
                None,
            ))
        },
        "scaled_dot_product_attention: dtypes float32 and float64 do not mix; cast one with to_dtype",
    ),
    (
        "rotary odd",
        || unit(RotaryEmbedding::new(5, 4)),
        "RotaryEmbedding: head_dim 5 must be even and positive",
    ),
    (
        "rotary of nothing",
        || unit(RotaryEmbedding::new(4, 0)),
        "RotaryEmbedding: max_seq_len 0 must be positive",
    ),
    (
        "rotary base",
        || unit(RotaryEmbedding::on_device_theta(4, 4, -1.0, Device::CPU)),
        "RotaryEmbedding: theta -1 must be positive",
    ),
    (
        "rotary length",
        || unit(RotaryEmbedding::new(4, 4).unwrap().apply_one(&v(&[5, 4]))),
        "RotaryEmbedding: expected [..., length <= 4, 4], got shape [5, 4]",
    ),
    (
        "rotary rank",
        || unit(RotaryEmbedding::new(4, 4).unwrap().apply_one(&v(&[4]))),
        "RotaryEmbedding: expected [..., length <= 4, 4], got shape [4]",
    ),
    (
        "SwiGLU odd",
        || unit(SwiGLU.forward(&v(&[2, 3]))),
        "SwiGLU: expected an even size of dim -1, got shape [2, 3]",
    ),
    ("glu dim", || unit(v(&[2, 4]).glu(2)), "glu: dim 2 is out of range for a tensor of 2 dims"),
    ("glu scalar", || unit(v(&[]).glu(0)), "glu: expected an even size of dim 0, got shape []"),
    (
        "glu of integers",
        || unit(n(&[2, 3, 8]).glu(-1)),
        "glu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "encoder dropout",
        || unit(TransformerEncoderLayer::configured(&small().dropout(2.0))),
        "TransformerEncoderLayer: dropout 2 must be in [0, 1]",
    ),
    (
        "decoder width 0",
        || unit(TransformerDecoderLayer::configured(&small().dim_feedforward(0))),
        "TransformerDecoderLayer: dim_feedforward 0 must be positive",
    ),
    (
        "layers below 0",
        || unit(TransformerEncoder::new(&TransformerEncoderLayer::new(8, 2).unwrap(), -1, None)),
        "TransformerEncoder: num_layers -1 must not be negative",
    ),
    (
        "decoder alone",
        || unit(TransformerDecoderLayer::new(8, 2).unwrap().forward(&v(&[2, 3, 8]))),
        "TransformerDecoderLayer: needs a target and a memory; use forward_ext, or name the memory `memory`",
    ),
    (
        "transformer alone",
        || unit(Transformer::configured(&small(), 1, 1).unwrap().forward(&v(&[2, 3, 8]))),
        "Transformer: needs a source and a target; use forward_ext",
    ),
    (
        "attention device",
        || unit(MultiheadAttention::on_device(8, 2, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "encoder width",
        || unit(TransformerEncoderLayer::new(8, 2)?.forward(&v(&[2, 3, 7]))),
        "MultiheadAttention: expected a query [batch, length, 8], got shape [2, 3, 7]",
    ),
    (
        "encoder dtype",
        || unit(TransformerEncoderLayer::new(8, 2)?.forward(&w(&[2, 3, 8]))),
        "MultiheadAttention: dtypes float32 and float64 do not mix; cast one with to_dtype",
    ),
    (
        "encoder rank",
        || unit(TransformerEncoderLayer::new(8, 2)?.forward(&v(&[8]))),
        "MultiheadAttention: expected a query [length, 8], got shape [8]",
    ),
    (
        "encoder heads",
        || unit(TransformerEncoderLayer::new(8, 3)),
        "MultiheadAttention: embed_dim 8 must be a multiple of num_heads 3",
    ),
    (
        "encoder mask",
        || unit(masked(TransformerMasks { src_mask: Some(mask(&[2, 3])), ..Default::default() })),
        "MultiheadAttention: expected a mask [3, 3], [4, 3, 3] or [2, 2, 3, 3], got shape [2, 3]",
    ),
    (
        "encoder padding",
        || {
            unit(masked(TransformerMasks {
                src_key_padding_mask: Some(mask(&[2, 4])),
                ..Default::default()
            }))
        },
        "MultiheadAttention: expected a key_padding_mask [2, 3], got shape [2, 4]",
    ),
    (
        "decoder heads",
        || unit(TransformerDecoderLayer::new(8, 3)),
        "MultiheadAttention: embed_dim 8 must be a multiple of num_heads 3",
    ),
    (
        "decoder width",
        || unit(TransformerDecoderLayer::new(8, 2)?.forward_ext(&v(&[2, 3, 7]), &v(&[2, 4, 8]))),
        "MultiheadAttention: expected a query [batch, length, 8], got shape [2, 3, 7]",
    ),
    (
        "decoder memory",
        || unit(TransformerDecoderLayer::new(8, 2)?.forward_ext(&v(&[2, 3, 8]), &v(&[2, 4, 7]))),
        "MultiheadAttention: expected a key [batch, length, 8], got shape [2, 4, 7]",
    ),
    (
        "decoder batch",
        || unit(TransformerDecoderLayer::new(8, 2)?.forward_ext(&v(&[2, 3, 8]), &v(&[1, 4, 8]))),
        "MultiheadAttention: shapes [2, 3, 8] and [1, 4, 8] do not fit: query and key must have the same batch",
    ),
    (
        "decoder mask",
        || {
            unit(remembered(TransformerMasks {
                tgt_mask: Some(mask(&[3, 4])),
                ..Default::default()
            }))
        },
        "MultiheadAttention: expected a mask [3, 3], [4, 3, 3] or [2, 2, 3, 3], got shape [3, 4]",
    ),
    (
        "decoder memory mask",
        || {
            unit(remembered(TransformerMasks {
                memory_mask: Some(mask(&[3, 3])),
                ..Default::default()
            }))
        },
        "MultiheadAttention: expected a mask [3, 4], [4, 3, 4] or [2, 2, 3, 4], got shape [3, 3]",
    ),
    (
        "decoder padding",
        || {
            unit(remembered(TransformerMasks {
                memory_key_padding_mask: Some(mask(&[2, 3])),
                ..Default::default()
            }))
        },
        "MultiheadAttention: expected a key_padding_mask [2, 4], got shape [2, 3]",
    ),
    (
        "transformer heads",
        || unit(Transformer::configured(&TransformerConfig::new(8, 3), 1, 1)),
        "MultiheadAttention: embed_dim 8 must be a multiple of num_heads 3",
    ),
    (
        "transformer width",
        || {
            unit(
                Transformer::configured(&small(), 1, 1)?
                    .forward_ext(&v(&[2, 3, 7]), &v(&[2, 4, 8])),
            )
        },
        "MultiheadAttention: expected a query [batch, length, 8], got shape [2, 3, 7]",
    ),
    (
        "transformer layers",
        || unit(Transformer::configured(&small(), -1, 1)),
        "TransformerEncoder: num_layers -1 must not be negative",
    ),
];
