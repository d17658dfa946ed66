//! What layers tell of themselves so that a graph may join them when nothing is learned.

use super::batch_norm::BatchNormNd;
use super::{
    Conv, GELU, GELUTanh, LayerNorm, Linear, Module, Parameter, RMSNorm, ReLU, SiLU, Sigmoid, Tanh,
};
use crate::autograd::ops::{Act, RowNorm};
use crate::{Result, Tensor, Variable};

/// A layer that multiplies by a weight `[out, …]` and adds a bias `[out]`.
pub(crate) trait Weighted {
    /// Weight and bias.
    fn weights(&self) -> (&Parameter, Option<&Parameter>);

    /// Dims of the inputs whose outputs have the channels in dim 1.
    fn ndim(&self) -> usize;

    /// Whether it can have this activation behind it.
    fn ends_with(&self, act: Act) -> bool;

    /// Whether it can when it is recorded, too.
    fn records_ends(&self) -> bool;

    /// The layer with other weights, and with an activation behind it.
    ///
    /// # Errors
    /// When the input does not fit.
    fn apply(
        &self,
        input: &Variable,
        weight: &Variable,
        bias: Option<&Variable>,
        act: Option<Act>,
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

    /// The norm by the input's own statistics, with a ReLU behind it.
    ///
    /// # Errors
    /// When the input does not fit.
    fn own_relu(&self, input: &Variable) -> Result<Variable>;

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

/// A norm over the last dims that can take a sum and normalise it in one pass.
pub(crate) trait SumNorm {
    /// The norm for a sum like `a`; `None` for one that does not fit, which it says by itself.
    fn of_sum(&self, a: &Variable) -> Option<RowNorm<'_>>;
}

/// The module as a norm that takes sums.
pub(crate) fn as_sum_norm(module: &dyn Module) -> Option<&dyn SumNorm> {
    let any = module.as_any()?;
    if let Some(norm) = any.downcast_ref::<LayerNorm>() {
        return Some(norm);
    }
    any.downcast_ref::<RMSNorm>().map(|norm| norm as _)
}

/// The activation that the module is.
pub(crate) fn as_act(module: &dyn Module) -> Option<Act> {
    let any = module.as_any()?;
    match () {
        () if any.is::<ReLU>() => Some(Act::Relu),
        () if any.is::<GELU>() => Some(Act::Gelu),
        () if any.is::<SiLU>() => Some(Act::Silu),
        () if any.is::<Tanh>() => Some(Act::Tanh),
        () if any.is::<Sigmoid>() => Some(Act::Sigmoid),
        () if any.is::<GELUTanh>() => Some(Act::GeluTanh),
        () => None,
    }
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
