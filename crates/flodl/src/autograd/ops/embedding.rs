//! Rows of a table by index, one by one or in bags.

use crate::autograd::tape::{grads, record};
use crate::backend::IntoMode;
use crate::tensor::{BagPlan, bag_plan, integers};
use crate::{DType, Error, Result, Tensor, Variable};

pub use crate::backend::Bag;

/// Indices, offsets and masks, which come as tensors or as variables.
pub trait AsTensor {
    /// The tensor.
    fn as_tensor(&self) -> Tensor;

    /// Whether a gradient is expected to reach it.
    fn wants_grad(&self) -> bool {
        false
    }
}

impl AsTensor for Tensor {
    fn as_tensor(&self) -> Tensor {
        self.clone()
    }
}

impl AsTensor for Variable {
    fn as_tensor(&self) -> Tensor {
        self.data()
    }

    fn wants_grad(&self) -> bool {
        self.requires_grad()
    }
}

impl<T: AsTensor + ?Sized> AsTensor for &T {
    fn as_tensor(&self) -> Tensor {
        (**self).as_tensor()
    }

    fn wants_grad(&self) -> bool {
        (**self).wants_grad()
    }
}

/// The row of each index: indices of any shape `[…]` give `[…, width]` from a table `[V, width]`.
/// The row `padding_idx` gets no gradient; a negative one means that there is none.
///
/// ```
/// use flodl::*;
/// let table = Variable::new(Tensor::from_f32(&[1.0, 2.0, 4.0], &[3, 1], Device::CPU)?, true);
/// let rows = Tensor::from_i64(&[2, 0, 2], &[3], Device::CPU)?;
/// embedding(&table, &rows, -1)?.sum()?.backward()?;
/// assert_eq!(table.grad().unwrap().to_f32_vec()?, [1.0, 0.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// When an index is not an integer or outside the table.
pub fn embedding(weight: &Variable, indices: &impl AsTensor, padding_idx: i64) -> Result<Variable> {
    embedding_opt(weight, indices, padding_idx, false)
}

/// [`embedding`]; with `scale_grad_by_freq` the gradient of each row is divided by how often it was
/// looked up.
///
/// # Errors
/// As for [`embedding`].
pub fn embedding_opt(
    weight: &Variable,
    indices: &impl AsTensor,
    padding_idx: i64,
    scale_grad_by_freq: bool,
) -> Result<Variable> {
    let op = "embedding";
    let index = integers(op, &indices.as_tensor())?;
    let dims = weight.with_data(|t| t.table(op))?;
    let padding_idx = (padding_idx >= 0).then_some(padding_idx);
    let data = weight.with_data(|t| t.rows_at(&index))?;
    let share = if scale_grad_by_freq { Some(shares(weight, dims, &index)?) } else { None };
    Ok(record(op, data, &[weight], move |ctx| {
        let dy = ctx.grad();
        let dy = match &share {
            Some(share) => dy.mul(&Variable::constant(share.clone()))?,
            None => dy,
        };
        Ok(grads![add_rows(&dy, dims, &index, padding_idx)?])
    }))
}

/// 1 over how often each index appears, of the shape of the indices and a last dim of 1.
fn shares(weight: &Variable, [rows, _]: [usize; 2], index: &Tensor) -> Result<Tensor> {
    let flat = index.reshape(&[-1])?;
    let opts = crate::TensorOptions { dtype: DType::Float32, device: index.device() };
    let ones = Tensor::ones(&flat.shape(), opts)?;
    let counts = Tensor::zeros(&[rows as i64], opts)?.index_add(0, &flat, &ones)?;
    let share = counts.index_select(0, &flat)?.reciprocal()?;
    share.to_dtype(weight.dtype())?.reshape(&index.shape())?.unsqueeze(-1)
}

fn rows(weight: &Variable, index: &Tensor, padding_idx: Option<i64>) -> Result<Variable> {
    let op = "embedding";
    let dims = weight.with_data(|t| t.table(op))?;
    let data = weight.with_data(|t| t.rows_at(index))?;
    let index = index.clone();
    Ok(record(op, data, &[weight], move |ctx| {
        Ok(grads![add_rows(&ctx.grad(), dims, &index, padding_idx)?])
    }))
}

/// The gradient of [`rows`]; its own gradient is those rows again.
fn add_rows(
    dy: &Variable,
    dims: [usize; 2],
    index: &Tensor,
    padding_idx: Option<i64>,
) -> Result<Variable> {
    let home = dy.dtype();
    let dy = if home.is_half() { dy.to_dtype(DType::Float32)? } else { dy.clone() };
    let t = dy.with_data(|t| t.contiguous())?;
    let dw = Tensor::build(&dims, t.dtype(), t.device(), |b, out| {
        b.embedding_backward(dims, index.operand(), padding_idx, t.operand(), out)
    })?;
    let index = index.clone();
    let dw = record("embedding_backward", dw, &[&dy], move |ctx| {
        let picked = rows(&ctx.grad(), &index, padding_idx)?;
        let picked = match padding_idx {
            Some(p) => picked.masked_fill(&index.eq_scalar(p as f64)?.unsqueeze(-1)?, 0.0)?,
            None => picked,
        };
        Ok(grads![picked])
    });
    dw.to_dtype(home)
}

/// Sums, means or maxima of bags of rows: bag b holds `indices[offsets[b]..offsets[b + 1]]`, the
/// last one the rest, and gives row b of `[bags, width]`. The mode is a [`Bag`] or its number: 0
/// sum, 1 mean, 2 max. An empty bag gives zeros.
///
/// # Errors
/// When indices or offsets are not integer lists, an index is outside the table, offsets do not
/// start at 0, decrease or exceed the indices, or the mode is unknown.
pub fn embedding_bag(
    weight: &Variable,
    indices: &impl AsTensor,
    offsets: &impl AsTensor,
    mode: impl IntoMode<Bag>,
) -> Result<Variable> {
    embedding_bag_opt(weight, indices, offsets, mode, &BagOptions::default())
}

/// Settings of [`embedding_bag_opt`].
#[derive(Clone, Debug, Default)]
pub struct BagOptions {
    /// An index that counts as absent; its row gets no gradient.
    pub padding_idx: Option<i64>,
    /// Factors of the rows, one for each index; only with mode sum.
    pub per_sample_weights: Option<Variable>,
    /// Whether the last offset is where the last bag ends and not where another begins.
    pub include_last_offset: bool,
    /// Whether the gradient of each row is divided by how often it was looked up.
    pub scale_grad_by_freq: bool,
}

/// [`embedding_bag`] with all of PyTorch's settings.
///
/// # Errors
/// As for [`embedding_bag`], and when weights are given to another mode than sum, in another number
/// than the indices or in another dtype than the table's.
pub fn embedding_bag_opt(
    weight: &Variable,
    indices: &impl AsTensor,
    offsets: &impl AsTensor,
    mode: impl IntoMode<Bag>,
    options: &BagOptions,
) -> Result<Variable> {
    let op = "embedding_bag";
    let (index, offsets) = (indices.as_tensor(), offsets.as_tensor());
    let (padding_idx, last) = (options.padding_idx, options.include_last_offset);
    let plan = bag_plan(&index, &offsets, mode.into_mode(), padding_idx, last)?;
    let home = weight.dtype();
    let wide = if home.is_half() { weight.to_dtype(DType::Float32)? } else { weight.clone() };
    let Some(factors) = &options.per_sample_weights else {
        let y = match options.scale_grad_by_freq {
            true if plan.mode == Bag::Max => {
                return Err(Error::invalid(op, "scale_grad_by_freq does not go with mode max"));
            }
            true => weighted_sum(&wide, &plan, None, true)?,
            false => bag_rows(&wide, &plan)?,
        };
        return y.to_dtype(home);
    };
    if plan.mode != Bag::Sum {
        return Err(Error::invalid(op, "per_sample_weights go with mode sum only"));
    }
    if factors.shape() != index.shape() {
        return Err(Error::ShapeMismatch {
            op,
            lhs: index.shape(),
            rhs: factors.shape(),
            why: "every index needs a weight".into(),
        });
    }
    weight.with_data(|w| factors.with_data(|f| w.check_same(op, f)))?;
    let factors = factors.narrow(0, 0, plan.index.numel())?.to_dtype(wide.dtype())?;
    weighted_sum(&wide, &plan, Some(&factors), options.scale_grad_by_freq)?.to_dtype(home)
}

/// Sums, or means, of rows times their factors, of plain operations.
fn weighted_sum(
    weight: &Variable,
    plan: &BagPlan,
    factors: Option<&Variable>,
    scale_grad_by_freq: bool,
) -> Result<Variable> {
    // The sums without factors check indices and offsets.
    let shape =
        weight.with_data(|w| w.bags_of_rows(&BagPlan { mode: Bag::Sum, ..plan.clone() }))?;
    let (shape, n) = (shape.0.shape(), plan.index.numel());
    let mut rows =
        embedding_opt(weight, &plan.index, plan.padding_idx.unwrap_or(-1), scale_grad_by_freq)?;
    if let Some(f) = factors {
        rows = rows.mul(&f.unsqueeze(-1)?)?;
    }
    let (mut counts, mut of) = (vec![0.0; shape[0] as usize], Vec::with_capacity(n as usize));
    let offsets = plan.offsets.to_i64_vec()?;
    let index = plan.index.to_i64_vec()?;
    let mut kept = Vec::with_capacity(n as usize);
    for (bag, &start) in offsets.iter().enumerate() {
        let end = offsets.get(bag + 1).copied().unwrap_or(n);
        for &i in &index[start as usize..end as usize] {
            let counts_here = plan.padding_idx != Some(i);
            counts[bag] += f64::from(u8::from(counts_here));
            kept.push(counts_here);
            of.push(bag as i64);
        }
    }
    let device = weight.device();
    let padding = Tensor::from_bool(&kept, &[n], device)?.logical_not()?.unsqueeze(-1)?;
    rows = rows.masked_fill(&padding, 0.0)?;
    let zeros = Variable::constant(Tensor::zeros(&shape, weight.with_data(Tensor::options))?);
    let sums = zeros.index_add(0, &Tensor::from_i64(&of, &[n], device)?, &rows)?;
    if plan.mode != Bag::Mean {
        return Ok(sums);
    }
    let counts = Tensor::from_f64(&counts, &[shape[0], 1], device)?.clamp_min(1.0)?;
    sums.div(&Variable::constant(counts.to_dtype(weight.dtype())?))
}

fn bag_rows(weight: &Variable, plan: &BagPlan) -> Result<Variable> {
    let op = "embedding_bag";
    let dims = weight.with_data(|t| t.table(op))?;
    let (data, arg) = weight.with_data(|t| t.bags_of_rows(plan))?;
    let plan = plan.clone();
    Ok(record(op, data, &[weight], move |ctx| {
        Ok(grads![bag_gradient(&ctx.grad(), dims, &plan, &arg)?])
    }))
}

fn bag_gradient(
    dy: &Variable,
    dims: [usize; 2],
    plan: &BagPlan,
    arg: &Option<Tensor>,
) -> Result<Variable> {
    let t = dy.with_data(|t| t.contiguous())?;
    let dw = Tensor::build(&dims, t.dtype(), t.device(), |b, out| {
        let arg = arg.as_ref().map(Tensor::operand);
        b.embedding_bag_backward(plan.mode, dims, plan.bags(), arg, t.operand(), out)
    })?;
    let (plan, arg) = (plan.clone(), arg.clone());
    Ok(record("embedding_bag_backward", dw, &[dy], move |ctx| {
        let g = ctx.grad();
        Ok(grads![match &arg {
            Some(arg) => {
                let there = arg.to_dtype(DType::Float64)?.clamp_min(0.0)?.to_dtype(DType::Int64)?;
                g.gather(0, &there)?.masked_fill(&arg.lt_scalar(0.0)?, 0.0)?
            }
            None => bag_rows(&g, &plan)?,
        }])
    }))
}
