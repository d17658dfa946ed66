//! Picking and placing elements by index.

use super::Tensor;
use crate::shape::Dims;
use crate::{DType, Error, Result};

impl Tensor {
    /// A copy with `src` in place of the entries of a dim from `start` on.
    ///
    /// # Errors
    /// When `src` does not fit there.
    pub fn narrow_scatter(&self, src: &Tensor, dim: i32, start: i64) -> Result<Tensor> {
        self.check_same("narrow_scatter", src)?;
        let length = src.size(dim)?;
        let part = self.narrow(dim, start, length)?;
        if part.dims() != src.dims() {
            return Err(Error::ShapeMismatch {
                op: "narrow_scatter",
                lhs: part.shape(),
                rhs: src.shape(),
                why: "the source must have the shape of the part it replaces".into(),
            });
        }
        let mut out = self.clone();
        let backend = self.backend()?;
        let (storage, layout) = out.own()?;
        let mut target = layout.clone();
        let d = crate::shape::dim("narrow_scatter", dim, target.ndim())?;
        target.shape[d] = length as usize;
        let first = if start < 0 { start + self.size(dim)? } else { start };
        target.offset += first as usize * target.strides[d];
        backend.copy_into(src.operand(), storage, &target)?;
        Ok(out)
    }

    /// A copy with `src` in place of one entry along a dim.
    ///
    /// # Errors
    /// When the index is out of range or `src` has not the shape of an entry.
    pub fn select_scatter(&self, src: &Tensor, dim: i32, index: i64) -> Result<Tensor> {
        self.check_same("select_scatter", src)?;
        let part = self.select(dim, index)?;
        if part.dims() != src.dims() {
            return Err(Error::ShapeMismatch {
                op: "select_scatter",
                lhs: part.shape(),
                rhs: src.shape(),
                why: "the source must have the shape of the entry it replaces".into(),
            });
        }
        let d = self.dim("select_scatter", dim)? as i32;
        self.narrow_scatter(&src.unsqueeze(d)?, d, index)
    }

    /// Writes this tensor to the view of zeros of `dims` that `view` picks, which has this shape.
    pub(crate) fn placed(
        &self,
        dims: &[usize],
        view: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut out = Tensor::full_dims(dims, 0.0, self.options())?;
        let target = view(&out)?.layout().clone();
        if self.len() > 0 {
            out.backend()?.copy_into(self.operand(), out.fresh_storage(), &target)?;
        }
        Ok(out)
    }

    /// The element at each flat index of a tensor of indices, in its shape.
    ///
    /// # Errors
    /// When an index points outside.
    pub fn take(&self, index: &Tensor) -> Result<Tensor> {
        let flat = self.reshape(&[self.numel()])?;
        flat.gather(0, &index.reshape(&[index.numel()])?)?.reshape_dims(index.dims())
    }

    /// `index` as kernels take it: contiguous `Int64`.
    pub(crate) fn checked_index(op: &'static str, index: &Tensor) -> Result<Tensor> {
        if !matches!(index.dtype(), DType::Int64 | DType::Int32 | DType::UInt8) {
            return Err(Error::DType {
                op,
                expected: "an integer index".into(),
                got: index.dtype(),
            });
        }
        index.to_dtype(DType::Int64)?.contiguous()
    }

    /// Checks that `index` has this tensor's shape, or is smaller, in every dim but one.
    fn check_gather(&self, op: &'static str, d: usize, index: &Tensor) -> Result<()> {
        let fits = index.ndim() == self.ndim()
            && (0..self.ndim()).all(|i| i == d || index.dims()[i] <= self.dims()[i]);
        if fits {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            op,
            lhs: self.shape(),
            rhs: index.shape(),
            why: format!("the index may not be larger in any dim but {d}"),
        })
    }

    /// The part of this tensor that an index of smaller shape speaks of.
    fn cut_to(&self, d: usize, index: &Tensor) -> Result<Tensor> {
        let mut part = self.clone();
        for i in (0..self.ndim()).filter(|&i| i != d) {
            part = part.narrow(i as i32, 0, index.dims()[i] as i64)?;
        }
        part.contiguous()
    }

    /// `out[i][j][k] = self[index[i][j][k]][j][k]` for dim 0, likewise for the others.
    ///
    /// # Errors
    /// When the index is larger than the tensor in another dim, or points outside the dim.
    pub fn gather(&self, dim: i32, index: &Tensor) -> Result<Tensor> {
        if self.ndim() == 0 && index.ndim() == 1 {
            self.dim("gather", dim)?;
            return self.reshape(&[1])?.gather(0, index);
        }
        let d = self.dim("gather", dim)?;
        self.check_gather("gather", d, index)?;
        let (x, index) = (self.cut_to(d, index)?, Self::checked_index("gather", index)?);
        Tensor::build(index.dims(), self.dtype(), self.device(), |b, out| {
            b.gather("gather", x.operand(), d, index.operand(), out)
        })
    }

    /// A copy with `self[index[i][j][k]][j][k] = src[i][j][k]` for dim 0, likewise for the others.
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    pub fn scatter(&self, dim: i32, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        self.scatter_with("scatter", false, dim, index, src)
    }

    /// A copy with `self[index[i][j][k]][j][k] += src[i][j][k]` for dim 0, likewise for the others.
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    pub fn scatter_add(&self, dim: i32, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        self.scatter_with("scatter_add", true, dim, index, src)
    }

    fn scatter_with(
        &self,
        op: &'static str,
        add: bool,
        dim: i32,
        index: &Tensor,
        src: &Tensor,
    ) -> Result<Tensor> {
        self.check_same(op, src)?;
        let d = self.dim(op, dim)?;
        self.check_gather(op, d, index)?;
        if src.ndim() != index.ndim() || src.dims().iter().zip(index.dims()).any(|(s, i)| s < i) {
            return Err(Error::ShapeMismatch {
                op,
                lhs: index.shape(),
                rhs: src.shape(),
                why: "the source must be at least as large as the index".into(),
            });
        }
        if self.dtype().is_half() && add {
            let (wide, src) = (self.to_dtype(DType::Float32)?, src.to_dtype(DType::Float32)?);
            return wide.scatter_with(op, add, dim, index, &src)?.to_dtype(self.dtype());
        }
        let mut part = src.clone();
        for i in 0..src.ndim() {
            part = part.narrow(i as i32, 0, index.dims()[i] as i64)?;
        }
        let (src, idx) = (part.contiguous()?, Self::checked_index(op, index)?);
        let mut target = self.cut_to(d, index)?;
        if idx.len() > 0 {
            target.backend()?.scatter(
                op,
                add,
                target.target()?,
                d,
                idx.operand(),
                src.operand(),
            )?;
        }
        if target.dims() == self.dims() {
            return Ok(target);
        }
        // The index spoke of a corner: put that back into the whole.
        let mut out = self.copy()?;
        let backend = out.backend()?;
        let (storage, layout) = out.own()?;
        let mut corner = layout.clone();
        corner.shape = Dims::from_slice(target.dims());
        backend.copy_into(target.operand(), storage, &corner)?;
        Ok(out)
    }

    /// Whole entries of a dim, in the order of a 1-d index.
    ///
    /// # Errors
    /// When the index is not 1-d or points outside the dim.
    pub fn index_select(&self, dim: i32, index: &Tensor) -> Result<Tensor> {
        let d = self.dim("index_select", dim)?;
        if index.ndim() > 1 {
            return Err(Error::Shape {
                op: "index_select",
                expected: "a 1-d index".into(),
                got: index.shape(),
            });
        }
        let (x, idx) = (self.contiguous()?, Self::checked_index("index_select", index)?);
        let dims = if self.ndim() == 0 { Dims::new() } else { self.dims_with(d, idx.len()) };
        Tensor::build(&dims, self.dtype(), self.device(), |b, out| {
            b.index_select("index_select", x.operand(), d, idx.operand(), out)
        })
    }

    /// A copy with the entries of `src` added to those of a dim that a 1-d index names.
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    pub fn index_add(&self, dim: i32, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        self.check_same("index_add", src)?;
        let d = self.dim("index_add", dim)?;
        let idx = Self::checked_index("index_add", index)?;
        if index.ndim() != 1 || *src.dims() != self.dims_with(d, idx.len())[..] {
            return Err(Error::ShapeMismatch {
                op: "index_add",
                lhs: self.shape(),
                rhs: src.shape(),
                why: format!(
                    "the source must have this shape with dim {d} as long as the 1-d index ({})",
                    idx.len()
                ),
            });
        }
        if self.dtype().is_half() {
            let (wide, src) = (self.to_dtype(DType::Float32)?, src.to_dtype(DType::Float32)?);
            return wide.index_add(dim, index, &src)?.to_dtype(self.dtype());
        }
        let (mut out, src) = (self.clone(), src.contiguous()?);
        if src.len() > 0 {
            let backend = self.backend()?;
            backend.index_add("index_add", out.target()?, d, idx.operand(), src.operand())?;
        }
        Ok(out)
    }
}
