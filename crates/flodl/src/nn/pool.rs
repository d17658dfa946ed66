//! Pooling layers, generic over the number of spatial dims; the named types are aliases of their
//! ranks. They have no parameters, and a setting outside its domain is an error of the forward.

use super::{IntoSizes, Module};
use crate::tensor::SPACE;
use crate::{
    AsTensor, DType, Error, Result, Tensor, TensorOptions, Variable, Windows, adaptive_avg_pool,
    adaptive_max_pool, adaptive_max_pool_with_indices, avg_pool, fractional_max_pool, max_pool,
    max_pool_with_indices, max_unpool,
};

impl<const D: usize> Windows<D> {
    /// Windows without padding or dilation.
    fn plain(kernel: [i64; D], stride: [i64; D]) -> Self {
        Windows { kernel, stride, padding: [0; D], dilation: [1; D], ceil_mode: false }
    }
}

/// The largest value of each window: `[N, C, …]` or `[C, …]` with `D` spatial dims, of which each
/// becomes ⌊(size + 2 · padding - dilation · (kernel - 1) - 1) / stride⌋ + 1.
///
/// Padding counts as -∞.
///
/// ```
/// use flodl::*;
/// let pool = MaxPool2d::with_stride(3, 2).padding(1);
/// let x = Variable::new(Tensor::randn(&[1, 8, 32, 32], TensorOptions::default())?, false);
/// assert_eq!(pool.forward(&x)?.shape(), [1, 8, 16, 16]);
/// let wide = MaxPool2d::new([1, 4]);
/// assert_eq!(wide.forward(&x)?.shape(), [1, 8, 32, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool<const D: usize> {
    windows: Windows<D>,
}

impl<const D: usize> MaxPool<D> {
    /// Windows that touch: the stride is the kernel size.
    pub fn new(kernel_size: impl IntoSizes<D>) -> Self {
        let kernel = kernel_size.into_sizes();
        MaxPool { windows: Windows::plain(kernel, kernel) }
    }

    /// Windows at this distance.
    pub fn with_stride(kernel_size: impl IntoSizes<D>, stride: impl IntoSizes<D>) -> Self {
        MaxPool { windows: Windows::plain(kernel_size.into_sizes(), stride.into_sizes()) }
    }

    /// How far windows reach over each edge; at most half of the kernel.
    pub fn padding(mut self, padding: impl IntoSizes<D>) -> Self {
        self.windows.padding = padding.into_sizes();
        self
    }

    /// Distance of neighbouring elements in a window; 1 unless set.
    pub fn dilation(mut self, dilation: impl IntoSizes<D>) -> Self {
        self.windows.dilation = dilation.into_sizes();
        self
    }

    /// Whether a last window that is not full counts.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.windows.ceil_mode = ceil_mode;
        self
    }

    /// The pooled input, and where each value stood in its plane, as `Int64`; [`MaxUnpool`] takes
    /// them back.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward_with_indices(&self, input: &Variable) -> Result<(Variable, Tensor)> {
        max_pool_with_indices(input, &self.windows)
    }
}

/// Puts the values of a [`MaxPool`] back to where they stood; all else is 0. It has no parameters and
/// takes two inputs; a setting outside its domain is an error of the forward.
///
/// ```
/// use flodl::*;
/// let (pool, unpool) = (MaxPool2d::new(2), MaxUnpool2d::new(2));
/// let x = Variable::new(Tensor::randn(&[1, 1, 4, 4], TensorOptions::default())?, false);
/// let (y, indices) = pool.forward_with_indices(&x)?;
/// assert_eq!(unpool.forward_unpool(&y, &indices)?.shape(), [1, 1, 4, 4]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxUnpool<const D: usize> {
    windows: Windows<D>,
}

impl<const D: usize> MaxUnpool<D> {
    /// Of windows that touch: the stride is the kernel size.
    pub fn new(kernel_size: impl IntoSizes<D>) -> Self {
        let kernel = kernel_size.into_sizes();
        MaxUnpool { windows: Windows::plain(kernel, kernel) }
    }

    /// Of windows at this distance.
    pub fn with_stride(kernel_size: impl IntoSizes<D>, stride: impl IntoSizes<D>) -> Self {
        MaxUnpool { windows: Windows::plain(kernel_size.into_sizes(), stride.into_sizes()) }
    }

    /// How far windows reached over each edge.
    pub fn padding(mut self, padding: impl IntoSizes<D>) -> Self {
        self.windows.padding = padding.into_sizes();
        self
    }

    /// The unpooled input: each size becomes (size - 1) · stride - 2 · padding + kernel.
    ///
    /// # Errors
    /// When shapes do not fit or an index is outside its plane.
    pub fn forward_unpool(&self, input: &Variable, indices: &impl AsTensor) -> Result<Variable> {
        let shape = input.shape();
        let Windows { kernel, stride, padding, .. } = self.windows;
        let own = &shape[shape.len().saturating_sub(D)..];
        let size = |d: usize| {
            let n = own.get(d).copied().unwrap_or(1).saturating_sub(1).saturating_mul(stride[d]);
            n.saturating_sub(padding[d].saturating_mul(2)).saturating_add(kernel[d])
        };
        max_unpool::<D>(input, indices, std::array::from_fn(size))
    }

    /// The unpooled input in a size of its own, where several sizes are pooled to the input's.
    ///
    /// # Errors
    /// When shapes do not fit or an index is outside its plane.
    pub fn forward_sized(
        &self,
        input: &Variable,
        indices: &impl AsTensor,
        output_size: impl IntoSizes<D>,
    ) -> Result<Variable> {
        max_unpool::<D>(input, indices, output_size.into_sizes())
    }

    fn alone(&self) -> Result<Variable> {
        Err(Error::invalid(
            Self::NAME,
            "takes two inputs, the pooled values and their indices: call forward_unpool",
        ))
    }

    const NAME: &'static str = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"][D - 1];
}

/// The largest value of each of `output_size` windows whose places are drawn anew at every forward,
/// about evenly spread (Graham, 2014): `[N, C, …]` or `[C, …]` with `D` spatial dims.
///
/// ```
/// use flodl::*;
/// let pool = FractionalMaxPool2d::new(2, [5, 7]);
/// let x = Variable::new(Tensor::randn(&[1, 3, 8, 10], TensorOptions::default())?, false);
/// assert_eq!(pool.forward(&x)?.shape(), [1, 3, 5, 7]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FractionalMaxPool<const D: usize> {
    kernel: [i64; D],
    output: FractionalSize<D>,
}

/// What the output size is given by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FractionalSize<const D: usize> {
    Size([i64; D]),
    Ratio(f64),
}

impl<const D: usize> FractionalMaxPool<D> {
    /// To this size.
    pub fn new(kernel_size: impl IntoSizes<D>, output_size: impl IntoSizes<D>) -> Self {
        let output = FractionalSize::Size(output_size.into_sizes());
        FractionalMaxPool { kernel: kernel_size.into_sizes(), output }
    }

    /// To this part of the input's size in each dim, in (0, 1).
    pub fn with_ratio(kernel_size: impl IntoSizes<D>, output_ratio: f64) -> Self {
        let output = FractionalSize::Ratio(output_ratio);
        FractionalMaxPool { kernel: kernel_size.into_sizes(), output }
    }

    fn pool(&self, input: &Variable) -> Result<Variable> {
        let shape = input.shape();
        if shape.len() != D + 1 && shape.len() != D + 2 {
            return Err(Error::Shape {
                op: "FractionalMaxPool",
                expected: format!("an input [N, C, {}] or without N", SPACE[D - 1]),
                got: shape,
            });
        }
        let output = match self.output {
            FractionalSize::Size(size) => size,
            FractionalSize::Ratio(r) if r > 0.0 && r < 1.0 => {
                let own = &shape[shape.len() - D..];
                std::array::from_fn(|d| (own[d] as f64 * r) as i64)
            }
            FractionalSize::Ratio(r) => {
                let what = format!("output ratio {r} must be in (0, 1)");
                return Err(Error::invalid("FractionalMaxPool", what));
            }
        };
        let batch = if shape.len() == D + 2 { shape[0] } else { 1 };
        let channels = shape[shape.len() - D - 1];
        let options = TensorOptions { dtype: DType::Float64, device: input.device() };
        let samples = Tensor::rand(&[batch, channels, D as i64], options)?;
        fractional_max_pool(input, self.kernel, output, &samples)
    }
}

/// The mean of each window; shapes as in [`MaxPool`].
///
/// ```
/// use flodl::*;
/// let pool = AvgPool1d::with_stride(3, 2).padding(1);
/// let x = Variable::new(Tensor::randn(&[1, 4, 8], TensorOptions::default())?, false);
/// assert_eq!(pool.forward(&x)?.shape(), [1, 4, 4]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool<const D: usize> {
    windows: Windows<D>,
    count_include_pad: bool,
    divisor_override: Option<i64>,
}

impl<const D: usize> AvgPool<D> {
    /// Windows that touch: the stride is the kernel size.
    pub fn new(kernel_size: impl IntoSizes<D>) -> Self {
        let kernel = kernel_size.into_sizes();
        Self::with_stride(kernel, kernel)
    }

    /// Windows at this distance.
    pub fn with_stride(kernel_size: impl IntoSizes<D>, stride: impl IntoSizes<D>) -> Self {
        AvgPool {
            windows: Windows::plain(kernel_size.into_sizes(), stride.into_sizes()),
            count_include_pad: true,
            divisor_override: None,
        }
    }

    /// How far windows reach over each edge; at most half of the kernel.
    pub fn padding(mut self, padding: impl IntoSizes<D>) -> Self {
        self.windows.padding = padding.into_sizes();
        self
    }

    /// Whether a last window that is not full counts.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.windows.ceil_mode = ceil_mode;
        self
    }

    /// Whether padding counts in the mean, as zeros; it does unless set.
    pub fn count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.count_include_pad = count_include_pad;
        self
    }

    /// What sums are divided by, instead of the size of the window.
    pub fn divisor_override(mut self, divisor: i64) -> Self {
        self.divisor_override = Some(divisor);
        self
    }
}

/// (Σ xᵖ)^(1/p) of each window; shapes as in [`MaxPool`]. p = 1 is the sum, p = ∞ the maximum, and
/// p = 0 an error of the forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LPPool<const D: usize> {
    norm_type: f64,
    windows: Windows<D>,
}

impl<const D: usize> LPPool<D> {
    /// Windows that touch: the stride is the kernel size.
    pub fn new(norm_type: f64, kernel_size: impl IntoSizes<D>) -> Self {
        let kernel = kernel_size.into_sizes();
        LPPool { norm_type, windows: Windows::plain(kernel, kernel) }
    }

    /// Windows at this distance.
    pub fn with_stride(
        norm_type: f64,
        kernel_size: impl IntoSizes<D>,
        stride: impl IntoSizes<D>,
    ) -> Self {
        let windows = Windows::plain(kernel_size.into_sizes(), stride.into_sizes());
        LPPool { norm_type, windows }
    }

    /// Whether a last window that is not full counts.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.windows.ceil_mode = ceil_mode;
        self
    }

    fn pool(&self, input: &Variable) -> Result<Variable> {
        if self.norm_type == 0.0 {
            return Err(Error::invalid("LPPool", "norm_type must not be 0"));
        }
        if self.norm_type.is_infinite() {
            return max_pool(input, &self.windows);
        }
        let sums = avg_pool(&input.pow_scalar(self.norm_type)?, &self.windows, true, Some(1))?;
        sums.pow_scalar(1.0 / self.norm_type)
    }
}

/// Output size of an adaptive pooling: what gives sizes, or an array of them with `None` where the
/// input's size is kept.
pub trait IntoOutputSize<const D: usize> {
    /// The size of each dim.
    fn into_output_size(self) -> [Option<i64>; D];
}

impl<const D: usize, T: IntoSizes<D>> IntoOutputSize<D> for T {
    fn into_output_size(self) -> [Option<i64>; D] {
        self.into_sizes().map(Some)
    }
}

impl<const D: usize> IntoOutputSize<D> for [Option<i64>; D] {
    fn into_output_size(self) -> [Option<i64>; D] {
        self
    }
}

/// The size for an input; one of too few dims fails in the pooling, whatever the size.
fn resolved<const D: usize>(size: [Option<i64>; D], input: &Variable) -> [i64; D] {
    input.with_data(|t| {
        let outer = t.ndim().saturating_sub(D);
        let own = |d: usize| t.dims().get(outer + d).map_or(1, |&n| n as i64);
        std::array::from_fn(|d| size[d].unwrap_or_else(|| own(d)))
    })
}

/// The mean of each of `output_size` parts that share the input evenly, whatever its size: part i
/// goes from ⌊i · in / out⌋ to ⌈(i + 1) · in / out⌉.
///
/// ```
/// use flodl::*;
/// let pool = AdaptiveAvgPool2d::new([1, 1]);
/// let x = Variable::new(Tensor::randn(&[2, 8, 5, 9], TensorOptions::default())?, false);
/// assert_eq!(pool.forward(&x)?.shape(), [2, 8, 1, 1]);
/// // None keeps the input's size.
/// let rows = AdaptiveAvgPool2d::new([None, Some(1)]);
/// assert_eq!(rows.forward(&x)?.shape(), [2, 8, 5, 1]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool<const D: usize> {
    output_size: [Option<i64>; D],
}

impl<const D: usize> AdaptiveAvgPool<D> {
    /// To this size: one number for all dims or one for each, where `None` keeps the input's.
    pub fn new(output_size: impl IntoOutputSize<D>) -> Self {
        AdaptiveAvgPool { output_size: output_size.into_output_size() }
    }
}

/// The largest value of each of `output_size` parts that share the input evenly, as in
/// [`AdaptiveAvgPool`].
///
/// ```
/// use flodl::*;
/// let pool = AdaptiveMaxPool2d::new(7, 7);
/// let x = Variable::new(Tensor::randn(&[2, 8, 20, 31], TensorOptions::default())?, false);
/// assert_eq!(pool.forward(&x)?.shape(), [2, 8, 7, 7]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool<const D: usize> {
    output_size: [Option<i64>; D],
}

impl<const D: usize> AdaptiveMaxPool<D> {
    /// To this size: one number for all dims or one for each, where `None` keeps the input's.
    pub fn with_size(output_size: impl IntoOutputSize<D>) -> Self {
        AdaptiveMaxPool { output_size: output_size.into_output_size() }
    }

    /// The pooled input, and where each value stood in its plane, as `Int64`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward_with_indices(&self, input: &Variable) -> Result<(Variable, Tensor)> {
        adaptive_max_pool_with_indices(input, resolved(self.output_size, input))
    }
}

impl AdaptiveMaxPool<1> {
    /// To this length.
    pub fn new(output_l: i64) -> Self {
        Self::with_size(output_l)
    }
}

impl AdaptiveMaxPool<2> {
    /// To this height and width.
    pub fn new(output_h: i64, output_w: i64) -> Self {
        Self::with_size([output_h, output_w])
    }
}

impl AdaptiveMaxPool<3> {
    /// To this depth, height and width.
    pub fn new(output_d: i64, output_h: i64, output_w: i64) -> Self {
        Self::with_size([output_d, output_h, output_w])
    }
}

/// The modules and the aliases of their ranks.
macro_rules! pools {
    ($($layer:ident $one:ident $two:ident $three:ident |$self:ident, $x:ident| $forward:expr;)*) => {$(
        #[doc = concat!("[`", stringify!($layer), "`] over `[N, C, L]`.")]
        pub type $one = $layer<1>;
        #[doc = concat!("[`", stringify!($layer), "`] over `[N, C, H, W]`.")]
        pub type $two = $layer<2>;
        #[doc = concat!("[`", stringify!($layer), "`] over `[N, C, D, H, W]`.")]
        pub type $three = $layer<3>;

        impl<const D: usize> Module for $layer<D> {
            fn forward(&$self, $x: &Variable) -> Result<Variable> {
                $forward
            }

            fn name(&self) -> &str {
                [stringify!($one), stringify!($two), stringify!($three)][D - 1]
            }

            fn structural_hash(&self) -> Option<String> {
                Some(format!("{self:?}"))
            }
        }
    )*};
}

pools! {
    MaxPool MaxPool1d MaxPool2d MaxPool3d |self, x| max_pool(x, &self.windows);
    MaxUnpool MaxUnpool1d MaxUnpool2d MaxUnpool3d |self, _x| self.alone();
    AvgPool AvgPool1d AvgPool2d AvgPool3d
        |self, x| avg_pool(x, &self.windows, self.count_include_pad, self.divisor_override);
    FractionalMaxPool FractionalMaxPool1d FractionalMaxPool2d FractionalMaxPool3d
        |self, x| self.pool(x);
    LPPool LPPool1d LPPool2d LPPool3d |self, x| self.pool(x);
    AdaptiveAvgPool AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d
        |self, x| adaptive_avg_pool(x, resolved(self.output_size, x));
    AdaptiveMaxPool AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d
        |self, x| adaptive_max_pool(x, resolved(self.output_size, x));
}
