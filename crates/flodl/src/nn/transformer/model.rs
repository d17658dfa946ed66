//! Encoder and decoder together.

use std::rc::Rc;

use super::{
    TransformerConfig, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer, TransformerMasks,
};
use crate::nn::init;
use crate::{DType, Error, Module, Result, Tensor, Variable};

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

    fn name(&self) -> &str {
        "Transformer"
    }

    crate::children!(encoder, decoder);

    fn structural_hash(&self) -> Option<String> {
        Some(format!("Transformer({:?})", self.config))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.config) as usize)
    }
}
