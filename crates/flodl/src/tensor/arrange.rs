//! Rearrangements that strides alone cannot express: triangles, reversal, rotation.

use super::Tensor;
use crate::{DType, Error, Result};

impl Tensor {
    /// The upper triangle of each matrix, from the given diagonal on; zeros elsewhere.
    ///
    /// # Errors
    /// When there are fewer than two dims.
    pub fn triu(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle("triu", true, diagonal)
    }

    /// The lower triangle of each matrix, up to the given diagonal; zeros elsewhere.
    ///
    /// # Errors
    /// When there are fewer than two dims.
    pub fn tril(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle("tril", false, diagonal)
    }

    fn triangle(&self, op: &'static str, upper: bool, diagonal: i64) -> Result<Tensor> {
        if self.ndim() < 2 {
            return Err(Error::Shape { op, expected: "at least 2 dims".into(), got: self.shape() });
        }
        let x = self.contiguous()?;
        Tensor::build(x.dims(), x.dtype(), x.device(), |b, out| {
            b.triangle(x.operand(), upper, diagonal, out)
        })
    }

    /// Reverses the order along dims.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn flip(&self, dims: &[i64]) -> Result<Tensor> {
        if dims.is_empty() || self.ndim() == 0 {
            for &d in dims {
                self.dim_i64("flip", d)?;
            }
            return Ok(self.clone());
        }
        let mut reverse = smallvec::SmallVec::<[bool; 6]>::from_elem(false, self.ndim());
        for &d in dims {
            let d = self.dim_i64("flip", d)?;
            if std::mem::replace(&mut reverse[d], true) {
                return Err(Error::invalid("flip", format!("dim {d} appears more than once")));
            }
        }
        let x = self.contiguous()?;
        Tensor::build(x.dims(), x.dtype(), x.device(), |b, out| b.flip(x.operand(), &reverse, out))
    }

    /// A dim given in the wide form.
    pub(crate) fn dim_i64(&self, op: &'static str, dim: i64) -> Result<usize> {
        let out = Error::DimOutOfRange { op, dim, ndim: self.ndim() };
        self.dim(op, i32::try_from(dim).map_err(|_| out)?)
    }

    /// Moves elements `shift` places on along a dim, those that fall off the end to its start.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn roll(&self, shift: i64, dim: i32) -> Result<Tensor> {
        let (d, x) = (self.dim("roll", dim)?, self.contiguous()?);
        Tensor::build(x.dims(), x.dtype(), x.device(), |b, out| b.roll(x.operand(), d, shift, out))
    }

    /// Index vectors of length `num_classes` with a 1 at the index and zeros elsewhere (`Int64`);
    /// -1 stands for one more than the largest index.
    ///
    /// # Errors
    /// When an index is not in `0..num_classes`, or the dtype is not an integer.
    pub fn one_hot(&self, num_classes: i64) -> Result<Tensor> {
        let index = Tensor::checked_index("one_hot", self)?;
        let classes = match num_classes {
            -1 if index.len() > 0 => index.max()?.item()? as i64 + 1,
            n => n,
        };
        if classes < 1 && index.len() == 0 || classes < 0 {
            return Err(Error::invalid(
                "one_hot",
                format!(
                    "num_classes {num_classes} must be positive, or -1 where there are indices"
                ),
            ));
        }
        let mut shape = self.shape();
        shape.push(classes);
        let dims = crate::shape::sizes("one_hot", &shape)?;
        if index.len() > 0 && classes == 0 {
            let first = index.reshape(&[-1])?.select(0, 0)?.item()? as i64;
            return Err(Error::IndexOutOfRange { op: "one_hot", index: first, size: 0 });
        }
        Tensor::build(&dims, DType::Int64, self.device(), |b, out| {
            b.one_hot(index.operand(), classes as usize, out)
        })
    }
}
