//! Node tests of the ONNX standard, forward only: the operator to our calls.

use flodl::*;
use serde_json::Value;

use super::case::{Arg, Case, File, Stop, Try, unsupported};
use super::check::{Outcome, guarded};
use super::onnx_more;

/// Inputs by place, attributes through [`Case::ctor`].
pub struct Node<'a> {
    pub case: &'a Case<'a>,
    pub inputs: Vec<Option<Variable>>,
}

impl<'a> Node<'a> {
    pub fn input(&self, index: usize) -> Try<&Variable> {
        match self.inputs.get(index) {
            Some(Some(v)) => Ok(v),
            _ => unsupported(format!("no input {index}")),
        }
    }

    pub fn attr(&self, name: &str) -> Arg<'a> {
        self.case.ctor(name)
    }

    /// Dims given as an input or an attribute; all when there are none.
    pub fn axes(&self, index: usize, rank: usize) -> Try<Vec<i32>> {
        if let Ok(v) = self.input(index) {
            let axes: Vec<i32> = v.data().to_i64_vec()?.into_iter().map(|d| d as i32).collect();
            if !axes.is_empty() {
                return Ok(axes);
            }
            if self.attr("noop_with_empty_axes").bool_or(false)? {
                return Ok(Vec::new());
            }
        }
        Ok((0..rank as i32).collect())
    }

    pub fn ints(&self, index: usize) -> Try<Vec<i64>> {
        Ok(self.input(index)?.data().to_i64_vec()?)
    }
}

pub type Call = fn(&Node) -> Try<Vec<Variable>>;

pub fn one(result: Result<Variable>) -> Try<Vec<Variable>> {
    Ok(vec![result?])
}

/// Operators that are one method.
macro_rules! unary {
    ($($onnx:literal => $name:ident),* $(,)?) => {
        &[$(($onnx, |n| one(n.input(0)?.$name()))),*]
    };
}

const UNARY: &[(&str, Call)] = unary![
    "Abs" => abs, "Exp" => exp, "Log" => log, "Neg" => neg, "Relu" => relu, "Sigmoid" => sigmoid,
    "Softsign" => softsign, "Tanh" => tanh, "HardSwish" => hardswish,
];

/// Reduces over axes that stay or go.
fn reduce(n: &Node, f: fn(&Variable, &[i32], bool) -> Result<Variable>) -> Try<Vec<Variable>> {
    let x = n.input(0)?;
    let (keep, axes) = (n.attr("keepdims").bool_or(true)?, n.axes(1, x.ndim())?);
    if axes.is_empty() && x.ndim() > 0 {
        return Ok(vec![x.clone()]);
    }
    one(f(x, &axes, keep))
}

/// The largest or smallest along axes; nothing has neither here.
fn extreme(n: &Node, f: fn(&Tensor, &[i32], bool) -> Result<Tensor>) -> Try<Vec<Variable>> {
    let x = n.input(0)?;
    if x.numel() == 0 {
        return unsupported("an extreme of nothing");
    }
    let keep = n.attr("keepdims").bool_or(true)?;
    Ok(vec![Variable::new(f(&x.data(), &n.axes(1, x.ndim())?, keep)?, false)])
}

/// Windows of a convolution or pooling with the same padding at both ends of a dim.
fn windows<const D: usize>(n: &Node, kernel: [i64; D]) -> Try<Windows<D>> {
    let auto = n.attr("auto_pad").str_or("NOTSET")?;
    if !matches!(auto, "NOTSET" | "VALID") {
        return unsupported(format!("auto_pad={auto}"));
    }
    let pads = n.attr("pads");
    let pads = if pads.is_none() { vec![0; 2 * D] } else { pads.ints()? };
    if pads[..D] != pads[D..] {
        return unsupported("another padding at each end");
    }
    Ok(Windows {
        kernel,
        stride: n.attr("strides").array_or([1; D])?,
        padding: std::array::from_fn(|d| pads[d]),
        dilation: n.attr("dilations").array_or([1; D])?,
        ceil_mode: n.attr("ceil_mode").bool_or(false)?,
    })
}

/// Calls `f` for the number of spatial dims that the input has.
macro_rules! by_rank {
    ($n:ident, $f:ident) => {
        match $n.input(0)?.ndim() {
            3 => $f::<1>($n),
            4 => $f::<2>($n),
            5 => $f::<3>($n),
            rank => unsupported(format!("rank {rank}")),
        }
    };
}

fn convolution<const D: usize>(n: &Node) -> Try<(Windows<D>, ConvOptions<D>)> {
    let w = n.input(1)?.shape();
    let kernel = std::array::from_fn(|d| w[2 + d]);
    n.attr("kernel_shape");
    let windows = windows(n, kernel)?;
    let groups = n.attr("group").i64_or(1)?;
    let Windows { stride, padding, dilation, .. } = windows;
    Ok((windows, ConvOptions { stride, padding, dilation, groups }))
}

fn conv_node<const D: usize>(n: &Node) -> Try<Vec<Variable>> {
    if n.attr("auto_pad").str_or("NOTSET")?.starts_with("SAME") {
        let w = n.input(1)?;
        let kernel = std::array::from_fn(|d| w.shape()[2 + d]);
        let (x, Windows { stride, padding, dilation, .. }, _) =
            onnx_more::padded::<D>(n, kernel, 0.0)?;
        n.attr("kernel_shape");
        let groups = n.attr("group").i64_or(1)?;
        let options = ConvOptions { stride, padding, dilation, groups };
        return one(conv(&x, w, n.input(2).ok(), &options));
    }
    one(conv(n.input(0)?, n.input(1)?, n.input(2).ok(), &convolution::<D>(n)?.1))
}

fn conv_transpose_node<const D: usize>(n: &Node) -> Try<Vec<Variable>> {
    let same = n.attr("auto_pad").str_or("NOTSET")?.starts_with("SAME");
    if same || !n.attr("output_shape").is_none() {
        let shape = n.input(1)?.shape();
        n.attr("kernel_shape");
        let options = ConvOptions {
            stride: n.attr("strides").array_or([1; D])?,
            padding: [0; D],
            dilation: n.attr("dilations").array_or([1; D])?,
            groups: n.attr("group").i64_or(1)?,
        };
        let kernel = std::array::from_fn(|d| shape[2 + d]);
        return onnx_more::conv_transpose_to(n, &options, kernel);
    }
    let more = n.attr("output_padding").array_or([0; D])?;
    one(conv_transpose(n.input(0)?, n.input(1)?, n.input(2).ok(), &convolution::<D>(n)?.1, more))
}

/// Windows of a pooling, if it is one of PyTorch's: the same padding at both ends, and no more than
/// half a window.
fn pooling<const D: usize>(n: &Node) -> Try<Option<Windows<D>>> {
    if n.attr("auto_pad").str_or("NOTSET")?.starts_with("SAME") {
        return Ok(None);
    }
    let windows = windows::<D>(n, n.attr("kernel_shape").array()?)?;
    let wide = (0..D).any(|d| 2 * windows.padding[d] > windows.kernel[d]);
    Ok(if wide { None } else { Some(windows) })
}

fn avg_pool_node<const D: usize>(n: &Node) -> Try<Vec<Variable>> {
    let Some(windows) = pooling::<D>(n)? else {
        return onnx_more::avg_pool_on_padding::<D>(n);
    };
    if windows.dilation != [1; D] {
        return unsupported("dilations");
    }
    one(avg_pool(n.input(0)?, &windows, n.attr("count_include_pad").bool_or(false)?, None))
}

fn max_pool_node<const D: usize>(n: &Node) -> Try<Vec<Variable>> {
    let two = n.case.meta["node_outputs"].as_array().is_some_and(|o| o.len() > 1);
    match pooling::<D>(n)? {
        Some(windows) if !two && n.input(0)?.dtype().is_float() => {
            n.attr("storage_order").only(0)?;
            one(max_pool(n.input(0)?, &windows))
        }
        _ => onnx_more::max_pool_any::<D>(n),
    }
}

/// A fold of all inputs.
fn fold(n: &Node, f: fn(&Variable, &Variable) -> Result<Variable>) -> Try<Vec<Variable>> {
    let mut out = n.input(0)?.clone();
    for i in 1..n.inputs.len() {
        out = f(&out, n.input(i)?)?;
    }
    Ok(vec![out])
}

const TABLE: &[(&str, Call)] = &[
    ("Elu", |n| one(n.input(0)?.elu(n.attr("alpha").f64_or(1.0)?))),
    ("Celu", |n| one(n.input(0)?.celu(n.attr("alpha").f64_or(1.0)?))),
    ("MatMul", |n| one(n.input(0)?.matmul(n.input(1)?))),
    ("Sum", |n| fold(n, Variable::add)),
    ("Min", |n| fold(n, Variable::minimum)),
    ("Gemm", |n| {
        let flip = |v: &Variable, name| match n.attr(name).bool_or(false) {
            Ok(true) => v.transpose(0, 1),
            _ => Ok(v.clone()),
        };
        let product = flip(n.input(0)?, "transA")?.matmul(&flip(n.input(1)?, "transB")?)?;
        let y = product.mul_scalar(n.attr("alpha").f64_or(1.0)?)?;
        let beta = n.attr("beta").f64_or(1.0)?;
        match n.input(2) {
            Ok(c) => one(y.add(&c.mul_scalar(beta)?)),
            Err(_) => Ok(vec![y]),
        }
    }),
    ("Transpose", |n| {
        let (x, perm) = (n.input(0)?, n.attr("perm"));
        let reversed = || (0..x.ndim() as i64).rev().collect();
        one(x.permute(&if perm.is_none() { reversed() } else { perm.ints()? }))
    }),
    ("Where", |n| one(Variable::where_cond(&n.input(0)?.data(), n.input(1)?, n.input(2)?))),
    ("Flatten", |n| {
        let x = n.input(0)?;
        let (axis, shape) = (n.attr("axis").i64_or(1)?, x.shape());
        let axis = if axis < 0 { axis + shape.len() as i64 } else { axis } as usize;
        one(x.reshape(&[shape[..axis].iter().product(), shape[axis..].iter().product()]))
    }),
    ("Unsqueeze", |n| {
        let (x, mut axes) = (n.input(0)?.clone(), n.ints(1)?);
        let rank = (x.ndim() + axes.len()) as i64;
        axes.iter_mut().for_each(|a| *a += if *a < 0 { rank } else { 0 });
        axes.sort_unstable();
        one(axes.iter().try_fold(x, |x, &a| x.unsqueeze(a as i32)))
    }),
    ("Squeeze", |n| {
        let (x, mut axes) = (n.input(0)?.clone(), n.ints(1)?);
        axes.iter_mut().for_each(|a| *a += if *a < 0 { x.ndim() as i64 } else { 0 });
        axes.sort_unstable();
        one(axes.iter().rev().try_fold(x, |x, &a| x.squeeze(a as i32)))
    }),
    ("Tile", |n| one(n.input(0)?.repeat(&n.ints(1)?))),
    ("Gather", |n| {
        let (x, index) = (n.input(0)?, n.input(1)?.data());
        let axis = n.attr("axis").i32_or(0)?;
        let mut shape = x.shape();
        let at = if axis < 0 { axis + shape.len() as i32 } else { axis } as usize;
        let from_end = index.add_scalar(shape[at] as f64)?;
        let index = Tensor::where_cond(&index.lt_scalar(0.0)?, &from_end, &index)?;
        shape.splice(at..=at, index.shape());
        one(x.index_select(axis, &index.reshape(&[-1])?)?.reshape(&shape))
    }),
    ("Slice", |n| {
        let mut x = n.input(0)?.data();
        let (starts, ends) = (n.ints(1)?, n.ints(2)?);
        let axes = n.ints(3).unwrap_or_else(|_| (0..starts.len() as i64).collect());
        let steps = n.ints(4).unwrap_or_else(|_| vec![1; starts.len()]);
        for (i, &axis) in axes.iter().enumerate() {
            let size = x.size(axis as i32)?;
            if steps[i] < 0 {
                // Backwards from `start` to before `end`: forwards in the reversed order.
                let clip = |v: i64| (if v < 0 { v + size } else { v }).clamp(-1, size - 1);
                let (start, end) = (size - 1 - clip(starts[i]), size - 1 - clip(ends[i]));
                x = x.flip(&[axis])?.slice(axis as i32, start, end.max(start), -steps[i])?;
                continue;
            }
            let clip = |v: i64| (if v < 0 { v + size } else { v }).clamp(0, size);
            let (start, end) = (clip(starts[i]), clip(ends[i]));
            x = x.slice(axis as i32, start, end.max(start), steps[i])?;
        }
        Ok(vec![Variable::new(x, false)])
    }),
    ("ReduceSum", |n| reduce(n, Variable::sum_dims)),
    ("ReduceL1", |n| reduce(n, |x, axes, keep| x.abs()?.sum_dims(axes, keep))),
    ("ReduceLogSum", |n| reduce(n, |x, axes, keep| x.sum_dims(axes, keep)?.log())),
    ("ReduceMax", |n| extreme(n, Tensor::amax)),
    ("ReduceMin", |n| extreme(n, Tensor::amin)),
    ("ArgMin", |n| {
        let (axis, keep) = (n.attr("axis").i32_or(0)?, n.attr("keepdims").bool_or(true)?);
        let x = n.input(0)?.data();
        let found = if n.attr("select_last_index").bool_or(false)? {
            // The last of equal ones is the first from the other end.
            let last = x.size(axis)? - 1;
            x.flip(&[axis.into()])?.argmin(axis, keep)?.neg()?.add_scalar(last as f64)?
        } else {
            x.argmin(axis, keep)?
        };
        Ok(vec![Variable::new(found, false)])
    }),
    ("LpNormalization", |n| {
        let (p, axis) = (n.attr("p").f64_or(2.0)?, n.attr("axis").i32_or(-1)?);
        one(n.input(0)?.normalize(p, axis))
    }),
    ("GroupNormalization", |n| {
        let (groups, eps) = (n.attr("num_groups").i64()?, n.attr("epsilon").f64_or(1e-5)?);
        one(group_norm(n.input(0)?, groups, n.input(1)?, n.input(2)?, eps))
    }),
    ("InstanceNormalization", |n| {
        let (w, b) = (Some(n.input(1)?), Some(n.input(2)?));
        let eps = n.attr("epsilon").f64_or(1e-5)?;
        one(instance_norm(n.input(0)?, w, b, None, None, true, 0.1, eps))
    }),
    ("RMSNormalization", |n| {
        let (x, w) = (n.input(0)?, n.input(1)?);
        let eps = n.attr("epsilon").f64_or(1e-5)?;
        n.attr("axis");
        one(rms_norm(x, Some(&w.reshape(&[-1])?), w.numel(), eps))
    }),
    ("SoftmaxCrossEntropyLoss", |n| {
        let reduction = match n.attr("reduction").str_or("mean")? {
            "mean" => backend::Reduction::Mean,
            "sum" => backend::Reduction::Sum,
            _ => backend::Reduction::None,
        };
        let weight = n.input(2).ok().map(Variable::data);
        let ignore_index = n.attr("ignore_index").i64_or(-100)?;
        let options = CrossEntropy { weight, ignore_index, label_smoothing: 0.0, reduction };
        let loss = cross_entropy_with(n.input(0)?, n.input(1)?, &options)?;
        Ok(vec![loss, n.input(0)?.log_softmax(1)?])
    }),
    ("Conv", |n| by_rank!(n, conv_node)),
    ("ConvTranspose", |n| by_rank!(n, conv_transpose_node)),
    ("AveragePool", |n| by_rank!(n, avg_pool_node)),
    ("MaxPool", |n| by_rank!(n, max_pool_node)),
    ("Split", |n| {
        let (x, axis) = (n.input(0)?, n.attr("axis").i32_or(0)?);
        let parts = n.case.meta["node_outputs"].as_array().map_or(1, Vec::len) as i64;
        n.attr("num_outputs");
        Ok(match n.ints(1) {
            Ok(sizes) => x.split_sizes(&sizes, axis)?,
            Err(_) => x.split((x.data().size(axis)? + parts - 1) / parts, axis)?,
        })
    }),
    ("CumSum", |n| {
        let (mut x, axis) = (n.input(0)?.data(), n.ints(1)?[0]);
        let home = x.dtype();
        let reverse = n.attr("reverse").bool_or(false)?;
        if reverse {
            x = x.flip(&[axis])?;
        }
        let mut y = x.cumsum(axis as i32)?.to_dtype(home)?;
        if n.attr("exclusive").bool_or(false)? {
            y = y.sub(&x)?;
        }
        Ok(vec![Variable::new(if reverse { y.flip(&[axis])? } else { y }, false)])
    }),
    ("LayerNormalization", |n| {
        let (x, w, b) = (n.input(0)?, n.input(1)?, n.input(2)?);
        let (columns, eps) = (w.numel(), n.attr("epsilon").f64_or(1e-5)?);
        let axis = n.attr("axis").i64_or(-1)?.rem_euclid(x.ndim() as i64) as usize;
        // The other outputs are the mean and the inverse deviation of each row.
        let rows = x.reshape(&[-1, columns])?;
        let mean = rows.mean_dim(1, true)?;
        let rstd = rows.var_dims(&[1], 0.0, true)?.add_scalar(eps)?.rsqrt()?;
        let mut shape = x.shape();
        shape[axis..].fill(1);
        let y = layer_norm(x, &w.reshape(&[-1])?, &b.reshape(&[-1])?, columns, eps)?;
        Ok(vec![y, mean.reshape(&shape)?, rstd.reshape(&shape)?])
    }),
    ("GlobalMaxPool", |n| match n.input(0)?.ndim() {
        4 => one(adaptive_max_pool2d(n.input(0)?, [1, 1])),
        rank => unsupported(format!("rank {rank}")),
    }),
];

/// Runs a case of `onnx/`; the file's name is the operator's.
pub fn run(operator: &str, meta: &Value, file: &File) -> Outcome {
    let entry =
        UNARY.iter().chain(TABLE).chain(onnx_more::TABLE).find(|(name, _)| *name == operator);
    let Some((_, call)) = entry else {
        let absent = onnx_more::ABSENT.iter().find(|(name, _)| *name == operator);
        return Outcome::Unsupported(absent.map_or("not mapped", |a| a.1).into());
    };
    match guarded(|| node(meta, file, *call)) {
        Ok(()) => Outcome::Pass,
        Err(stop) => stop.into(),
    }
}

fn node(meta: &Value, file: &File, call: Call) -> Try<()> {
    let with_ctor = {
        let mut m = meta.clone();
        m["ctor"] = meta["attrs"].clone();
        m
    };
    let case = Case::new(&with_ctor, file);
    let names = |key: &str| -> Vec<String> {
        let list = meta[key].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut inputs = Vec::new();
    for name in names("node_inputs") {
        inputs.push(match meta["in"][&name].as_str() {
            Some(tensor) => Some(Variable::new(file.tensor(tensor)?, false)),
            None => None,
        });
    }
    let outs = call(&Node { case: &case, inputs })?;
    if let Some(attribute) = case.unread().into_iter().next() {
        return unsupported(attribute);
    }
    let (rtol, atol) =
        (meta["rtol"].as_f64().unwrap_or(1e-3), meta["atol"].as_f64().unwrap_or(1e-7));
    for (name, ours) in names("node_outputs").iter().zip(&outs) {
        let Some(tensor) = meta["out"][name].as_str() else { continue };
        let (ours, theirs) = (ours.data(), file.tensor(tensor)?);
        // The files hold scalars as [1].
        let scalar = ours.shape().is_empty() && theirs.shape() == [1];
        if !(scalar || ours.shape() == theirs.shape()) || ours.dtype() != theirs.dtype() {
            return Err(Stop::Error(format!(
                "{name} is {:?} {}, not {:?} {}",
                ours.shape(),
                ours.dtype(),
                theirs.shape(),
                theirs.dtype()
            )));
        }
        let pairs = ours.to_f64_vec()?.into_iter().zip(theirs.to_f64_vec()?);
        let wrong = |(a, b): &(f64, f64)| {
            !(a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= atol + rtol * b.abs())
        };
        if let Some((a, b)) = pairs.into_iter().find(wrong) {
            return Err(Stop::Error(format!("{name}: {a:e}, the standard has {b:e}")));
        }
    }
    Ok(())
}
