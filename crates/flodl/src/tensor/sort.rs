//! Order and choice: sorting, medians, distinct elements, masks.

use super::Tensor;
use crate::shape::Dims;
use crate::{DType, Error, Result};

impl Tensor {
    /// The elements along a dim in order, and where they stood (`Int64`). Stable; NaN counts as the
    /// largest number.
    ///
    /// # Errors
    /// When the dim does not exist.
    ///
    /// ```
    /// use flodl::*;
    /// let t = Tensor::from_f32(&[3.0, 1.0, 2.0], &[3], Device::CPU)?;
    /// let (values, indices) = t.sort(0, true)?;
    /// assert_eq!(values.to_f32_vec()?, [3.0, 2.0, 1.0]);
    /// assert_eq!(indices.to_i64_vec()?, [0, 2, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn sort(&self, dim: i32, descending: bool) -> Result<(Tensor, Tensor)> {
        let d = self.dim("sort", dim)?;
        self.first(d, self.dims().get(d).copied().unwrap_or(1), descending)
    }

    /// The indices that would sort the elements along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn argsort(&self, dim: i32, descending: bool) -> Result<Tensor> {
        let d = self.dim("argsort", dim)?;
        Ok(self.first(d, self.dims().get(d).copied().unwrap_or(1), descending)?.1)
    }

    /// The `k` largest or smallest elements along a dim, and where they stand (`Int64`). They come
    /// in order whatever `sorted` says.
    ///
    /// # Errors
    /// When the dim does not exist or has fewer than `k` entries.
    pub fn topk(&self, k: i64, dim: i32, largest: bool, sorted: bool) -> Result<(Tensor, Tensor)> {
        let _ = sorted;
        let d = self.dim("topk", dim)?;
        let size = self.dims().get(d).copied().unwrap_or(1);
        match usize::try_from(k) {
            Ok(k) if k <= size => self.first(d, k, largest),
            _ => Err(Error::invalid(
                "topk",
                format!("k = {k} must be in 0..={size}, the size of dim {d}"),
            )),
        }
    }

    fn first(&self, d: usize, k: usize, descending: bool) -> Result<(Tensor, Tensor)> {
        let (x, dims) = (self.contiguous()?, self.dims_with(d, k));
        let mut values = Tensor::fresh(&dims, self.dtype(), self.device())?;
        let mut indices = Tensor::fresh(&dims, DType::Int64, self.device())?;
        if values.len() > 0 {
            let (v, i) = (values.fresh_storage(), indices.fresh_storage());
            x.backend()?.sort(x.operand(), d, k, descending, v, i)?;
        }
        Ok((values, indices))
    }

    /// The median of all elements, the lower one of an even number; NaN wins.
    ///
    /// # Errors
    /// When there are no elements.
    pub fn median(&self) -> Result<Tensor> {
        Ok(self.reshape(&[self.numel()])?.median_dim(0, false)?.0)
    }

    /// Medians along a dim, the lower one of an even number, and where they stand (`Int64`).
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn median_dim(&self, dim: i32, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let d = self.dim("median", dim)?;
        if self.dims().get(d) == Some(&0) {
            return Err(Error::Shape {
                op: "median",
                expected: "at least one element to choose from".into(),
                got: self.shape(),
            });
        }
        let x = self.contiguous()?;
        let mut dims = self.dims_with(d, 1);
        if !keepdim && self.ndim() > 0 {
            dims.remove(d);
        }
        let mut values = Tensor::fresh(&dims, self.dtype(), self.device())?;
        let mut indices = Tensor::fresh(&dims, DType::Int64, self.device())?;
        if values.len() > 0 {
            let (v, i) = (values.fresh_storage(), indices.fresh_storage());
            x.backend()?.median(x.operand(), d, v, i)?;
        }
        Ok((values, indices))
    }

    /// The `k`-th smallest elements along a dim, counted from 1, and where they stand (`Int64`).
    ///
    /// # Errors
    /// When the dim does not exist or `k` is not in 1 to its size.
    pub fn kthvalue(&self, k: i64, dim: i32, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let d = self.dim("kthvalue", dim)?;
        let size = self.dims().get(d).copied().unwrap_or(1);
        let place = match usize::try_from(k) {
            Ok(k) if (1..=size).contains(&k) => k,
            _ => {
                let what = format!("k = {k} must be in 1..={size}, the size of dim {d}");
                return Err(Error::invalid("kthvalue", what));
            }
        };
        let (values, indices) = self.first(d, place, false)?;
        let last = |t: Tensor| -> Result<Tensor> {
            if t.ndim() == 0 {
                return Ok(t);
            }
            let one = t.narrow(d as i32, k - 1, 1)?;
            if keepdim { one.copy() } else { one.squeeze(d as i32)?.copy() }
        };
        Ok((last(values)?, last(indices)?))
    }

    /// The indices of all elements that are not 0, a row for each: `[n, ndim]`, `Int64`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn nonzero(&self) -> Result<Tensor> {
        let n = self.count_nonzero()?.item()? as usize;
        let x = self.contiguous()?;
        Tensor::build(&[n, self.ndim()], DType::Int64, self.device(), |b, out| {
            b.nonzero(x.operand(), n, out)
        })
    }

    /// The distinct elements in ascending order (whatever `sorted` says), and for each element the
    /// place of its value among them; without `return_inverse` the second tensor is empty.
    ///
    /// # Errors
    /// When memory is short.
    pub fn unique(&self, sorted: bool, return_inverse: bool) -> Result<(Tensor, Tensor)> {
        let _ = sorted;
        let (values, inverse, _) = self.distinct(false)?;
        Ok((values, if return_inverse { inverse } else { self.no_indices()? }))
    }

    /// The elements in row-major order with runs of equal ones as one, and for each element the
    /// place of its run; without `return_inverse` the second tensor is empty.
    ///
    /// # Errors
    /// When memory is short.
    pub fn unique_consecutive(&self, return_inverse: bool) -> Result<(Tensor, Tensor)> {
        let (values, inverse, _) = self.distinct(true)?;
        Ok((values, if return_inverse { inverse } else { self.no_indices()? }))
    }

    /// The distinct elements in ascending order, and how often each occurs (`Int64`).
    ///
    /// # Errors
    /// When memory is short.
    pub fn unique_counts(&self) -> Result<(Tensor, Tensor)> {
        let (values, _, counts) = self.distinct(false)?;
        Ok((values, counts))
    }

    /// The distinct entries of a dim in ascending order, for each entry the place of its like among
    /// them, and how often each occurs (both `Int64`).
    ///
    /// ```
    /// use flodl::*;
    /// let rows = Tensor::from_f32(&[3.0, 1.0, 2.0, 5.0, 3.0, 1.0], &[3, 2], Device::CPU)?;
    /// let (distinct, inverse, counts) = rows.unique_dim(0)?;
    /// assert_eq!(distinct.to_f32_vec()?, [2.0, 5.0, 3.0, 1.0]);
    /// assert_eq!(inverse.to_i64_vec()?, [1, 0, 1]);
    /// assert_eq!(counts.to_i64_vec()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn unique_dim(&self, dim: i32) -> Result<(Tensor, Tensor, Tensor)> {
        let d = self.dim("unique_dim", dim)?;
        if self.ndim() == 0 {
            let (values, inverse, counts) = self.distinct(false)?;
            return Ok((values.reshape(&[])?, inverse.reshape(&[1])?, counts));
        }
        let n = self.dims()[d];
        let rows = self.movedim(d as i64, 0)?.reshape(&[n as i64, -1])?;
        // Each element's rank among all: integers that compare as the elements do, in any dtype.
        let ranks = rows.distinct(false)?.1.to_i64_vec()?;
        let width = ranks.len().checked_div(n).unwrap_or(0);
        let row = |i: usize| &ranks[i * width..(i + 1) * width];
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| row(a).cmp(row(b)));
        let (mut first, mut inverse, mut counts) = (Vec::new(), vec![0; n], Vec::new());
        for &i in &order {
            match first.last() {
                Some(&last) if row(last as usize) == row(i) => {}
                _ => {
                    first.push(i as i64);
                    counts.push(0);
                }
            }
            inverse[i] = first.len() as i64 - 1;
            counts[first.len() - 1] += 1;
        }
        let list = |v: &[i64]| Tensor::from_i64(v, &[v.len() as i64], self.device());
        Ok((self.index_select(d as i32, &list(&first)?)?, list(&inverse)?, list(&counts)?))
    }

    fn no_indices(&self) -> Result<Tensor> {
        Tensor::fresh(&[0], DType::Int64, self.device())
    }

    fn distinct(&self, consecutive: bool) -> Result<(Tensor, Tensor, Tensor)> {
        let x = self.contiguous()?;
        let fresh = |dims: &[usize], dtype| Tensor::fresh(dims, dtype, self.device());
        let mut values = fresh(&[self.len()], self.dtype())?;
        let mut inverse = fresh(self.dims(), DType::Int64)?;
        let mut counts = fresh(&[self.len()], DType::Int64)?;
        let mut n = 0;
        if self.len() > 0 {
            n = x.backend()?.unique(
                x.operand(),
                consecutive,
                values.fresh_storage(),
                inverse.fresh_storage(),
                counts.fresh_storage(),
            )?;
        }
        // Copies, so that a few values do not keep the memory of many.
        let cut = |t: Tensor| t.narrow(0, 0, n as i64)?.copy();
        Ok((cut(values)?, inverse, cut(counts)?))
    }

    /// Where each value belongs in this ascending sequence so that it stays sorted, before equal
    /// elements (`Int64`). A 1-d sequence serves values of any shape; otherwise all dims but the
    /// last must agree.
    ///
    /// # Errors
    /// When they do not, or dtypes or devices differ.
    pub fn searchsorted(&self, values: &Tensor) -> Result<Tensor> {
        self.search(values, false)
    }

    /// Like [`Tensor::searchsorted`], but behind equal elements.
    ///
    /// # Errors
    /// As for [`Tensor::searchsorted`].
    pub fn searchsorted_right(&self, values: &Tensor) -> Result<Tensor> {
        self.search(values, true)
    }

    /// Between which of the ascending boundaries each element lies (`Int64`): the number of those
    /// below it, and with `right` also of those equal to it.
    ///
    /// # Errors
    /// When the boundaries are no vector, or dtypes or devices differ.
    pub fn bucketize(&self, boundaries: &Tensor, right: bool) -> Result<Tensor> {
        if boundaries.ndim() != 1 {
            return Err(Error::Shape {
                op: "bucketize",
                expected: "boundaries of 1 dim".into(),
                got: boundaries.shape(),
            });
        }
        boundaries.search(self, right)
    }

    fn search(&self, values: &Tensor, right: bool) -> Result<Tensor> {
        self.check_same("searchsorted", values)?;
        let lead = |t: &Tensor| Dims::from_slice(&t.dims()[..t.ndim().saturating_sub(1)]);
        let fits = self.ndim() == 1 || (self.ndim() == values.ndim() && lead(self) == lead(values));
        if self.ndim() == 0 || !fits {
            return Err(Error::ShapeMismatch {
                op: "searchsorted",
                lhs: self.shape(),
                rhs: values.shape(),
                why: "the sequence must have 1 dim, or the values' dims up to the last".into(),
            });
        }
        let (sorted, values) = (self.contiguous()?, values.contiguous()?);
        Tensor::build(values.dims(), DType::Int64, self.device(), |b, out| {
            b.searchsorted(sorted.operand(), values.operand(), right, out)
        })
    }

    /// The elements where a bool mask is true, as one dim; both are broadcast.
    ///
    /// # Errors
    /// When the mask is not bool or shapes cannot be broadcast.
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        let (x, mask) = self.masked("masked_select", mask)?;
        let n = mask.count_nonzero()?.item()? as usize;
        Tensor::build(&[n], self.dtype(), self.device(), |b, out| {
            b.masked_select(x.operand(), mask.operand(), n, out)
        })
    }

    /// A copy with the elements of `src`, in order, where a bool mask is true; the mask is
    /// broadcast to this shape.
    ///
    /// # Errors
    /// When the mask is not bool or does not broadcast, or `src` has too few elements.
    pub fn masked_scatter(&self, mask: &Tensor, src: &Tensor) -> Result<Tensor> {
        self.check_same("masked_scatter", src)?;
        let (x, mask) = self.masked("masked_scatter", mask)?;
        let n = mask.count_nonzero()?.item()? as usize;
        if x.dims() != self.dims() || n > src.len() {
            return Err(Error::ShapeMismatch {
                op: "masked_scatter",
                lhs: mask.shape(),
                rhs: src.shape(),
                why: format!(
                    "the mask must broadcast to {:?}, and its {n} true entries need as many source \
                     elements",
                    self.shape()
                ),
            });
        }
        let (mut out, src) = (self.clone(), src.contiguous()?);
        if n > 0 {
            let backend = self.backend()?;
            backend.masked_scatter(out.target()?, mask.operand(), src.operand())?;
        }
        Ok(out)
    }

    /// Tensor and mask in their common shape, contiguous.
    fn masked(&self, op: &'static str, mask: &Tensor) -> Result<(Tensor, Tensor)> {
        if mask.dtype() != DType::Bool {
            return Err(Error::DType { op, expected: "a bool mask".into(), got: mask.dtype() });
        }
        if mask.device() != self.device() {
            return Err(Error::DeviceMismatch { op, lhs: self.device(), rhs: mask.device() });
        }
        let (x, mask) = self.broadcast_with(op, mask)?;
        Ok((x.contiguous()?, mask.contiguous()?))
    }
}
