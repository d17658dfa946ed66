//! Convolution layers of all ranks. [`Conv`] and [`ConvTranspose`] are generic over the number of
//! spatial dims; the named types are aliases of their ranks with the constructors that programs
//! for PyTorch expect.

use super::affine::Weighted;
use super::{Module, Parameter, init};
use crate::autograd::ops::pad_named;
use crate::{ConvOptions, Device, Error, PadMode, Result, Tensor, Variable, conv, conv_transpose};

/// A size for each of `D` spatial dims, from one number for all or a list.
pub trait IntoSizes<const D: usize> {
    /// The sizes.
    fn into_sizes(self) -> [i64; D];
}

impl<const D: usize> IntoSizes<D> for i64 {
    fn into_sizes(self) -> [i64; D] {
        [self; D]
    }
}

impl<const D: usize> IntoSizes<D> for [i64; D] {
    fn into_sizes(self) -> [i64; D] {
        self
    }
}

/// Convolution over `D` spatial dims: `[N, C_in, …]` to `[N, C_out, …]`; one sample may come without
/// its batch dim, as `[C_in, …]`.
///
/// Weight `[C_out, C_in / groups, kernel…]` and bias `[C_out]` start uniform in ±1/√fan_in,
/// PyTorch's default. A clone shares the weights.
///
/// ```
/// use flodl::*;
/// let conv = Conv2d::configure(3, 64, 3).with_padding(1).with_stride(2).done()?;
/// let x = Variable::new(Tensor::randn(&[1, 3, 32, 32], TensorOptions::default())?, false);
/// assert_eq!(conv.forward(&x)?.shape(), [1, 64, 16, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv<const D: usize> {
    weight: Parameter,
    bias: Option<Parameter>,
    options: ConvOptions<D>,
    /// What is put around the input first; the convolution itself pads with zeros, as much on both
    /// sides.
    border: Option<([[i64; 2]; D], PaddingMode)>,
}

/// What stands around the input of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The input mirrored at its edges.
    Reflect,
    /// The nearest element of the input.
    Replicate,
    /// The other end of the input.
    Circular,
}

impl From<PaddingMode> for PadMode<f64> {
    fn from(mode: PaddingMode) -> Self {
        match mode {
            PaddingMode::Zeros => PadMode::Constant(0.0),
            PaddingMode::Reflect => PadMode::Reflect,
            PaddingMode::Replicate => PadMode::Replicate,
            PaddingMode::Circular => PadMode::Circular,
        }
    }
}

/// Transposed convolution over `D` spatial dims, for upsampling: `[N, C_in, …]` to `[N, C_out, …]`.
///
/// Weight `[C_in, C_out / groups, kernel…]` and bias `[C_out]` start as PyTorch's do: its fan-in is
/// counted over dim 1 of the weight. A clone shares the weights.
///
/// ```
/// use flodl::*;
/// let deconv = ConvTranspose2d::configure(64, 3, 4).with_stride(2).with_padding(1).done()?;
/// let x = Variable::new(Tensor::randn(&[1, 64, 8, 8], TensorOptions::default())?, false);
/// assert_eq!(deconv.forward(&x)?.shape(), [1, 3, 16, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose<const D: usize> {
    weight: Parameter,
    bias: Option<Parameter>,
    options: ConvOptions<D>,
    output_padding: [i64; D],
}

/// Settings of a convolution; `done` makes it.
#[derive(Clone, Debug)]
pub struct ConvBuilder<const D: usize> {
    channels: (i64, i64),
    kernel: [i64; D],
    options: ConvOptions<D>,
    same: bool,
    padding_mode: PaddingMode,
    bias: bool,
    device: Device,
}

/// Settings of a transposed convolution; `done` makes it.
#[derive(Clone, Debug)]
pub struct ConvTransposeBuilder<const D: usize> {
    base: ConvBuilder<D>,
    output_padding: [i64; D],
}

const NAMES: [&str; 3] = ["Conv1d", "Conv2d", "Conv3d"];
const TRANSPOSE_NAMES: [&str; 3] = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"];

impl<const D: usize> ConvBuilder<D> {
    fn new(in_channels: i64, out_channels: i64, kernel: impl IntoSizes<D>) -> Self {
        ConvBuilder {
            channels: (in_channels, out_channels),
            kernel: kernel.into_sizes(),
            options: ConvOptions::default(),
            same: false,
            padding_mode: PaddingMode::Zeros,
            bias: true,
            device: Device::CPU,
        }
    }

    /// As much padding as keeps the input's size (PyTorch's `padding="same"`); where that is odd,
    /// the end gets one more. The stride must be 1.
    pub fn with_same_padding(mut self) -> Self {
        self.same = true;
        self
    }

    /// What the padding is made of; zeros unless set.
    pub fn with_padding_mode(mut self, mode: PaddingMode) -> Self {
        self.padding_mode = mode;
        self
    }

    /// Distance of neighbouring windows; 1 unless set.
    pub fn with_stride(mut self, stride: impl IntoSizes<D>) -> Self {
        self.options.stride = stride.into_sizes();
        self
    }

    /// Zeros around the input; 0 unless set.
    pub fn with_padding(mut self, padding: impl IntoSizes<D>) -> Self {
        self.options.padding = padding.into_sizes();
        self.same = false;
        self
    }

    /// Distance of neighbouring elements of a window; 1 unless set.
    pub fn with_dilation(mut self, dilation: impl IntoSizes<D>) -> Self {
        self.options.dilation = dilation.into_sizes();
        self
    }

    /// Groups of channels that do not see each other; 1 unless set.
    pub fn with_groups(mut self, groups: i64) -> Self {
        self.options.groups = groups;
        self
    }

    /// Leaves out the bias.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Where the weights live.
    pub fn on_device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    /// When a setting is outside its domain, groups do not divide the channels, or the device
    /// cannot be used.
    pub fn done(mut self) -> Result<Conv<D>> {
        let (c_in, c_out) = self.channels;
        let (weight, bias) = self.weights(NAMES[D - 1], c_out, c_in, c_out)?;
        let border = self.border()?;
        Ok(Conv { weight, bias, options: self.options, border })
    }

    /// Moves what the convolution cannot pad itself from its options to a border.
    fn border(&mut self) -> Result<Option<([[i64; 2]; D], PaddingMode)>> {
        let options = &mut self.options;
        if self.same {
            if options.stride != [1; D] {
                return Err(Error::invalid(
                    NAMES[D - 1],
                    format!("same padding needs stride 1, not {:?}", options.stride),
                ));
            }
            let total = |d: usize| options.dilation[d].saturating_mul(self.kernel[d] - 1);
            let sides = std::array::from_fn(|d| [total(d) / 2, total(d) - total(d) / 2]);
            if self.padding_mode != PaddingMode::Zeros {
                options.padding = [0; D];
                return Ok(Some((sides, self.padding_mode)));
            }
            options.padding = sides.map(|[before, _]| before);
            let rest = sides.map(|[before, after]| [0, after - before]);
            let even = rest.iter().all(|&[_, more]| more == 0);
            return Ok((!even).then_some((rest, PaddingMode::Zeros)));
        }
        if self.padding_mode == PaddingMode::Zeros || options.padding == [0; D] {
            return Ok(None);
        }
        let sides = options.padding.map(|p| [p, p]);
        options.padding = [0; D];
        Ok(Some((sides, self.padding_mode)))
    }

    /// Weight `[first, second / groups, kernel…]` and bias, drawn as PyTorch draws them.
    fn weights(
        &self,
        name: &'static str,
        first: i64,
        second: i64,
        out: i64,
    ) -> Result<(Parameter, Option<Parameter>)> {
        self.options.check(name)?;
        let (c_in, c_out) = self.channels;
        let groups = self.options.groups;
        if c_in < 1 || c_out < 1 || c_in % groups != 0 || c_out % groups != 0 {
            return Err(Error::invalid(
                name,
                format!(
                    "{c_in} input and {c_out} output channels must be positive and multiples of \
                     {groups} groups"
                ),
            ));
        }
        if self.kernel.iter().any(|&k| k < 1) {
            return Err(Error::invalid(name, format!("kernel {:?} must be positive", self.kernel)));
        }
        let mut shape = vec![first, second / groups];
        shape.extend(self.kernel);
        crate::shape::sizes(name, &shape)?;
        let fan_in = shape[1..].iter().product();
        let weight = init::kaiming_uniform(&shape, fan_in, 5f64.sqrt(), self.device)?;
        let bias = if self.bias {
            Some(Parameter::new(init::uniform_bias(fan_in, &[out], self.device)?, "bias"))
        } else {
            None
        };
        Ok((Parameter::new(weight, "weight"), bias))
    }
}

impl<const D: usize> ConvTransposeBuilder<D> {
    fn new(in_channels: i64, out_channels: i64, kernel: impl IntoSizes<D>) -> Self {
        let base = ConvBuilder::new(in_channels, out_channels, kernel);
        ConvTransposeBuilder { base, output_padding: [0; D] }
    }

    /// Distance of neighbouring windows in the output; 1 unless set.
    pub fn with_stride(mut self, stride: impl IntoSizes<D>) -> Self {
        self.base = self.base.with_stride(stride);
        self
    }

    /// Rows and columns cut off around the output; 0 unless set.
    pub fn with_padding(mut self, padding: impl IntoSizes<D>) -> Self {
        self.base = self.base.with_padding(padding);
        self
    }

    /// Added to one side of the output's size; 0 unless set.
    pub fn with_output_padding(mut self, output_padding: impl IntoSizes<D>) -> Self {
        self.output_padding = output_padding.into_sizes();
        self
    }

    /// Distance of neighbouring elements of a window; 1 unless set.
    pub fn with_dilation(mut self, dilation: impl IntoSizes<D>) -> Self {
        self.base = self.base.with_dilation(dilation);
        self
    }

    /// Groups of channels that do not see each other; 1 unless set.
    pub fn with_groups(mut self, groups: i64) -> Self {
        self.base = self.base.with_groups(groups);
        self
    }

    /// Leaves out the bias.
    pub fn without_bias(mut self) -> Self {
        self.base = self.base.without_bias();
        self
    }

    /// Where the weights live.
    pub fn on_device(mut self, device: Device) -> Self {
        self.base = self.base.on_device(device);
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    /// When a setting is outside its domain, groups do not divide the channels, or the device
    /// cannot be used.
    pub fn done(self) -> Result<ConvTranspose<D>> {
        let name = TRANSPOSE_NAMES[D - 1];
        let (c_in, c_out) = self.base.channels;
        let limit = |d: usize| self.base.options.stride[d].max(self.base.options.dilation[d]);
        let (weight, bias) = self.base.weights(name, c_in, c_out, c_out)?;
        if (0..D).any(|d| self.output_padding[d] < 0 || self.output_padding[d] >= limit(d)) {
            return Err(Error::invalid(
                name,
                format!(
                    "output_padding {:?} must not be negative, and smaller than stride or dilation",
                    self.output_padding
                ),
            ));
        }
        let output_padding = self.output_padding;
        Ok(ConvTranspose { weight, bias, options: self.base.options, output_padding })
    }
}

/// What convolutions and transposed convolutions have in common as modules.
macro_rules! module {
    ($layer:ident, $names:ident, |$self:ident, $input:ident, $bias:ident| $forward:expr) => {
        impl<const D: usize> $layer<D> {
            /// The weight.
            pub fn weight(&self) -> &Parameter {
                &self.weight
            }

            /// The bias.
            pub fn bias(&self) -> Option<&Parameter> {
                self.bias.as_ref()
            }
        }

        impl<const D: usize> Module for $layer<D> {
            fn forward(&$self, $input: &Variable) -> Result<Variable> {
                let $bias = $self.bias.as_ref().map(|b| &b.variable);
                $forward
            }

            fn parameters(&self) -> Vec<Parameter> {
                [Some(self.weight.clone()), self.bias.clone()].into_iter().flatten().collect()
            }

            fn name(&self) -> &str {
                $names[D - 1]
            }

            fn as_any(&self) -> Option<&dyn std::any::Any> {
                Some(self)
            }

            fn identity(&self) -> Option<usize> {
                Some(self.weight.variable.id())
            }

            fn structural_hash(&self) -> Option<String> {
                Some(self.settings())
            }
        }
    };
}

module!(Conv, NAMES, |self, input, bias| self.convolve(input, &self.weight.variable, bias));
module!(ConvTranspose, TRANSPOSE_NAMES, |self, input, bias| {
    conv_transpose(input, &self.weight.variable, bias, &self.options, self.output_padding)
});

impl<const D: usize> Weighted for Conv<D> {
    fn weights(&self) -> (&Parameter, Option<&Parameter>) {
        (&self.weight, self.bias.as_ref())
    }

    fn ndim(&self) -> usize {
        D + 2
    }

    fn apply(
        &self,
        input: &Variable,
        weight: &Variable,
        bias: Option<&Variable>,
        relu: bool,
    ) -> Result<Variable> {
        let y = self.convolve(input, weight, bias)?;
        if relu {
            y.with_data_mut(Tensor::relu_)?;
        }
        Ok(y)
    }
}

impl<const D: usize> Conv<D> {
    fn convolve(
        &self,
        input: &Variable,
        weight: &Variable,
        bias: Option<&Variable>,
    ) -> Result<Variable> {
        let Some((sides, mode)) = self.border else {
            return conv(input, weight, bias, &self.options);
        };
        let list: Vec<i64> = sides.iter().rev().flatten().copied().collect();
        let padded = match input.ndim() == D + 1 || input.ndim() == D + 2 {
            true => pad_named(NAMES[D - 1], input, &list, mode.into())?,
            // The convolution says what is wrong with it.
            false => input.clone(),
        };
        conv(&padded, weight, bias, &self.options)
    }

    fn settings(&self) -> String {
        match &self.border {
            Some(border) => format!("{:?}{border:?}", self.options),
            None => format!("{:?}", self.options),
        }
    }
}

impl<const D: usize> ConvTranspose<D> {
    fn settings(&self) -> String {
        format!("{:?}{:?}", self.options, self.output_padding)
    }
}

/// The alias of a layer and of its builder for a rank, and the constructors. `$t` is how one size
/// is given where the signature names it; `$more` are settings that only one of the two has.
macro_rules! constructors {
    (
        $D:literal $layer:ident $alias:ident $builder:ident $builder_alias:ident $t:ty,
        { $($more:ident $with_more:ident)? }
    ) => {
        #[doc = concat!("[`", stringify!($layer), "`] over ", stringify!($D), " spatial dims.")]
        pub type $alias = $layer<$D>;
        #[doc = concat!("Settings of a [`", stringify!($alias), "`].")]
        pub type $builder_alias = $builder<$D>;

        impl $layer<$D> {
            /// Stride 1, no padding, with bias, on the CPU.
            ///
            /// # Errors
            /// When a size is not positive.
            pub fn new(
                in_channels: i64,
                out_channels: i64,
                kernel_size: impl IntoSizes<$D>,
            ) -> Result<Self> {
                Self::configure(in_channels, out_channels, kernel_size).done()
            }

            /// Like `new`, without bias.
            ///
            /// # Errors
            /// When a size is not positive.
            pub fn no_bias(
                in_channels: i64,
                out_channels: i64,
                kernel_size: impl IntoSizes<$D>,
            ) -> Result<Self> {
                Self::configure(in_channels, out_channels, kernel_size).without_bias().done()
            }

            /// Like `new`, on a device.
            ///
            /// # Errors
            /// When a size is not positive or the device cannot be used.
            pub fn on_device(
                in_channels: i64,
                out_channels: i64,
                kernel_size: impl IntoSizes<$D>,
                device: Device,
            ) -> Result<Self> {
                Self::configure(in_channels, out_channels, kernel_size).on_device(device).done()
            }

            /// Starts a fluent description that `done` ends.
            pub fn configure(
                in_channels: i64,
                out_channels: i64,
                kernel_size: impl IntoSizes<$D>,
            ) -> $builder_alias {
                $builder::new(in_channels, out_channels, kernel_size)
            }

            /// Everything at once.
            ///
            /// # Errors
            /// As for `done`.
            pub fn build(
                in_channels: i64,
                out_channels: i64,
                kernel_size: impl IntoSizes<$D>,
                with_bias: bool,
                stride: $t,
                padding: $t,
                $($more: $t,)?
                dilation: $t,
                groups: i64,
                device: Device,
            ) -> Result<Self> {
                let builder = Self::configure(in_channels, out_channels, kernel_size)
                    .with_stride(stride)
                    .with_padding(padding)
                    $(.$with_more($more))?
                    .with_dilation(dilation)
                    .with_groups(groups)
                    .on_device(device);
                if with_bias { builder.done() } else { builder.without_bias().done() }
            }
        }
    };
}

macro_rules! ranks {
    ($($D:literal $conv:ident $builder:ident $transpose:ident $transpose_builder:ident $t:ty;)*) => {$(
        constructors!($D Conv $conv ConvBuilder $builder $t, {});
        constructors!(
            $D ConvTranspose $transpose ConvTransposeBuilder $transpose_builder $t,
            { output_padding with_output_padding }
        );
    )*};
}

ranks! {
    1 Conv1d Conv1dBuilder ConvTranspose1d ConvTranspose1dBuilder i64;
    2 Conv2d Conv2dBuilder ConvTranspose2d ConvTranspose2dBuilder [i64; 2];
    3 Conv3d Conv3dBuilder ConvTranspose3d ConvTranspose3dBuilder [i64; 3];
}
