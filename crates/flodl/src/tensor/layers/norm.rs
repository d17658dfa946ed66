//! Normalisation: results with the statistics that gradients need.

use std::borrow::Cow;

use crate::backend::{Affine, Operand, Storage};
use crate::{DType, Error, Result, Tensor};

/// Fresh tensors of the given shapes in the options of `x`, filled by `run`.
fn outputs<const N: usize>(
    x: &Tensor,
    shapes: [&[usize]; N],
    run: impl FnOnce([&mut Storage; N]) -> Result<()>,
) -> Result<[Tensor; N]> {
    let mut out = [const { None }; N];
    for (out, shape) in out.iter_mut().zip(shapes) {
        *out = Some(Tensor::fresh(shape, x.dtype(), x.device())?);
    }
    let mut out: [Tensor; N] = out.map(|t| t.expect("each shape has made a tensor"));
    run(out.each_mut().map(Tensor::fresh_storage))?;
    Ok(out)
}

/// A weight or bias as kernels take it: contiguous, of the input's dtype, with `len` elements.
fn vector<'a>(
    op: &'static str,
    x: &Tensor,
    v: Option<&'a Tensor>,
    len: usize,
) -> Result<Option<Cow<'a, Tensor>>> {
    let Some(t) = v else { return Ok(None) };
    x.check_same(op, t)?;
    if t.len() != len {
        return Err(Error::Shape {
            op,
            expected: format!("a weight and bias of {len} elements"),
            got: t.shape(),
        });
    }
    Ok(Some(if t.is_contiguous() { Cow::Borrowed(t) } else { Cow::Owned(t.contiguous()?) }))
}

fn operand<'a>(t: &'a Option<Cow<'_, Tensor>>) -> Option<Operand<'a>> {
    t.as_deref().map(Tensor::operand)
}

/// `[N, C, …]` as batch, channels and the rest.
pub(crate) fn channels(op: &'static str, t: &Tensor) -> Result<[usize; 3]> {
    match *t.dims() {
        [n, c, ref rest @ ..] => Ok([n, c, rest.iter().product()]),
        _ => Err(Error::Shape {
            op,
            expected: "an input of at least 2 dims, [N, C, ...]".into(),
            got: t.shape(),
        }),
    }
}

/// Checks that the last dims together have `columns` elements.
pub(crate) fn row_length(op: &'static str, t: &Tensor, columns: i64) -> Result<usize> {
    let mut size = 1;
    for &n in t.dims().iter().rev() {
        size *= n as i64;
        if size == columns {
            return Ok(columns as usize);
        }
    }
    Err(Error::Shape {
        op,
        expected: format!("last dims of {columns} elements together"),
        got: t.shape(),
    })
}

/// Runs a norm of an input and its weight and bias: 16-bit floats go through float32, with weights
/// of either type.
fn through_f32<T>(
    op: &'static str,
    x: &Tensor,
    params: [Option<&Tensor>; 2],
    run: impl FnOnce(&Tensor, [Option<&Tensor>; 2]) -> Result<T>,
) -> Result<T> {
    x.check_float(op)?;
    if !x.dtype().is_half() {
        return run(x, params);
    }
    let mut wide = [None, None];
    for (to, p) in wide.iter_mut().zip(params) {
        let Some(p) = p else { continue };
        if p.dtype() != x.dtype() && p.dtype() != DType::Float32 {
            return Err(Error::DTypeMismatch { op, lhs: x.dtype(), rhs: p.dtype() });
        }
        *to = Some(p.to_dtype(DType::Float32)?);
    }
    run(&x.to_dtype(DType::Float32)?, wide.each_ref().map(Option::as_ref))
}

/// What layer norm gives: the output, and mean and 1 / deviation of each row.
pub(crate) struct Rows {
    pub y: Tensor,
    pub mean: Tensor,
    pub rstd: Tensor,
}

/// What a batch norm with the batch's own statistics gives, for each channel.
pub(crate) struct Batch {
    pub y: Tensor,
    pub mean: Tensor,
    /// The biased variance.
    pub var: Tensor,
    pub rstd: Tensor,
}

impl Tensor {
    /// Layer norm of a contiguous input in float32 or float64.
    pub(crate) fn layer_norm_rows(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        columns: usize,
        eps: f64,
    ) -> Result<Rows> {
        let w = vector("layer_norm", self, weight, columns)?;
        let b = vector("layer_norm", self, bias, columns)?;
        let rows = [self.len() / columns.max(1)];
        let [y, mean, rstd] = outputs(self, [self.dims(), &rows, &rows], |out| {
            let affine = Affine { weight: operand(&w), bias: operand(&b) };
            self.backend()?.layer_norm(self.operand(), None, columns, affine, eps, out)
        })?;
        Ok(Rows { y, mean, rstd })
    }

    /// [`Tensor::layer_norm_rows`] of the sum with another tensor of this shape, and the sum.
    pub(crate) fn add_layer_norm_rows(
        &self,
        other: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        columns: usize,
        eps: f64,
    ) -> Result<(Tensor, Rows)> {
        let w = vector("layer_norm", self, weight, columns)?;
        let b = vector("layer_norm", self, bias, columns)?;
        let rows = [self.len() / columns.max(1)];
        let shapes = [self.dims(), self.dims(), &rows, &rows];
        let [sum, y, mean, rstd] = outputs(self, shapes, |[sum, y, mean, rstd]| {
            let affine = Affine { weight: operand(&w), bias: operand(&b) };
            let plus = Some((other.operand(), sum));
            let out = [y, mean, rstd];
            self.backend()?.layer_norm(self.operand(), plus, columns, affine, eps, out)
        })?;
        Ok((sum, Rows { y, mean, rstd }))
    }

    /// RMS norm of a contiguous input in float32 or float64; the output and 1 / root of each row.
    pub(crate) fn rms_norm_rows(
        &self,
        weight: Option<&Tensor>,
        columns: usize,
        eps: f64,
    ) -> Result<[Tensor; 2]> {
        let w = vector("rms_norm", self, weight, columns)?;
        let rows = [self.len() / columns.max(1)];
        outputs(self, [self.dims(), &rows], |out| {
            self.backend()?.rms_norm(self.operand(), None, columns, operand(&w), eps, out)
        })
    }

    /// [`Tensor::rms_norm_rows`] of the sum with another tensor of this shape, behind the sum.
    pub(crate) fn add_rms_norm_rows(
        &self,
        other: &Tensor,
        weight: Option<&Tensor>,
        columns: usize,
        eps: f64,
    ) -> Result<[Tensor; 3]> {
        let w = vector("rms_norm", self, weight, columns)?;
        let rows = [self.len() / columns.max(1)];
        outputs(self, [self.dims(), self.dims(), &rows], |[sum, y, rstd]| {
            let plus = Some((other.operand(), sum));
            self.backend()?.rms_norm(self.operand(), plus, columns, operand(&w), eps, [y, rstd])
        })
    }

    /// Batch norm of a contiguous input by its own statistics, in float32 or float64; with `relu`,
    /// negative outputs are 0.
    pub(crate) fn batch_norm_own(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
        relu: bool,
    ) -> Result<Batch> {
        let dims = channels("batch_norm", self)?;
        if dims[0] * dims[2] == 1 {
            return Err(Error::Shape {
                op: "batch_norm",
                expected: "more than one value per channel in training".into(),
                got: self.shape(),
            });
        }
        let w = vector("batch_norm", self, weight, dims[1])?;
        let b = vector("batch_norm", self, bias, dims[1])?;
        let c = [dims[1]];
        let [y, mean, var, rstd] = outputs(self, [self.dims(), &c, &c, &c], |out| {
            let affine = Affine { weight: operand(&w), bias: operand(&b) };
            self.backend()?.batch_norm(self.operand(), dims, affine, eps, relu, out)
        })?;
        Ok(Batch { y, mean, var, rstd })
    }

    /// Batch norm of a contiguous input by given statistics; the output, the mean, 1 / deviation.
    pub(crate) fn batch_norm_by(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        mean: &Tensor,
        var: &Tensor,
        eps: f64,
    ) -> Result<[Tensor; 3]> {
        let dims = channels("batch_norm", self)?;
        let w = vector("batch_norm", self, weight, dims[1])?;
        let b = vector("batch_norm", self, bias, dims[1])?;
        let given = "`vector` gives `None` for `None` only";
        let mean = vector("batch_norm", self, Some(mean), dims[1])?.expect(given);
        let var = vector("batch_norm", self, Some(var), dims[1])?.expect(given);
        let rstd = var.add_scalar(eps)?.rsqrt()?;
        let scale = match &w {
            Some(w) => rstd.mul(&w.reshape(&[-1])?)?,
            None => rstd.clone(),
        };
        let shift = mean.mul(&scale)?.neg()?;
        let shift = match &b {
            Some(b) => shift.add(&b.reshape(&[-1])?)?,
            None => shift,
        };
        let [y] = outputs(self, [self.dims()], |[out]| {
            self.backend()?.channel_affine(
                self.operand(),
                dims,
                scale.operand(),
                shift.operand(),
                out,
            )
        })?;
        Ok([y, mean.into_owned(), rstd])
    }

    /// Group norm of a contiguous input in float32 or float64.
    pub(crate) fn group_norm_rows(
        &self,
        num_groups: i64,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Rows> {
        let dims = channels("group_norm", self)?;
        if num_groups < 1 || dims[1] as i64 % num_groups != 0 {
            return Err(Error::Shape {
                op: "group_norm",
                expected: format!("a number of channels that {num_groups} groups divide"),
                got: self.shape(),
            });
        }
        let groups = num_groups as usize;
        let w = vector("group_norm", self, weight, dims[1])?;
        let b = vector("group_norm", self, bias, dims[1])?;
        let stats = [dims[0] * groups];
        let [y, mean, rstd] = outputs(self, [self.dims(), &stats, &stats], |out| {
            let affine = Affine { weight: operand(&w), bias: operand(&b) };
            self.backend()?.group_norm(self.operand(), dims, groups, affine, eps, out)
        })?;
        Ok(Rows { y, mean, rstd })
    }

    /// Whether instance norm by the input's own statistics has any.
    pub(crate) fn check_instances(&self) -> Result<()> {
        let enough = self.ndim() >= 3 && self.dims()[2..].iter().product::<usize>() != 1;
        if enough {
            return Ok(());
        }
        Err(Error::Shape {
            op: "instance_norm",
            expected: "[N, C, ...] with more than one value per channel".into(),
            got: self.shape(),
        })
    }

    /// Layer norm over the last `normalized_size` elements with weight and bias (Ba et al., 2016):
    /// the output, and mean and 1 / deviation of each row, of the input's shape with ones for the
    /// normalised dims.
    ///
    /// # Errors
    /// When the last dims do not make up that size, or dtypes differ.
    pub fn native_layer_norm(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        normalized_size: i64,
        eps: f64,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let op = "layer_norm";
        through_f32(op, self, [Some(weight), Some(bias)], |x, [w, b]| {
            let columns = row_length(op, x, normalized_size)?;
            let rows = x.contiguous()?.layer_norm_rows(w, b, columns, eps)?;
            let (mut shape, mut tail) = (self.shape(), 1);
            for n in shape.iter_mut().rev() {
                if tail == normalized_size {
                    break;
                }
                tail *= std::mem::replace(n, 1);
            }
            let stats = [rows.mean.reshape(&shape)?, rows.rstd.reshape(&shape)?];
            let [mean, rstd] = stats;
            Ok((rows.y.to_dtype(self.dtype())?, mean, rstd))
        })
    }

    /// Group norm of `[N, C, …]` (Wu and He, 2018).
    ///
    /// # Errors
    /// When the groups do not divide the channels, sizes do not fit, or dtypes differ.
    pub fn group_norm(
        &self,
        num_groups: i64,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        through_f32("group_norm", self, [weight, bias], |x, [w, b]| {
            x.contiguous()?.group_norm_rows(num_groups, w, b, eps)?.y.to_dtype(self.dtype())
        })
    }

    /// Batch norm of `[N, C, …]` (Ioffe and Szegedy, 2015): by the batch's own statistics when
    /// `training` or when there are no running ones. Tensors do not change, so running statistics
    /// are read only and the momentum has no effect; [`crate::BatchNorm2d`] keeps them up to date.
    ///
    /// # Errors
    /// When there is one value per channel in training, sizes do not fit, or dtypes differ.
    pub fn batch_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        running_mean: Option<&Tensor>,
        running_var: Option<&Tensor>,
        training: bool,
        _momentum: f64,
        eps: f64,
    ) -> Result<Tensor> {
        through_f32("batch_norm", self, [weight, bias], |x, [w, b]| {
            let x = x.contiguous()?;
            let y = match (running_mean, running_var) {
                (Some(mean), Some(var)) if !training => {
                    let wide = |t: &Tensor| match self.dtype().is_half() {
                        true => t.to_dtype(DType::Float32),
                        false => Ok(t.clone()),
                    };
                    let [y, ..] = x.batch_norm_by(w, b, &wide(mean)?, &wide(var)?, eps)?;
                    y
                }
                _ => x.batch_norm_own(w, b, eps, false)?.y,
            };
            y.to_dtype(self.dtype())
        })
    }

    /// Instance norm of `[N, C, …]` (Ulyanov et al., 2016): by the statistics of each channel of
    /// each image, or, without `use_input_stats`, by the given ones. Tensors do not change, so
    /// running statistics are read only and the momentum has no effect.
    ///
    /// # Errors
    /// When there is one value per channel, sizes do not fit, statistics are missing, or dtypes
    /// differ.
    pub fn instance_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        running_mean: Option<&Tensor>,
        running_var: Option<&Tensor>,
        use_input_stats: bool,
        momentum: f64,
        eps: f64,
    ) -> Result<Tensor> {
        if use_input_stats {
            self.check_instances()?;
            return self.group_norm(self.shape()[1].max(1), weight, bias, eps);
        }
        if running_mean.is_none() || running_var.is_none() {
            return Err(Error::invalid(
                "instance_norm",
                "without input statistics it needs running_mean and running_var",
            ));
        }
        self.batch_norm(weight, bias, running_mean, running_var, false, momentum, eps)
    }
}
