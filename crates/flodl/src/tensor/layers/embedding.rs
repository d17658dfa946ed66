//! Rows of a table by index, one by one or in bags.

use crate::backend::{Bag, Bags, IntoMode};
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor};

/// Contiguous `Int64`.
pub(crate) fn integers(op: &'static str, t: &Tensor) -> Result<Tensor> {
    if t.dtype().is_float() || t.dtype() == DType::Bool {
        return Err(Error::DType { op, expected: "integer indices".into(), got: t.dtype() });
    }
    t.to_dtype(DType::Int64)?.contiguous()
}

/// Checked bags of indices.
#[derive(Clone)]
pub(crate) struct BagPlan {
    pub index: Tensor,
    pub offsets: Tensor,
    pub mode: Bag,
    /// An index that counts as absent.
    pub padding_idx: Option<i64>,
}

impl BagPlan {
    pub fn bags(&self) -> Bags<'_> {
        let (index, offsets) = (self.index.operand(), self.offsets.operand());
        Bags { index, offsets, padding_idx: self.padding_idx }
    }
}

/// Checks indices and offsets; the mode comes as it was given. With `include_last_offset` the last
/// offset is where the last bag ends.
pub(crate) fn bag_plan(
    indices: &Tensor,
    offsets: &Tensor,
    mode: std::result::Result<Bag, i64>,
    padding_idx: Option<i64>,
    include_last_offset: bool,
) -> Result<BagPlan> {
    let op = "embedding_bag";
    let mode = mode.map_err(|n| {
        Error::invalid(op, format!("mode {n} is none of 0 (sum), 1 (mean), 2 (max)"))
    })?;
    for t in [indices, offsets] {
        if t.ndim() != 1 {
            return Err(Error::Shape {
                op,
                expected: "indices [total] and offsets [bags]".into(),
                got: t.shape(),
            });
        }
    }
    let (mut index, mut offsets) = (integers(op, indices)?, integers(op, offsets)?);
    if include_last_offset {
        let bags = offsets.numel() - 1;
        if bags < 0 {
            let what = "include_last_offset needs at least one offset";
            return Err(Error::invalid(op, what));
        }
        let end = offsets.select(0, bags)?.item()? as i64;
        if !(0..=index.numel()).contains(&end) {
            let what = format!("the last offset {end} must be in 0..={}", index.numel());
            return Err(Error::invalid(op, what));
        }
        (offsets, index) = (offsets.narrow(0, 0, bags)?, index.narrow(0, 0, end)?);
    }
    Ok(BagPlan { index, offsets, mode, padding_idx })
}

impl Tensor {
    /// Sizes of a table `[V, width]`.
    pub(crate) fn table(&self, op: &'static str) -> Result<[usize; 2]> {
        match *self.dims() {
            [rows, width] => Ok([rows, width]),
            _ => Err(Error::Shape { op, expected: "a table [V, width]".into(), got: self.shape() }),
        }
    }

    /// The row of each of the checked indices.
    pub(crate) fn rows_at(&self, index: &Tensor) -> Result<Tensor> {
        let op = "embedding";
        let table = self.contiguous()?;
        let [_, width] = table.table(op)?;
        let mut shape = Dims::from_slice(index.dims());
        shape.push(width);
        Tensor::build(&shape, table.dtype(), table.device(), |b, out| {
            b.embedding(op, table.operand(), index.operand(), out)
        })
    }

    /// One row for each bag, in float32 or float64; in mode max also the row of each maximum.
    pub(crate) fn bags_of_rows(&self, plan: &BagPlan) -> Result<(Tensor, Option<Tensor>)> {
        let op = "embedding_bag";
        let table = self.contiguous()?;
        let [_, width] = table.table(op)?;
        let shape = [plan.offsets.len(), width];
        let mut arg = match plan.mode {
            Bag::Max => Some(Tensor::fresh(&shape, DType::Int64, table.device())?),
            _ => None,
        };
        let mut data = Tensor::fresh(&shape, table.dtype(), table.device())?;
        // Also for no bags at all, so that indices and offsets are checked.
        table.backend()?.embedding_bag(
            op,
            plan.mode,
            table.operand(),
            plan.bags(),
            data.fresh_storage(),
            arg.as_mut().map(Tensor::fresh_storage),
        )?;
        Ok((data, arg))
    }

    /// The row of each index: indices `[…]` give `[…, width]` from a table `[V, width]`. What
    /// `padding_idx` names matters to gradients only.
    ///
    /// # Errors
    /// When an index is not an integer or outside the table.
    pub fn embedding(weight: &Tensor, indices: &Tensor, _padding_idx: i64) -> Result<Tensor> {
        weight.table("embedding")?;
        weight.rows_at(&integers("embedding", indices)?)
    }

    /// Sums (mode 0), means (1) or maxima (2) of bags of rows, see
    /// [`embedding_bag`](crate::embedding_bag()).
    ///
    /// # Errors
    /// When indices or offsets are not integer lists, an index is outside the table, offsets do
    /// not start at 0, decrease or exceed the indices, or the mode is unknown.
    pub fn embedding_bag(
        weight: &Tensor,
        indices: &Tensor,
        offsets: &Tensor,
        mode: impl IntoMode<Bag>,
    ) -> Result<Tensor> {
        let plan = bag_plan(indices, offsets, mode.into_mode(), None, false)?;
        weight.through_f32(|w| Ok(w.bags_of_rows(&plan)?.0))
    }
}
