//! Multi-head attention.

use std::cell::Cell;
use std::rc::Rc;

use super::{Module, Parameter, RotaryEmbedding, init};
use crate::autograd::amp;
use crate::autograd::ops::{attention, attention_weights, joint_attention};
use crate::autograd::work;
use crate::tensor::Attend;
use crate::{
    AsTensor, DType, Device, Error, Result, Tensor, TensorOptions, Variable, is_grad_enabled,
    linear,
};

const OP: &str = "MultiheadAttention";

/// The projections to queries, keys and values.
#[derive(Clone, Debug)]
enum InProjection {
    /// One weight `[3 · E, E]`.
    Joint(Parameter),
    /// A weight each: `[E, E]`, `[E, kdim]`, `[E, vdim]`.
    Each([Parameter; 3]),
}

/// Multi-head attention (Vaswani et al., 2017), PyTorch's `nn.MultiheadAttention`, batch first:
/// query `[B, L, E]`, key `[B, S, kdim]`, value `[B, S, vdim]`, result `[B, L, E]`; without the
/// batch dim too.
///
/// [`MultiheadAttention::forward`] is self-attention, [`MultiheadAttention::forward_ext`] takes
/// three inputs and a mask, [`MultiheadAttention::forward_with`] everything that PyTorch's forward
/// takes. A bool mask is true where a key is *masked out*, a float mask is added to the scores. A
/// query that may see no key gets weights of 0.
///
/// Parameters have PyTorch's names and layouts: `in_proj_weight` `[3 · E, E]` (Xavier uniform; or
/// `q_proj_weight`, `k_proj_weight`, `v_proj_weight` where widths differ), `in_proj_bias` and
/// `out_proj.bias` (zeros), `out_proj.weight` (as for [`crate::Linear`]). A clone shares them.
///
/// ```
/// use flodl::*;
/// let mha = MultiheadAttention::new(512, 8)?;
/// let x = Variable::new(Tensor::randn(&[2, 5, 512], TensorOptions::default())?, false);
/// assert_eq!(mha.forward(&x)?.shape(), [2, 5, 512]);
/// let memory = Variable::new(Tensor::randn(&[2, 9, 512], TensorOptions::default())?, false);
/// let mask = Tensor::zeros(&[5, 9], DType::Bool.into())?;
/// assert_eq!(mha.forward_ext(&x, &memory, &memory, Some(&mask))?.shape(), [2, 5, 512]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    embed_dim: i64,
    num_heads: i64,
    in_proj: InProjection,
    in_bias: Option<Parameter>,
    /// A key and a value that every query sees.
    bias_kv: Option<[Parameter; 2]>,
    add_zero_attn: bool,
    out_weight: Parameter,
    out_bias: Option<Parameter>,
    dropout: f64,
    batch_first: bool,
    rope: Option<RotaryEmbedding>,
    device: Device,
    training: Rc<Cell<bool>>,
}

/// What [`MultiheadAttention::forward_with`] is asked for besides query, key and value.
#[derive(Clone, Debug)]
pub struct AttentionOptions {
    /// `[L, S]`, `[B · H, L, S]` or `[B, H, L, S]`: bool, true where a key is masked out, or floats
    /// to add to the scores.
    pub attn_mask: Option<Tensor>,
    /// `[B, S]`: bool, true where a key is padding, or floats to add to the scores.
    pub key_padding_mask: Option<Tensor>,
    /// Whether query i sees the keys up to i only, besides what the masks say.
    pub is_causal: bool,
    /// Whether to return the weights too; that computes the scores a second time.
    pub need_weights: bool,
    /// Whether the weights are the mean over heads, `[B, L, S]`, or each head's, `[B, H, L, S]`.
    pub average_attn_weights: bool,
}

/// What [`MultiheadAttention::forward_ext`] takes as a mask. There is one form with an `Option`, so
/// that `None` alone says what it is.
pub trait AttentionMask {
    /// The mask, if there is one.
    fn mask(&self) -> Option<&dyn AsTensor>;
}

impl AttentionMask for Option<&Tensor> {
    fn mask(&self) -> Option<&dyn AsTensor> {
        self.map(|m| m as _)
    }
}

impl AttentionMask for &Tensor {
    fn mask(&self) -> Option<&dyn AsTensor> {
        Some(*self)
    }
}

impl AttentionMask for &Variable {
    fn mask(&self) -> Option<&dyn AsTensor> {
        Some(*self)
    }
}

impl Default for AttentionOptions {
    fn default() -> Self {
        AttentionOptions {
            attn_mask: None,
            key_padding_mask: None,
            is_causal: false,
            need_weights: false,
            average_attn_weights: true,
        }
    }
}

fn on(device: Device) -> TensorOptions {
    TensorOptions { device, ..TensorOptions::default() }
}

impl MultiheadAttention {
    /// With biases and without dropout, on the CPU.
    ///
    /// # Errors
    /// When a size is not positive or the width is not a multiple of the number of heads.
    pub fn new(embed_dim: i64, num_heads: i64) -> Result<Self> {
        Self::on_device(embed_dim, num_heads, Device::CPU)
    }

    /// With biases and without dropout, on a device.
    ///
    /// # Errors
    /// When a size is not positive, the width is not a multiple of the number of heads, or the
    /// device cannot be used.
    pub fn on_device(embed_dim: i64, num_heads: i64, device: Device) -> Result<Self> {
        if embed_dim < 1 || num_heads < 1 {
            let what = format!("embed_dim {embed_dim} and num_heads {num_heads} must be positive");
            return Err(Error::invalid(OP, what));
        }
        if embed_dim % num_heads != 0 {
            let what = format!("embed_dim {embed_dim} must be a multiple of num_heads {num_heads}");
            return Err(Error::invalid(OP, what));
        }
        let e = embed_dim;
        let weight = init::xavier_uniform(&[3 * e, e], e, 3 * e, device)?;
        let out = init::kaiming_uniform(&[e, e], e, 5f64.sqrt(), device)?;
        let zeros = |n| Tensor::zeros(&[n], on(device));
        Ok(MultiheadAttention {
            embed_dim,
            num_heads,
            in_proj: InProjection::Joint(Parameter::new(weight, "in_proj_weight")),
            in_bias: Some(Parameter::new(zeros(3 * e)?, "in_proj_bias")),
            bias_kv: None,
            add_zero_attn: false,
            out_weight: Parameter::new(out, "out_proj.weight"),
            out_bias: Some(Parameter::new(zeros(e)?, "out_proj.bias")),
            dropout: 0.0,
            batch_first: true,
            rope: None,
            device,
            training: Rc::new(Cell::new(true)),
        })
    }

    /// Drops attention weights with probability `p` in training.
    ///
    /// # Errors
    /// When `p` is not in `[0, 1]`.
    pub fn dropout(mut self, p: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::invalid(OP, format!("dropout {p} must be in [0, 1]")));
        }
        self.dropout = p;
        Ok(self)
    }

    /// Leaves out the biases of all projections.
    pub fn without_bias(mut self) -> Self {
        (self.in_bias, self.out_bias) = (None, None);
        self
    }

    /// Keys and values of other widths than the queries, with a projection weight each.
    ///
    /// # Errors
    /// When a width is not positive.
    pub fn key_value_dims(mut self, kdim: i64, vdim: i64) -> Result<Self> {
        if kdim < 1 || vdim < 1 {
            let what = format!("kdim {kdim} and vdim {vdim} must be positive");
            return Err(Error::invalid(OP, what));
        }
        if kdim == self.embed_dim && vdim == self.embed_dim {
            return Ok(self);
        }
        let e = self.embed_dim;
        let weight = |width, name| -> Result<Parameter> {
            Ok(Parameter::new(init::xavier_uniform(&[e, width], width, e, self.device)?, name))
        };
        self.in_proj = InProjection::Each([
            weight(e, "q_proj_weight")?,
            weight(kdim, "k_proj_weight")?,
            weight(vdim, "v_proj_weight")?,
        ]);
        Ok(self)
    }

    /// Adds a learned key and value at the end of each sequence, PyTorch's `add_bias_kv`.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn add_bias_kv(mut self) -> Result<Self> {
        let e = self.embed_dim;
        let row = |name| -> Result<Parameter> {
            Ok(Parameter::new(init::xavier_normal(&[1, 1, e], e, e, self.device)?, name))
        };
        self.bias_kv = Some([row("bias_k")?, row("bias_v")?]);
        Ok(self)
    }

    /// Adds a key and value of zeros at the end of each sequence.
    pub fn add_zero_attn(mut self) -> Self {
        self.add_zero_attn = true;
        self
    }

    /// With `false`, inputs and output are `[L, B, E]`, PyTorch's default.
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.batch_first = batch_first;
        self
    }

    /// Rotates queries and keys by their position (Su et al., 2021).
    ///
    /// # Errors
    /// When the embedding is for another width of heads.
    pub fn rotary(mut self, rope: RotaryEmbedding) -> Result<Self> {
        let head_dim = self.embed_dim / self.num_heads;
        if rope.head_dim() != head_dim {
            let what = format!(
                "a rotary embedding of head_dim {} does not fit heads of {head_dim}",
                rope.head_dim()
            );
            return Err(Error::invalid(OP, what));
        }
        self.rope = Some(rope);
        Ok(self)
    }

    /// Width of queries and output.
    pub fn embed_dim(&self) -> i64 {
        self.embed_dim
    }

    /// Number of heads.
    pub fn num_heads(&self) -> i64 {
        self.num_heads
    }

    /// Attention of `query` over `key` and `value`. The mask is an `Option<&Tensor>`, or a
    /// [`Tensor`] or [`Variable`] by reference, `[L, S]`, `[B · H, L, S]` or `[B, H, L, S]`: bool
    /// (or whole numbers), true where a key is masked out, or floats to add to the scores.
    ///
    /// # Errors
    /// When shapes do not fit, dtypes or devices differ, or the mask requires a gradient.
    ///
    /// ```
    /// use flodl::*;
    /// let mha = MultiheadAttention::new(8, 2)?;
    /// let x = Variable::new(Tensor::randn(&[2, 3, 8], TensorOptions::default())?, false);
    /// let mask = Variable::new(Tensor::zeros(&[3, 3], TensorOptions::default())?, false);
    /// let by_variable = mha.forward_ext(&x, &x, &x, &mask)?;
    /// let given: Option<&Tensor> = None;
    /// let without = mha.forward_ext(&x, &x, &x, given)?;
    /// assert_eq!(by_variable.data().to_f32_vec()?, without.data().to_f32_vec()?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn forward_ext(
        &self,
        query: &Variable,
        key: &Variable,
        value: &Variable,
        mask: impl AttentionMask,
    ) -> Result<Variable> {
        let mask = mask.mask();
        if mask.as_ref().is_some_and(|m| m.wants_grad()) && is_grad_enabled() {
            let what = "the mask requires a gradient, which a mask does not get here; detach it, \
                        or call scaled_dot_product_attention_bias";
            return Err(Error::invalid(OP, what));
        }
        let attn_mask = mask.map(|m| m.as_tensor());
        let options = AttentionOptions { attn_mask, ..AttentionOptions::default() };
        Ok(self.forward_with(query, key, value, &options)?.0)
    }

    /// Attention with all of PyTorch's options; the weights come second if they are asked for,
    /// dropout included.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(
        &self,
        query: &Variable,
        key: &Variable,
        value: &Variable,
        options: &AttentionOptions,
    ) -> Result<(Variable, Option<Variable>)> {
        let one_input = query.id() == key.id() && key.id() == value.id();
        // The projections cast their inputs each by itself; the weights may have the other dtype.
        let low = amp::low([query, key, value])?;
        let (query, key, value) = match &low {
            Some([q, _, _]) if one_input => (q, q, q),
            Some([q, k, v]) => (q, k, v),
            None => (query, key, value),
        };
        let batched = self.check(query, key, value)?;
        let arrange = |x: &Variable| match (batched, self.batch_first) {
            (false, _) => x.unsqueeze(0),
            (true, true) => Ok(x.clone()),
            (true, false) => x.transpose(0, 1),
        };
        let q = arrange(query)?;
        let (k, v) = match one_input {
            true => (q.clone(), q.clone()),
            false => {
                let k = arrange(key)?;
                (k.clone(), if key.id() == value.id() { k } else { arrange(value)? })
            }
        };
        // The scores are nobody's product but this layer's.
        let attend = || self.attend(&q, &k, &v, batched, options);
        let (y, weights) = work::of(&self.out_weight.variable, attend)?;
        let weights = weights.map(|w| if batched { Ok(w) } else { w.squeeze(0) }).transpose()?;
        let y = match (batched, self.batch_first) {
            (false, _) => y.squeeze(0)?,
            (true, true) => y,
            (true, false) => y.transpose(0, 1)?,
        };
        Ok((y, weights))
    }

    /// Checks the inputs; whether they have a batch dim.
    fn check(&self, query: &Variable, key: &Variable, value: &Variable) -> Result<bool> {
        let (kdim, vdim) = match &self.in_proj {
            InProjection::Joint(_) => (self.embed_dim, self.embed_dim),
            InProjection::Each([_, k, v]) => (k.variable.shape()[1], v.variable.shape()[1]),
        };
        let batched = query.ndim() == 3;
        let order = match (batched, self.batch_first) {
            (true, true) => "[batch, length, ",
            (true, false) => "[length, batch, ",
            (false, _) => "[length, ",
        };
        let all = [("query", query, self.embed_dim), ("key", key, kdim), ("value", value, vdim)];
        for (name, x, width) in all {
            let shape = x.shape();
            let rank = if batched { 3 } else { 2 };
            if shape.len() != rank || shape.last() != Some(&width) {
                let expected = format!("a {name} {order}{width}]");
                return Err(Error::Shape { op: OP, expected, got: shape });
            }
            let weight = &self.out_weight.variable;
            if amp::is_active() && x.dtype().is_half() {
                continue;
            }
            x.with_data(|x| weight.with_data(|w| w.check_same(OP, x)))?;
        }
        let (q, k, v) = (query.shape(), key.shape(), value.shape());
        let mismatch = |lhs: &[i64], rhs: &[i64], why: &str| Error::ShapeMismatch {
            op: OP,
            lhs: lhs.to_vec(),
            rhs: rhs.to_vec(),
            why: why.into(),
        };
        if k[..k.len() - 1] != v[..v.len() - 1] {
            return Err(mismatch(&k, &v, "key and value must have the same batch and length"));
        }
        let of_batch = usize::from(!self.batch_first);
        if batched && q[of_batch] != k[of_batch] {
            return Err(mismatch(&q, &k, "query and key must have the same batch"));
        }
        Ok(batched)
    }

    /// Attention on `[B, L, E]`.
    fn attend(
        &self,
        query: &Variable,
        key: &Variable,
        value: &Variable,
        batched: bool,
        options: &AttentionOptions,
    ) -> Result<(Variable, Option<Variable>)> {
        let (q_shape, k_shape) = (query.shape(), key.shape());
        let (batch, length, keys) = (q_shape[0], q_shape[1], k_shape[1]);
        let (e, h) = (self.embed_dim, self.num_heads);
        let extra = i64::from(self.bias_kv.is_some()) + i64::from(self.add_zero_attn);
        let masks = Masks { batch, heads: h, queries: length, keys, extra, batched };
        let (mask, causal) = masks.combine(options, query)?;
        let dropout = if self.training.get() { self.dropout } else { 0.0 };
        let attend = Attend { scale: None, causal, dropout };

        let same = query.id() == key.id() && key.id() == value.id();
        if let InProjection::Joint(weight) = &self.in_proj
            && same
            && extra == 0
            && self.rope.is_none()
            && !options.need_weights
            && !query.dtype().is_half()
        {
            let bias = self.in_bias.as_ref().map(|b| &b.variable);
            let qkv = linear(query, &weight.variable, bias)?;
            let y = joint_attention(&qkv, h, mask, attend)?;
            return Ok((self.out(&y)?, None));
        }

        let [mut q, mut k, mut v] = self.project(query, key, value)?;
        if let Some([bias_k, bias_v]) = &self.bias_kv {
            let row = |p: &Parameter| p.variable.expand(&[batch, 1, e]);
            k = k.cat(&row(bias_k)?, 1)?;
            v = v.cat(&row(bias_v)?, 1)?;
        }
        if self.add_zero_attn {
            let zeros = k.with_data(|t| Tensor::zeros(&[batch, 1, e], t.options()))?;
            let zeros = Variable::constant(zeros);
            k = k.cat(&zeros, 1)?;
            v = v.cat(&zeros, 1)?;
        }
        let split = |x: &Variable, rows| x.reshape(&[batch, rows, h, e / h])?.transpose(1, 2);
        (q, k, v) = (split(&q, length)?, split(&k, keys + extra)?, split(&v, keys + extra)?);
        if let Some(rope) = &self.rope {
            (q, k) = rope.apply(&q, &k)?;
        }
        let (y, weights) = if options.need_weights {
            let (y, w) = attention_weights(&q, &k, &v, mask.as_ref(), attend)?;
            let w = if options.average_attn_weights { w.mean_dim(1, false)? } else { w };
            (y, Some(w))
        } else {
            (attention(&q, &k, &v, mask.as_ref(), attend)?, None)
        };
        let y = y.transpose(1, 2)?.reshape(&[batch, length, e])?;
        Ok((self.out(&y)?, weights))
    }

    fn out(&self, y: &Variable) -> Result<Variable> {
        linear(y, &self.out_weight.variable, self.out_bias.as_ref().map(|b| &b.variable))
    }

    /// The projections to queries, keys and values.
    fn project(&self, q: &Variable, k: &Variable, v: &Variable) -> Result<[Variable; 3]> {
        let e = self.embed_dim;
        let bias = |from: i64, len: i64| {
            self.in_bias.as_ref().map(|b| b.variable.narrow(0, from, len)).transpose()
        };
        match &self.in_proj {
            InProjection::Joint(w) => {
                let w = &w.variable;
                let part = |x: &Variable, from: i64, parts: i64| {
                    let (from, len) = (from * e, parts * e);
                    linear(x, &w.narrow(0, from, len)?, bias(from, len)?.as_ref())
                };
                if q.id() == k.id() && k.id() == v.id() {
                    let all = linear(q, w, self.in_bias.as_ref().map(|b| &b.variable))?;
                    return Ok([
                        all.narrow(2, 0, e)?,
                        all.narrow(2, e, e)?,
                        all.narrow(2, 2 * e, e)?,
                    ]);
                }
                if k.id() == v.id() {
                    let kv = part(k, 1, 2)?;
                    return Ok([part(q, 0, 1)?, kv.narrow(2, 0, e)?, kv.narrow(2, e, e)?]);
                }
                Ok([part(q, 0, 1)?, part(k, 1, 1)?, part(v, 2, 1)?])
            }
            InProjection::Each([wq, wk, wv]) => {
                let part =
                    |x, w: &Parameter, i: i64| linear(x, &w.variable, bias(i * e, e)?.as_ref());
                Ok([part(q, wq, 0)?, part(k, wk, 1)?, part(v, wv, 2)?])
            }
        }
    }
}

impl Module for MultiheadAttention {
    /// Self-attention: query, key and value are the input.
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(self.forward_with(input, input, input, &AttentionOptions::default())?.0)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut all = match &self.in_proj {
            InProjection::Joint(p) => vec![p.clone()],
            InProjection::Each(all) => all.to_vec(),
        };
        all.extend(self.in_bias.clone());
        all.extend(self.bias_kv.iter().flatten().cloned());
        all.push(self.out_weight.clone());
        all.extend(self.out_bias.clone());
        all
    }

    fn name(&self) -> &str {
        OP
    }

    fn set_training(&self, training: bool) {
        self.training.set(training);
    }

    fn structural_hash(&self) -> Option<String> {
        let rope = self.rope.as_ref().map(RotaryEmbedding::describe);
        Some(format!(
            "{OP}({}, {}, dropout={}, add_zero_attn={}, batch_first={}, rotary={rope:?})",
            self.embed_dim, self.num_heads, self.dropout, self.add_zero_attn, self.batch_first
        ))
    }

    fn identity(&self) -> Option<usize> {
        Some(self.out_weight.variable.id())
    }
}

/// Puts the masks of a call together.
struct Masks {
    batch: i64,
    heads: i64,
    queries: i64,
    keys: i64,
    /// Keys that the layer itself appends, which every query sees.
    extra: i64,
    batched: bool,
}

impl Masks {
    /// One mask that broadcasts to `[B, H, L, S]`, true or added where a key is seen, and whether
    /// the kernel itself is to be causal.
    fn combine(
        &self,
        options: &AttentionOptions,
        like: &Variable,
    ) -> Result<(Option<Tensor>, bool)> {
        let mut mask = options.attn_mask.as_ref().map(|m| self.of_scores(m, like)).transpose()?;
        if let Some(padding) = &options.key_padding_mask {
            let padding = self.of_keys(padding, like)?;
            mask = Some(match mask {
                None => padding,
                Some(m) => join(&m, &padding, like.dtype())?,
            });
        }
        let mut causal = options.is_causal;
        if self.extra > 0 {
            if causal {
                // The kernel's triangle would hide the appended keys.
                let ones = Tensor::ones(&[self.queries, self.keys], DType::Float32.into())?;
                let hidden = ones.tril(0)?.eq_scalar(0.0)?;
                mask = Some(match mask {
                    None => hidden,
                    Some(m) => join(&m, &hidden, like.dtype())?,
                });
                causal = false;
            }
            mask = match mask {
                Some(m) => {
                    let mut shape = m.shape();
                    let last = shape.len() - 1;
                    shape[last] = self.extra;
                    let open = Tensor::zeros(&shape, m.options())?;
                    Some(m.cat(&open, -1)?)
                }
                None => None,
            };
        }
        // True where a key is masked out, until here.
        let mask = match mask {
            Some(m) if m.dtype() == DType::Bool => Some(m.logical_not()?),
            m => m,
        };
        let full = [self.batch, self.heads, self.queries, self.keys + self.extra];
        Ok((mask.map(|m| m.expand(&full)).transpose()?, causal))
    }

    /// Bool stays, whole numbers become bool, floats take the dtype of the inputs.
    fn usable(mask: &Tensor, like: &Variable) -> Result<Tensor> {
        if mask.device() != like.device() {
            let (lhs, rhs) = (like.device(), mask.device());
            return Err(Error::DeviceMismatch { op: OP, lhs, rhs });
        }
        match mask.dtype() {
            DType::Bool => Ok(mask.clone()),
            d if d.is_float() => mask.to_dtype(like.dtype()),
            _ => mask.ne_scalar(0.0),
        }
    }

    /// An `attn_mask` with four dims.
    fn of_scores(&self, mask: &Tensor, like: &Variable) -> Result<Tensor> {
        let Masks { batch, heads, queries, keys, .. } = *self;
        let m = Self::usable(mask, like)?;
        match *m.shape() {
            [l, s] if [l, s] == [queries, keys] => m.reshape(&[1, 1, l, s]),
            [n, l, s] if [n, l, s] == [batch * heads, queries, keys] => {
                m.reshape(&[batch, heads, l, s])
            }
            [b, h, l, s]
                if (b == 1 || b == batch)
                    && (h == 1 || h == heads)
                    && [l, s] == [queries, keys] =>
            {
                Ok(m)
            }
            _ => Err(Error::Shape {
                op: OP,
                expected: format!(
                    "a mask [{queries}, {keys}], [{}, {queries}, {keys}] or [{batch}, {heads}, \
                     {queries}, {keys}]",
                    batch * heads
                ),
                got: mask.shape(),
            }),
        }
    }

    /// A `key_padding_mask` with four dims.
    fn of_keys(&self, mask: &Tensor, like: &Variable) -> Result<Tensor> {
        let (batch, keys) = (self.batch, self.keys);
        let fits = match self.batched {
            true => mask.shape() == [batch, keys],
            false => mask.shape() == [keys],
        };
        if !fits {
            let expected = match self.batched {
                true => format!("a key_padding_mask [{batch}, {keys}]"),
                false => format!("a key_padding_mask [{keys}]"),
            };
            return Err(Error::Shape { op: OP, expected, got: mask.shape() });
        }
        Self::usable(mask, like)?.reshape(&[batch, 1, 1, keys])
    }
}

/// Two masks as one: bool if both are, else floats to add.
fn join(a: &Tensor, b: &Tensor, dtype: DType) -> Result<Tensor> {
    if a.dtype() == DType::Bool && b.dtype() == DType::Bool {
        return a.logical_or(b);
    }
    let added = |m: &Tensor| -> Result<Tensor> {
        if m.dtype() != DType::Bool {
            return Ok(m.clone());
        }
        let zeros = Tensor::zeros(&m.shape(), TensorOptions { dtype, device: m.device() })?;
        zeros.masked_fill(m, f64::NEG_INFINITY)
    };
    added(a)?.add(&added(b)?)
}
