//! Batch norm, one code for all ranks, and the running statistics that instance norm keeps too.

use std::cell::Cell;
use std::rc::Rc;

use super::affine::ChannelNorm;
use super::{Buffer, Module, Parameter};
use crate::autograd::ops::{BatchStats, batch_norm_eval, batch_norm_relu, batch_norm_train};
use crate::{DType, Device, Error, Result, Tensor, TensorOptions, Variable};

/// Running mean and variance of each channel, and how many batches they have seen.
#[derive(Clone, Debug)]
pub(super) struct Running {
    mean: Buffer,
    var: Buffer,
    batches: Buffer,
}

impl Running {
    pub fn new(features: i64, device: Device) -> Result<Self> {
        let values = TensorOptions { dtype: DType::Float32, device };
        let count = TensorOptions { dtype: DType::Int64, device };
        Ok(Running {
            mean: Buffer::new(Tensor::zeros(&[features], values)?, "running_mean"),
            var: Buffer::new(Tensor::ones(&[features], values)?, "running_var"),
            batches: Buffer::new(Tensor::zeros(&[], count)?, "num_batches_tracked"),
        })
    }

    pub fn buffers(&self) -> Vec<Buffer> {
        vec![self.mean.clone(), self.var.clone(), self.batches.clone()]
    }

    /// Counts a batch.
    fn count(&self) -> Result<()> {
        self.batches.update(|n| n.add_scalar_(1.0))
    }

    /// Takes in a batch's mean and unbiased variance. Without a momentum all batches counted so far
    /// have the same share.
    pub fn update(&self, mean: &Tensor, var: &Tensor, momentum: Option<f64>) -> Result<()> {
        let share = match momentum {
            Some(m) => m,
            None => 1.0 / self.batches.get().item()?,
        };
        for (buffer, new) in [(&self.mean, mean), (&self.var, var)] {
            buffer.update(|t| {
                let new = new.to_dtype(t.dtype())?;
                t.mul_scalar_(1.0 - share)?;
                t.add_scaled_(&new, share)
            })?;
        }
        Ok(())
    }

    /// Mean and variance in a dtype.
    ///
    /// # Errors
    /// When they are still what a new layer starts with: nothing was trained and nothing loaded.
    pub fn trained(&self, op: &'static str, dtype: DType) -> Result<(Tensor, Tensor)> {
        let (mean, var) = (self.mean.get(), self.var.get());
        let untouched = |t: &Tensor, start: f64| -> Result<bool> {
            Ok(t.sub_scalar(start)?.abs()?.sum()?.item()? == 0.0)
        };
        if self.batches.get().item()? == 0.0 && untouched(&mean, 0.0)? && untouched(&var, 1.0)? {
            return Err(Error::invalid(
                op,
                "in eval mode but has no running statistics: no batch was seen in training \
                 (num_batches_tracked is 0) and none were loaded; train it first or load a \
                 checkpoint",
            ));
        }
        // 16-bit floats compute in float32, and so do their statistics.
        let dtype = if dtype.is_half() { DType::Float32 } else { dtype };
        Ok((mean.to_dtype(dtype)?, var.to_dtype(dtype)?))
    }
}

/// A weight of ones and a bias of zeros.
pub(super) fn unit_affine(shape: &[i64], device: Device) -> Result<(Parameter, Parameter)> {
    let options = TensorOptions { dtype: DType::Float32, device };
    Ok((
        Parameter::new(Tensor::ones(shape, options)?, "weight"),
        Parameter::new(Tensor::zeros(shape, options)?, "bias"),
    ))
}

/// What norms with a weight and a bias of one element a channel share.
macro_rules! channel_affine {
    () => {
        /// With `false`, leaves out weight and bias.
        pub fn affine(mut self, affine: bool) -> Self {
            if !affine {
                self.affine = None;
            }
            self
        }

        /// The weight, one element a channel.
        pub fn weight(&self) -> Option<&Parameter> {
            self.affine.as_ref().map(|(w, _)| w)
        }

        /// The bias, one element a channel.
        pub fn bias(&self) -> Option<&Parameter> {
            self.affine.as_ref().map(|(_, b)| b)
        }

        /// Added to variances; 1e-5 unless set.
        pub fn eps(mut self, eps: f64) -> Self {
            self.eps = eps;
            self
        }
    };
}
pub(super) use channel_affine;

/// Batch norm over `D` spatial dims (Ioffe and Szegedy, 2015): each channel is brought to mean 0
/// and variance 1 over batch and space, then scaled and shifted by weight and bias `[features]`.
///
/// Training uses the batch's statistics and mixes them into the running ones (momentum 0.1,
/// unbiased variance); inference uses the running ones. Inference before any training is an error,
/// since running statistics that nothing has touched make a silent bug; loaded ones count as
/// trained. A clone shares parameters, statistics and mode.
///
/// ```
/// use flodl::*;
/// let bn = BatchNorm2d::new(64)?;
/// let x = Variable::new(Tensor::randn(&[8, 64, 4, 4], TensorOptions::default())?, false);
/// bn.eval();
/// assert!(bn.forward(&x).is_err());
/// bn.train();
/// assert_eq!(bn.forward(&x)?.shape(), [8, 64, 4, 4]);
/// bn.eval();
/// assert_eq!(bn.forward(&x)?.shape(), [8, 64, 4, 4]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchNormNd<const D: usize> {
    features: i64,
    affine: Option<(Parameter, Parameter)>,
    running: Option<Running>,
    momentum: Option<f64>,
    eps: f64,
    training: Rc<Cell<bool>>,
}

/// [`BatchNormNd`] over `[N, F]` or `[N, C, L]`.
pub type BatchNorm = BatchNormNd<1>;
/// PyTorch's name for [`BatchNorm`].
pub type BatchNorm1d = BatchNormNd<1>;
/// [`BatchNormNd`] over `[N, C, H, W]`.
pub type BatchNorm2d = BatchNormNd<2>;
/// [`BatchNormNd`] over `[N, C, D, H, W]`.
pub type BatchNorm3d = BatchNormNd<3>;

const NAMES: [&str; 3] = ["BatchNorm", "BatchNorm2d", "BatchNorm3d"];
const INPUTS: [&str; 3] = ["[N, {c}] or [N, {c}, L]", "[N, {c}, H, W]", "[N, {c}, D, H, W]"];

impl<const D: usize> BatchNormNd<D> {
    /// With weight and bias, tracking statistics, on the CPU.
    ///
    /// # Errors
    /// When the number of features is not positive.
    pub fn new(num_features: i64) -> Result<Self> {
        Self::on_device(num_features, Device::CPU)
    }

    /// Like `new`, on a device.
    ///
    /// # Errors
    /// When the number of features is not positive or the device cannot be used.
    pub fn on_device(num_features: i64, device: Device) -> Result<Self> {
        if num_features < 1 {
            return Err(Error::invalid(
                NAMES[D - 1],
                format!("number of features {num_features} must be positive"),
            ));
        }
        Ok(BatchNormNd {
            features: num_features,
            affine: Some(unit_affine(&[num_features], device)?),
            running: Some(Running::new(num_features, device)?),
            momentum: Some(0.1),
            eps: 1e-5,
            training: Rc::new(Cell::new(true)),
        })
    }

    /// Share of the newest batch in the running statistics; 0.1 unless set.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = Some(momentum);
        self
    }

    /// All batches count alike in the running statistics (PyTorch's momentum `None`).
    pub fn cumulative_average(mut self) -> Self {
        self.momentum = None;
        self
    }

    /// With `false`, keeps no running statistics and uses the batch's in inference too.
    pub fn track_running_stats(mut self, track: bool) -> Self {
        if !track {
            self.running = None;
        }
        self
    }

    channel_affine!();

    /// The running mean `[features]`.
    pub fn running_mean(&self) -> Option<Tensor> {
        self.running.as_ref().map(|r| r.mean.get())
    }

    /// The running variance `[features]`.
    pub fn running_var(&self) -> Option<Tensor> {
        self.running.as_ref().map(|r| r.var.get())
    }

    fn check(&self, input: &Variable, training: bool) -> Result<()> {
        let fail =
            |expected: String| Err(Error::Shape { op: NAMES[D - 1], expected, got: input.shape() });
        let c = self.features;
        let (fits, values) = input.with_data(|t| {
            let n = t.dims();
            let rank = n.len() == D + 2 || (D == 1 && n.len() == 2);
            let fits = rank && n[1] as i64 == c;
            (fits, if fits { t.numel() / c } else { 1 })
        });
        if !fits {
            return fail(format!("an input {}", INPUTS[D - 1].replace("{c}", &c.to_string())));
        }
        if training && values == 1 {
            return fail("more than one value per channel in training".into());
        }
        Ok(())
    }
}

impl<const D: usize> BatchNormNd<D> {
    /// Takes the statistics of a batch into the running ones.
    fn learn(&self, stats: &BatchStats) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        running.count()?;
        // Nothing is learned from an empty batch, which counts all the same.
        if stats.count == 0 {
            return Ok(());
        }
        let n = stats.count as f64;
        let unbiased = stats.var.mul_scalar(n / (n - 1.0))?;
        running.update(&stats.mean, &unbiased, self.momentum)
    }
}

impl<const D: usize> ChannelNorm for BatchNormNd<D> {
    fn features(&self) -> i64 {
        self.features
    }

    fn takes(&self, ndim: usize) -> bool {
        ndim == D + 2 || (D == 1 && ndim == 2)
    }

    fn is_fixed(&self) -> bool {
        !self.training.get() && self.running.is_some()
    }

    fn own_relu(&self, input: &Variable) -> Result<Variable> {
        self.check(input, true)?;
        let weight = self.weight().map(|p| &p.variable);
        let bias = self.bias().map(|p| &p.variable);
        let (y, stats) = batch_norm_relu(input, weight, bias, self.eps)?;
        self.learn(&stats)?;
        Ok(y)
    }

    fn affine(&self) -> Option<(&Parameter, &Parameter)> {
        self.affine.as_ref().map(|(w, b)| (w, b))
    }

    fn visit_statistics(&self, f: &mut dyn FnMut(&Tensor)) {
        for buffer in self.running.iter().flat_map(|r| [&r.mean, &r.var, &r.batches]) {
            buffer.with(&mut *f);
        }
    }

    fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        let running = self.running.as_ref();
        let running = running.ok_or(Error::new("batch norm without running statistics"))?;
        let (mean, var) = running.trained(NAMES[D - 1], DType::Float64)?;
        let scale = var.add_scalar(self.eps)?.sqrt()?.reciprocal()?;
        let Some((weight, bias)) = &self.affine else {
            let shift = mean.mul(&scale)?.neg()?;
            return Ok((scale, shift));
        };
        let wide = |p: &Parameter| p.variable.with_data(|t| t.to_dtype(DType::Float64));
        let scale = scale.mul(&wide(weight)?)?;
        let shift = wide(bias)?.sub(&mean.mul(&scale)?)?;
        Ok((scale, shift))
    }
}

impl<const D: usize> Module for BatchNormNd<D> {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let training = self.training.get();
        self.check(input, training || self.running.is_none())?;
        let weight = self.weight().map(|p| &p.variable);
        let bias = self.bias().map(|p| &p.variable);
        match &self.running {
            Some(running) if !training => {
                let (mean, var) = running.trained(NAMES[D - 1], input.dtype())?;
                batch_norm_eval(input, weight, bias, &mean, &var, self.eps)
            }
            _ => {
                let (y, stats) = batch_norm_train(input, weight, bias, self.eps)?;
                self.learn(&stats)?;
                Ok(y)
            }
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.affine.iter().flat_map(|(w, b)| [w.clone(), b.clone()]).collect()
    }

    fn buffers(&self) -> Vec<Buffer> {
        self.running.as_ref().map_or_else(Vec::new, Running::buffers)
    }

    fn name(&self) -> &str {
        NAMES[D - 1]
    }

    fn set_training(&self, training: bool) {
        self.training.set(training);
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!(
            "{}({}, eps={}, momentum={:?}, affine={}, track={})",
            NAMES[D - 1],
            self.features,
            self.eps,
            self.momentum,
            self.affine.is_some(),
            self.running.is_some()
        ))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.training) as usize)
    }
}
