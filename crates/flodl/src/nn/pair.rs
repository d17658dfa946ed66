//! Layers of two inputs. In a graph the second one comes by `using`, under any name.

use std::collections::HashMap;

use super::{Module, NamedInputModule, Parameter, init};
use crate::{Device, Error, Result, Variable, bilinear, pairwise_distance};

/// The only named value of a layer of two inputs.
fn other<'a>(op: &'static str, refs: &'a HashMap<String, Variable>) -> Result<&'a Variable> {
    let mut values = refs.values();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Error::invalid(op, format!("takes one named input, not {}", refs.len()))),
    }
}

/// Both ways to the second input: by `using`, or, without it, not at all.
macro_rules! pair {
    ($layer:ident, $method:ident, { $($module:tt)* }) => {
        impl Module for $layer {
            fn forward(&self, _input: &Variable) -> Result<Variable> {
                Err(Error::invalid(
                    stringify!($layer),
                    concat!(
                        "takes two inputs: call ", stringify!($method),
                        ", or name the second one in a graph with using"
                    ),
                ))
            }

            fn name(&self) -> &str {
                stringify!($layer)
            }

            fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
                Some(self)
            }

            $($module)*
        }

        impl NamedInputModule for $layer {
            fn forward_named(
                &self,
                input: &Variable,
                refs: &HashMap<String, Variable>,
            ) -> Result<Variable> {
                self.$method(input, other(stringify!($layer), refs)?)
            }
        }
    };
}

/// y = x1ᵀ · W · x2 + b for each output: `[…, in1]` and `[…, in2]` give `[…, out]`.
///
/// Weight `[out, in1, in2]` and bias `[out]` start uniform in ±1/√in1, PyTorch's default. A clone
/// shares the weights.
///
/// ```
/// use flodl::*;
/// let bi = Bilinear::new(128, 64, 32, true)?;
/// let x1 = Variable::new(Tensor::randn(&[8, 128], TensorOptions::default())?, false);
/// let x2 = Variable::new(Tensor::randn(&[8, 64], TensorOptions::default())?, false);
/// assert_eq!(bi.forward_bilinear(&x1, &x2)?.shape(), [8, 32]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bilinear {
    weight: Parameter,
    bias: Option<Parameter>,
}

impl Bilinear {
    /// On the CPU.
    ///
    /// # Errors
    /// When a size is not positive.
    pub fn new(
        in1_features: i64,
        in2_features: i64,
        out_features: i64,
        with_bias: bool,
    ) -> Result<Self> {
        let mut layer = Self::on_device(in1_features, in2_features, out_features, Device::CPU)?;
        if !with_bias {
            layer.bias = None;
        }
        Ok(layer)
    }

    /// With bias, on a device.
    ///
    /// # Errors
    /// When a size is not positive or the device cannot be used.
    pub fn on_device(
        in1_features: i64,
        in2_features: i64,
        out_features: i64,
        device: Device,
    ) -> Result<Self> {
        let shape = [out_features, in1_features, in2_features];
        if shape.iter().any(|&n| n < 1) {
            let what = format!("weight sizes {shape:?} must be positive");
            return Err(Error::invalid("Bilinear", what));
        }
        let bound = 1.0 / (in1_features as f64).sqrt();
        let weight = init::uniform(&shape, -bound, bound, device)?;
        let bias = init::uniform(&[out_features], -bound, bound, device)?;
        Ok(Bilinear {
            weight: Parameter::new(weight, "weight"),
            bias: Some(Parameter::new(bias, "bias")),
        })
    }

    /// The weight `[out, in1, in2]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// The bias `[out]`.
    pub fn bias(&self) -> Option<&Parameter> {
        self.bias.as_ref()
    }

    /// The form of two inputs, `[…, in1]` and `[…, in2]`.
    ///
    /// # Errors
    /// When an input does not fit.
    pub fn forward_bilinear(&self, input1: &Variable, input2: &Variable) -> Result<Variable> {
        let shape = self.weight.variable.shape();
        for (input, n) in [(input1, shape[1]), (input2, shape[2])] {
            if !input.with_data(|t| t.dims().last() == Some(&(n as usize))) {
                return Err(Error::Shape {
                    op: "Bilinear",
                    expected: format!("inputs [..., {}] and [..., {}]", shape[1], shape[2]),
                    got: input.shape(),
                });
            }
        }
        let bias = self.bias.as_ref().map(|b| &b.variable);
        bilinear(input1, input2, &self.weight.variable, bias)
    }
}

pair!(Bilinear, forward_bilinear, {
    fn parameters(&self) -> Vec<Parameter> {
        [Some(self.weight.clone()), self.bias.clone()].into_iter().flatten().collect()
    }

    fn identity(&self) -> Option<usize> {
        Some(self.weight.variable.id())
    }
});

/// x1 · x2 / (|x1| · |x2|) along a dim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineSimilarity {
    dim: i64,
    eps: f64,
}

impl CosineSimilarity {
    /// Along this dim; norms below `eps` count as `eps`.
    pub fn new(dim: i64, eps: f64) -> Self {
        CosineSimilarity { dim, eps }
    }

    /// The similarity of two inputs whose shapes broadcast.
    ///
    /// # Errors
    /// When shapes do not fit or the dim does not exist.
    pub fn forward_pair(&self, x1: &Variable, x2: &Variable) -> Result<Variable> {
        x1.cosine_similarity(x2, self.dim, self.eps)
    }
}

impl Default for CosineSimilarity {
    /// Along dim 1, eps 1e-8.
    fn default() -> Self {
        Self::new(1, 1e-8)
    }
}

pair!(CosineSimilarity, forward_pair, {
    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
});

/// |x1 - x2 + eps| as p-norm along the last dim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairwiseDistance {
    p: f64,
    eps: f64,
    keepdim: bool,
}

impl PairwiseDistance {
    /// The p-norm, eps 1e-6.
    pub fn new(p: f64) -> Self {
        PairwiseDistance { p, eps: 1e-6, keepdim: false }
    }

    /// Added to differences; 1e-6 unless set.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether the last dim stays, with size 1.
    pub fn keepdim(mut self, keepdim: bool) -> Self {
        self.keepdim = keepdim;
        self
    }

    /// The distance of two inputs `[…, D]` whose shapes broadcast.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward_pair(&self, x1: &Variable, x2: &Variable) -> Result<Variable> {
        pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
    }
}

impl Default for PairwiseDistance {
    /// The Euclidean distance.
    fn default() -> Self {
        Self::new(2.0)
    }
}

pair!(PairwiseDistance, forward_pair, {
    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
});
