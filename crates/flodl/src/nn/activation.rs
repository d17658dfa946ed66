//! Activations as modules. Those without settings are zero-sized.

use std::cell::Cell;
use std::rc::Rc;

use super::{Module, Parameter};
use crate::{Device, Error, Result, Tensor, TensorOptions, Variable, rrelu};

/// Zero-sized modules that call one method.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident => $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name;

        impl $name {
            /// The module, for those who like `new`.
            pub fn new() -> Self {
                $name
            }
        }

        impl Module for $name {
            fn forward(&self, input: &Variable) -> Result<Variable> {
                input.$method()
            }

            fn name(&self) -> &str {
                stringify!($name)
            }

            fn as_any(&self) -> Option<&dyn std::any::Any> {
                Some(self)
            }
        }
    )*};
}

plain! {
    /// max(0, x).
    ReLU => relu;
    /// 1 / (1 + exp(-x)).
    Sigmoid => sigmoid;
    /// Hyperbolic tangent.
    Tanh => tanh;
    /// x · Φ(x), exact (Hendrycks and Gimpel, 2016). [`GELUTanh`] is the approximation.
    GELU => gelu;
    /// GELU by its tanh approximation.
    GELUTanh => gelu_tanh;
    /// x · sigmoid(x), also called Swish.
    SiLU => silu;
    /// Scaled ELU; self-normalising with [`crate::AlphaDropout`] (Klambauer et al., 2017).
    SELU => selu;
    /// x · tanh(softplus(x)) (Misra, 2019).
    Mish => mish;
    /// x · relu6(x + 3) / 6.
    Hardswish => hardswish;
    /// relu6(x + 3) / 6.
    Hardsigmoid => hardsigmoid;
    /// min(max(0, x), 6).
    ReLU6 => relu6;
    /// log(sigmoid(x)).
    LogSigmoid => log_sigmoid;
    /// x / (1 + |x|).
    Softsign => softsign;
    /// x - tanh(x).
    Tanhshrink => tanhshrink;
}

/// A form of GELU, chosen while the program runs; a module, as [`GELU`] and [`GELUTanh`] are, which
/// have their form in their type and no size.
///
/// ```
/// use flodl::*;
/// let form = GELU::with_approximate(GeluApprox::Tanh);
/// assert_eq!((form.approximate(), GELU.approximate()), (GeluApprox::Tanh, GeluApprox::Exact));
/// let x = Variable::new(Tensor::from_f32(&[1.0], &[1], Device::CPU)?, false);
/// assert_eq!(form.forward(&x)?.item()?, x.gelu_tanh()?.item()?);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeluApprox {
    /// With the error function.
    Exact,
    /// With tanh.
    Tanh,
}

impl GeluApprox {
    /// Which form.
    pub const fn approximate(&self) -> GeluApprox {
        *self
    }
}

impl Module for GeluApprox {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        match self {
            GeluApprox::Exact => input.gelu(),
            GeluApprox::Tanh => input.gelu_tanh(),
        }
    }

    fn name(&self) -> &str {
        "GELU"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl GELU {
    /// The exact form.
    pub const fn exact() -> Self {
        GELU
    }

    /// The tanh form, a type of its own.
    pub const fn tanh() -> GELUTanh {
        GELUTanh
    }

    /// Either form.
    pub const fn with_approximate(approximate: GeluApprox) -> GeluApprox {
        approximate
    }

    /// Which form this type is.
    pub const fn approximate(&self) -> GeluApprox {
        GeluApprox::Exact
    }
}

impl GELUTanh {
    /// Which form this type is.
    pub const fn approximate(&self) -> GeluApprox {
        GeluApprox::Tanh
    }
}

/// Modules with settings that call one method.
macro_rules! with_settings {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* } => $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name {
            $($field: $ty,)*
        }

        impl $name {
            /// With these settings.
            pub fn new($($field: $ty),*) -> Self {
                $name { $($field),* }
            }
        }

        impl Module for $name {
            fn forward(&self, input: &Variable) -> Result<Variable> {
                input.$method($(self.$field),*)
            }

            fn name(&self) -> &str {
                stringify!($name)
            }

            fn structural_hash(&self) -> Option<String> {
                Some(format!("{self:?}"))
            }
        }
    )*};
}

with_settings! {
    /// x for x > 0, else slope · x.
    LeakyReLU { negative_slope: f64 } => leaky_relu;
    /// x for x > 0, else α · (exp(x) - 1) (Clevert et al., 2015).
    ELU { alpha: f64 } => elu;
    /// x for x > 0, else α · (exp(x / α) - 1). An α of 0 is an error of the forward.
    CELU { alpha: f64 } => celu;
    /// log(1 + exp(β x)) / β, and x where β x is above the threshold.
    Softplus { beta: f64, threshold: f64 } => softplus;
    /// Each element moved into `min..=max`. A `min` above `max` is an error of the forward.
    Hardtanh { min: f64, max: f64 } => hardtanh;
    /// x moved towards 0 by λ, and 0 within λ of it. A λ below 0 is an error of the forward.
    Softshrink { lambda: f64 } => softshrink;
    /// x, and 0 within λ of 0.
    Hardshrink { lambda: f64 } => hardshrink;
    /// x above the threshold, else the value.
    Threshold { threshold: f64, value: f64 } => threshold;
    /// exp(x) / Σ exp(x) along a dim.
    Softmax { dim: i32 } => softmax;
    /// x - log Σ exp(x) along a dim.
    LogSoftmax { dim: i32 } => log_softmax;
    /// exp(-x) / Σ exp(-x) along a dim.
    Softmin { dim: i32 } => softmin;
}

/// Softmax over the channels of `[N, C, H, W]` or `[C, H, W]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax2d;

impl Softmax2d {
    /// The module, for those who like `new`.
    pub fn new() -> Self {
        Softmax2d
    }
}

impl Module for Softmax2d {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        if !matches!(input.ndim(), 3 | 4) {
            return Err(Error::Shape {
                op: "Softmax2d",
                expected: "an input [N, C, H, W] or [C, H, W]".into(),
                got: input.shape(),
            });
        }
        input.softmax(-3)
    }

    fn name(&self) -> &str {
        "Softmax2d"
    }
}

/// x for x ≥ 0, else slope · x, with a slope that in training is drawn for each element between
/// `lower` and `upper`, and is their mean in inference (Xu et al., 2015). Bounds outside their domain
/// are an error of the forward. Clones share the mode.
#[derive(Clone, Debug)]
pub struct RReLU {
    lower: f64,
    upper: f64,
    training: Rc<Cell<bool>>,
}

impl RReLU {
    /// With slopes between these bounds.
    pub fn new(lower: f64, upper: f64) -> Self {
        RReLU { lower, upper, training: Rc::new(Cell::new(true)) }
    }
}

impl Default for RReLU {
    /// Slopes between 1/8 and 1/3.
    fn default() -> Self {
        Self::new(1.0 / 8.0, 1.0 / 3.0)
    }
}

impl Module for RReLU {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        rrelu(input, self.lower, self.upper, self.training.get())
    }

    fn name(&self) -> &str {
        "RReLU"
    }

    fn set_training(&self, training: bool) {
        self.training.set(training);
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("RReLU({}, {})", self.lower, self.upper))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.training) as usize)
    }
}

/// max(0, x) + weight · min(0, x) with a learned weight, 0.25 at first (He et al., 2015).
#[derive(Clone, Debug)]
pub struct PReLU {
    weight: Parameter,
}

impl PReLU {
    /// With one weight for all, or one for each channel (dim 1).
    ///
    /// # Errors
    /// When the number is not positive or the device cannot be used.
    pub fn new(num_parameters: i64, device: Device) -> Result<Self> {
        if num_parameters < 1 {
            let what = format!("number of parameters {num_parameters} must be positive");
            return Err(Error::invalid("PReLU", what));
        }
        let opts = TensorOptions { device, ..TensorOptions::default() };
        let weight = Tensor::full(&[num_parameters], 0.25, opts)?;
        Ok(PReLU { weight: Parameter::new(weight, "weight") })
    }

    /// The same as [`PReLU::new`].
    ///
    /// # Errors
    /// As for [`PReLU::new`].
    pub fn on_device(num_parameters: i64, device: Device) -> Result<Self> {
        Self::new(num_parameters, device)
    }
}

impl Module for PReLU {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        input.prelu(&self.weight.variable)
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![self.weight.clone()]
    }

    fn name(&self) -> &str {
        "PReLU"
    }

    fn identity(&self) -> Option<usize> {
        Some(self.weight.variable.id())
    }
}
