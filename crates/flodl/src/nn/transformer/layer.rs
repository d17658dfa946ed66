//! Encoder and decoder layers.

use std::rc::Rc;

use super::{
    FeedForward, Residual, TransformerConfig, TransformerMasks, copy_weights, named_memory,
    needs_memory,
};
use crate::{Module, MultiheadAttention, NamedInputModule, Result, Variable};

/// Self-attention and a feed-forward part, each with a residual and a layer norm; PyTorch's
/// `nn.TransformerEncoderLayer`. Input and output `[B, L, d_model]` (or `[L, d_model]`).
///
/// A clone shares the parameters, which have PyTorch's names (`self_attn.in_proj_weight`,
/// `linear1.weight`, `norm1.weight`, …).
///
/// ```
/// use flodl::*;
/// let layer = TransformerEncoderLayer::new(16, 2)?;
/// let x = Variable::new(Tensor::randn(&[2, 5, 16], TensorOptions::default())?, false);
/// let masks = TransformerMasks { src_is_causal: true, ..TransformerMasks::default() };
/// assert_eq!(layer.forward_with(&x, &masks)?.shape(), [2, 5, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayer {
    config: Rc<TransformerConfig>,
    self_attn: MultiheadAttention,
    feed_forward: FeedForward,
    around_attention: Residual,
    around_feed_forward: Residual,
}

impl TransformerEncoderLayer {
    /// With the default options, on the CPU.
    ///
    /// # Errors
    /// When a size is not positive or the width is not a multiple of the number of heads.
    pub fn new(d_model: i64, nhead: i64) -> Result<Self> {
        Self::configured(&TransformerConfig::new(d_model, nhead))
    }

    /// With these options.
    ///
    /// # Errors
    /// When an option is outside its domain or the device cannot be used.
    pub fn configured(c: &TransformerConfig) -> Result<Self> {
        c.check("TransformerEncoderLayer")?;
        Ok(TransformerEncoderLayer {
            config: Rc::new(*c),
            self_attn: c.attention()?,
            feed_forward: FeedForward::new(c)?,
            around_attention: Residual::new(c)?,
            around_feed_forward: Residual::new(c)?,
        })
    }

    /// With the masks of the source.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(&self, src: &Variable, masks: &TransformerMasks) -> Result<Variable> {
        let options = masks.source();
        let x = self
            .around_attention
            .apply(src, |x| Ok(self.self_attn.forward_with(x, x, x, &options)?.0))?;
        self.around_feed_forward.apply(&x, |x| self.feed_forward.forward(x))
    }

    pub(super) fn duplicate(&self) -> Result<Self> {
        let copy = Self::configured(&self.config)?;
        copy_weights(self, &copy)?;
        Ok(copy)
    }
}

impl Module for TransformerEncoderLayer {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.forward_with(input, &TransformerMasks::default())
    }

    fn name(&self) -> &str {
        "TransformerEncoderLayer"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        let mut all: Vec<Rc<dyn Module>> = vec![Rc::new(self.self_attn.clone())];
        all.extend(self.feed_forward.children());
        all.extend(self.around_attention.children());
        all.extend(self.around_feed_forward.children());
        all
    }

    fn sub_module_names(&self) -> Vec<String> {
        let names = [
            "self_attn",
            "linear1",
            "dropout",
            "linear2",
            "norm1",
            "dropout1",
            "norm2",
            "dropout2",
        ];
        names.map(String::from).to_vec()
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("TransformerEncoderLayer({:?})", self.config))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.config) as usize)
    }
}

/// Self-attention, attention over a memory, and a feed-forward part, each with a residual and a
/// layer norm; PyTorch's `nn.TransformerDecoderLayer`. Target and output `[B, T, d_model]`, memory
/// `[B, S, d_model]`.
///
/// As a named-input module it takes the memory as `memory`.
///
/// ```
/// use flodl::*;
/// let layer = TransformerDecoderLayer::new(16, 2)?;
/// let memory = Variable::new(Tensor::randn(&[2, 7, 16], TensorOptions::default())?, false);
/// let target = Variable::new(Tensor::randn(&[2, 5, 16], TensorOptions::default())?, false);
/// assert_eq!(layer.forward_ext(&target, &memory)?.shape(), [2, 5, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransformerDecoderLayer {
    config: Rc<TransformerConfig>,
    self_attn: MultiheadAttention,
    multihead_attn: MultiheadAttention,
    feed_forward: FeedForward,
    around_self: Residual,
    around_memory: Residual,
    around_feed_forward: Residual,
}

impl TransformerDecoderLayer {
    /// With the default options, on the CPU.
    ///
    /// # Errors
    /// When a size is not positive or the width is not a multiple of the number of heads.
    pub fn new(d_model: i64, nhead: i64) -> Result<Self> {
        Self::configured(&TransformerConfig::new(d_model, nhead))
    }

    /// With these options.
    ///
    /// # Errors
    /// When an option is outside its domain or the device cannot be used.
    pub fn configured(c: &TransformerConfig) -> Result<Self> {
        c.check("TransformerDecoderLayer")?;
        Ok(TransformerDecoderLayer {
            config: Rc::new(*c),
            self_attn: c.attention()?,
            multihead_attn: c.attention()?,
            feed_forward: FeedForward::new(c)?,
            around_self: Residual::new(c)?,
            around_memory: Residual::new(c)?,
            around_feed_forward: Residual::new(c)?,
        })
    }

    /// The target with what it finds in the memory.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_ext(&self, tgt: &Variable, memory: &Variable) -> Result<Variable> {
        self.forward_with(tgt, memory, &TransformerMasks::default())
    }

    /// With the masks of target and memory.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(
        &self,
        tgt: &Variable,
        memory: &Variable,
        masks: &TransformerMasks,
    ) -> Result<Variable> {
        let (own, other) = (masks.target(), masks.memory());
        let x =
            self.around_self.apply(tgt, |x| Ok(self.self_attn.forward_with(x, x, x, &own)?.0))?;
        let x = self
            .around_memory
            .apply(&x, |x| Ok(self.multihead_attn.forward_with(x, memory, memory, &other)?.0))?;
        self.around_feed_forward.apply(&x, |x| self.feed_forward.forward(x))
    }

    pub(super) fn duplicate(&self) -> Result<Self> {
        let copy = Self::configured(&self.config)?;
        copy_weights(self, &copy)?;
        Ok(copy)
    }
}

named_memory!(TransformerDecoderLayer);

impl Module for TransformerDecoderLayer {
    /// An error: a decoder layer needs a memory besides its input.
    fn forward(&self, _input: &Variable) -> Result<Variable> {
        Err(needs_memory("TransformerDecoderLayer"))
    }

    fn name(&self) -> &str {
        "TransformerDecoderLayer"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        let mut all: Vec<Rc<dyn Module>> =
            vec![Rc::new(self.self_attn.clone()), Rc::new(self.multihead_attn.clone())];
        all.extend(self.feed_forward.children());
        for around in [&self.around_self, &self.around_memory, &self.around_feed_forward] {
            all.extend(around.children());
        }
        all
    }

    fn sub_module_names(&self) -> Vec<String> {
        let names = [
            "self_attn",
            "multihead_attn",
            "linear1",
            "dropout",
            "linear2",
            "norm1",
            "dropout1",
            "norm2",
            "dropout2",
            "norm3",
            "dropout3",
        ];
        names.map(String::from).to_vec()
    }

    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("TransformerDecoderLayer({:?})", self.config))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.config) as usize)
    }
}
