//! Small modules that graphs are wired with: routers, selectors, halting conditions, state.

use std::any::Any;
use std::collections::HashMap;

use smallvec::SmallVec;

use crate::{
    DType, Device, Linear, Module, NamedInputModule, Parameter, Result, Tensor, Variable, no_grad,
};

/// The stream plus every named value, in the order of the names; sums start at the left.
fn plus_refs(input: &Variable, refs: &HashMap<String, Variable>) -> Result<Variable> {
    if let (1, Some(only)) = (refs.len(), refs.values().next()) {
        return input.add(only);
    }
    // A map lists its names in any order, and float sums depend on the order.
    let mut names: SmallVec<[&String; 8]> = refs.keys().collect();
    names.sort_unstable();
    names.into_iter().try_fold(input.clone(), |sum, name| sum.add(&refs[name]))
}

/// Adds the values of `using` to the stream: the usual end of a forward reference. While a carried
/// value is not there yet, the stream passes unchanged.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(StateAdd).using(&["memory"]).through(Identity).tag("memory").build()?;
/// let x = Variable::new(Tensor::ones(&[2], TensorOptions::default())?, false);
/// for sum in [1.0, 2.0, 3.0] {
///     assert_eq!(model.forward(&x)?.data().to_f32_vec()?, [sum, sum]);
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateAdd;

impl Module for StateAdd {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }

    fn name(&self) -> &str {
        "StateAdd"
    }

    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl NamedInputModule for StateAdd {
    fn forward_named(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        plus_refs(input, refs)
    }
}

/// A linear layer on the stream plus the values of `using`, then a function of the result.
macro_rules! projections {
    ($($(#[$doc:meta])* $name:ident ($ways:ident, $counts:literal): |$x:ident| $then:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            projection: Linear,
            routes: i64,
        }

        impl $name {
            #[doc = concat!("From `[…, input_dim]` to ", $counts, ", on the CPU.")]
            ///
            /// # Errors
            /// When a size is negative.
            pub fn new(input_dim: i64, $ways: i64) -> Result<Self> {
                Self::on_device(input_dim, $ways, Device::CPU)
            }

            #[doc = concat!("From `[…, input_dim]` to ", $counts, ", on a device.")]
            ///
            /// # Errors
            /// When a size is negative or the device cannot be used.
            pub fn on_device(input_dim: i64, $ways: i64, device: Device) -> Result<Self> {
                let projection = Linear::on_device(input_dim, $ways, device)?;
                Ok($name { projection, routes: $ways })
            }

            pub(super) fn routes(&self) -> i64 {
                self.routes
            }

            /// The linear layer.
            pub fn projection(&self) -> &Linear {
                &self.projection
            }
        }

        impl Module for $name {
            fn forward(&self, input: &Variable) -> Result<Variable> {
                let $x = self.projection.forward(input)?;
                $then
            }

            fn parameters(&self) -> Vec<Parameter> {
                self.projection.parameters()
            }

            fn name(&self) -> &str {
                stringify!($name)
            }

            fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
                Some(self)
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }

            fn identity(&self) -> Option<usize> {
                self.projection.identity()
            }
        }

        impl NamedInputModule for $name {
            fn forward_named(
                &self,
                input: &Variable,
                refs: &HashMap<String, Variable>,
            ) -> Result<Variable> {
                self.forward(&plus_refs(input, refs)?)
            }
        }
    )*};
}

projections! {
    /// Weights that add up to 1: a softmax over a linear layer. The values of `using` are added
    /// to the input first.
    SoftmaxRouter (num_experts, "a weight for each expert"): |x| x.softmax(-1);
    /// Weights between 0 and 1, each by itself: a sigmoid over a linear layer. The values of
    /// `using` are added to the input first.
    SigmoidRouter (num_experts, "a weight for each expert"): |x| x.sigmoid();
    /// The branch with the largest score of a linear layer, averaged over the batch. The choice
    /// has no gradient. The values of `using` are added to the input first.
    ArgmaxSelector (num_branches, "the number of a branch"): |x| {
        let scores = x.data().reshape(&[-1, x.shape().last().copied().unwrap_or(1)])?;
        Ok(Variable::new(scores.mean_dim(0, false)?.argmax(0, false)?, false))
    };
}

/// Always the same branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedSelector {
    index: usize,
}

impl FixedSelector {
    /// The branch with this number, counted from 0.
    pub fn new(index: usize) -> Self {
        FixedSelector { index }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }
}

impl Module for FixedSelector {
    fn forward(&self, _input: &Variable) -> Result<Variable> {
        let index = Tensor::from_i64(&[self.index as i64], &[1], Device::CPU)?;
        Ok(Variable::new(index, false))
    }

    fn name(&self) -> &str {
        "FixedSelector"
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// A loop's condition: stop when the largest element exceeds the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdHalt {
    threshold: f32,
}

impl ThresholdHalt {
    /// With this threshold.
    pub fn new(threshold: f32) -> Self {
        ThresholdHalt { threshold }
    }
}

impl Module for ThresholdHalt {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        // Compared, not subtracted: a difference could vanish in a small dtype.
        let largest = no_grad(|| input.max())?.item()?;
        let stop = if largest > f64::from(self.threshold) { 1.0 } else { -1.0 };
        let stop = Tensor::full(&[], stop, DType::Float32.into())?;
        Ok(Variable::new(stop, false))
    }

    fn name(&self) -> &str {
        "ThresholdHalt"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// A loop's condition that is learned: a linear probe of the stream, averaged over all rows; above
/// 0 it stops. Stopping itself has no gradient; the probe's values are the trace `halt`, to be
/// part of a loss (Graves, 2016, charges for them).
#[derive(Clone, Debug)]
pub struct LearnedHalt {
    probe: Linear,
}

impl LearnedHalt {
    /// For a stream `[…, input_dim]`, on the CPU.
    ///
    /// # Errors
    /// When the size is negative.
    pub fn new(input_dim: i64) -> Result<Self> {
        Self::on_device(input_dim, Device::CPU)
    }

    /// For a stream `[…, input_dim]`, on a device.
    ///
    /// # Errors
    /// When the size is negative or the device cannot be used.
    pub fn on_device(input_dim: i64, device: Device) -> Result<Self> {
        Ok(LearnedHalt { probe: Linear::on_device(input_dim, 1, device)? })
    }

    /// The linear layer.
    pub fn probe(&self) -> &Linear {
        &self.probe
    }
}

impl Module for LearnedHalt {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.probe.forward(input)?.mean()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.probe.parameters()
    }

    fn name(&self) -> &str {
        "LearnedHalt"
    }

    fn identity(&self) -> Option<usize> {
        self.probe.identity()
    }
}
