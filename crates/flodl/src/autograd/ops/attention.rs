//! Scaled dot-product attention: one kernel each way, and the same made of plain operations for
//! passes that record.

use super::{grad_by_composition, is_grad_enabled};
use crate::autograd::amp;
use crate::autograd::tape::{Saved, grads, record};
use crate::autograd::work;
use crate::backend::AttentionSpec;
use crate::tensor::{Attend, attention_lead, attention_mask, attention_spec, four_dims};
use crate::{DType, Error, Result, Tensor, Variable};

const OP: &str = "scaled_dot_product_attention";

/// softmax(query · keyᵀ · scale + mask) · value, tiled, so that the scores never exist as a whole
/// (Dao et al., 2022): query `[…, L, E]`, key `[…, S, E]`, value `[…, S, Ev]`, result `[…, L, Ev]`.
/// Leading dims (batch and heads) are broadcast; any strides.
///
/// A mask broadcasts to `[…, L, S]`: a bool one is true where a key is *seen* (the reverse of
/// [`crate::MultiheadAttention`]'s, as in PyTorch), another one is added to the scores. With
/// `is_causal` query i sees the keys up to i. The scale is 1 / √E unless given. Weights are dropped
/// with probability `dropout_p`, always: pass 0 in evaluation. A query that sees no key gets 0.
///
/// # Errors
/// When shapes do not fit, dtypes or devices differ, `dropout_p` is not in `[0, 1]`, or both a mask
/// and `is_causal` are given.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::randn(&[2, 8, 16, 32], TensorOptions::default())?, true);
/// let y = scaled_dot_product_attention(&x, &x, &x, None, 0.0, true, None)?;
/// y.sum()?.backward()?;
/// assert_eq!(x.grad().unwrap().shape(), [2, 8, 16, 32]);
/// # Ok::<(), Error>(())
/// ```
pub fn scaled_dot_product_attention(
    query: &Variable,
    key: &Variable,
    value: &Variable,
    attn_mask: Option<&Tensor>,
    dropout_p: f64,
    is_causal: bool,
    scale: Option<f64>,
) -> Result<Variable> {
    if !(0.0..=1.0).contains(&dropout_p) {
        return Err(Error::invalid(OP, format!("dropout_p {dropout_p} must be in [0, 1]")));
    }
    if is_causal && attn_mask.is_some() {
        let what = "attn_mask and is_causal exclude each other; put the triangle into the mask";
        return Err(Error::invalid(OP, what));
    }
    let attend = Attend { scale, causal: is_causal, dropout: dropout_p };
    attention(query, key, value, attn_mask, attend)
}

impl Tensor {
    /// softmax(query · keyᵀ · scale + mask) · value, tiled, so that the scores never exist as a
    /// whole (Dao et al., 2022): query `[…, L, E]`, key `[…, S, E]`, value `[…, S, Ev]`, result
    /// `[…, L, Ev]`. Leading dims (batch and heads) are broadcast.
    ///
    /// A mask broadcasts to `[…, L, S]`: a bool one is true where a key is seen, another one is
    /// added to the scores. With `is_causal` query i sees the keys up to i. The scale is 1 / √E
    /// unless given. Weights are dropped with probability `dropout_p`, always. A query that sees
    /// no key gets 0.
    ///
    /// # Errors
    /// When shapes do not fit, dtypes or devices differ, `dropout_p` is not in `[0, 1]`, or both a
    /// mask and `is_causal` are given.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Tensor::randn(&[2, 8, 16, 32], TensorOptions::default())?;
    /// let y = Tensor::scaled_dot_product_attention(&x, &x, &x, None, 0.0, true, None)?;
    /// assert_eq!(y.shape(), [2, 8, 16, 32]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn scaled_dot_product_attention(
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        attn_mask: Option<&Tensor>,
        dropout_p: f64,
        is_causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor> {
        let v = |t: &Tensor| Variable::constant(t.clone());
        let out = scaled_dot_product_attention(
            &v(query),
            &v(key),
            &v(value),
            attn_mask,
            dropout_p,
            is_causal,
            scale,
        )?;
        Ok(out.data())
    }
}

/// [`scaled_dot_product_attention`] with a learned bias on the scores, such as one of relative
/// positions: a float variable that broadcasts to `[…, L, S]` and gets a gradient. By plain
/// operations, so the scores exist as a whole.
///
/// # Errors
/// When shapes do not fit, dtypes or devices differ, or `dropout_p` is not in `[0, 1]`.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::randn(&[2, 8, 16, 32], TensorOptions::default())?, false);
/// let bias = Variable::new(Tensor::zeros(&[8, 16, 16], TensorOptions::default())?, true);
/// let y = scaled_dot_product_attention_bias(&x, &x, &x, &bias, 0.0, true, None)?;
/// y.sum()?.backward()?;
/// assert_eq!(bias.grad().unwrap().shape(), [8, 16, 16]);
/// # Ok::<(), Error>(())
/// ```
pub fn scaled_dot_product_attention_bias(
    query: &Variable,
    key: &Variable,
    value: &Variable,
    bias: &Variable,
    dropout_p: f64,
    is_causal: bool,
    scale: Option<f64>,
) -> Result<Variable> {
    if !(0.0..=1.0).contains(&dropout_p) {
        return Err(Error::invalid(OP, format!("dropout_p {dropout_p} must be in [0, 1]")));
    }
    bias.with_data(|b| b.check_float(OP))?;
    let (q, k, v) = (query.data(), key.data(), value.data());
    let lead = attention_lead([&q, &k, &v])?;
    let (queries, keys) = (q.dims()[q.ndim() - 2], k.dims()[k.ndim() - 2]);
    // Checks only.
    attention_mask(&bias.data(), &q, &lead, queries, keys)?;
    let attend = Attend { scale, causal: is_causal, dropout: dropout_p };
    let four = |x: &Variable| {
        let mut full = lead.clone();
        x.with_data(|t| full.extend_from_slice(&t.dims()[t.ndim() - 2..]));
        let (rows, width) = (full[lead.len()], full[lead.len() + 1]);
        x.expand_to(&full)?.reshape(&four_dims(&lead, rows, width))
    };
    let (q, k, v) = (four(query)?, four(key)?, four(value)?);
    let mut full = lead.clone();
    full.extend([queries, keys]);
    let bias = bias.expand_to(&full)?.reshape(&four_dims(&lead, queries, keys))?;
    let spec = attention_spec([&q.data(), &k.data(), &v.data()], attend);
    let y = composed_weights(&spec, [&q, &k], Scores::Bias(&bias), None)?.matmul(&v)?;
    let mut full = crate::shape::to_i64(&lead);
    full.extend([queries as i64, v.shape()[3]]);
    y.reshape(&full)
}

/// Attention with any leading dims; mask and causality may come together.
pub(crate) fn attention(
    query: &Variable,
    key: &Variable,
    value: &Variable,
    mask: Option<&Tensor>,
    attend: Attend,
) -> Result<Variable> {
    if let Some([q, k, v]) = amp::low([query, key, value])? {
        return attention(&q, &k, &v, mask, attend);
    }
    let (q, k, v) = (query.data(), key.data(), value.data());
    let lead = attention_lead([&q, &k, &v])?;
    let queries = q.dims()[q.ndim() - 2];
    let (keys, width) = (v.dims()[v.ndim() - 2], v.dims()[v.ndim() - 1]);
    let mask = mask.map(|m| attention_mask(m, &q, &lead, queries, keys)).transpose()?;
    let home = q.dtype();
    let four = |x: &Variable| -> Result<Variable> {
        let wide = if home.is_half() { x.to_dtype(DType::Float32)? } else { x.clone() };
        let (own, tail) = (wide.with_data(|t| t.ndim()), wide.shape());
        let (rows, width) = (tail[own - 2] as usize, tail[own - 1] as usize);
        let mut full = crate::shape::Dims::from_slice(&lead);
        full.extend([rows, width]);
        let wide =
            if wide.with_data(|t| t.dims() == &full[..]) { wide } else { wide.expand_to(&full)? };
        if lead.len() == 2 { Ok(wide) } else { wide.reshape(&four_dims(&lead, rows, width)) }
    };
    let out = fused(&four(query)?, &four(key)?, &four(value)?, mask, attend)?;
    let out = if lead.len() == 2 {
        out
    } else {
        let mut full = crate::shape::to_i64(&lead);
        full.extend([queries as i64, width as i64]);
        out.reshape(&full)?
    };
    if home.is_half() { out.to_dtype(home) } else { Ok(out) }
}

/// Attention on `[B, H, L, D]` in a dtype of the kernel.
fn fused(
    query: &Variable,
    key: &Variable,
    value: &Variable,
    mask: Option<Tensor>,
    attend: Attend,
) -> Result<Variable> {
    let q = query.with_data(Tensor::rows_adjacent)?;
    let k = key.with_data(Tensor::rows_adjacent)?;
    let v = value.with_data(Tensor::rows_adjacent)?;
    let spec = attention_spec([&q, &k, &v], attend);
    let (out, lse) = Tensor::attend(&spec, [&q, &k, &v], mask.as_ref())?;
    work::note(None, &out, || (q.len() + out.len()) * spec.keys);
    let result = out.transpose(1, 2)?;
    let saved = [Saved::new(query), Saved::new(key), Saved::new(value)];
    Ok(record(OP, result, &[query, key, value], move |ctx| {
        if is_grad_enabled() {
            let [q, k, v] = &saved;
            return grad_by_composition(
                &[&q.get()?, &k.get()?, &v.get()?],
                |x| composed(&spec, [&x[0], &x[1], &x[2]], mask.as_ref(), &lse),
                ctx.grad(),
            );
        }
        let wanted = [ctx.needs(0), ctx.needs(1), ctx.needs(2)];
        let g = ctx.grad().data();
        let (qkv, mask) = ([&q, &k, &v], mask.as_ref());
        let grads = Tensor::attend_backward(&spec, qkv, mask, (&out, &lse), &g, wanted)?;
        Ok(grads.into_iter().map(|g| g.map(Variable::constant)).collect())
    }))
}

/// Attention on the joint projection `[B, L, 3 · H · D]` to queries, keys and values; the result
/// is `[B, L, H · D]`. Neither the parts nor their gradients are ever copied.
pub(crate) fn joint_attention(
    qkv: &Variable,
    heads: i64,
    mask: Option<Tensor>,
    attend: Attend,
) -> Result<Variable> {
    let joint = qkv.data().contiguous()?;
    let (batch, length, width) = match *joint.dims() {
        [b, l, e] => (b as i64, l as i64, e as i64 / 3),
        _ => return Err(Error::new("joint_attention: expected [B, L, 3 · E]")),
    };
    let split = move |x: &Variable| -> Result<[Variable; 3]> {
        let parts = x.reshape(&[batch, length, 3, heads, width / heads])?;
        let part = |i| parts.select(2, i)?.transpose(1, 2);
        Ok([part(0)?, part(1)?, part(2)?])
    };
    let [q, k, v] = split(&Variable::constant(joint.clone()))?.map(|x| x.data());
    let spec = attention_spec([&q, &k, &v], attend);
    let (out, lse) = Tensor::attend(&spec, [&q, &k, &v], mask.as_ref())?;
    work::note(None, &out, || (q.len() + out.len()) * spec.keys);
    let result = out.reshape(&[batch, length, width])?;
    let saved = Saved::new(qkv);
    Ok(record(OP, result, &[qkv], move |ctx| {
        if is_grad_enabled() {
            return grad_by_composition(
                &[&saved.get()?],
                |x| {
                    let [q, k, v] = split(&x[0])?;
                    let out = composed(&spec, [&q, &k, &v], mask.as_ref(), &lse)?;
                    out.transpose(1, 2)?.reshape(&[batch, length, width])
                },
                ctx.grad(),
            );
        }
        let g = ctx.grad().data().contiguous()?;
        let g = g.reshape(&[batch, length, heads, width / heads])?.transpose(1, 2)?;
        let (qkv, mask) = ([&q, &k, &v], mask.as_ref());
        let dx = Tensor::attend_backward_joint(&spec, qkv, mask, (&out, &lse), &g)?;
        Ok(grads![Variable::constant(dx)])
    }))
}

/// The same of plain operations on `[B, H, L, D]`; `lse` tells which queries see nothing.
fn composed(
    spec: &AttentionSpec,
    [q, k, v]: [&Variable; 3],
    mask: Option<&Tensor>,
    lse: &Tensor,
) -> Result<Variable> {
    let blind = lse.eq_scalar(f64::INFINITY)?.unsqueeze(-1)?;
    composed_weights(spec, [q, k], Scores::Mask(mask), Some(blind))?.matmul(v)
}

/// What plain operations do to the scores.
enum Scores<'a> {
    /// Nothing, or a mask `[B, H, L, S]`.
    Mask(Option<&'a Tensor>),
    /// A bias that gets a gradient.
    Bias(&'a Variable),
}

/// The weights `[B, H, L, S]` by plain operations, dropout included; 0 for queries that see
/// nothing, which are found here unless they are given.
fn composed_weights(
    spec: &AttentionSpec,
    [q, k]: [&Variable; 2],
    change: Scores<'_>,
    blind: Option<Tensor>,
) -> Result<Variable> {
    let mut scores = q.mul_scalar(spec.scale)?.matmul(&k.transpose(-2, -1)?)?;
    let masked = spec.causal || !matches!(change, Scores::Mask(None));
    match change {
        Scores::Mask(Some(m)) if m.dtype() == DType::Bool => {
            scores = scores.masked_fill(&m.logical_not()?, f64::NEG_INFINITY)?;
        }
        Scores::Mask(Some(m)) => scores = scores.add(&Variable::constant(m.clone()))?,
        Scores::Mask(None) => {}
        Scores::Bias(bias) => scores = scores.add(bias)?,
    }
    if spec.causal {
        let shape = [spec.queries as i64, spec.keys as i64];
        let seen = Tensor::ones(&shape, q.with_data(Tensor::options))?.tril(0)?;
        scores = scores.masked_fill(&seen.eq_scalar(0.0)?, f64::NEG_INFINITY)?;
    }
    let mut weights = if masked && spec.keys > 0 {
        let blind = match blind {
            Some(blind) => blind,
            None => scores.data().max_dim(-1, true)?.eq_scalar(f64::NEG_INFINITY)?,
        };
        scores.masked_fill(&blind, 0.0)?.softmax(-1)?.masked_fill(&blind, 0.0)?
    } else {
        scores.softmax(-1)?
    };
    if spec.dropout.is_some() {
        let dims = [spec.batch, spec.heads, spec.queries, spec.keys];
        let wide = if q.dtype().is_half() { DType::Float32 } else { q.dtype() };
        let factors = Tensor::build(&dims, wide, q.device(), |backend, out| {
            backend.attention_dropout(spec, wide, out)
        })?;
        weights = weights.mul(&Variable::constant(factors.to_dtype(q.dtype())?))?;
    }
    Ok(weights)
}

/// [`attention`] on `[B, H, L, D]`, and the weights `[B, H, L, S]` that it used, dropout included,
/// by plain operations. A query that sees no key has weights of 0.
pub(crate) fn attention_weights(
    query: &Variable,
    key: &Variable,
    value: &Variable,
    mask: Option<&Tensor>,
    attend: Attend,
) -> Result<(Variable, Variable)> {
    let (q, k, v) = (query.data(), key.data(), value.data());
    let spec = attention_spec([&q, &k, &v], attend);
    let weights = composed_weights(&spec, [query, key], Scores::Mask(mask), None)?;
    Ok((weights.matmul(value)?, weights))
}
