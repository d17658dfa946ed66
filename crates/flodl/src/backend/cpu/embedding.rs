//! Rows of a table by index.

use flodl_cpu::index as kernels;

use super::index::indices;
use super::{Cpu, slice, slice_mut};
use crate::backend::{Bag, Bags, Embedding, Operand, Storage};
use crate::dtype::{any_type, float_type};
use crate::{Error, Result};

/// Rows and width of a table.
fn table_dims(table: Operand<'_>) -> [usize; 2] {
    let shape = &table.layout.shape;
    [shape[0], shape[1]]
}

fn check_offsets(op: &'static str, offsets: &[i64], indices: usize) -> Result<()> {
    let starts = offsets.first().map_or(indices == 0, |&o| o == 0);
    let ordered = offsets.windows(2).all(|w| w[0] <= w[1]);
    let ends = offsets.last().is_none_or(|&o| o <= indices as i64);
    if starts && ordered && ends {
        return Ok(());
    }
    Err(Error::invalid(
        op,
        format!("offsets must start at 0, not decrease and not exceed {indices} indices"),
    ))
}

fn typed<'a, T>(bags: Bags<'a>) -> kernels::BagInput<'a, T> {
    kernels::BagInput {
        idx: slice(bags.index),
        offsets: slice(bags.offsets),
        weights: None,
        padding_idx: bags.padding_idx,
    }
}

impl Embedding for Cpu {
    fn embedding(
        &self,
        op: &'static str,
        table: Operand<'_>,
        index: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let [rows, width] = table_dims(table);
        let idx = indices(op, index, rows)?;
        any_type!(table.dtype, T => {
            kernels::embedding::<T>(slice(table), width, idx, slice_mut(out, idx.len() * width));
        });
        Ok(())
    }

    fn embedding_backward(
        &self,
        [rows, width]: [usize; 2],
        index: Operand<'_>,
        padding_idx: Option<i64>,
        dy: Operand<'_>,
        dw: &mut Storage,
    ) -> Result<()> {
        let idx = indices("embedding", index, rows)?;
        float_type!("embedding", dy.dtype, T => {
            let dw = slice_mut(dw, rows * width);
            kernels::embedding_backward::<T>(width, idx, padding_idx, false, slice(dy), dw);
        });
        Ok(())
    }

    fn embedding_bag(
        &self,
        op: &'static str,
        mode: Bag,
        table: Operand<'_>,
        bags: Bags<'_>,
        out: &mut Storage,
        arg: Option<&mut Storage>,
    ) -> Result<()> {
        let [rows, width] = table_dims(table);
        let count = indices(op, bags.index, rows)?.len();
        let offsets = slice::<i64>(bags.offsets);
        check_offsets(op, offsets, count)?;
        let n = offsets.len() * width;
        float_type!(op, table.dtype, T => {
            let arg = arg.map(|a| slice_mut(a, n));
            let out = slice_mut(out, n);
            kernels::embedding_bag::<T>(mode, slice(table), width, typed(bags), out, arg);
        });
        Ok(())
    }

    fn embedding_bag_backward(
        &self,
        mode: Bag,
        [rows, width]: [usize; 2],
        bags: Bags<'_>,
        arg: Option<Operand<'_>>,
        dy: Operand<'_>,
        dw: &mut Storage,
    ) -> Result<()> {
        let arg = arg.map_or(&[][..], slice);
        float_type!("embedding_bag", dy.dtype, T => {
            let dw = slice_mut(dw, rows * width);
            kernels::embedding_bag_backward::<T>(mode, width, typed(bags), slice(dy), arg, dw);
        });
        Ok(())
    }
}
