//! Transformers (Vaswani et al., 2017), with PyTorch's layers, names and options.

use std::collections::HashMap;
use std::rc::Rc;

use super::{
    AttentionOptions, Dropout, LayerNorm, Linear, Module, MultiheadAttention, NamedInputModule,
    Parameter, init,
};
use crate::{DType, Device, Error, Result, Tensor, Variable};

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

/// Parameters of a child under the name it has in its parent.
fn named(prefix: &str, child: &dyn Module) -> Vec<Parameter> {
    let rename = |p: Parameter| Parameter { name: format!("{prefix}.{}", p.name), ..p };
    child.parameters().into_iter().map(rename).collect()
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

/// Self-attention and a feed-forward part, each with a residual and a layer norm; PyTorch's
/// `nn.TransformerEncoderLayer`. Input and output `[B, L, d_model]` (or `[L, d_model]`).
///
/// A clone shares the parameters, which have PyTorch's names (`self_attn.in_proj_weight`,
/// `linear1.weight`, `norm1.weight`, …).
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

    fn duplicate(&self) -> Result<Self> {
        let copy = Self::configured(&self.config)?;
        copy_weights(self, &copy)?;
        Ok(copy)
    }
}

impl Module for TransformerEncoderLayer {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.forward_with(input, &TransformerMasks::default())
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut all = named("self_attn", &self.self_attn);
        all.extend(named("linear1", &self.feed_forward.linear1));
        all.extend(named("linear2", &self.feed_forward.linear2));
        all.extend(named("norm1", &self.around_attention.norm));
        all.extend(named("norm2", &self.around_feed_forward.norm));
        all
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

    fn duplicate(&self) -> Result<Self> {
        let copy = Self::configured(&self.config)?;
        copy_weights(self, &copy)?;
        Ok(copy)
    }
}

/// The error of a module that was given its target alone.
fn needs_memory(op: &'static str) -> Error {
    Error::invalid(op, "needs a target and a memory; use forward_ext, or name the memory `memory`")
}

macro_rules! named_memory {
    ($name:ident) => {
        impl NamedInputModule for $name {
            fn forward_named(
                &self,
                input: &Variable,
                refs: &HashMap<String, Variable>,
            ) -> Result<Variable> {
                let memory = refs.get("memory").ok_or_else(|| needs_memory(stringify!($name)))?;
                self.forward_ext(input, memory)
            }
        }
    };
}
named_memory!(TransformerDecoderLayer);
named_memory!(TransformerDecoder);

impl Module for TransformerDecoderLayer {
    /// An error: a decoder layer needs a memory besides its input.
    fn forward(&self, _input: &Variable) -> Result<Variable> {
        Err(needs_memory("TransformerDecoderLayer"))
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut all = named("self_attn", &self.self_attn);
        all.extend(named("multihead_attn", &self.multihead_attn));
        all.extend(named("linear1", &self.feed_forward.linear1));
        all.extend(named("linear2", &self.feed_forward.linear2));
        all.extend(named("norm1", &self.around_self.norm));
        all.extend(named("norm2", &self.around_memory.norm));
        all.extend(named("norm3", &self.around_feed_forward.norm));
        all
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

/// Layers one after another, and a norm at the end if there is one.
macro_rules! stack {
    ($(#[$doc:meta])* $name:ident of $layer:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            layers: Rc<Vec<$layer>>,
            norm: Option<LayerNorm>,
        }

        impl $name {
            /// Copies of a layer, with equal weights at first, as PyTorch makes them, and a norm
            /// after the last one.
            ///
            /// # Errors
            /// When the number is negative or there is no memory.
            pub fn new(layer: &$layer, num_layers: i64, norm: Option<LayerNorm>) -> Result<Self> {
                if num_layers < 0 {
                    let what = format!("num_layers {num_layers} must not be negative");
                    return Err(Error::invalid(stringify!($name), what));
                }
                let layers = (0..num_layers).map(|_| layer.duplicate()).collect::<Result<_>>()?;
                Ok(Self::of(layers, norm))
            }

            /// These layers as they are, and a norm after the last one.
            pub fn of(layers: Vec<$layer>, norm: Option<LayerNorm>) -> Self {
                $name { layers: Rc::new(layers), norm }
            }

            /// The layers.
            pub fn layers(&self) -> &[$layer] {
                &self.layers
            }

            fn finish(&self, x: Variable) -> Result<Variable> {
                self.norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward(&x))
            }

            fn own_parameters(&self) -> Vec<Parameter> {
                let layers = self.layers.iter().enumerate();
                let mut all: Vec<Parameter> =
                    layers.flat_map(|(i, l)| named(&format!("layers.{i}"), l)).collect();
                all.extend(self.norm.iter().flat_map(|n| named("norm", n)));
                all
            }

            fn children(&self) -> Vec<Rc<dyn Module>> {
                let layers = self.layers.iter().map(|l| Rc::new(l.clone()) as Rc<dyn Module>);
                let norm = self.norm.iter().map(|n| Rc::new(n.clone()) as Rc<dyn Module>);
                layers.chain(norm).collect()
            }
        }
    };
}

stack! {
    /// A stack of encoder layers, PyTorch's `nn.TransformerEncoder`: `[B, L, d_model]` to
    /// `[B, L, d_model]`.
    ///
    /// ```
    /// use flodl::*;
    /// let layer = TransformerEncoderLayer::configured(
    ///     &TransformerConfig::new(16, 2).dim_feedforward(32),
    /// )?;
    /// let encoder = TransformerEncoder::new(&layer, 3, Some(LayerNorm::new(16)?))?;
    /// let x = Variable::new(Tensor::randn(&[2, 5, 16], TensorOptions::default())?, false);
    /// assert_eq!(encoder.forward(&x)?.shape(), [2, 5, 16]);
    /// # Ok::<(), Error>(())
    /// ```
    TransformerEncoder of TransformerEncoderLayer
}

stack! {
    /// A stack of decoder layers, PyTorch's `nn.TransformerDecoder`.
    ///
    /// As a named-input module it takes the memory as `memory`.
    TransformerDecoder of TransformerDecoderLayer
}

impl TransformerEncoder {
    /// With the masks of the source.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(&self, src: &Variable, masks: &TransformerMasks) -> Result<Variable> {
        let mut x = src.clone();
        for layer in self.layers.iter() {
            x = layer.forward_with(&x, masks)?;
        }
        self.finish(x)
    }
}

impl TransformerDecoder {
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
        let mut x = tgt.clone();
        for layer in self.layers.iter() {
            x = layer.forward_with(&x, memory, masks)?;
        }
        self.finish(x)
    }
}

impl Module for TransformerEncoder {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.forward_with(input, &TransformerMasks::default())
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.own_parameters()
    }

    fn name(&self) -> &str {
        "TransformerEncoder"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        self.children()
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.layers) as usize)
    }
}

impl Module for TransformerDecoder {
    /// An error: a decoder needs a memory besides its input.
    fn forward(&self, _input: &Variable) -> Result<Variable> {
        Err(needs_memory("TransformerDecoder"))
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.own_parameters()
    }

    fn name(&self) -> &str {
        "TransformerDecoder"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        self.children()
    }

    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.layers) as usize)
    }
}

/// An encoder of the source and a decoder of the target, each with a norm at its end; PyTorch's
/// `nn.Transformer`. Matrices start Xavier uniform.
///
/// ```
/// use flodl::*;
/// let config = TransformerConfig::new(16, 2).dim_feedforward(32);
/// let model = Transformer::configured(&config, 2, 2)?;
/// let src = Variable::new(Tensor::randn(&[2, 7, 16], TensorOptions::default())?, false);
/// let tgt = Variable::new(Tensor::randn(&[2, 5, 16], TensorOptions::default())?, false);
/// let masks = TransformerMasks { tgt_is_causal: true, ..TransformerMasks::default() };
/// assert_eq!(model.forward_with(&src, &tgt, &masks)?.shape(), [2, 5, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Transformer {
    config: Rc<TransformerConfig>,
    encoder: TransformerEncoder,
    decoder: TransformerDecoder,
}

impl Transformer {
    /// Six layers each and the default options, on the CPU.
    ///
    /// # Errors
    /// When a size is not positive or the width is not a multiple of the number of heads.
    pub fn new(d_model: i64, nhead: i64) -> Result<Self> {
        Self::configured(&TransformerConfig::new(d_model, nhead), 6, 6)
    }

    /// With these options and numbers of layers.
    ///
    /// # Errors
    /// When an option is outside its domain or the device cannot be used.
    pub fn configured(
        c: &TransformerConfig,
        num_encoder_layers: i64,
        num_decoder_layers: i64,
    ) -> Result<Self> {
        let encoder = TransformerEncoder::new(
            &TransformerEncoderLayer::configured(c)?,
            num_encoder_layers,
            Some(c.norm()?),
        )?;
        let decoder = TransformerDecoder::new(
            &TransformerDecoderLayer::configured(c)?,
            num_decoder_layers,
            Some(c.norm()?),
        )?;
        let model = Transformer { config: Rc::new(*c), encoder, decoder };
        for p in model.parameters() {
            if let [out, inputs] = p.variable.shape()[..] {
                let weight = init::xavier_uniform(&[out, inputs], inputs, out, c.device)?;
                p.variable.set_data(weight);
            }
        }
        Ok(model)
    }

    /// The encoder.
    pub fn encoder(&self) -> &TransformerEncoder {
        &self.encoder
    }

    /// The decoder.
    pub fn decoder(&self) -> &TransformerDecoder {
        &self.decoder
    }

    /// Source `[B, S, d_model]` and target `[B, T, d_model]` to `[B, T, d_model]`.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_ext(&self, src: &Variable, tgt: &Variable) -> Result<Variable> {
        self.forward_with(src, tgt, &TransformerMasks::default())
    }

    /// With masks.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(
        &self,
        src: &Variable,
        tgt: &Variable,
        masks: &TransformerMasks,
    ) -> Result<Variable> {
        let memory = self.encoder.forward_with(src, masks)?;
        self.decoder.forward_with(tgt, &memory, masks)
    }

    /// A float mask `[size, size]` of -∞ above the diagonal, which lets a position see itself and
    /// what came before. `is_causal` says the same without a mask, and faster.
    ///
    /// # Errors
    /// When the size is negative.
    pub fn generate_square_subsequent_mask(size: i64) -> Result<Tensor> {
        let hidden = Tensor::ones(&[size, size], DType::Float32.into())?.tril(0)?.eq_scalar(0.0)?;
        Tensor::zeros(&[size, size], DType::Float32.into())?.masked_fill(&hidden, f64::NEG_INFINITY)
    }
}

impl Module for Transformer {
    /// An error: a transformer needs a source and a target.
    fn forward(&self, _input: &Variable) -> Result<Variable> {
        Err(Error::invalid("Transformer", "needs a source and a target; use forward_ext"))
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut all = named("encoder", &self.encoder);
        all.extend(named("decoder", &self.decoder));
        all
    }

    fn name(&self) -> &str {
        "Transformer"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.encoder.clone()), Rc::new(self.decoder.clone())]
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("Transformer({:?})", self.config))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.config) as usize)
    }
}
