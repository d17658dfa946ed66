//! Fully connected layers.

use super::affine::Weighted;
use super::{Module, Parameter, init};
use crate::autograd::ops::{Act, linear_act};
use crate::{Device, Error, Result, Variable, linear};

/// y = x · Wᵀ + b: input `[…, in_features]`, output `[…, out_features]`.
///
/// Weight `[out_features, in_features]` and bias `[out_features]` start uniform in ±1/√in_features,
/// PyTorch's default (Kaiming uniform with a = √5); [`init::kaiming_uniform`] with a = 0 gives He's
/// form. A clone shares the weights.
///
/// ```
/// use flodl::*;
/// let linear = Linear::new(784, 128)?;
/// let x = Variable::new(Tensor::randn(&[32, 784], TensorOptions::default())?, false);
/// assert_eq!(linear.forward(&x)?.shape(), [32, 128]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Parameter,
    bias: Option<Parameter>,
}

impl Linear {
    /// With bias, on the CPU.
    ///
    /// # Errors
    /// When a size is negative.
    pub fn new(in_features: i64, out_features: i64) -> Result<Self> {
        Self::on_device(in_features, out_features, Device::CPU)
    }

    /// With bias, on a device.
    ///
    /// # Errors
    /// When a size is negative or the device cannot be used.
    pub fn on_device(in_features: i64, out_features: i64, device: Device) -> Result<Self> {
        let mut layer = Self::no_bias_on_device(in_features, out_features, device)?;
        let bias = init::uniform_bias(in_features, &[out_features], device)?;
        layer.bias = Some(Parameter::new(bias, "bias"));
        Ok(layer)
    }

    /// Without bias, on the CPU.
    ///
    /// # Errors
    /// When a size is negative.
    pub fn no_bias(in_features: i64, out_features: i64) -> Result<Self> {
        Self::no_bias_on_device(in_features, out_features, Device::CPU)
    }

    /// Without bias, on a device.
    ///
    /// # Errors
    /// When a size is negative or the device cannot be used.
    pub fn no_bias_on_device(in_features: i64, out_features: i64, device: Device) -> Result<Self> {
        let shape = [out_features, in_features];
        let weight = init::kaiming_uniform(&shape, in_features, 5f64.sqrt(), device)?;
        Ok(Linear { weight: Parameter::new(weight, "weight"), bias: None })
    }

    /// With weights that another layer has too, such as an embedding's.
    pub fn from_shared_weight(weight: Parameter, bias: Option<Parameter>) -> Self {
        Linear { weight, bias }
    }

    /// The weight `[out_features, in_features]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// The bias `[out_features]`.
    pub fn bias(&self) -> Option<&Parameter> {
        self.bias.as_ref()
    }
}

impl Weighted for Linear {
    fn weights(&self) -> (&Parameter, Option<&Parameter>) {
        (&self.weight, self.bias.as_ref())
    }

    fn ndim(&self) -> usize {
        2
    }

    fn ends_with(&self, _act: Act) -> bool {
        true
    }

    fn records_ends(&self) -> bool {
        true
    }

    fn apply(
        &self,
        input: &Variable,
        weight: &Variable,
        bias: Option<&Variable>,
        act: Option<Act>,
    ) -> Result<Variable> {
        let fits = input.with_data(|x| weight.with_data(|w| x.dims().last() == w.dims().last()));
        if !fits {
            return Err(Error::Shape {
                op: "Linear",
                expected: format!("an input [..., {}]", weight.shape()[1]),
                got: input.shape(),
            });
        }
        match act {
            Some(act) => linear_act(input, weight, bias, act),
            None => linear(input, weight, bias),
        }
    }
}

impl Module for Linear {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let bias = self.bias.as_ref().map(|b| &b.variable);
        self.apply(input, &self.weight.variable, bias, None)
    }

    fn parameters(&self) -> Vec<Parameter> {
        [Some(self.weight.clone()), self.bias.clone()].into_iter().flatten().collect()
    }

    fn name(&self) -> &str {
        "Linear"
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }

    fn identity(&self) -> Option<usize> {
        Some(self.weight.variable.id())
    }
}
