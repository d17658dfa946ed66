//! What layers tell of themselves so that a graph may join them when nothing is learned.

use super::batch_norm::BatchNormNd;
use super::{Conv, Linear, Module, Parameter};
use crate::{Result, Tensor, Variable};

/// A layer that multiplies by a weight `[out, …]` and adds a bias `[out]`.
pub(crate) trait Weighted {
    /// Weight and bias.
    fn weights(&self) -> (&Parameter, Option<&Parameter>);

    /// Dims of the inputs whose outputs have the channels in dim 1.
    fn ndim(&self) -> usize;

    /// The layer with other weights, and with a ReLU behind it. A ReLU is not recorded: ask for it
    /// only when nothing is.
    ///
    /// # Errors
    /// When the input does not fit.
    fn apply(
        &self,
        input: &Variable,
        weight: &Variable,
        bias: Option<&Variable>,
        relu: bool,
    ) -> Result<Variable>;
}

/// A norm that in inference only scales and shifts the channels of dim 1.
pub(crate) trait ChannelNorm {
    /// Number of channels.
    fn features(&self) -> i64;

    /// Whether it can be fed with inputs of so many dims.
    fn takes(&self, ndim: usize) -> bool;

    /// Whether it now scales and shifts by what does not depend on the input.
    fn is_fixed(&self) -> bool;

    /// Weight and bias.
    fn affine(&self) -> Option<(&Parameter, &Parameter)>;

    /// Shows every tensor that is not a parameter and that results depend on, in a fixed order.
    fn visit_statistics(&self, f: &mut dyn FnMut(&Tensor));

    /// Scale and shift of each channel, in float64.
    ///
    /// # Errors
    /// When it has no statistics.
    fn scale_and_shift(&self) -> Result<(Tensor, Tensor)>;
}

/// The module as a layer with weights that can be replaced for one call.
pub(crate) fn as_weighted(module: &dyn Module) -> Option<&dyn Weighted> {
    let any = module.as_any()?;
    if let Some(layer) = any.downcast_ref::<Conv<2>>() {
        return Some(layer);
    }
    if let Some(layer) = any.downcast_ref::<Linear>() {
        return Some(layer);
    }
    if let Some(layer) = any.downcast_ref::<Conv<1>>() {
        return Some(layer);
    }
    any.downcast_ref::<Conv<3>>().map(|layer| layer as _)
}

/// The module as a norm over channels.
pub(crate) fn as_channel_norm(module: &dyn Module) -> Option<&dyn ChannelNorm> {
    let any = module.as_any()?;
    if let Some(norm) = any.downcast_ref::<BatchNormNd<2>>() {
        return Some(norm);
    }
    if let Some(norm) = any.downcast_ref::<BatchNormNd<1>>() {
        return Some(norm);
    }
    any.downcast_ref::<BatchNormNd<3>>().map(|norm| norm as _)
}
