//! Rows of a table by index, one by one or in bags.

use super::resample::IntoMode;
use crate::autograd::tape::{grads, record};
use crate::backend::Bags;
use crate::shape::Dims;
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

impl IntoMode<Bag> for Bag {
    fn into_mode(self) -> std::result::Result<Bag, i64> {
        Ok(self)
    }
}

impl IntoMode<Bag> for i64 {
    /// 0 sum, 1 mean, 2 max.
    fn into_mode(self) -> std::result::Result<Bag, i64> {
        match self {
            0 => Ok(Bag::Sum),
            1 => Ok(Bag::Mean),
            2 => Ok(Bag::Max),
            n => Err(n),
        }
    }
}

/// Contiguous `Int64`.
fn integers(op: &'static str, t: &Tensor) -> Result<Tensor> {
    if t.dtype().is_float() || t.dtype() == DType::Bool {
        return Err(Error::DType { op, expected: "integer indices".into(), got: t.dtype() });
    }
    t.to_dtype(DType::Int64)?.contiguous()
}

fn check_table(op: &'static str, t: &Tensor) -> Result<[usize; 2]> {
    match *t.dims() {
        [rows, width] => Ok([rows, width]),
        _ => Err(Error::Shape { op, expected: "a table [V, width]".into(), got: t.shape() }),
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
    let op = "embedding";
    let index = integers(op, &indices.as_tensor())?;
    weight.with_data(|t| check_table(op, t))?;
    rows(weight, &index, (padding_idx >= 0).then_some(padding_idx))
}

fn rows(weight: &Variable, index: &Tensor, padding_idx: Option<i64>) -> Result<Variable> {
    let op = "embedding";
    let table = weight.with_data(|t| t.contiguous())?;
    let dims = check_table(op, &table)?;
    let mut shape = Dims::from_slice(index.dims());
    shape.push(dims[1]);
    let data = Tensor::build(&shape, table.dtype(), table.device(), |b, out| {
        b.embedding(op, table.operand(), index.operand(), out)
    })?;
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
    let op = "embedding_bag";
    let mode = mode.into_mode().map_err(|n| {
        Error::invalid(op, format!("mode {n} is none of 0 (sum), 1 (mean), 2 (max)"))
    })?;
    let (index, offsets) = (indices.as_tensor(), offsets.as_tensor());
    for t in [&index, &offsets] {
        if t.ndim() != 1 {
            return Err(Error::Shape {
                op,
                expected: "indices [total] and offsets [bags]".into(),
                got: t.shape(),
            });
        }
    }
    bag_rows(weight, &integers(op, &index)?, &integers(op, &offsets)?, mode)
}

fn bag_rows(weight: &Variable, index: &Tensor, offsets: &Tensor, mode: Bag) -> Result<Variable> {
    let op = "embedding_bag";
    let home = weight.dtype();
    let weight = if home.is_half() { weight.to_dtype(DType::Float32)? } else { weight.clone() };
    let table = weight.with_data(|t| t.contiguous())?;
    let dims = check_table(op, &table)?;
    let shape = [offsets.len(), dims[1]];
    let mut arg = match mode {
        Bag::Max => Some(Tensor::fresh(&shape, DType::Int64, table.device())?),
        _ => None,
    };
    let bags = Bags { index: index.operand(), offsets: offsets.operand(), padding_idx: None };
    let mut data = Tensor::fresh(&shape, table.dtype(), table.device())?;
    // Also for no bags at all, so that indices and offsets are checked.
    table.backend()?.embedding_bag(
        op,
        mode,
        table.operand(),
        bags,
        data.fresh_storage(),
        arg.as_mut().map(Tensor::fresh_storage),
    )?;
    let (index, offsets) = (index.clone(), offsets.clone());
    let y = record(op, data, &[&weight], move |ctx| {
        Ok(grads![bag_gradient(&ctx.grad(), dims, &index, &offsets, mode, &arg)?])
    });
    y.to_dtype(home)
}

fn bag_gradient(
    dy: &Variable,
    dims: [usize; 2],
    index: &Tensor,
    offsets: &Tensor,
    mode: Bag,
    arg: &Option<Tensor>,
) -> Result<Variable> {
    let t = dy.with_data(|t| t.contiguous())?;
    let bags = Bags { index: index.operand(), offsets: offsets.operand(), padding_idx: None };
    let dw = Tensor::build(&dims, t.dtype(), t.device(), |b, out| {
        let arg = arg.as_ref().map(Tensor::operand);
        b.embedding_bag_backward(mode, dims, bags, arg, t.operand(), out)
    })?;
    let (index, offsets, arg) = (index.clone(), offsets.clone(), arg.clone());
    Ok(record("embedding_bag_backward", dw, &[dy], move |ctx| {
        let g = ctx.grad();
        Ok(grads![match &arg {
            Some(arg) => {
                let there = arg.to_dtype(DType::Float64)?.clamp_min(0.0)?.to_dtype(DType::Int64)?;
                g.gather(0, &there)?.masked_fill(&arg.lt_scalar(0.0)?, 0.0)?
            }
            None => bag_rows(&g, &index, &offsets, mode)?,
        }])
    }))
}
