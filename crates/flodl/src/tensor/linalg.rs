//! Matrix products and what is made of them.

use super::Tensor;
use crate::backend::{BinaryOp, MatmulEnd, Operand, RowOp, SmoothOp, UnaryOp};
use crate::shape::{self, Dims, Layout};
use crate::{DType, Error, Result};

impl Tensor {
    /// The matrix product of the last two dims; the dims before them are broadcast. A 1-d operand
    /// counts as a row on the left and as a column on the right, as in PyTorch. Any strides.
    ///
    /// # Errors
    /// When the inner sizes differ, batch dims cannot be broadcast, or dtypes or devices differ.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        if self.ndim() == 0 || other.ndim() == 0 {
            return Err(self.matmul_mismatch(other, "both need at least 1 dim"));
        }
        if self.ndim() == 1 {
            return self.unsqueeze(0)?.matmul(other)?.squeeze(if other.ndim() == 1 {
                0
            } else {
                -2
            });
        }
        if other.ndim() == 1 {
            return self.matmul(&other.unsqueeze(1)?)?.squeeze(-1);
        }
        self.matmul_bias(other, None)
    }

    fn matmul_mismatch(&self, other: &Tensor, why: &str) -> Error {
        Error::ShapeMismatch {
            op: "matmul",
            lhs: self.shape(),
            rhs: other.shape(),
            why: why.into(),
        }
    }

    /// The product of operands with at least two dims, plus a bias for each column.
    pub(crate) fn matmul_bias(&self, other: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.check_same("matmul", other)?;
        if self.dtype().is_half() {
            let wide = |t: &Tensor| t.to_dtype(DType::Float32);
            let bias = bias.map(wide).transpose()?;
            let product = wide(self)?.matmul_bias(&wide(other)?, bias.as_ref())?;
            return product.to_dtype(self.dtype());
        }
        let (a, b) = (self.dims(), other.dims());
        let (m, k) = (a[a.len() - 2], a[a.len() - 1]);
        let (k2, n) = (b[b.len() - 2], b[b.len() - 1]);
        if k != k2 {
            return Err(self.matmul_mismatch(other, &format!("inner sizes {k} and {k2} differ")));
        }
        let (batch_a, batch_b) = (&a[..a.len() - 2], &b[..b.len() - 2]);
        // A matrix on the right serves all rows on the left at once.
        if batch_b.is_empty() && !batch_a.is_empty() {
            let rows = batch_a.iter().product::<usize>() * m;
            let flat = self.reshape_dims(&[rows, k])?;
            let mut out = Dims::from_slice(&a[..a.len() - 1]);
            out.push(n);
            return flat.matmul_bias(other, bias)?.reshape_dims(&out);
        }
        let batch = shape::broadcast("matmul", batch_a, batch_b)?;
        let count: usize = batch.iter().product();
        let stack = |t: &Tensor, rows: usize, cols: usize| -> Result<Tensor> {
            let mut dims = batch.clone();
            dims.extend([rows, cols]);
            let own = &t.dims()[..t.ndim() - 2];
            if own.iter().product::<usize>() == 1 {
                // One matrix for the whole batch: stride 0, no copy.
                return Ok(t
                    .reshape_dims(&[1, rows, cols])?
                    .expand_dims(&[count, rows, cols])
                    .expect("the size 1 of the batch broadcasts to any"));
            }
            let view = t.expand_dims(&dims).expect("broadcast has checked the shapes");
            view.reshape_dims(&[count, rows, cols])
        };
        let (left, right) = (stack(self, m, k)?, stack(other, k, n)?);
        let mut out = batch.clone();
        out.extend([m, n]);
        if !shape::countable(&out) {
            return Err(shape::too_large("matmul", &out));
        }
        if !self.dtype().is_float() {
            return left.matmul_integer(&right)?.reshape_dims(&out);
        }
        Tensor::build(&out, self.dtype(), self.device(), |backend, storage| {
            let end = MatmulEnd { bias: bias.map(Tensor::operand), ..MatmulEnd::default() };
            backend.matmul(left.operand(), right.operand(), end, storage)
        })
    }

    /// Adds the product of two matrices in place: PyTorch's `addmm_`.
    pub(crate) fn addmm_(&mut self, mat1: &Tensor, mat2: &Tensor) -> Result<()> {
        mat1.check_same("addmm_", mat2)?;
        self.check_same("addmm_", mat1)?;
        let plain = self.dtype().is_float() && !self.dtype().is_half() && self.layout().offset == 0;
        let fits = match (self.dims(), mat1.dims(), mat2.dims()) {
            (&[m, n], &[m1, k1], &[k2, n2]) => (m, n, k1) == (m1, n2, k2),
            _ => false,
        };
        if !plain || !fits || self.shares_storage(mat1) || self.shares_storage(mat2) {
            return self.add_(&mat1.matmul(mat2)?);
        }
        let (left, right) = (mat1.unsqueeze(0)?, mat2.unsqueeze(0)?);
        let backend = self.backend()?;
        let end = MatmulEnd { accumulate: true, ..MatmulEnd::default() };
        let (storage, _) = self.own()?;
        backend.matmul(left.operand(), right.operand(), end, storage)
    }

    /// Integer products by broadcasting: exact, and rare enough to need no kernel.
    fn matmul_integer(&self, other: &Tensor) -> Result<Tensor> {
        let products = self.unsqueeze(-1)?.mul(&other.unsqueeze(1)?)?;
        products.sum_dim(2, false)?.to_dtype(self.dtype())
    }

    /// x · Wᵀ + b for x `[…, in]`, W `[out, in]`, b `[out]`.
    ///
    /// # Errors
    /// When sizes, dtypes or devices differ.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.check_linear(weight, bias)?;
        if self.dtype().is_float() && !self.dtype().is_half() {
            self.check_same("linear", weight)?;
            return self.linear_end(weight, bias, None);
        }
        if self.ndim() == 1 {
            return self.unsqueeze(0)?.linear(weight, bias)?.squeeze(0);
        }
        self.matmul_bias(&weight.transpose(0, 1)?, bias)
    }

    /// Whether [`Tensor::linear`] of these can have an operation done while its output is in the cache.
    /// Operands that do not fit each other cannot.
    pub(crate) fn ends_in_cache(&self, weight: &Tensor, bias: Option<&Tensor>) -> bool {
        let floats = self.dtype().is_float() && !self.dtype().is_half();
        floats
            && self.ndim() > 1
            && self.len() > 0
            && weight.len() > 0
            && self.check_linear(weight, bias).is_ok()
            && self.check_same("linear", weight).is_ok()
    }

    /// An operation in place on the output of [`Tensor::linear`], where [`Tensor::ends_in_cache`].
    pub(crate) fn linear_act(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        op: UnaryOp,
    ) -> Result<Tensor> {
        self.linear_end(weight, bias, Some(RowOp::Replace(op)))
    }

    /// An activation of the output of [`Tensor::linear`] and its derivative there, where
    /// [`Tensor::ends_in_cache`].
    pub(crate) fn linear_with_slope(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        op: SmoothOp,
    ) -> Result<[Tensor; 2]> {
        let mut out = Tensor::fresh(&self.linear_dims(weight), self.dtype(), self.device())?;
        let then = RowOp::WithSlope(op, out.fresh_storage());
        let slope = self.linear_end(weight, bias, Some(then))?;
        Ok([out, slope])
    }

    /// The product of all rows with a checked weight, and what follows it. Only layouts are made of the
    /// operands: with a row or two, tensors that view them would cost as much as the product.
    fn linear_end(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        then: Option<RowOp<'_>>,
    ) -> Result<Tensor> {
        let dims = self.linear_dims(weight);
        if !shape::countable(&dims) {
            return Err(shape::too_large("linear", &dims));
        }
        let (rows, inputs) = (dims[..dims.len() - 1].iter().product(), weight.dims()[1]);
        let flat = [1, rows, inputs];
        let copy;
        let (x, rows) = match self.layout().reshape(&flat) {
            Some(rows) => (self, rows),
            None => {
                copy = self.contiguous()?;
                (&copy, Layout::contiguous(&flat))
            }
        };
        let w = weight.layout();
        let columns = Layout {
            shape: Dims::from_slice(&[1, inputs, weight.dims()[0]]),
            strides: Dims::from_slice(&[0, w.strides[1], w.strides[0]]),
            offset: w.offset,
        };
        let x = Operand { layout: &rows, ..x.operand() };
        let w = Operand { layout: &columns, ..weight.operand() };
        let end = MatmulEnd { bias: bias.map(Tensor::operand), then, ..MatmulEnd::default() };
        Tensor::build(&dims, self.dtype(), self.device(), |backend, out| {
            backend.matmul(x, w, end, out)
        })
    }

    /// Sizes of the output of [`Tensor::linear`].
    fn linear_dims(&self, weight: &Tensor) -> Dims {
        self.dims_with(self.ndim() - 1, weight.dims()[0])
    }

    /// `op(self, other)`, which have one shape `[…, out]`, and its product with a weight `[out, in]`, made
    /// while it is in the cache.
    pub(crate) fn binary_matmul(
        &self,
        (name, op): (&'static str, BinaryOp),
        other: &Tensor,
        weight: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let alike = |t: &Tensor| t.dtype() == self.dtype() && t.device() == self.device();
        let plain = self.dtype().is_float() && !self.dtype().is_half() && self.len() > 0;
        let fits = self.dims() == other.dims() && self.dims().last() == weight.dims().first();
        let dense = self.is_contiguous() && other.is_contiguous() && self.ndim() > 1;
        if !(plain && fits && dense && weight.ndim() == 2 && alike(other) && alike(weight)) {
            let made = self.binary(name, op, other)?;
            let product = made.matmul(weight)?;
            return Ok([made, product]);
        }
        let mut dims = Dims::from_slice(self.dims());
        if let Some(last) = dims.last_mut() {
            *last = weight.dims()[1];
        }
        let mut made = Tensor::fresh(self.dims(), self.dtype(), self.device())?;
        let product = Tensor::build(&dims, self.dtype(), self.device(), |backend, out| {
            let operands = [self.operand(), other.operand()];
            backend.matmul_of(op, operands, weight.operand(), made.fresh_storage(), out)
        })?;
        Ok([made, product])
    }

    /// Whether a linear layer of these takes such an input.
    fn check_linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        if weight.ndim() != 2 || self.ndim() == 0 || self.dims().last() != weight.dims().last() {
            return Err(Error::ShapeMismatch {
                op: "linear",
                lhs: self.shape(),
                rhs: weight.shape(),
                why: "the last dim of the input must be in_features of the weight \
                      [out_features, in_features]"
                    .into(),
            });
        }
        if let Some(b) = bias {
            self.check_same("linear", b)?;
            if b.dims() != [weight.dims()[0]] {
                return Err(Error::Shape {
                    op: "linear",
                    expected: format!("a bias of [{}]", weight.dims()[0]),
                    got: b.shape(),
                });
            }
        }
        Ok(())
    }

    /// beta · self + alpha · mat1 · mat2.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn addmm(&self, mat1: &Tensor, mat2: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
        let product = mat1.matmul(mat2)?;
        let product = if alpha == 1.0 { product } else { product.mul_scalar(alpha)? };
        if beta == 0.0 {
            return Ok(product);
        }
        let base = if beta == 1.0 { self.clone() } else { self.mul_scalar(beta)? };
        base.add(&product)
    }

    /// The matrix product of two stacks of matrices.
    ///
    /// # Errors
    /// When an operand is not 3-d or shapes do not fit.
    pub fn bmm(&self, other: &Tensor) -> Result<Tensor> {
        if self.ndim() != 3 || other.ndim() != 3 || self.dims()[0] != other.dims()[0] {
            return Err(Error::ShapeMismatch {
                op: "bmm",
                lhs: self.shape(),
                rhs: other.shape(),
                why: "both need 3 dims and one batch size".into(),
            });
        }
        self.matmul(other)
    }

    /// Euclidean distances between the rows of two matrices (or stacks of them).
    ///
    /// # Errors
    /// When row lengths differ.
    pub fn cdist(&self, other: &Tensor) -> Result<Tensor> {
        self.cdist_p(other, 2.0)
    }

    /// p-norm distances between the rows of two matrices (or stacks of them).
    ///
    /// # Errors
    /// When row lengths differ.
    pub fn cdist_p(&self, other: &Tensor, p: f64) -> Result<Tensor> {
        if self.ndim() < 2 || other.ndim() < 2 || self.dims().last() != other.dims().last() {
            return Err(Error::ShapeMismatch {
                op: "cdist",
                lhs: self.shape(),
                rhs: other.shape(),
                why: "both need at least 2 dims and rows of one length".into(),
            });
        }
        self.unsqueeze(-2)?.sub(&other.unsqueeze(-3)?)?.norm_p(p, -1, false)
    }

    /// The cosine of the angle between two tensors along a dim, with norms of at least `eps`.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or the dim does not exist.
    pub fn cosine_similarity(&self, other: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
        let dim = dim as i32;
        let (a, b) = self.broadcast_with("cosine_similarity", other)?;
        let unit = |t: &Tensor| t.div(&t.norm_p(2.0, dim, true)?.clamp_min(eps)?);
        unit(&a)?.mul(&unit(&b)?)?.sum_dim(dim, false)
    }
}
