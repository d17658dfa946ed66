//! Transformers (Vaswani et al., 2017), with PyTorch's layers, names and options.

mod layer;
mod model;
mod stack;

use std::rc::Rc;

pub use layer::{TransformerDecoderLayer, TransformerEncoderLayer};
pub use model::Transformer;
pub use stack::{TransformerDecoder, TransformerEncoder};

use super::{AttentionOptions, Dropout, LayerNorm, Linear, Module, MultiheadAttention};
use crate::{Device, Error, Result, Tensor, Variable};

/// The activation of the feed-forward part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransformerActivation {
    /// max(0, x).
    #[default]
    Relu,
    /// x · Φ(x), exact.
    Gelu,
}

/// Sizes and options of transformer layers; the defaults are PyTorch's, but batch first, as
/// [`MultiheadAttention`] is.
///
/// ```
/// use flodl::*;
/// let config = TransformerConfig::new(32, 4).dim_feedforward(64).dropout(0.0).norm_first(true);
/// let layer = TransformerEncoderLayer::configured(&config)?;
/// let x = Variable::new(Tensor::randn(&[2, 5, 32], TensorOptions::default())?, false);
/// assert_eq!(layer.forward(&x)?.shape(), [2, 5, 32]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TransformerConfig {
    d_model: i64,
    nhead: i64,
    dim_feedforward: i64,
    dropout: f64,
    activation: TransformerActivation,
    layer_norm_eps: f64,
    batch_first: bool,
    norm_first: bool,
    bias: bool,
    device: Device,
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $ty:ty;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $ty) -> Self {
            self.$name = $name;
            self
        })*
    };
}

impl TransformerConfig {
    /// A width and a number of heads.
    pub fn new(d_model: i64, nhead: i64) -> Self {
        TransformerConfig {
            d_model,
            nhead,
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: TransformerActivation::Relu,
            layer_norm_eps: 1e-5,
            batch_first: true,
            norm_first: false,
            bias: true,
            device: Device::CPU,
        }
    }

    options! {
        /// Width of the feed-forward part; 2048 unless set.
        dim_feedforward: i64;
        /// Probability of every dropout, of attention weights too; 0.1 unless set.
        dropout: f64;
        /// Activation of the feed-forward part; ReLU unless set.
        activation: TransformerActivation;
        /// Added to variances in layer norms; 1e-5 unless set.
        layer_norm_eps: f64;
        /// With `false`, sequences are `[length, batch, width]`, PyTorch's default.
        batch_first: bool;
        /// Whether norms come before attention and feed-forward instead of after.
        norm_first: bool;
        /// With `false`, linear layers, projections and norms have no bias.
        bias: bool;
        /// Where the parameters live; the CPU unless set.
        device: Device;
    }

    fn check(&self, op: &'static str) -> Result<()> {
        if self.dim_feedforward < 1 {
            let what = format!("dim_feedforward {} must be positive", self.dim_feedforward);
            return Err(Error::invalid(op, what));
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            return Err(Error::invalid(op, format!("dropout {} must be in [0, 1]", self.dropout)));
        }
        Ok(())
    }

    fn attention(&self) -> Result<MultiheadAttention> {
        let mha = MultiheadAttention::on_device(self.d_model, self.nhead, self.device)?
            .dropout(self.dropout)?
            .batch_first(self.batch_first);
        Ok(if self.bias { mha } else { mha.without_bias() })
    }

    fn linear(&self, inputs: i64, outputs: i64) -> Result<Linear> {
        match self.bias {
            true => Linear::on_device(inputs, outputs, self.device),
            false => Linear::no_bias_on_device(inputs, outputs, self.device),
        }
    }

    fn norm(&self) -> Result<LayerNorm> {
        let norm = LayerNorm::on_device_with_eps(self.d_model, self.layer_norm_eps, self.device)?;
        Ok(if self.bias { norm } else { norm.without_bias() })
    }
}

/// Gives a module copies of the weights of another one of the same make.
fn copy_weights(from: &dyn Module, to: &dyn Module) -> Result<()> {
    for (a, b) in from.parameters().iter().zip(to.parameters()) {
        b.variable.set_data(a.variable.data().copy()?);
    }
    Ok(())
}

/// Masks of a transformer; those of the part that a module has are read, see
/// [`AttentionOptions`] for what they may be.
#[derive(Clone, Debug, Default)]
pub struct TransformerMasks {
    /// On the encoder's scores.
    pub src_mask: Option<Tensor>,
    /// Padding of the source, `[B, S]`.
    pub src_key_padding_mask: Option<Tensor>,
    /// Whether the source sees earlier positions only.
    pub src_is_causal: bool,
    /// On the decoder's own scores.
    pub tgt_mask: Option<Tensor>,
    /// Padding of the target, `[B, T]`.
    pub tgt_key_padding_mask: Option<Tensor>,
    /// Whether the target sees earlier positions only.
    pub tgt_is_causal: bool,
    /// On the scores between target and memory.
    pub memory_mask: Option<Tensor>,
    /// Padding of the memory, `[B, S]`.
    pub memory_key_padding_mask: Option<Tensor>,
    /// Whether target position i sees the memory up to i only.
    pub memory_is_causal: bool,
}

impl TransformerMasks {
    fn source(&self) -> AttentionOptions {
        AttentionOptions {
            attn_mask: self.src_mask.clone(),
            key_padding_mask: self.src_key_padding_mask.clone(),
            is_causal: self.src_is_causal,
            ..AttentionOptions::default()
        }
    }

    fn target(&self) -> AttentionOptions {
        AttentionOptions {
            attn_mask: self.tgt_mask.clone(),
            key_padding_mask: self.tgt_key_padding_mask.clone(),
            is_causal: self.tgt_is_causal,
            ..AttentionOptions::default()
        }
    }

    fn memory(&self) -> AttentionOptions {
        AttentionOptions {
            attn_mask: self.memory_mask.clone(),
            key_padding_mask: self.memory_key_padding_mask.clone(),
            is_causal: self.memory_is_causal,
            ..AttentionOptions::default()
        }
    }
}

/// linear2(dropout(activation(linear1(x)))).
#[derive(Clone, Debug)]
struct FeedForward {
    linear1: Linear,
    linear2: Linear,
    dropout: Dropout,
    activation: TransformerActivation,
}

impl FeedForward {
    fn new(c: &TransformerConfig) -> Result<Self> {
        Ok(FeedForward {
            linear1: c.linear(c.d_model, c.dim_feedforward)?,
            linear2: c.linear(c.dim_feedforward, c.d_model)?,
            dropout: Dropout::new(c.dropout),
            activation: c.activation,
        })
    }

    fn forward(&self, x: &Variable) -> Result<Variable> {
        let hidden = self.linear1.forward(x)?;
        let hidden = match self.activation {
            TransformerActivation::Relu => hidden.relu()?,
            TransformerActivation::Gelu => hidden.gelu()?,
        };
        self.linear2.forward(&self.dropout.forward(&hidden)?)
    }

    fn children(&self) -> [Rc<dyn Module>; 3] {
        [
            Rc::new(self.linear1.clone()),
            Rc::new(self.dropout.clone()),
            Rc::new(self.linear2.clone()),
        ]
    }
}

/// A branch around which the stream goes, and where its norm stands.
#[derive(Clone, Debug)]
struct Residual {
    norm: LayerNorm,
    dropout: Dropout,
    norm_first: bool,
}

impl Residual {
    fn new(c: &TransformerConfig) -> Result<Self> {
        let dropout = Dropout::new(c.dropout);
        Ok(Residual { norm: c.norm()?, dropout, norm_first: c.norm_first })
    }

    /// x + f(norm(x)), or norm(x + f(x)).
    fn apply(
        &self,
        x: &Variable,
        f: impl FnOnce(&Variable) -> Result<Variable>,
    ) -> Result<Variable> {
        if self.norm_first {
            return x.add(&self.dropout.forward(&f(&self.norm.forward(x)?)?)?);
        }
        self.norm.forward(&x.add(&self.dropout.forward(&f(x)?)?)?)
    }

    fn children(&self) -> [Rc<dyn Module>; 2] {
        [Rc::new(self.norm.clone()), Rc::new(self.dropout.clone())]
    }
}

/// The error of a module that was given its target alone.
fn needs_memory(op: &'static str) -> Error {
    Error::invalid(op, "needs a target and a memory; use forward_ext, or name the memory `memory`")
}

macro_rules! named_memory {
    ($name:ident) => {
        impl $crate::NamedInputModule for $name {
            fn forward_named(
                &self,
                input: &Variable,
                refs: &std::collections::HashMap<String, Variable>,
            ) -> Result<Variable> {
                let memory = refs.get("memory").ok_or_else(|| needs_memory(stringify!($name)))?;
                self.forward_ext(input, memory)
            }
        }
    };
}
use named_memory;
