//! Scaled dot-product attention.

use super::Tensor;
use crate::backend::{AttentionGrads, AttentionSpec};
use crate::shape::{self, Dims};
use crate::{DType, Error, Result, rng};

const OP: &str = "scaled_dot_product_attention";

/// What an attention is asked for besides its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    /// Factor of the scores, 1 / √width if there is none.
    pub scale: Option<f64>,
    /// Whether query i sees the keys up to i only.
    pub causal: bool,
    /// Probability that a weight is dropped.
    pub dropout: f64,
}

/// Sizes of operands `[B, H, L, D]`, `[B, H, S, D]`, `[B, H, S, Dv]`, with draws for dropout.
pub(crate) fn attention_spec([q, k, v]: [&Tensor; 3], attend: Attend) -> AttentionSpec {
    let (q, k, v) = (q.dims(), k.dims(), v.dims());
    let mut spec = AttentionSpec {
        batch: q[0],
        heads: q[1],
        queries: q[2],
        keys: k[2],
        width: q[3],
        value_width: v[3],
        scale: attend.scale.unwrap_or_else(|| 1.0 / (q[3].max(1) as f64).sqrt()),
        causal: attend.causal,
        dropout: None,
    };
    if attend.dropout > 0.0 {
        spec.dropout = Some((attend.dropout, rng::draw(spec.draws())));
    }
    spec
}

/// Leading dims that the operands share, and whether that needs no broadcast.
pub(crate) fn attention_lead([q, k, v]: [&Tensor; 3]) -> Result<Dims> {
    for (t, name) in [(q, "query"), (k, "key"), (v, "value")] {
        if t.ndim() < 2 {
            let expected = format!("a {name} of at least 2 dims, [..., length, width]");
            return Err(Error::Shape { op: OP, expected, got: t.shape() });
        }
        t.check_float(OP)?;
    }
    q.check_same(OP, k)?;
    q.check_same(OP, v)?;
    let tail = |t: &Tensor| (t.dims()[t.ndim() - 2], t.dims()[t.ndim() - 1]);
    let mismatch = |other: &Tensor, lhs: &Tensor, why: &str| Error::ShapeMismatch {
        op: OP,
        lhs: lhs.shape(),
        rhs: other.shape(),
        why: why.into(),
    };
    if tail(q).1 != tail(k).1 {
        return Err(mismatch(k, q, "query and key must have the same width"));
    }
    if tail(k).0 != tail(v).0 {
        return Err(mismatch(v, k, "key and value must have the same length"));
    }
    let lead = |t: &Tensor| Dims::from_slice(&t.dims()[..t.ndim() - 2]);
    shape::broadcast(OP, &shape::broadcast(OP, &lead(q), &lead(k))?, &lead(v))
}

/// A mask for operands of these leading dims as `[B, H, L, S]`.
pub(crate) fn attention_mask(
    mask: &Tensor,
    like: &Tensor,
    lead: &[usize],
    queries: usize,
    keys: usize,
) -> Result<Tensor> {
    let mut dims = Dims::from_slice(lead);
    dims.extend([queries, keys]);
    if mask.device() != like.device() {
        let (lhs, rhs) = (like.device(), mask.device());
        return Err(Error::DeviceMismatch { op: OP, lhs, rhs });
    }
    if mask.dtype() != DType::Bool && mask.dtype() != like.dtype() {
        return Err(Error::DType {
            op: OP,
            expected: format!("a mask of bool or {}", like.dtype()),
            got: mask.dtype(),
        });
    }
    let full = mask.expand_dims(&dims).ok_or_else(|| Error::Shape {
        op: OP,
        expected: format!("a mask that broadcasts to {:?}", shape::to_i64(&dims)),
        got: mask.shape(),
    })?;
    let full = match lead.len() {
        0 => full.unsqueeze(0)?.unsqueeze(0)?,
        1 => full.unsqueeze(1)?,
        2 => full,
        n => full.reshape_dims(&[lead[..n - 1].iter().product(), lead[n - 1], queries, keys])?,
    };
    if full.dtype().is_half() { full.to_dtype(DType::Float32) } else { Ok(full) }
}

/// Four dims from any number of leading ones.
pub(crate) fn four_dims(lead: &[usize], rows: usize, width: usize) -> [i64; 4] {
    let (batch, heads) = match lead {
        [] => (1, 1),
        [batch] => (*batch, 1),
        [rest @ .., heads] => (rest.iter().product(), *heads),
    };
    [batch as i64, heads as i64, rows as i64, width as i64]
}

impl Tensor {
    /// The tensor with the elements of its last dim adjacent.
    pub(crate) fn rows_adjacent(&self) -> Result<Tensor> {
        let adjacent = self.dims().last().is_none_or(|&n| n <= 1)
            || self.layout().strides.last().is_none_or(|&s| s == 1);
        if adjacent { Ok(self.clone()) } else { self.contiguous() }
    }

    /// The fused kernel on `[B, H, L, D]`: the output as `[B, L, H, Dv]` and the logarithm of each
    /// row's sum `[B, H, L]`.
    pub(crate) fn attend(
        spec: &AttentionSpec,
        [q, k, v]: [&Tensor; 3],
        mask: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let g = spec;
        let shape = [g.batch, g.queries, g.heads, g.value_width];
        let mut out = Tensor::fresh(&shape, q.dtype(), q.device())?;
        let mut lse = Tensor::fresh(&[g.batch, g.heads, g.queries], q.dtype(), q.device())?;
        q.backend()?.attention(
            spec,
            [q.operand(), k.operand(), v.operand()],
            mask.map(Tensor::operand),
            out.fresh_storage(),
            lse.fresh_storage(),
        )?;
        Ok((out, lse))
    }

    /// Gradients of [`Tensor::attend`] as `[B, H, rows, width]`, those that are wanted.
    pub(crate) fn attend_backward(
        spec: &AttentionSpec,
        [q, k, v]: [&Tensor; 3],
        mask: Option<&Tensor>,
        (out, lse): (&Tensor, &Tensor),
        dout: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let g = spec;
        let fresh = |want: bool, rows: usize, width: usize| {
            let shape = [g.batch, rows, g.heads, width];
            want.then(|| Tensor::fresh(&shape, q.dtype(), q.device())).transpose()
        };
        let mut grads = [
            fresh(wanted[0], g.queries, g.width)?,
            fresh(wanted[1], g.keys, g.width)?,
            fresh(wanted[2], g.keys, g.value_width)?,
        ];
        let dout = dout.rows_adjacent()?;
        q.backend()?.attention_backward(
            spec,
            [q.operand(), k.operand(), v.operand()],
            mask.map(Tensor::operand),
            out.operand(),
            lse.operand(),
            dout.operand(),
            AttentionGrads::Each(grads.each_mut().map(|t| t.as_mut().map(Tensor::fresh_storage))),
        )?;
        let [dq, dk, dv] = grads;
        let turn = |t: Option<Tensor>| t.map(|t| t.transpose(1, 2)).transpose();
        Ok([turn(dq)?, turn(dk)?, turn(dv)?])
    }

    /// The gradient of attention on the three parts of one projection, `[B, L, 3 · H · D]`.
    pub(crate) fn attend_backward_joint(
        spec: &AttentionSpec,
        [q, k, v]: [&Tensor; 3],
        mask: Option<&Tensor>,
        (out, lse): (&Tensor, &Tensor),
        dout: &Tensor,
    ) -> Result<Tensor> {
        let g = spec;
        let shape = [g.batch, g.queries, 3 * g.heads * g.width];
        Tensor::build(&shape, q.dtype(), q.device(), |backend, storage| {
            backend.attention_backward(
                spec,
                [q.operand(), k.operand(), v.operand()],
                mask.map(Tensor::operand),
                out.operand(),
                lse.operand(),
                dout.operand(),
                AttentionGrads::Joint(storage),
            )
        })
    }
}
