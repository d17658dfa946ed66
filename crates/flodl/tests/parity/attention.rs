//! Attention, transformers and gated units.

use flodl::*;

use super::case::{Case, Entry, Run, Try, one, unsupported};

pub const LAYERS: &[Entry] = &[
    ("MultiheadAttention", multihead),
    ("TransformerEncoderLayer", |c| {
        let layer = TransformerEncoderLayer::configured(&config(c)?)?;
        c.load(&layer)?;
        let masks = TransformerMasks {
            src_mask: c.arg(1, "src_mask").opt_tensor()?,
            src_key_padding_mask: c.arg(2, "src_key_padding_mask").opt_tensor()?,
            src_is_causal: c.arg(3, "is_causal").bool_or(false)?,
            ..TransformerMasks::default()
        };
        one(layer.forward_with(&c.arg(0, "src").var()?, &masks))
    }),
    ("TransformerDecoderLayer", |c| {
        let layer = TransformerDecoderLayer::configured(&config(c)?)?;
        c.load(&layer)?;
        let masks = TransformerMasks {
            tgt_mask: c.arg(2, "tgt_mask").opt_tensor()?,
            memory_mask: c.arg(3, "memory_mask").opt_tensor()?,
            tgt_key_padding_mask: c.arg(4, "tgt_key_padding_mask").opt_tensor()?,
            memory_key_padding_mask: c.arg(5, "memory_key_padding_mask").opt_tensor()?,
            ..TransformerMasks::default()
        };
        let (tgt, memory) = (c.arg(0, "tgt").var()?, c.arg(1, "memory").var()?);
        one(layer.forward_with(&tgt, &memory, &masks))
    }),
    ("GLU", |c| c.layer(GLU::new(c.ctor("dim").i32()?))),
];

pub const FUNCTIONS: &[Entry] = &[
    ("glu", |c| one(c.arg(0, "input").var()?.glu(c.arg(1, "dim").i32_or(-1)?))),
    ("scaled_dot_product_attention", |c| {
        let (q, k) = (c.arg(0, "query").var()?, c.arg(1, "key").var()?);
        let (v, mask) = (c.arg(2, "value").var()?, c.arg(3, "attn_mask").opt_var()?);
        let p = c.arg(4, "dropout_p").f64_or(0.0)?;
        let causal = c.arg(5, "is_causal").bool_or(false)?;
        let scale = c.arg(6, "scale");
        let scale = if scale.is_none() { None } else { Some(scale.f64()?) };
        c.arg(7, "enable_gqa").only(false)?;
        one(match mask {
            Some(m) if m.requires_grad() => {
                scaled_dot_product_attention_bias(&q, &k, &v, &m, p, causal, scale)
            }
            m => {
                let m = m.map(|m| m.data());
                scaled_dot_product_attention(&q, &k, &v, m.as_ref(), p, causal, scale)
            }
        })
    }),
];

fn multihead(c: &Case) -> Run {
    let (embed, heads) = (c.ctor("embed_dim").i64()?, c.ctor("num_heads").i64()?);
    let (kdim, vdim) = (c.ctor("kdim").i64_or(embed)?, c.ctor("vdim").i64_or(embed)?);
    let mut layer = MultiheadAttention::new(embed, heads)?
        .key_value_dims(kdim, vdim)?
        .dropout(c.ctor("dropout").f64()?)?
        .batch_first(c.ctor("batch_first").bool_or(false)?);
    if !c.ctor("bias").bool_or(true)? {
        layer = layer.without_bias();
    }
    if c.ctor("add_bias_kv").bool_or(false)? {
        layer = layer.add_bias_kv()?;
    }
    if c.ctor("add_zero_attn").bool_or(false)? {
        layer = layer.add_zero_attn();
    }
    c.load(&layer)?;
    let options = AttentionOptions {
        key_padding_mask: c.arg(3, "key_padding_mask").opt_tensor()?,
        need_weights: c.arg(4, "need_weights").bool_or(true)?,
        attn_mask: c.arg(5, "attn_mask").opt_tensor()?,
        average_attn_weights: c.arg(6, "average_attn_weights").bool_or(true)?,
        is_causal: c.arg(7, "is_causal").bool_or(false)?,
    };
    let (q, k) = (c.arg(0, "query").var()?, c.arg(1, "key").var()?);
    let (y, weights) = layer.forward_with(&q, &k, &c.arg(2, "value").var()?, &options)?;
    Ok(std::iter::once(y).chain(weights).map(Into::into).collect())
}

fn config(c: &Case) -> Try<TransformerConfig> {
    let activation = c.ctor("activation");
    let activation = match activation.name()? {
        "relu" => TransformerActivation::Relu,
        "gelu" => TransformerActivation::Gelu,
        other => return unsupported(format!("activation={other}")),
    };
    Ok(TransformerConfig::new(c.ctor("d_model").i64()?, c.ctor("nhead").i64()?)
        .dim_feedforward(c.ctor("dim_feedforward").i64()?)
        .dropout(c.ctor("dropout").f64()?)
        .activation(activation)
        .layer_norm_eps(c.ctor("layer_norm_eps").f64()?)
        .batch_first(c.ctor("batch_first").bool_or(false)?)
        .norm_first(c.ctor("norm_first").bool_or(false)?)
        .bias(c.ctor("bias").bool_or(true)?))
}
