//! Layer, RMS, group and instance norm.

use std::cell::Cell;
use std::rc::Rc;

use super::batch_norm::{Running, channel_affine, unit_affine};
use super::{Buffer, Module, Parameter};
use crate::tensor::SPACE;
use crate::{
    DType, Device, Error, Result, Tensor, TensorOptions, Variable, Windows, avg_pool,
    group_norm_opt, instance_norm, layer_norm_opt, rms_norm,
};

/// Checks that an input ends in these dims.
fn check_tail(op: &'static str, shape: &[i64], input: &Variable) -> Result<()> {
    let fits = input.with_data(|t| {
        let n = t.dims();
        n.len() >= shape.len()
            && n[n.len() - shape.len()..].iter().zip(shape).all(|(&a, &b)| a as i64 == b)
    });
    if fits {
        return Ok(());
    }
    let tail: Vec<String> = shape.iter().map(i64::to_string).collect();
    Err(Error::Shape {
        op,
        expected: format!("an input [..., {}]", tail.join(", ")),
        got: input.shape(),
    })
}

fn check_sizes(op: &'static str, shape: &[i64]) -> Result<()> {
    if shape.is_empty() || shape.iter().any(|&n| n < 1) {
        return Err(Error::invalid(op, format!("normalised sizes {shape:?} must be positive")));
    }
    Ok(())
}

fn list(params: [Option<&Parameter>; 2]) -> Vec<Parameter> {
    params.into_iter().flatten().cloned().collect()
}

/// Brings each vector along the last dim, or the last dims of [`LayerNorm::over`], to mean 0 and
/// variance 1 (Ba et al., 2016), then scales and shifts by weight and bias of the same sizes.
///
/// ```
/// use flodl::*;
/// let ln = LayerNorm::new(512)?;
/// let x = Variable::new(Tensor::randn(&[4, 10, 512], TensorOptions::default())?, false);
/// assert_eq!(ln.forward(&x)?.shape(), [4, 10, 512]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    shape: Rc<[i64]>,
    weight: Option<Parameter>,
    bias: Option<Parameter>,
    eps: f64,
}

impl LayerNorm {
    /// Over a last dim of this size, eps 1e-5, on the CPU.
    ///
    /// # Errors
    /// When the size is not positive.
    pub fn new(size: i64) -> Result<Self> {
        Self::on_device(size, Device::CPU)
    }

    /// With another eps, which is added to variances.
    ///
    /// # Errors
    /// When the size is not positive.
    pub fn with_eps(size: i64, eps: f64) -> Result<Self> {
        Self::on_device_with_eps(size, eps, Device::CPU)
    }

    /// Like `new`, on a device.
    ///
    /// # Errors
    /// When the size is not positive or the device cannot be used.
    pub fn on_device(size: i64, device: Device) -> Result<Self> {
        Self::on_device_with_eps(size, 1e-5, device)
    }

    /// With another eps, on a device.
    ///
    /// # Errors
    /// When the size is not positive or the device cannot be used.
    pub fn on_device_with_eps(size: i64, eps: f64, device: Device) -> Result<Self> {
        Ok(Self::over_on_device(&[size], device)?.eps(eps))
    }

    /// Over several last dims together, on the CPU.
    ///
    /// # Errors
    /// When there is no size or one is not positive.
    pub fn over(shape: &[i64]) -> Result<Self> {
        Self::over_on_device(shape, Device::CPU)
    }

    fn over_on_device(shape: &[i64], device: Device) -> Result<Self> {
        check_sizes("LayerNorm", shape)?;
        let (weight, bias) = unit_affine(shape, device)?;
        Ok(LayerNorm { shape: shape.into(), weight: Some(weight), bias: Some(bias), eps: 1e-5 })
    }

    /// Added to variances; 1e-5 unless set.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// With `false`, leaves out weight and bias.
    pub fn affine(mut self, affine: bool) -> Self {
        if !affine {
            (self.weight, self.bias) = (None, None);
        }
        self
    }

    /// Leaves out the bias.
    pub fn without_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// The weight.
    pub fn weight(&self) -> Option<&Parameter> {
        self.weight.as_ref()
    }

    /// The bias.
    pub fn bias(&self) -> Option<&Parameter> {
        self.bias.as_ref()
    }
}

impl Module for LayerNorm {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        check_tail("LayerNorm", &self.shape, input)?;
        let weight = self.weight.as_ref().map(|p| &p.variable);
        let bias = self.bias.as_ref().map(|p| &p.variable);
        layer_norm_opt(input, weight, bias, self.shape.iter().product(), self.eps)
    }

    fn parameters(&self) -> Vec<Parameter> {
        list([self.weight(), self.bias()])
    }

    fn name(&self) -> &str {
        "LayerNorm"
    }

    fn structural_hash(&self) -> Option<String> {
        let (weight, bias) = (self.weight.is_some(), self.bias.is_some());
        Some(format!("LayerNorm({:?}, eps={}, weight={weight}, bias={bias})", self.shape, self.eps))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.shape) as *const i64 as usize)
    }
}

/// Divides each vector along the last dim by its root mean square (Zhang and Sennrich, 2019), then
/// multiplies by the weight: layer norm without the mean and the bias, and faster.
///
/// ```
/// use flodl::*;
/// let rn = RMSNorm::new(512)?.eps(1e-6);
/// let x = Variable::new(Tensor::randn(&[4, 512], TensorOptions::default())?, false);
/// assert_eq!(rn.forward(&x)?.shape(), [4, 512]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RMSNorm {
    shape: Rc<[i64]>,
    weight: Option<Parameter>,
    eps: Option<f64>,
}

impl RMSNorm {
    /// Over a last dim of this size, on the CPU; eps is the dtype's machine epsilon.
    ///
    /// # Errors
    /// When the size is not positive.
    pub fn new(size: i64) -> Result<Self> {
        Self::on_device(size, Device::CPU)
    }

    /// Like `new`, on a device.
    ///
    /// # Errors
    /// When the size is not positive or the device cannot be used.
    pub fn on_device(size: i64, device: Device) -> Result<Self> {
        Self::over_on_device(&[size], device)
    }

    /// Over several last dims together, on the CPU.
    ///
    /// # Errors
    /// When there is no size or one is not positive.
    pub fn over(shape: &[i64]) -> Result<Self> {
        Self::over_on_device(shape, Device::CPU)
    }

    fn over_on_device(shape: &[i64], device: Device) -> Result<Self> {
        check_sizes("RMSNorm", shape)?;
        let options = TensorOptions { dtype: DType::Float32, device };
        let weight = Parameter::new(Tensor::ones(shape, options)?, "weight");
        Ok(RMSNorm { shape: shape.into(), weight: Some(weight), eps: None })
    }

    /// Added to mean squares.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = Some(eps);
        self
    }

    /// With `false`, leaves out the weight.
    pub fn affine(mut self, affine: bool) -> Self {
        if !affine {
            self.weight = None;
        }
        self
    }

    /// The weight.
    pub fn weight(&self) -> Option<&Parameter> {
        self.weight.as_ref()
    }
}

impl Module for RMSNorm {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        check_tail("RMSNorm", &self.shape, input)?;
        let eps = self.eps.unwrap_or(match input.dtype() {
            DType::Float64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        });
        let weight = self.weight.as_ref().map(|p| &p.variable);
        rms_norm(input, weight, self.shape.iter().product(), eps)
    }

    fn parameters(&self) -> Vec<Parameter> {
        list([self.weight(), None])
    }

    fn name(&self) -> &str {
        "RMSNorm"
    }

    fn structural_hash(&self) -> Option<String> {
        let weight = self.weight.is_some();
        Some(format!("RMSNorm({:?}, eps={:?}, weight={weight})", self.shape, self.eps))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.shape) as *const i64 as usize)
    }
}

/// Brings each of `num_groups` groups of channels of each element of `[N, C, …]` to mean 0 and
/// variance 1 (Wu and He, 2018), then scales and shifts by weight and bias `[C]`. What else is in
/// the batch has no influence.
///
/// ```
/// use flodl::*;
/// let gn = GroupNorm::new(4, 16)?;
/// let x = Variable::new(Tensor::randn(&[2, 16, 8, 8], TensorOptions::default())?, false);
/// assert_eq!(gn.forward(&x)?.shape(), [2, 16, 8, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GroupNorm {
    sizes: Rc<[i64; 2]>,
    affine: Option<(Parameter, Parameter)>,
    eps: f64,
}

impl GroupNorm {
    /// With weight and bias, eps 1e-5, on the CPU.
    ///
    /// # Errors
    /// When the groups do not divide the channels.
    pub fn new(num_groups: i64, num_channels: i64) -> Result<Self> {
        Self::on_device(num_groups, num_channels, Device::CPU)
    }

    /// Like `new`, on a device.
    ///
    /// # Errors
    /// When the groups do not divide the channels or the device cannot be used.
    pub fn on_device(num_groups: i64, num_channels: i64, device: Device) -> Result<Self> {
        if num_groups < 1 || num_channels < 1 || num_channels % num_groups != 0 {
            return Err(Error::invalid(
                "GroupNorm",
                format!("{num_groups} groups must be positive and divide {num_channels} channels"),
            ));
        }
        Ok(GroupNorm {
            sizes: Rc::new([num_groups, num_channels]),
            affine: Some(unit_affine(&[num_channels], device)?),
            eps: 1e-5,
        })
    }

    channel_affine!();
}

impl Module for GroupNorm {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let [groups, channels] = *self.sizes;
        if !input.with_data(|t| t.ndim() >= 2 && t.dims()[1] as i64 == channels) {
            return Err(Error::Shape {
                op: "GroupNorm",
                expected: format!("an input [N, {channels}, ...]"),
                got: input.shape(),
            });
        }
        let weight = self.weight().map(|p| &p.variable);
        group_norm_opt(input, groups, weight, self.bias().map(|p| &p.variable), self.eps)
    }

    fn parameters(&self) -> Vec<Parameter> {
        list([self.weight(), self.bias()])
    }

    fn name(&self) -> &str {
        "GroupNorm"
    }

    fn structural_hash(&self) -> Option<String> {
        let affine = self.affine.is_some();
        Some(format!("GroupNorm({:?}, eps={}, affine={affine})", self.sizes, self.eps))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.sizes) as usize)
    }
}

/// Brings each channel of each element of `[N, C, …]` to mean 0 and variance 1 (Ulyanov et al.,
/// 2016), then, when affine, scales and shifts by weight and bias `[C]`.
///
/// It uses the input's statistics in training and in inference, unless it tracks running ones.
///
/// ```
/// use flodl::*;
/// let inn = InstanceNorm::new(64, true)?;
/// let x = Variable::new(Tensor::randn(&[2, 64, 8, 8], TensorOptions::default())?, false);
/// assert_eq!(inn.forward(&x)?.shape(), [2, 64, 8, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InstanceNormNd<const D: usize> {
    features: i64,
    affine: Option<(Parameter, Parameter)>,
    running: Option<Running>,
    device: Device,
    momentum: f64,
    eps: f64,
    training: Rc<Cell<bool>>,
}

/// [`InstanceNormNd`] over `[N, C, …]` of any rank.
pub type InstanceNorm = InstanceNormNd<0>;
/// [`InstanceNormNd`] over `[N, C, L]` or `[C, L]`.
pub type InstanceNorm1d = InstanceNormNd<1>;
/// [`InstanceNormNd`] over `[N, C, H, W]` or `[C, H, W]`.
pub type InstanceNorm2d = InstanceNormNd<2>;
/// [`InstanceNormNd`] over `[N, C, D, H, W]` or `[C, D, H, W]`.
pub type InstanceNorm3d = InstanceNormNd<3>;

const INSTANCE_NAMES: [&str; 4] =
    ["InstanceNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"];

impl<const D: usize> InstanceNormNd<D> {
    /// With weight and bias when `affine`, eps 1e-5, on the CPU.
    ///
    /// # Errors
    /// When the number of features is not positive.
    pub fn new(num_features: i64, affine: bool) -> Result<Self> {
        Self::on_device(num_features, affine, Device::CPU)
    }

    /// Like `new`, on a device.
    ///
    /// # Errors
    /// When the number of features is not positive or the device cannot be used.
    pub fn on_device(num_features: i64, affine: bool, device: Device) -> Result<Self> {
        if num_features < 1 {
            return Err(Error::invalid(
                INSTANCE_NAMES[D],
                format!("number of features {num_features} must be positive"),
            ));
        }
        let params = if affine { Some(unit_affine(&[num_features], device)?) } else { None };
        Ok(InstanceNormNd {
            features: num_features,
            affine: params,
            running: None,
            device,
            momentum: 0.1,
            eps: 1e-5,
            training: Rc::new(Cell::new(true)),
        })
    }

    /// Share of the newest batch in the running statistics; 0.1 unless set.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// With `true`, keeps running statistics and uses them in inference.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn track_running_stats(mut self, track: bool) -> Result<Self> {
        self.running = if track { Some(Running::new(self.features, self.device)?) } else { None };
        Ok(self)
    }

    channel_affine!();
}

impl<const D: usize> Module for InstanceNormNd<D> {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let (name, rank, c) = (INSTANCE_NAMES[D], input.ndim(), self.features);
        let channels = |d: usize| input.with_data(|t| t.dims().get(d) == Some(&(c as usize)));
        if D > 0 && rank == D + 1 && channels(0) {
            return self.forward(&input.unsqueeze(0)?)?.squeeze(0);
        }
        if !channels(1) || if D == 0 { rank < 3 } else { rank != D + 2 } {
            let expected = match D {
                0 => format!("an input [N, {c}, spatial...]"),
                _ => format!("an input [N, {c}, {}] or without N", SPACE[D - 1]),
            };
            return Err(Error::Shape { op: name, expected, got: input.shape() });
        }
        let weight = self.weight().map(|p| &p.variable);
        let bias = self.bias().map(|p| &p.variable);
        let (eps, momentum) = (self.eps, self.momentum);
        match &self.running {
            Some(running) if !self.training.get() => {
                let (mean, var) = running.trained(name, input.dtype())?;
                instance_norm(input, weight, bias, Some(&mean), Some(&var), false, momentum, eps)
            }
            running => {
                let y = instance_norm(input, weight, bias, None, None, true, momentum, eps)?;
                // Nothing is learned from an empty batch; PyTorch makes the statistics NaN.
                let running = running.as_ref().filter(|_| input.with_data(|t| t.len() > 0));
                if let Some(running) = running {
                    let x = match input.dtype().is_half() {
                        true => input.data().to_dtype(DType::Float32)?,
                        false => input.data(),
                    };
                    let space: Vec<i32> = (2..x.ndim() as i32).collect();
                    let mean = x.mean_dims(&space, false)?.mean_dim(0, false)?;
                    let var = x.var_dims(&space, 1.0, false)?.mean_dim(0, false)?;
                    // As in PyTorch, instance norm's num_batches_tracked stays 0.
                    running.update(&mean, &var, Some(momentum))?;
                }
                Ok(y)
            }
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        list([self.weight(), self.bias()])
    }

    fn buffers(&self) -> Vec<Buffer> {
        self.running.as_ref().map_or_else(Vec::new, Running::buffers)
    }

    fn name(&self) -> &str {
        INSTANCE_NAMES[D]
    }

    fn set_training(&self, training: bool) {
        self.training.set(training);
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!(
            "{}({}, eps={}, momentum={}, affine={}, track={})",
            INSTANCE_NAMES[D],
            self.features,
            self.eps,
            self.momentum,
            self.affine.is_some(),
            self.running.is_some()
        ))
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.training) as usize)
    }
}

/// Divides each element of `[N, C, …]` by (k + alpha · the mean of the squares of the `size`
/// channels around it)^beta (Krizhevsky et al., 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    size: i64,
    alpha: f64,
    beta: f64,
    k: f64,
}

impl LocalResponseNorm {
    /// Over this many channels, alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: i64) -> Self {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    /// Factor of the mean of squares.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// The exponent.
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// Added to the mean of squares.
    pub fn k(mut self, k: f64) -> Self {
        self.k = k;
        self
    }
}

impl Module for LocalResponseNorm {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let shape = input.shape();
        if self.size < 1 {
            let what = format!("size {} must be positive", self.size);
            return Err(Error::invalid("LocalResponseNorm", what));
        }
        if shape.len() < 3 {
            return Err(Error::Shape {
                op: "LocalResponseNorm",
                expected: "an input [N, C, spatial...]".into(),
                got: shape,
            });
        }
        if shape.contains(&0) {
            return Ok(input.clone());
        }
        let (before, after) = (self.size / 2, (self.size - 1) / 2);
        let planes = input.mul(input)?.reshape(&[shape[0], 1, shape[1], -1])?;
        let windows = Windows {
            kernel: [self.size, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            ceil_mode: false,
        };
        let means = avg_pool(&planes.pad(&[0, 0, before, after], 0.0)?, &windows, true, None)?;
        let scale = means.mul_scalar(self.alpha)?.add_scalar(self.k)?.pow_scalar(-self.beta)?;
        input.mul(&scale.reshape(&shape)?)
    }

    fn name(&self) -> &str {
        "LocalResponseNorm"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}
