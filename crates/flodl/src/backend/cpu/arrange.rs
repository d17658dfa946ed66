//! Sorting, selecting, and rearrangements that strides alone cannot express.

use flodl_cpu::{index, sort};

use super::{Cpu, around, layout_mut, slice, slice_mut};
use crate::backend::{Arrange, Operand, Storage, Target};
use crate::dtype::any_type;
use crate::{Error, Result};

impl Arrange for Cpu {
    fn sort(
        &self,
        x: Operand<'_>,
        dim: usize,
        k: usize,
        descending: bool,
        values: &mut Storage,
        indices: &mut Storage,
    ) -> Result<()> {
        let g = around(x.layout, dim);
        let n = g.outer * k * g.inner;
        any_type!(x.dtype, T => {
            let (values, indices) = (slice_mut(values, n), slice_mut(indices, n));
            if k == g.len {
                sort::sort::<T>(g, descending, slice(x), values, indices);
            } else {
                sort::topk::<T>(g, k, descending, slice(x), values, indices);
            }
        });
        Ok(())
    }

    fn median(
        &self,
        x: Operand<'_>,
        dim: usize,
        values: &mut Storage,
        indices: &mut Storage,
    ) -> Result<()> {
        let g = around(x.layout, dim);
        let n = g.outer * g.inner;
        any_type!(x.dtype, T => {
            sort::median::<T>(g, slice(x), slice_mut(values, n), slice_mut(indices, n));
        });
        Ok(())
    }

    fn unique(
        &self,
        x: Operand<'_>,
        consecutive: bool,
        values: &mut Storage,
        inverse: &mut Storage,
        counts: &mut Storage,
    ) -> Result<usize> {
        Ok(any_type!(x.dtype, T => {
            let x = slice::<T>(x);
            let found = if consecutive { sort::unique_consecutive(x) } else { sort::unique(x) };
            let n = found.values.len();
            slice_mut(values, n).copy_from_slice(&found.values);
            slice_mut(inverse, x.len()).copy_from_slice(&found.inverse);
            slice_mut(counts, n).copy_from_slice(&found.counts);
            n
        }))
    }

    fn nonzero(&self, x: Operand<'_>, n: usize, out: &mut Storage) -> Result<()> {
        let dims = &x.layout.shape;
        any_type!(x.dtype, T => {
            index::nonzero(slice::<T>(x), dims, slice_mut(out, n * dims.len()));
        });
        Ok(())
    }

    fn masked_select(
        &self,
        x: Operand<'_>,
        mask: Operand<'_>,
        n: usize,
        out: &mut Storage,
    ) -> Result<()> {
        any_type!(x.dtype, T => {
            index::masked_select(slice::<T>(x), slice(mask), slice_mut(out, n));
        });
        Ok(())
    }

    fn masked_scatter(&self, y: Target<'_>, mask: Operand<'_>, src: Operand<'_>) -> Result<()> {
        any_type!(y.dtype, T => {
            index::masked_scatter(layout_mut::<T>(y.storage, y.layout), slice(mask), slice(src));
        });
        Ok(())
    }

    fn searchsorted(
        &self,
        sorted: Operand<'_>,
        values: Operand<'_>,
        right: bool,
        out: &mut Storage,
    ) -> Result<()> {
        let shared = sorted.layout.ndim() == 1;
        let n = sorted.layout.shape.last().copied().unwrap_or(1);
        let all = values.layout.numel();
        let m = if shared { all } else { values.layout.shape.last().copied().unwrap_or(1) };
        any_type!(values.dtype, T => {
            let out = slice_mut(out, all);
            index::searchsorted::<T>(slice(sorted), n, shared, slice(values), m, right, out);
        });
        Ok(())
    }

    fn one_hot(&self, x: Operand<'_>, classes: usize, out: &mut Storage) -> Result<()> {
        let idx = slice::<i64>(x);
        if let Some(bad) = index::check_indices(idx, classes) {
            let size = classes as i64;
            return Err(Error::IndexOutOfRange { op: "one_hot", index: bad, size });
        }
        index::one_hot(idx, classes, slice_mut::<i64>(out, idx.len() * classes));
        Ok(())
    }

    fn triangle(
        &self,
        x: Operand<'_>,
        upper: bool,
        diagonal: i64,
        out: &mut Storage,
    ) -> Result<()> {
        let dims = &x.layout.shape;
        let (rows, cols) = (dims[dims.len() - 2], dims[dims.len() - 1]);
        let n = x.layout.numel();
        any_type!(x.dtype, T => {
            index::triangle(upper, diagonal, rows, cols, slice::<T>(x), slice_mut(out, n));
        });
        Ok(())
    }

    fn flip(&self, x: Operand<'_>, reverse: &[bool], out: &mut Storage) -> Result<()> {
        let n = x.layout.numel();
        any_type!(x.dtype, T => {
            index::flip(&x.layout.shape, reverse, slice::<T>(x), slice_mut(out, n));
        });
        Ok(())
    }

    fn roll(&self, x: Operand<'_>, dim: usize, shift: i64, out: &mut Storage) -> Result<()> {
        let (g, n) = (around(x.layout, dim), x.layout.numel());
        any_type!(x.dtype, T => index::roll(g, shift, slice::<T>(x), slice_mut(out, n)));
        Ok(())
    }
}
