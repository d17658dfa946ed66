//! Normalisation: fused forward and backward, statistics saved, and the same made of plain
//! operations for passes that record.

use smallvec::SmallVec;

use super::{grad_by_composition, is_grad_enabled};
use crate::autograd::tape::{Ctx, Grads, Saved, record, wants_grad};
use crate::backend::{self, Operand, Storage};
use crate::tensor::{Batch, Rows, channels, row_length};
use crate::{DType, Error, Result, Tensor, Variable};

/// Fresh tensors in the options of `x` for the gradients that are wanted, filled by `run`.
pub(super) fn wanted<const N: usize>(
    x: &Tensor,
    shapes: [Option<&[usize]>; N],
    run: impl FnOnce([Option<&mut Storage>; N]) -> Result<()>,
) -> Result<Grads> {
    let mut out = [const { None }; N];
    for (out, shape) in out.iter_mut().zip(shapes) {
        *out = shape.map(|s| Tensor::fresh(s, x.dtype(), x.device())).transpose()?;
    }
    run(out.each_mut().map(|t| t.as_mut().map(Tensor::fresh_storage)))?;
    Ok(out.into_iter().map(|t| t.map(Variable::constant)).collect())
}

pub(super) fn operand(t: &Option<Tensor>) -> Option<Operand<'_>> {
    t.as_ref().map(Tensor::operand)
}

/// A weight as kernels take it.
pub(super) fn flat(v: Option<&Variable>) -> Result<Option<Tensor>> {
    v.map(|v| v.with_data(Tensor::contiguous)).transpose()
}

/// Runs a norm of an input and its weight and bias: 16-bit floats go through float32, with weights
/// of either type.
fn in_float<T>(
    op: &'static str,
    x: &Variable,
    params: [Option<&Variable>; 2],
    run: impl FnOnce(&Variable, [Option<&Variable>; 2]) -> Result<(Variable, T)>,
) -> Result<(Variable, T)> {
    let home = x.dtype();
    if !home.is_half() {
        x.with_data(|t| t.check_float(op))?;
        return run(x, params);
    }
    let mut wide = [None, None];
    for (to, p) in wide.iter_mut().zip(params) {
        let Some(p) = p else { continue };
        if p.dtype() != home && p.dtype() != DType::Float32 {
            return Err(Error::DTypeMismatch { op, lhs: home, rhs: p.dtype() });
        }
        *to = Some(p.to_dtype(DType::Float32)?);
    }
    let wide_x = x.to_dtype(DType::Float32)?;
    let (y, rest) = run(&wide_x, wide.each_ref().map(Option::as_ref))?;
    Ok((y.to_dtype(home)?, rest))
}

fn present<'a>(x: &'a Variable, others: [Option<&'a Variable>; 2]) -> SmallVec<[&'a Variable; 3]> {
    [Some(x), others[0], others[1]].into_iter().flatten().collect()
}

/// Gradients in the order of the inputs that were present.
fn compact(mut all: Grads, present: [bool; 2]) -> Grads {
    if !present[1] {
        all.remove(2);
    }
    if !present[0] {
        all.remove(1);
    }
    all
}

/// (x - mean) / sqrt(var + eps) · weight + bias over dims, of plain operations.
fn normalise(x: &Variable, dims: &[i32], eps: f64, centre: bool) -> Result<Variable> {
    let x = if centre { x.sub(&x.mean_dims(dims, true)?)? } else { x.clone() };
    let scale = x.mul(&x)?.mean_dims(dims, true)?.add_scalar(eps)?.rsqrt()?;
    x.mul(&scale)
}

/// What [`affine`] relies on.
const GIVEN: &str = "`v` holds a variable for each true of `has`, in that order";

fn affine(y: Variable, v: &[Variable], has: [bool; 2], shape: &[i64]) -> Result<Variable> {
    let mut rest = v.iter();
    let y = if has[0] { y.mul(&rest.next().expect(GIVEN).reshape(shape)?)? } else { y };
    if has[1] { y.add(&rest.next().expect(GIVEN).reshape(shape)?) } else { Ok(y) }
}

/// Normalises each row of the last `columns` elements to mean 0 and variance 1 (Ba et al., 2016),
/// then applies weight and bias, which have `columns` elements.
///
/// # Errors
/// When the last dims do not make up `columns`, or dtypes differ.
pub fn layer_norm_opt(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    columns: i64,
    eps: f64,
) -> Result<Variable> {
    let run = |x: &Variable, [w, b]: [Option<&Variable>; 2]| {
        Ok((float_layer_norm(x, w, b, columns, eps)?, ()))
    };
    Ok(in_float("layer_norm", x, [weight, bias], run)?.0)
}

fn float_layer_norm(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    columns: i64,
    eps: f64,
) -> Result<Variable> {
    let t = x.with_data(Tensor::contiguous)?;
    let columns = row_length("layer_norm", &t, columns)?;
    let (w, b) = (flat(weight)?, flat(bias)?);
    let Rows { y, mean, rstd } = t.layer_norm_rows(w.as_ref(), b.as_ref(), columns, eps)?;
    let has = [weight.is_some(), bias.is_some()];
    let given = present(x, [weight, bias]);
    if !wants_grad(&given) {
        return Ok(Variable::constant(y));
    }
    let saved: Vec<Saved> = given.iter().copied().map(Saved::new).collect();
    Ok(record("layer_norm", y, &given, move |ctx| {
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            let shape = inputs[0].shape();
            let last = last_dims(&shape, columns);
            return grad_by_composition(
                &inputs.iter().collect::<Vec<_>>(),
                |v| {
                    let y = normalise(&v[0], &last, eps, true)?;
                    let tail = &shape[shape.len() - last.len()..];
                    affine(y, &v[1..], has, tail)
                },
                ctx.grad(),
            );
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let out = wanted(&t, needed(ctx, has, &t, &[columns]), |out| {
            let stats = backend::Saved { mean: mean.operand(), rstd: rstd.operand() };
            t.backend()?.layer_norm_backward(
                t.operand(),
                columns,
                operand(&w),
                stats,
                dy.operand(),
                None,
                out,
            )
        })?;
        Ok(like_inputs(compact(out, has), &saved))
    }))
}

/// Weight gradients come as vectors; the weights may have more dims.
fn like_inputs(grads: Grads, inputs: &[Saved]) -> Grads {
    grads
        .into_iter()
        .zip(inputs)
        .map(|(g, input)| {
            g.map(|g| match g.reshape(&input.data().shape()) {
                Ok(shaped) => shaped,
                Err(_) => g,
            })
        })
        .collect()
}

fn last_dims(shape: &[i64], columns: usize) -> Vec<i32> {
    let (mut size, mut dims) = (1, Vec::new());
    for (d, &n) in shape.iter().enumerate().rev() {
        size *= n;
        dims.push(d as i32);
        if size == columns as i64 {
            break;
        }
    }
    dims
}

/// Layer norm with weight and bias over the last `normalized_size` elements.
///
/// # Errors
/// When sizes do not fit or dtypes differ.
pub fn layer_norm(
    input: &Variable,
    weight: &Variable,
    bias: &Variable,
    normalized_size: i64,
    eps: f64,
) -> Result<Variable> {
    layer_norm_opt(input, Some(weight), Some(bias), normalized_size, eps)
}

/// Divides each row of the last `columns` elements by its root mean square (Zhang and Sennrich,
/// 2019), then multiplies by the weight.
///
/// # Errors
/// When sizes do not fit or dtypes differ.
pub fn rms_norm(
    x: &Variable,
    weight: Option<&Variable>,
    columns: i64,
    eps: f64,
) -> Result<Variable> {
    let run = |x: &Variable, [w, _]: [Option<&Variable>; 2]| {
        Ok((float_rms_norm(x, w, columns, eps)?, ()))
    };
    Ok(in_float("rms_norm", x, [weight, None], run)?.0)
}

fn float_rms_norm(
    x: &Variable,
    weight: Option<&Variable>,
    columns: i64,
    eps: f64,
) -> Result<Variable> {
    let t = x.with_data(Tensor::contiguous)?;
    let columns = row_length("rms_norm", &t, columns)?;
    let w = flat(weight)?;
    let [y, rstd] = t.rms_norm_rows(w.as_ref(), columns, eps)?;
    let has = [weight.is_some(), false];
    let saved: Vec<Saved> = present(x, [weight, None]).into_iter().map(Saved::new).collect();
    Ok(record("rms_norm", y, &present(x, [weight, None]), move |ctx| {
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            let shape = inputs[0].shape();
            let last = last_dims(&shape, columns);
            return grad_by_composition(
                &inputs.iter().collect::<Vec<_>>(),
                |v| {
                    let y = normalise(&v[0], &last, eps, false)?;
                    affine(y, &v[1..], has, &shape[shape.len() - last.len()..])
                },
                ctx.grad(),
            );
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let vector = [columns];
        let shapes =
            [ctx.needs(0).then_some(t.dims()), (has[0] && ctx.needs(1)).then_some(&vector[..])];
        let mut out = wanted(&t, shapes, |out| {
            t.backend()?.rms_norm_backward(
                t.operand(),
                columns,
                operand(&w),
                rstd.operand(),
                dy.operand(),
                None,
                out,
            )
        })?;
        if !has[0] {
            out.pop();
        }
        Ok(like_inputs(out, &saved))
    }))
}

/// What batch norm found in a batch: mean and biased variance of each channel, and how many
/// values each was made of.
pub struct BatchStats {
    /// Mean of each channel.
    pub mean: Tensor,
    /// Biased variance of each channel.
    pub var: Tensor,
    /// Values per channel.
    pub count: usize,
}

/// Batch norm of `[N, C, …]` with the batch's own statistics (Ioffe and Szegedy, 2015).
///
/// # Errors
/// When there is only one value per channel, sizes do not fit, or dtypes differ.
pub fn batch_norm_train(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    eps: f64,
) -> Result<(Variable, BatchStats)> {
    in_float("batch_norm", x, [weight, bias], |x, [w, b]| float_batch_norm(x, w, b, eps, false))
}

/// [`batch_norm_train`] with a ReLU behind it, in one pass forward, and back without one of its own:
/// its gradient is told from the input. In float32 and float64 the result is the same.
///
/// # Errors
/// As there.
pub(crate) fn batch_norm_relu(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    eps: f64,
) -> Result<(Variable, BatchStats)> {
    in_float("batch_norm", x, [weight, bias], |x, [w, b]| float_batch_norm(x, w, b, eps, true))
}

fn float_batch_norm(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    eps: f64,
    relu: bool,
) -> Result<(Variable, BatchStats)> {
    let t = x.with_data(Tensor::contiguous)?;
    let dims = channels("batch_norm", &t)?;
    let count = dims[0] * dims[2];
    let (w, b) = (flat(weight)?, flat(bias)?);
    let Batch { y, mean, var, rstd } = t.batch_norm_own(w.as_ref(), b.as_ref(), eps, relu)?;
    let stats = BatchStats { mean: mean.clone(), var, count };
    // Outputs, and so the bias, matter only where a ReLU was behind them.
    let b = b.filter(|_| relu);
    let done = Done { t, w, b, dims, training: true, relu, mean, rstd };
    let out = record_batch_norm(y, x, [weight, bias], done, move |v, has| {
        let rank = v[0].ndim() as i32;
        let over: Vec<i32> = (0..rank).filter(|&d| d != 1).collect();
        let y = normalise(&v[0], &over, eps, true)?;
        let y = affine(y, &v[1..], has, &channel_shape(&v[0]))?;
        if relu { y.relu() } else { Ok(y) }
    });
    Ok((out, stats))
}

/// Batch norm of `[N, C, …]` with given statistics, which are constants. A vector of nothing stays
/// one, as in PyTorch.
///
/// # Errors
/// When sizes do not fit or dtypes differ.
pub fn batch_norm_eval(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
) -> Result<Variable> {
    if x.with_data(|t| t.dims() == [0]) {
        return Ok(x.alias());
    }
    let wide = |t: &Tensor| {
        if x.dtype().is_half() { t.to_dtype(DType::Float32) } else { Ok(t.clone()) }
    };
    let (mean, var) = (wide(mean)?, wide(var)?);
    let run = |x: &Variable, [w, b]: [Option<&Variable>; 2]| {
        Ok((float_batch_norm_eval(x, w, b, &mean, &var, eps)?, ()))
    };
    Ok(in_float("batch_norm", x, [weight, bias], run)?.0)
}

fn float_batch_norm_eval(
    x: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
) -> Result<Variable> {
    let t = x.with_data(Tensor::contiguous)?;
    let dims = channels("batch_norm", &t)?;
    let (w, b) = (flat(weight)?, flat(bias)?);
    let [y, mean, rstd] = t.batch_norm_by(w.as_ref(), b.as_ref(), mean, var, eps)?;
    let (m, r) = (mean.clone(), rstd.clone());
    let done = Done { t, w, b: None, dims, training: false, relu: false, mean, rstd };
    Ok(record_batch_norm(y, x, [weight, bias], done, move |v, has| {
        let shape = channel_shape(&v[0]);
        let (m, r) = (m.reshape(&shape)?, r.reshape(&shape)?);
        let y = v[0].sub(&Variable::constant(m))?.mul(&Variable::constant(r))?;
        affine(y, &v[1..], has, &shape)
    }))
}

fn channel_shape(x: &Variable) -> Vec<i64> {
    let mut shape = vec![1; x.ndim()];
    shape[1] = x.shape()[1];
    shape
}

/// A batch norm that was computed: of `t` with the weight `w`, and the bias `b` if it is needed.
struct Done {
    t: Tensor,
    w: Option<Tensor>,
    b: Option<Tensor>,
    dims: [usize; 3],
    training: bool,
    relu: bool,
    mean: Tensor,
    rstd: Tensor,
}

fn record_batch_norm(
    y: Tensor,
    x: &Variable,
    params: [Option<&Variable>; 2],
    done: Done,
    compose: impl Fn(&[Variable], [bool; 2]) -> Result<Variable> + 'static,
) -> Variable {
    let has = [params[0].is_some(), params[1].is_some()];
    let saved: Vec<Saved> = present(x, params).into_iter().map(Saved::new).collect();
    record("batch_norm", y, &present(x, params), move |ctx| {
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            let inputs: Vec<&Variable> = inputs.iter().collect();
            return grad_by_composition(&inputs, |v| compose(v, has), ctx.grad());
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let Done { t, w, b, dims, training, relu, mean, rstd } = &done;
        let out = wanted(t, needed(ctx, has, t, &[dims[1]]), |out| {
            let norm = backend::BatchNorm {
                dims: *dims,
                training: *training,
                affine: backend::Affine { weight: operand(w), bias: operand(b) },
                saved: backend::Saved { mean: mean.operand(), rstd: rstd.operand() },
                relu: *relu,
            };
            t.backend()?.batch_norm_backward(t.operand(), norm, dy.operand(), out)
        })?;
        Ok(like_inputs(compact(out, has), &saved))
    })
}

/// Shapes of the gradients that are wanted: of the input, the weight and the bias.
fn needed<'a>(
    ctx: &Ctx<'_>,
    has: [bool; 2],
    t: &'a Tensor,
    vector: &'a [usize],
) -> [Option<&'a [usize]>; 3] {
    let mut inputs = 0..ctx.inputs();
    let mut next = |present: bool| present && inputs.next().is_some_and(|i| ctx.needs(i));
    let (x, w, b) = (next(true), next(has[0]), next(has[1]));
    [x.then_some(t.dims()), w.then_some(vector), b.then_some(vector)]
}

/// Normalises each of `num_groups` groups of channels of each image of `[N, C, …]` (Wu and He,
/// 2018), then applies weight and bias, one element a channel.
///
/// # Errors
/// When the groups do not divide the channels, sizes do not fit, or dtypes differ.
pub fn group_norm_opt(
    x: &Variable,
    num_groups: i64,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    eps: f64,
) -> Result<Variable> {
    let run = |x: &Variable, [w, b]: [Option<&Variable>; 2]| {
        Ok((float_group_norm(x, num_groups, w, b, eps)?, ()))
    };
    Ok(in_float("group_norm", x, [weight, bias], run)?.0)
}

fn float_group_norm(
    x: &Variable,
    num_groups: i64,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    eps: f64,
) -> Result<Variable> {
    let t = x.with_data(Tensor::contiguous)?;
    let (w, b) = (flat(weight)?, flat(bias)?);
    let rows = t.group_norm_rows(num_groups, w.as_ref(), b.as_ref(), eps)?;
    let Rows { y, mean, rstd } = rows;
    let (dims, groups) = (channels("group_norm", &t)?, num_groups as usize);
    let has = [weight.is_some(), bias.is_some()];
    let saved: Vec<Saved> = present(x, [weight, bias]).into_iter().map(Saved::new).collect();
    Ok(record("group_norm", y, &present(x, [weight, bias]), move |ctx| {
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            return grad_by_composition(
                &inputs.iter().collect::<Vec<_>>(),
                |v| {
                    let shape = v[0].shape();
                    let grouped = v[0].reshape(&[shape[0], num_groups, -1])?;
                    let y = normalise(&grouped, &[2], eps, true)?.reshape(&shape)?;
                    affine(y, &v[1..], has, &channel_shape(&v[0]))
                },
                ctx.grad(),
            );
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let out = wanted(&t, needed(ctx, has, &t, &[dims[1]]), |out| {
            let stats = backend::Saved { mean: mean.operand(), rstd: rstd.operand() };
            t.backend()?.group_norm_backward(
                t.operand(),
                dims,
                groups,
                operand(&w),
                stats,
                dy.operand(),
                out,
            )
        })?;
        Ok(like_inputs(compact(out, has), &saved))
    }))
}

/// Group norm with weight and bias.
///
/// # Errors
/// As for [`group_norm_opt`].
pub fn group_norm(
    input: &Variable,
    num_groups: i64,
    weight: &Variable,
    bias: &Variable,
    eps: f64,
) -> Result<Variable> {
    group_norm_opt(input, num_groups, Some(weight), Some(bias), eps)
}

/// Normalises each channel of each image of `[N, C, …]` (Ulyanov et al., 2016). With running
/// statistics and `use_input_stats` off those are used instead.
///
/// # Errors
/// When there is one value per channel, sizes do not fit, statistics are missing, or dtypes differ.
pub fn instance_norm(
    input: &Variable,
    weight: Option<&Variable>,
    bias: Option<&Variable>,
    running_mean: Option<&Tensor>,
    running_var: Option<&Tensor>,
    use_input_stats: bool,
    _momentum: f64,
    eps: f64,
) -> Result<Variable> {
    let shape = input.shape();
    if !use_input_stats {
        let (Some(mean), Some(var)) = (running_mean, running_var) else {
            return Err(Error::invalid(
                "instance_norm",
                "without input statistics it needs running_mean and running_var",
            ));
        };
        return batch_norm_eval(input, weight, bias, mean, var, eps);
    }
    input.with_data(Tensor::check_instances)?;
    group_norm_opt(input, shape[1].max(1), weight, bias, eps)
}
