//! Rearrangements, differences and sums made of plain operations, for variables and tensors alike.

use crate::{DType, Error, Result, Tensor, Variable, no_grad};

fn invalid<T>(op: &'static str, what: String) -> Result<T> {
    Err(Error::invalid(op, what))
}

both! {
    /// A vector as the diagonal of a square matrix, or the diagonal of a matrix as a vector: the
    /// main one for 0, those above it for positive numbers.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Tensor::from_f32(&[1.0, 2.0], &[2], Device::CPU)?;
    /// assert_eq!(x.diag(1)?.to_f32_vec()?, [0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
    /// assert_eq!(x.diag(1)?.diag(1)?.to_f32_vec()?, [1.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are neither one nor two dims.
    diag [] (diagonal: i64) |x| {
        match *x.shape() {
            [n] => {
                // Element i stands at start + i (side + 1): rows one longer than the side, read as
                // one line and cut to the square.
                let side = n + diagonal.abs();
                let start = if diagonal < 0 { -diagonal * side } else { diagonal };
                let line = x.unsqueeze(1)?.pad(&[0, side], 0.0)?.reshape(&[n * (side + 1)])?;
                let rest = side * side - start - n * (side + 1);
                line.pad(&[start, rest], 0.0)?.reshape(&[side, side])
            }
            [_, _] => x.diagonal(diagonal, 0, 1)?.contiguous(),
            _ => Err(Error::Shape { op: "diag", expected: "1 or 2 dims".into(), got: x.shape() }),
        }
    }

    /// Turned by `k` quarters of a circle in the plane of two dims, from the first to the second.
    ///
    /// # Errors
    /// When a dim does not exist or both are the same.
    rot90 [] (k: i64, dims: [i32; 2]) |x| {
        let place = |d: i32| x.with_data(|t| t.dim("rot90", d));
        let d = [place(dims[0])?, place(dims[1])?];
        if d[0] == d[1] {
            return invalid("rot90", format!("the dims {dims:?} must be two different ones"));
        }
        let (a, b) = (d[0] as i32, d[1] as i32);
        match k.rem_euclid(4) {
            1 => x.flip(&[b.into()])?.transpose(a, b),
            2 => x.flip(&[a.into(), b.into()]),
            3 => x.flip(&[a.into()])?.transpose(a, b),
            _ => Ok(x.clone()),
        }
    }

    /// Removes those of the given dims that have size 1.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    squeeze_many [] (dims: &[i32]) |x| {
        let mut places = dims
            .iter()
            .map(|&d| x.with_data(|t| t.dim("squeeze_many", d)))
            .collect::<Result<Vec<_>>>()?;
        places.sort_unstable();
        if places.windows(2).any(|w| w[0] == w[1]) {
            return invalid("squeeze_many", format!("a dim appears twice in {dims:?}"));
        }
        places.iter().rev().try_fold(x.clone(), |x, &d| x.squeeze(d as i32))
    }

    /// Removes all dims of size 1.
    ///
    /// # Errors
    /// When memory is short.
    squeeze_all [] () |x| {
        let dims: Vec<i32> = (0..x.ndim() as i32).collect();
        x.squeeze_many(&dims)
    }

    /// Each entry of a dim `repeats` times, one after the other; without a dim each element of the
    /// tensor as one line.
    ///
    /// # Errors
    /// When the dim does not exist or `repeats` is negative.
    repeat_interleave [] (repeats: i64, dim: Option<i32>) |x| {
        if repeats < 0 {
            return invalid("repeat_interleave", format!("repeats {repeats} must not be negative"));
        }
        let count = Tensor::from_i64(&[repeats], &[1], x.device())?;
        x.repeat_interleave_tensor(&count, dim)
    }

    /// Each entry of a dim as often as a vector says for it (or for all, if it has one element);
    /// without a dim each element of the tensor as one line.
    ///
    /// # Errors
    /// When the dim does not exist, or `repeats` is no vector of integers of that size, or holds a
    /// negative number.
    repeat_interleave_tensor [] (repeats: &Tensor, dim: Option<i32>) |x| {
        const OP: &str = "repeat_interleave";
        let Some(dim) = dim else {
            return x.reshape(&[x.numel()])?.repeat_interleave_tensor(repeats, Some(0));
        };
        let d = x.with_data(|t| t.dim(OP, dim))?;
        let size = x.shape().get(d).copied().unwrap_or(1);
        if repeats.dtype().is_float() || repeats.ndim() > 1 || ![1, size].contains(&repeats.numel())
        {
            return invalid(
                OP,
                format!(
                    "repeats must be 1 or {size} integers, not {:?} of {}",
                    repeats.shape(),
                    repeats.dtype()
                ),
            );
        }
        let counts = repeats.to_i64_vec()?;
        let mut index = Vec::new();
        for i in 0..size {
            let count = counts[if counts.len() == 1 { 0 } else { i as usize }];
            let Ok(count) = usize::try_from(count) else {
                return invalid(OP, format!("repeats {count} must not be negative"));
            };
            index.extend(std::iter::repeat_n(i, count));
        }
        let index = Tensor::from_i64(&index, &[index.len() as i64], x.device())?;
        if x.ndim() == 0 {
            return x.reshape(&[1])?.index_select(0, &index);
        }
        x.index_select(dim, &index)
    }

    /// Windows of `size` entries of a dim, `step` apart: the dim counts the windows, and a new last
    /// dim runs through each.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Tensor::arange(0.0, 5.0, 1.0, TensorOptions::default())?;
    /// assert_eq!(x.unfold(0, 3, 2)?.to_f32_vec()?, [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the dim does not exist or has fewer entries than a window, or the step is not positive.
    unfold [] (dimension: i32, size: i64, step: i64) |x| {
        const OP: &str = "unfold";
        let d = x.with_data(|t| t.dim(OP, dimension))?;
        let scalar = x.ndim() == 0;
        let length = x.shape().get(d).copied().unwrap_or(1);
        if !(0..=length).contains(&size) || step < 1 {
            let range = format!("size {size} must be in 0..={length}, the size of dim {d}");
            return invalid(OP, format!("{range}, and step {step} at least 1"));
        }
        let count = (length - size) / step + 1;
        let index: Vec<i64> = (0..count).flat_map(|w| w * step..w * step + size).collect();
        let index = Tensor::from_i64(&index, &[index.len() as i64], x.device())?;
        let line = if scalar { x.reshape(&[1])? } else { x.clone() };
        let mut shape = line.shape();
        shape.splice(d..=d, [count, size]);
        let windows = line.index_select(d as i32, &index)?.reshape(&shape)?;
        let windows = windows.movedim(d as i64 + 1, -1)?;
        // A single number is one window without a dim to count it.
        if scalar { windows.squeeze(0) } else { Ok(windows) }
    }

    /// The product of two tensors, summed over dims of the first with dims of the second, pair by
    /// pair. What is left of the first comes before what is left of the second.
    ///
    /// # Errors
    /// When the lists differ in length, a dim does not exist or appears twice, or sizes differ.
    tensordot [other] (dims_self: &[i32], dims_other: &[i32]) |x| {
        const OP: &str = "tensordot";
        let places = |v: &Variable, dims: &[i32]| -> Result<(Vec<i64>, Vec<i64>)> {
            let inner = dims
                .iter()
                .map(|&d| v.with_data(|t| t.dim(OP, d)).map(|d| d as i64))
                .collect::<Result<Vec<_>>>()?;
            let outer = (0..v.ndim() as i64).filter(|d| !inner.contains(d)).collect::<Vec<_>>();
            if inner.len() + outer.len() != v.ndim() {
                return invalid(OP, format!("a dim appears twice in {dims:?}"));
            }
            Ok((inner, outer))
        };
        let ((a_in, a_out), (b_in, b_out)) = (places(x, dims_self)?, places(other, dims_other)?);
        let (a, b) = (x.shape(), other.shape());
        let size = |shape: &[i64], dims: &[i64]| -> Vec<i64> {
            dims.iter().map(|&d| shape[d as usize]).collect()
        };
        if size(&a, &a_in) != size(&b, &b_in) {
            return Err(Error::ShapeMismatch {
                op: OP,
                lhs: a,
                rhs: b,
                why: format!("the sizes of dims {dims_self:?} and {dims_other:?} must be the same"),
            });
        }
        let inner: i64 = size(&a, &a_in).iter().product();
        let (left, right) = (size(&a, &a_out), size(&b, &b_out));
        let (m, n) = (left.iter().product(), right.iter().product());
        let rows = x.permute(&[&a_out[..], &a_in].concat())?.reshape(&[m, inner])?;
        let columns = other.permute(&[&b_in[..], &b_out].concat())?.reshape(&[inner, n])?;
        rows.matmul(&columns)?.reshape(&[left, right].concat())
    }

    /// The integral along a dim by trapezoids, with points `dx` apart.
    ///
    /// # Errors
    /// When the dim does not exist.
    trapezoid [] (dx: f64, dim: i32) |x| {
        x.panels(dim)?.mul_scalar(dx / 2.0)?.sum_dim(dim, false)
    }

    /// The integral along a dim by trapezoids up to each point but the first, with points `dx` apart.
    ///
    /// # Errors
    /// When the dim does not exist.
    cumulative_trapezoid [] (dx: f64, dim: i32) |x| {
        x.panels(dim)?.mul_scalar(dx / 2.0)?.cumsum(dim)
    }

    /// [`Self::trapezoid`] with the points themselves: a vector, or of this shape.
    ///
    /// # Errors
    /// When the dim does not exist or shapes do not fit.
    trapezoid_x [points] (dim: i32) |x| {
        x.panels(dim)?.mul(&points.steps_along(dim, x)?)?.div_scalar(2.0)?.sum_dim(dim, false)
    }

    /// [`Self::cumulative_trapezoid`] with the points themselves: a vector, or of this shape.
    ///
    /// # Errors
    /// When the dim does not exist or shapes do not fit.
    cumulative_trapezoid_x [points] (dim: i32) |x| {
        x.panels(dim)?.mul(&points.steps_along(dim, x)?)?.div_scalar(2.0)?.cumsum(dim)
    }

    /// A copy with one number at the places that an index names, see [`Self::scatter`].
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    scatter_value [] (dim: i32, index: &Tensor, value: f64) |x| {
        let numbers = x.with_data(|t| Tensor::full(&index.shape(), value, t.options()))?;
        x.scatter(dim, index, &Variable::constant(numbers))
    }
}

impl Variable {
    /// Sums of neighbours along a dim.
    fn panels(&self, dim: i32) -> Result<Variable> {
        let n = (self.with_data(|t| t.size(dim))? - 1).max(0);
        let skipped = self.with_data(|t| t.size(dim))? - n;
        self.narrow(dim, skipped, n)?.add(&self.narrow(dim, 0, n)?)
    }

    /// Differences of points along a dim of `like`.
    fn steps_along(&self, dim: i32, like: &Variable) -> Result<Variable> {
        if self.ndim() != 1 || like.ndim() == 1 {
            return self.diff(1, dim, None, None);
        }
        let d = like.with_data(|t| t.dim("trapezoid", dim))?;
        let mut shape = vec![1; like.ndim()];
        shape[d] = -1;
        self.diff(1, 0, None, None)?.reshape(&shape)
    }

    /// Differences of neighbours along a dim, taken `n` times, with more entries joined before and
    /// after first.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Variable::new(Tensor::from_f32(&[1.0, 4.0, 9.0], &[3], Device::CPU)?, true);
    /// assert_eq!(x.diff(2, 0, None, None)?.data().to_f32_vec()?, [2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When `n` is negative, the dim does not exist, or shapes do not fit.
    pub fn diff(
        &self,
        n: i64,
        dim: i32,
        prepend: Option<&Variable>,
        append: Option<&Variable>,
    ) -> Result<Variable> {
        if n < 0 {
            return invalid("diff", format!("n {n} must not be negative"));
        }
        let parts: Vec<&Variable> = prepend.into_iter().chain([self]).chain(append).collect();
        let mut x = if parts.len() > 1 { Variable::cat_many(&parts, dim)? } else { self.clone() };
        for _ in 0..n {
            let size = x.with_data(|t| t.size(dim))?;
            if size == 0 {
                break;
            }
            x = x.narrow(dim, 1, size - 1)?.sub(&x.narrow(dim, 0, size - 1)?)?;
        }
        Ok(x)
    }

    /// A copy with `values` at the places that index tensors name, one index for each of the first
    /// dims; they are broadcast together. A bool mask stands for the indices where it is true.
    /// Negative indices count from the end. With `accumulate` values are added, and those of one
    /// place together; without it one of them stays.
    ///
    /// # Errors
    /// When there are more indices than dims, shapes cannot be broadcast, or an index points
    /// outside.
    pub fn index_put(
        &self,
        indices: &[&Tensor],
        values: &Variable,
        accumulate: bool,
    ) -> Result<Variable> {
        let shape = self.shape();
        let (places, lead, wide) = places("index_put", &shape, indices)?;
        let rest: i64 = shape[lead..].iter().product();
        let count = places.len() as i64;
        let values =
            values.expand(&[&wide[..], &shape[lead..]].concat())?.reshape(&[count, rest])?;
        let flat = self.reshape(&[shape[..lead].iter().product(), rest])?;
        let index = Tensor::from_i64(&places, &[count], self.device())?;
        let put = if accumulate {
            flat.index_add(0, &index, &values)?
        } else {
            flat.scatter(0, &index.unsqueeze(1)?.expand(&[count, rest])?, &values)?
        };
        put.reshape(&shape)
    }
}

/// Places in the first dims as one number each, how many dims those are, and the indices' shape.
fn places(
    op: &'static str,
    shape: &[i64],
    indices: &[&Tensor],
) -> Result<(Vec<i64>, usize, Vec<i64>)> {
    let mut plain = Vec::new();
    for &index in indices {
        if index.dtype() == DType::Bool {
            let found = index.nonzero()?;
            let sizes = shape.get(plain.len()..plain.len() + index.ndim());
            if sizes != Some(&index.shape()[..]) {
                return Err(Error::ShapeMismatch {
                    op,
                    lhs: shape.to_vec(),
                    rhs: index.shape(),
                    why: "a mask must have the sizes of the dims it stands for".into(),
                });
            }
            plain.extend(found.unbind(1)?);
        } else if index.dtype().is_float() {
            let expected = "integer or bool indices".into();
            return Err(Error::DType { op, expected, got: index.dtype() });
        } else {
            plain.push(index.clone());
        }
    }
    if plain.is_empty() || plain.len() > shape.len() {
        let dims = shape.len();
        return invalid(op, format!("{} indices for a tensor of {dims} dims", plain.len()));
    }
    let mut wide = crate::shape::Dims::new();
    for index in &plain {
        wide = crate::shape::broadcast(op, &wide, index.dims())?;
    }
    let wide = crate::shape::to_i64(&wide);
    let mut places = vec![0; wide.iter().product::<i64>() as usize];
    for (index, &size) in plain.iter().zip(shape) {
        for (place, i) in places.iter_mut().zip(index.expand(&wide)?.to_i64_vec()?) {
            let at = if i < 0 { i + size } else { i };
            if !(0..size).contains(&at) {
                return Err(Error::IndexOutOfRange { op, index: i, size });
            }
            *place = *place * size + at;
        }
    }
    Ok((places, plain.len(), wide))
}

impl Tensor {
    /// Differences of neighbours along a dim, taken `n` times, with more entries joined before and
    /// after first.
    ///
    /// # Errors
    /// When `n` is negative, the dim does not exist, or shapes do not fit.
    pub fn diff(
        &self,
        n: i64,
        dim: i32,
        prepend: Option<&Tensor>,
        append: Option<&Tensor>,
    ) -> Result<Tensor> {
        let constant = |t: &Tensor| Variable::constant(t.clone());
        let (before, after) = (prepend.map(constant), append.map(constant));
        no_grad(|| constant(self).diff(n, dim, before.as_ref(), after.as_ref())).map(|v| v.data())
    }

    /// A copy with `values` at the places that index tensors name, see
    /// [`Variable::index_put`](crate::Variable::index_put).
    ///
    /// # Errors
    /// When there are more indices than dims, shapes cannot be broadcast, or an index points
    /// outside.
    pub fn index_put(
        &self,
        indices: &[&Tensor],
        values: &Tensor,
        accumulate: bool,
    ) -> Result<Tensor> {
        let constant = |t: &Tensor| Variable::constant(t.clone());
        no_grad(|| constant(self).index_put(indices, &constant(values), accumulate))
            .map(|v| v.data())
    }
}
