//! Making tensors.

use super::Tensor;
use crate::shape;
use crate::{DType, Device, Error, Result, TensorOptions};

fn bytes_of<T: Copy, const N: usize>(data: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    data.iter().flat_map(|&v| to_bytes(v)).collect()
}

/// Values by index, with an error instead of an abort where there is no memory for them.
fn values<T>(n: usize, at: impl Fn(usize) -> T) -> Result<Vec<T>> {
    let mut all = Vec::new();
    if all.try_reserve_exact(n).is_err() {
        return Err(Error::OutOfMemory {
            device: Device::CPU,
            requested: n.saturating_mul(size_of::<T>()),
            in_use: flodl_cpu::alloc::memory_stats().current,
        });
    }
    all.extend((0..n).map(at));
    Ok(all)
}

impl Tensor {
    /// Zeros.
    ///
    /// # Errors
    /// When a size is negative, the device cannot be used, or memory is short.
    pub fn zeros(shape: &[i64], opts: TensorOptions) -> Result<Self> {
        Self::full_dims(&shape::sizes("zeros", shape)?, 0.0, opts)
    }

    /// Ones.
    ///
    /// # Errors
    /// As for [`Tensor::zeros`].
    pub fn ones(shape: &[i64], opts: TensorOptions) -> Result<Self> {
        Self::full_dims(&shape::sizes("ones", shape)?, 1.0, opts)
    }

    /// One value everywhere.
    ///
    /// # Errors
    /// As for [`Tensor::zeros`].
    pub fn full(shape: &[i64], value: f64, opts: TensorOptions) -> Result<Self> {
        Self::full_dims(&shape::sizes("full", shape)?, value, opts)
    }

    pub(crate) fn full_dims(dims: &[usize], value: f64, opts: TensorOptions) -> Result<Self> {
        let layout = crate::shape::Layout::contiguous(dims);
        Tensor::build(dims, opts.dtype, opts.device, |b, out| {
            b.fill(out, &layout, opts.dtype, value)
        })
    }

    /// Memory for a tensor whose values do not matter yet; they are arbitrary.
    ///
    /// # Errors
    /// As for [`Tensor::zeros`].
    pub fn empty(shape: &[i64], opts: TensorOptions) -> Result<Self> {
        let dims = shape::sizes("empty", shape)?;
        match opts.dtype {
            // Reused memory could hold bytes that are no truth value.
            DType::Bool => Self::full_dims(&dims, 0.0, opts),
            _ => Tensor::fresh(&dims, opts.dtype, opts.device),
        }
    }

    /// Zeros in the shape, dtype and device of another tensor.
    ///
    /// # Errors
    /// When memory is short.
    pub fn zeros_like(t: &Tensor) -> Result<Tensor> {
        Self::full_like(t, 0.0)
    }

    /// Ones in the shape, dtype and device of another tensor.
    ///
    /// # Errors
    /// When memory is short.
    pub fn ones_like(t: &Tensor) -> Result<Tensor> {
        Self::full_like(t, 1.0)
    }

    /// One value in the shape, dtype and device of another tensor.
    ///
    /// # Errors
    /// When memory is short.
    pub fn full_like(t: &Tensor, value: f64) -> Result<Tensor> {
        Self::full_dims(t.dims(), value, t.options())
    }

    /// Dtype and device, to make more tensors of the kind.
    pub fn options(&self) -> TensorOptions {
        TensorOptions { dtype: self.dtype(), device: self.device() }
    }

    /// From `f32` values in row-major order.
    ///
    /// # Errors
    /// When the number of values is not the shape's, or the device cannot be used.
    pub fn from_f32(data: &[f32], shape: &[i64], device: Device) -> Result<Self> {
        Self::from_blob(&bytes_of(data, f32::to_ne_bytes), shape, DType::Float32, device)
    }

    /// From `f64` values in row-major order.
    ///
    /// # Errors
    /// As for [`Tensor::from_f32`].
    pub fn from_f64(data: &[f64], shape: &[i64], device: Device) -> Result<Self> {
        Self::from_blob(&bytes_of(data, f64::to_ne_bytes), shape, DType::Float64, device)
    }

    /// From `i64` values in row-major order: indices, class labels.
    ///
    /// # Errors
    /// As for [`Tensor::from_f32`].
    pub fn from_i64(data: &[i64], shape: &[i64], device: Device) -> Result<Self> {
        Self::from_blob(&bytes_of(data, i64::to_ne_bytes), shape, DType::Int64, device)
    }

    /// From truth values in row-major order: masks.
    ///
    /// # Errors
    /// As for [`Tensor::from_f32`].
    pub fn from_bool(data: &[bool], shape: &[i64], device: Device) -> Result<Self> {
        let bytes: Vec<u8> = data.iter().map(|&b| u8::from(b)).collect();
        Self::from_blob(&bytes, shape, DType::Bool, device)
    }

    /// From bytes in native order, row-major. Every byte but 0 counts as `true`.
    ///
    /// # Errors
    /// When the number of bytes is not what shape and dtype need.
    pub fn from_blob(data: &[u8], shape: &[i64], dtype: DType, device: Device) -> Result<Self> {
        let dims = shape::sizes("from_blob", shape)?;
        let want = dims.iter().product::<usize>() * dtype.element_size();
        if data.len() != want {
            let size = dtype.element_size();
            return Err(Error::Shape {
                op: "from_blob",
                expected: format!(
                    "a shape of {} elements for the {} bytes of {dtype} given",
                    data.len() / size,
                    data.len()
                ),
                got: shape.to_vec(),
            });
        }
        Tensor::build(&dims, dtype, device, |b, out| {
            if dtype == DType::Bool {
                let bits: Vec<u8> = data.iter().map(|&v| u8::from(v != 0)).collect();
                b.upload(&bits, out)
            } else {
                b.upload(data, out)
            }
        })
    }

    /// `steps` values from `start` to `end`, both included, evenly spaced.
    ///
    /// # Errors
    /// When `steps` is negative.
    pub fn linspace(start: f64, end: f64, steps: i64, opts: TensorOptions) -> Result<Self> {
        let n = shape::sizes("linspace", &[steps])?[0];
        let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
        // From both ends, as PyTorch does, so that the last value is `end` to the bit.
        let at = |i: usize| {
            if i < n / 2 || n == 1 {
                start + step * i as f64
            } else {
                end - step * (n - 1 - i) as f64
            }
        };
        Self::from_f64(&values(n, at)?, &[steps], opts.device)?.to_dtype(opts.dtype)
    }

    /// Values from `start` up to, not including, `end` in steps.
    ///
    /// # Errors
    /// When the step is 0 or leads away from `end`.
    pub fn arange(start: f64, end: f64, step: f64, opts: TensorOptions) -> Result<Self> {
        let count = ((end - start) / step).ceil();
        if step == 0.0 || !count.is_finite() || count < 0.0 {
            return Err(Error::invalid(
                "arange",
                format!("no finite way from {start} to {end} in steps of {step}"),
            ));
        }
        let n = shape::sizes("arange", &[count as i64])?[0];
        if opts.dtype.is_float() || start.fract() != 0.0 || step.fract() != 0.0 {
            let values = values(n, |i| start + step * i as f64)?;
            Self::from_f64(&values, &[n as i64], opts.device)?.to_dtype(opts.dtype)
        } else {
            let values = values(n, |i| start as i64 + step as i64 * i as i64)?;
            Self::from_i64(&values, &[n as i64], opts.device)?.to_dtype(opts.dtype)
        }
    }

    /// The identity matrix.
    ///
    /// # Errors
    /// When `n` is negative.
    pub fn eye(n: i64, opts: TensorOptions) -> Result<Self> {
        let mut out = Self::full_dims(&shape::sizes("eye", &[n, n])?, 0.0, opts)?;
        let diagonal = out.diagonal(0, 0, 1)?.layout().clone();
        if n > 0 {
            out.backend()?.fill(out.fresh_storage(), &diagonal, opts.dtype, 1.0)?;
        }
        Ok(out)
    }
}
