//! Views and rearrangements: shapes, dims, slices, concatenation.

use super::Tensor;
use crate::shape::{self, Dims, Layout};
use crate::{Error, Result};

impl Tensor {
    /// The elements in row-major order under another shape; one size may be -1 and is inferred.
    /// A view where the layout allows it, else a copy.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: &[i64]) -> Result<Tensor> {
        let dims = self.infer_shape("reshape", shape)?;
        match self.layout.reshape(&dims) {
            Some(layout) => Ok(self.with_layout(layout)),
            None => Ok(self.copy()?.with_layout(Layout::contiguous(&dims))),
        }
    }

    /// [`Tensor::reshape`] to sizes known to fit.
    pub(crate) fn reshape_dims(&self, dims: &[usize]) -> Result<Tensor> {
        self.reshape(&shape::to_i64(dims))
    }

    /// Like [`Tensor::reshape`], but never copies.
    ///
    /// # Errors
    /// When the number of elements differs or the layout does not allow a view.
    pub fn view(&self, shape: &[i64]) -> Result<Tensor> {
        let dims = self.infer_shape("view", shape)?;
        self.layout.reshape(&dims).map(|layout| self.with_layout(layout)).ok_or_else(|| {
            Error::invalid(
                "view",
                format!(
                    "shape {:?} with strides {:?} cannot be viewed as {shape:?}; use reshape",
                    self.shape(),
                    self.strides()
                ),
            )
        })
    }

    fn infer_shape(&self, op: &'static str, shape: &[i64]) -> Result<Dims> {
        let mismatch = || Error::ShapeMismatch {
            op,
            lhs: self.shape(),
            rhs: shape.to_vec(),
            why: format!("{} elements do not fill the new shape", self.len()),
        };
        let unknown = shape.iter().filter(|&&n| n == -1).count();
        if unknown == 0 {
            let dims = shape::sizes(op, shape)?;
            return if dims.iter().product::<usize>() == self.len() {
                Ok(dims)
            } else {
                Err(mismatch())
            };
        }
        if unknown > 1 {
            return Err(Error::Shape {
                op,
                expected: "at most one size of -1".into(),
                got: shape.to_vec(),
            });
        }
        let known: Vec<i64> = shape.iter().map(|&n| if n == -1 { 1 } else { n }).collect();
        let mut dims = shape::sizes(op, &known)?;
        let rest: usize = dims.iter().product();
        if rest == 0 || !self.len().is_multiple_of(rest) {
            return Err(mismatch());
        }
        let at = shape.iter().position(|&n| n == -1).expect("just one size was found to be -1");
        dims[at] = self.len() / rest;
        Ok(dims)
    }

    /// Swaps two dims; a view.
    ///
    /// # Errors
    /// When a dim does not exist.
    pub fn transpose(&self, dim0: i32, dim1: i32) -> Result<Tensor> {
        let (a, b) = (self.dim("transpose", dim0)?, self.dim("transpose", dim1)?);
        let mut layout = self.layout.clone();
        if self.ndim() > 0 {
            layout.shape.swap(a, b);
            layout.strides.swap(a, b);
        }
        Ok(self.with_layout(layout))
    }

    /// The transpose of a matrix; a view. Fewer dims are returned as they are.
    ///
    /// # Errors
    /// When there are more than two dims.
    pub fn t(&self) -> Result<Tensor> {
        match self.ndim() {
            0 | 1 => Ok(self.clone()),
            2 => self.transpose(0, 1),
            _ => {
                Err(Error::Shape { op: "t", expected: "at most 2 dims".into(), got: self.shape() })
            }
        }
    }

    /// Broadcasts to a shape without copying; -1 keeps a size.
    ///
    /// # Errors
    /// When a dim of size other than 1 would change.
    pub fn expand(&self, shape: &[i64]) -> Result<Tensor> {
        let error = || Error::ShapeMismatch {
            op: "expand",
            lhs: self.shape(),
            rhs: shape.to_vec(),
            why: "only dims of size 1 can grow, and -1 stands for an existing dim".into(),
        };
        let lead = shape.len().checked_sub(self.ndim()).ok_or_else(error)?;
        let dims = shape
            .iter()
            .enumerate()
            .map(|(d, &n)| match n {
                -1 if d >= lead => Ok(self.dims()[d - lead]),
                n => usize::try_from(n).map_err(|_| error()),
            })
            .collect::<Result<Dims>>()?;
        if !shape::countable(&dims) {
            return Err(shape::too_large("expand", &dims));
        }
        self.expand_dims(&dims).ok_or_else(error)
    }

    /// The view broadcast to `dims`, `None` when that is impossible.
    pub(crate) fn expand_dims(&self, dims: &[usize]) -> Option<Tensor> {
        self.layout.expand(dims).map(|layout| self.with_layout(layout))
    }

    /// Broadcasts to a shape; the same as [`Tensor::expand`].
    ///
    /// # Errors
    /// As for [`Tensor::expand`].
    pub fn broadcast_to(&self, shape: &[i64]) -> Result<Tensor> {
        self.expand(shape)
    }

    /// Reorders the dims; a view.
    ///
    /// # Errors
    /// When `dims` does not name each dim once.
    pub fn permute(&self, dims: &[i64]) -> Result<Tensor> {
        let error = || Error::Shape {
            op: "permute",
            expected: format!("dims {dims:?} to name each dim once"),
            got: self.shape(),
        };
        if dims.len() != self.ndim() {
            return Err(error());
        }
        let mut layout = self.layout.clone();
        let mut seen = Dims::from_elem(0, dims.len());
        for (to, &d) in dims.iter().enumerate() {
            let from = self.dim("permute", i32::try_from(d).map_err(|_| error())?)?;
            seen[from] += 1;
            layout.shape[to] = self.layout.shape[from];
            layout.strides[to] = self.layout.strides[from];
        }
        if seen.iter().any(|&n| n != 1) {
            return Err(error());
        }
        Ok(self.with_layout(layout))
    }

    /// Moves one dim to another place; a view.
    ///
    /// # Errors
    /// When a dim does not exist.
    pub fn movedim(&self, src: i64, dst: i64) -> Result<Tensor> {
        let from = self.dim_i64("movedim", src)?;
        let to = self.dim_i64("movedim", dst)?;
        let mut order: Vec<i64> = (0..self.ndim() as i64).collect();
        if !order.is_empty() {
            let d = order.remove(from);
            order.insert(to, d);
        }
        self.permute(&order)
    }

    /// `length` entries along a dim from `start` on; a view. A negative start counts from the end.
    ///
    /// # Errors
    /// When the range is not inside the dim.
    pub fn narrow(&self, dim: i32, start: i64, length: i64) -> Result<Tensor> {
        let d = self.dim("narrow", dim)?;
        let Some(&size) = self.dims().get(d) else {
            return Err(Error::DimOutOfRange { op: "narrow", dim: i64::from(dim), ndim: 0 });
        };
        let size = size as i64;
        let first = if start < 0 { start + size } else { start };
        if first < 0 || length < 0 || first > size - length {
            return Err(Error::invalid(
                "narrow",
                format!("start {start} and length {length} are not inside dim {d} of size {size}"),
            ));
        }
        let mut layout = self.layout.clone();
        layout.shape[d] = length as usize;
        if length > 0 {
            layout.offset += first as usize * layout.strides[d];
        }
        Ok(self.with_layout(layout))
    }

    /// One entry along a dim, which disappears; a view. A negative index counts from the end.
    ///
    /// # Errors
    /// When the index is out of range.
    pub fn select(&self, dim: i32, index: i64) -> Result<Tensor> {
        let d = self.dim("select", dim)?;
        let Some(&size) = self.dims().get(d) else {
            return Err(Error::DimOutOfRange { op: "select", dim: i64::from(dim), ndim: 0 });
        };
        let i = if index < 0 { index + size as i64 } else { index };
        if i < 0 || i >= size as i64 {
            return Err(Error::IndexOutOfRange { op: "select", index, size: size as i64 });
        }
        let mut layout = self.layout.clone();
        layout.offset += i as usize * layout.strides[d];
        layout.shape.remove(d);
        layout.strides.remove(d);
        Ok(self.with_layout(layout))
    }

    /// Every `step`-th entry along a dim of `start..end`; a view.
    ///
    /// # Errors
    /// When the range is not inside the dim or the step is not positive.
    pub fn slice(&self, dim: i32, start: i64, end: i64, step: i64) -> Result<Tensor> {
        if step < 1 {
            return Err(Error::invalid("slice", format!("step {step} must be positive")));
        }
        let d = self.dim("slice", dim)?;
        let length = end.checked_sub(start).filter(|&n| n >= 0);
        let Some(length) = length else {
            return Err(Error::invalid("slice", format!("{start}..{end} is no range")));
        };
        let mut out = self.narrow(dim, start, length)?;
        out.layout.shape[d] = out.layout.shape[d].div_ceil(step as usize);
        out.layout.strides[d] *= step as usize;
        Ok(out)
    }

    /// Removes a dim of size 1; other dims are left as they are. A view.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn squeeze(&self, dim: i32) -> Result<Tensor> {
        let d = self.dim("squeeze", dim)?;
        let mut layout = self.layout.clone();
        if layout.shape.get(d) == Some(&1) {
            layout.shape.remove(d);
            layout.strides.remove(d);
        }
        Ok(self.with_layout(layout))
    }

    /// Inserts a dim of size 1; a view.
    ///
    /// # Errors
    /// When the place is outside -ndim-1..=ndim.
    pub fn unsqueeze(&self, dim: i32) -> Result<Tensor> {
        let n = self.ndim() as i64 + 1;
        let d = if dim < 0 { i64::from(dim) + n } else { i64::from(dim) };
        if d < 0 || d >= n {
            return Err(Error::DimOutOfRange {
                op: "unsqueeze",
                dim: i64::from(dim),
                ndim: self.ndim(),
            });
        }
        let d = d as usize;
        let mut layout = self.layout.clone();
        let stride = if d < self.ndim() { layout.shape[d] * layout.strides[d] } else { 1 };
        layout.shape.insert(d, 1);
        layout.strides.insert(d, stride);
        Ok(self.with_layout(layout))
    }

    /// Inserts several dims of size 1, one after the other.
    ///
    /// # Errors
    /// As for [`Tensor::unsqueeze`].
    pub fn unsqueeze_many(&self, dims: &[i32]) -> Result<Tensor> {
        dims.iter().try_fold(self.clone(), |t, &d| t.unsqueeze(d))
    }

    /// Joins dims `start_dim..=end_dim` into one.
    ///
    /// # Errors
    /// When a dim does not exist or the first comes after the last.
    pub fn flatten(&self, start_dim: i32, end_dim: i32) -> Result<Tensor> {
        let (a, b) = (self.dim("flatten", start_dim)?, self.dim("flatten", end_dim)?);
        if a > b {
            return Err(Error::invalid(
                "flatten",
                format!("start_dim {start_dim} comes after end_dim {end_dim}"),
            ));
        }
        let dims = self.dims();
        if dims.is_empty() {
            return self.reshape(&[1]);
        }
        let mut out = Dims::from_slice(&dims[..a]);
        out.push(dims[a..=b].iter().product());
        out.extend_from_slice(&dims[b + 1..]);
        self.reshape_dims(&out)
    }

    /// Repeats the tensor along each dim; more counts than dims add dims in front.
    ///
    /// # Errors
    /// When there are fewer counts than dims or one is negative.
    pub fn repeat(&self, repeats: &[i64]) -> Result<Tensor> {
        let counts = shape::sizes("repeat", repeats)?;
        let Some(lead) = counts.len().checked_sub(self.ndim()) else {
            return Err(Error::Shape {
                op: "repeat",
                expected: format!("at most {} dims for repeats {repeats:?}", repeats.len()),
                got: self.shape(),
            });
        };
        // [n] becomes [count, n] by a broadcast, which the copy of the reshape then fills.
        let (mut pairs, mut wide, mut out) = (Dims::new(), Dims::new(), Dims::new());
        for (d, &count) in counts.iter().enumerate() {
            let size = if d < lead { 1 } else { self.dims()[d - lead] };
            pairs.extend([1, size]);
            wide.extend([count, size]);
            out.push(count.saturating_mul(size));
        }
        if !shape::countable(&wide) {
            return Err(Error::Shape {
                op: "repeat",
                expected: format!("fewer repeats than {repeats:?}, for memory to address them"),
                got: self.shape(),
            });
        }
        let view = self
            .reshape_dims(&pairs)?
            .expand_dims(&wide)
            .expect("every size that differs is 1, which broadcasts");
        view.reshape_dims(&out)
    }

    /// Like [`Tensor::repeat`], but fewer counts than dims repeat the last dims only.
    ///
    /// # Errors
    /// When a count is negative.
    pub fn tile(&self, reps: &[i64]) -> Result<Tensor> {
        let mut repeats = vec![1; self.ndim().saturating_sub(reps.len())];
        repeats.extend_from_slice(reps);
        self.repeat(&repeats)
    }

    /// Joins two tensors along a dim.
    ///
    /// # Errors
    /// As for [`Tensor::cat_many`].
    pub fn cat(&self, other: &Tensor, dim: i32) -> Result<Tensor> {
        Tensor::cat_many(&[self, other], dim)
    }

    /// Whether `cat` leaves this tensor out.
    pub(crate) fn is_nothing(&self) -> bool {
        self.dims() == [0]
    }

    /// Joins tensors along a dim. All other sizes must agree; tensors of shape `[0]` are left out,
    /// so that a list can start empty.
    ///
    /// # Errors
    /// When the list is empty, or shapes, dtypes or devices differ.
    pub fn cat_many(tensors: &[&Tensor], dim: i32) -> Result<Tensor> {
        let (&first, rest) = match tensors.split_first() {
            None => return Err(Error::invalid("cat", "expected at least one tensor, got none")),
            Some((first, [])) => (first, [].as_slice()),
            Some(_) if tensors.iter().any(|t| t.is_nothing()) => {
                tensors.iter().try_for_each(|t| tensors[0].check_same("cat", t))?;
                let some: Vec<&Tensor> =
                    tensors.iter().copied().filter(|t| !t.is_nothing()).collect();
                return Tensor::cat_many(if some.is_empty() { &tensors[..1] } else { &some }, dim);
            }
            Some(list) => list,
        };
        let d = first.dim("cat", dim)?;
        if first.ndim() == 0 {
            return Err(Error::Shape {
                op: "cat",
                expected: "tensors of at least 1 dim (stack joins scalars)".into(),
                got: vec![],
            });
        }
        let mut total = first.dims()[d];
        for t in rest {
            first.check_same("cat", t)?;
            let fits = t.ndim() == first.ndim()
                && (0..t.ndim()).all(|i| i == d || t.dims()[i] == first.dims()[i]);
            if !fits {
                return Err(Error::ShapeMismatch {
                    op: "cat",
                    lhs: first.shape(),
                    rhs: t.shape(),
                    why: format!("sizes must agree in every dim but {d}"),
                });
            }
            total += t.dims()[d];
        }
        let out_dims = first.dims_with(d, total);
        Tensor::build(&out_dims, first.dtype(), first.device(), |b, out| {
            let mut part = Layout::contiguous(&out_dims);
            for t in tensors {
                part.shape[d] = t.dims()[d];
                if t.len() > 0 {
                    b.copy_into(t.operand(), out, &part)?;
                }
                part.offset += t.dims()[d] * part.strides[d];
            }
            Ok(())
        })
    }

    /// Joins tensors of one shape along a new dim.
    ///
    /// # Errors
    /// When the list is empty or shapes differ.
    pub fn stack(tensors: &[&Tensor], dim: i32) -> Result<Tensor> {
        let Some(first) = tensors.first() else {
            return Err(Error::invalid("stack", "expected at least one tensor, got none"));
        };
        if let Some(t) = tensors.iter().find(|t| t.dims() != first.dims()) {
            return Err(Error::ShapeMismatch {
                op: "stack",
                lhs: first.shape(),
                rhs: t.shape(),
                why: "all shapes must be equal".into(),
            });
        }
        let n = first.ndim() as i32 + 1;
        if dim < -n || dim >= n {
            let dim = i64::from(dim);
            return Err(Error::DimOutOfRange { op: "stack", dim, ndim: first.ndim() });
        }
        let d = if dim < 0 { dim + n } else { dim };
        let parts = tensors.iter().map(|t| t.unsqueeze(d)).collect::<Result<Vec<_>>>()?;
        Tensor::cat_many(&parts.iter().collect::<Vec<_>>(), d)
    }

    /// Cuts a dim into pieces of `split_size`; the last may be smaller. Views.
    ///
    /// # Errors
    /// When the size is not positive.
    pub fn split(&self, split_size: i64, dim: i32) -> Result<Vec<Tensor>> {
        if split_size < 1 {
            return Err(Error::invalid("split", format!("size {split_size} must be positive")));
        }
        let size = self.size(dim)?;
        let starts = (0..size.max(1)).step_by(split_size as usize);
        starts.map(|s| self.narrow(dim, s, split_size.min(size - s))).collect()
    }

    /// Cuts a dim into pieces of the given sizes, which must add up to it. Views.
    ///
    /// # Errors
    /// When they do not.
    pub fn split_sizes(&self, sizes: &[i64], dim: i32) -> Result<Vec<Tensor>> {
        let size = self.size(dim)?;
        let total = sizes.iter().try_fold(0i64, |sum, &n| sum.checked_add(n));
        if total != Some(size) || sizes.iter().any(|&n| n < 0) {
            return Err(Error::invalid(
                "split",
                format!("sizes {sizes:?} do not add up to {size}"),
            ));
        }
        let mut start = 0;
        sizes
            .iter()
            .map(|&n| {
                start += n;
                self.narrow(dim, start - n, n)
            })
            .collect()
    }

    /// Cuts a dim into at most `chunks` pieces of equal size; the last may be smaller. Views.
    ///
    /// # Errors
    /// When the number is not positive.
    pub fn chunk(&self, chunks: i32, dim: i32) -> Result<Vec<Tensor>> {
        if chunks < 1 {
            return Err(Error::invalid("chunk", format!("{chunks} chunks: must be positive")));
        }
        let size = self.size(dim)?;
        self.split((size + i64::from(chunks) - 1).div_euclid(i64::from(chunks)).max(1), dim)
    }

    /// Pieces of `batch_size` rows; the last may be smaller. Views.
    ///
    /// # Errors
    /// When the size is not positive or there are no dims.
    pub fn batches(&self, batch_size: i64) -> Result<Vec<Tensor>> {
        self.split(batch_size, 0)
    }

    /// All entries along a dim, which disappears. Views.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn unbind(&self, dim: i32) -> Result<Vec<Tensor>> {
        (0..self.size(dim)?).map(|i| self.select(dim, i)).collect()
    }

    /// The diagonal between two dims as the last dim of the result; a view.
    ///
    /// # Errors
    /// When the dims are the same.
    pub fn diagonal(&self, offset: i64, dim1: i32, dim2: i32) -> Result<Tensor> {
        let (a, b) = (self.dim("diagonal", dim1)?, self.dim("diagonal", dim2)?);
        if a == b || self.ndim() < 2 {
            return Err(Error::Shape {
                op: "diagonal",
                expected: format!("two different dims (not {dim1} and {dim2})"),
                got: self.shape(),
            });
        }
        let (rows, cols) = (self.dims()[a] as i64, self.dims()[b] as i64);
        let (row0, col0) = ((-offset).max(0), offset.max(0));
        let n = (rows - row0).min(cols - col0).max(0);
        let mut layout = self.layout.clone();
        if n > 0 {
            layout.offset += row0 as usize * layout.strides[a] + col0 as usize * layout.strides[b];
        }
        let stride = layout.strides[a] + layout.strides[b];
        for d in [a.max(b), a.min(b)] {
            layout.shape.remove(d);
            layout.strides.remove(d);
        }
        layout.shape.push(n as usize);
        layout.strides.push(stride);
        Ok(self.with_layout(layout))
    }

    /// Coordinate grids of 1-d tensors, rows first (PyTorch's `indexing="ij"`). Views.
    ///
    /// # Errors
    /// When a tensor has more than one dim.
    pub fn meshgrid(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
        if let Some(t) = tensors.iter().find(|t| t.ndim() > 1) {
            return Err(Error::Shape {
                op: "meshgrid",
                expected: "1-d tensors".into(),
                got: t.shape(),
            });
        }
        let grid: Dims = tensors.iter().map(|t| t.len()).collect();
        tensors
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let mut own = Dims::from_elem(1, grid.len());
                own[i] = t.len();
                Ok(t.reshape_dims(&own)?
                    .expand_dims(&grid)
                    .expect("every size that differs is 1, which broadcasts"))
            })
            .collect()
    }
}
