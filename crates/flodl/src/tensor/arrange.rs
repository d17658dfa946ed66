//! Rearrangements that strides alone cannot express: triangles, reversal, rotation, padding.

use super::Tensor;
use crate::backend::{PadGeom, PadMode};
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

    /// Adds a border of `value`: pairs of (before, after), the last dim's first. A negative number
    /// removes entries.
    ///
    /// # Errors
    /// When the pairs are not whole, more than the dims, or remove more than there is.
    ///
    /// ```
    /// use flodl::*;
    /// let t = Tensor::ones(&[1, 2], TensorOptions::default())?;
    /// assert_eq!(t.pad(&[1, 2], 0.0)?.to_f32_vec()?, [0.0, 1.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn pad(&self, padding: &[i64], value: f64) -> Result<Tensor> {
        self.pad_with(padding, PadMode::Constant(value))
    }

    /// [`Tensor::pad`] with what stands in the border to choose: 0 constant, 1 reflect, 2 replicate, 3 circular. Other
    /// modes than `Constant` pad at most three dims and remove nothing; `Reflect` needs a border
    /// smaller than the input, `Circular` one no larger.
    ///
    /// # Errors
    /// When the padding does not suit the shape or the mode.
    pub fn pad_mode(&self, padding: &[i64], mode: i32, value: f64) -> Result<Tensor> {
        let mode = match mode {
            0 => PadMode::Constant(value),
            1 => PadMode::Reflect,
            2 => PadMode::Replicate,
            3 => PadMode::Circular,
            other => {
                return Err(Error::invalid(
                    "pad",
                    format!(
                        "mode {other} must be 0 (constant), 1 (reflect), 2 (replicate) or 3 \
                         (circular)"
                    ),
                ));
            }
        };
        self.pad_with(padding, mode)
    }

    fn pad_error(&self, padding: &[i64], why: &str) -> Error {
        Error::Shape {
            op: "pad",
            expected: format!("a tensor that padding {padding:?} fits ({why})"),
            got: self.shape(),
        }
    }

    fn pad_with(&self, padding: &[i64], mode: PadMode<f64>) -> Result<Tensor> {
        let pairs = padding.len() / 2;
        if !padding.len().is_multiple_of(2) || pairs > self.ndim() {
            return Err(self.pad_error(padding, "a pair for each dim, the last dim's first"));
        }
        let constant = matches!(mode, PadMode::Constant(_));
        if !constant && (pairs > 3 || padding.iter().any(|&n| n < 0)) {
            return Err(self.pad_error(padding, "at most three dims, and nothing negative"));
        }
        // What is removed is a view; what remains to be added is not negative.
        let (mut x, mut add) = (self.clone(), padding.to_vec());
        for (i, pair) in add.chunks_mut(2).enumerate() {
            let d = self.ndim() - 1 - i;
            let (before, after) = (pair[0].min(0), pair[1].min(0));
            let left =
                (self.dims()[d] as i64).checked_add(before).and_then(|n| n.checked_add(after));
            let size = match left {
                Some(left) if left >= 0 => left,
                _ => return Err(self.pad_error(padding, "no more removed than there is")),
            };
            x = x.narrow(d as i32, -before.max(-(self.dims()[d] as i64)), size)?;
            *pair.first_mut().expect("a pair") = pair[0].max(0);
            *pair.last_mut().expect("a pair") = pair[1].max(0);
            let n = size as usize;
            let edge = pair[0].max(pair[1]) as usize;
            let why = match mode {
                PadMode::Reflect if edge >= n && edge > 0 => "reflecting needs a smaller border",
                PadMode::Circular if edge > n => "wrapping needs a border no larger than the input",
                PadMode::Replicate if n == 0 && edge > 0 => "there is no edge to repeat",
                _ => continue,
            };
            return Err(self.pad_error(padding, why));
        }
        // The kernel pads three dims; more of them go one by one from the front.
        for d in 0..self.ndim().saturating_sub(3) {
            let i = 2 * (self.ndim() - 1 - d);
            if add.get(i).is_some_and(|&n| n > 0) || add.get(i + 1).is_some_and(|&n| n > 0) {
                let dims = x.dims();
                let inner: usize = dims[d + 1..].iter().product();
                let g = PadGeom {
                    planes: dims[..d].iter().product(),
                    input: [1, dims[d], inner],
                    before: [0, add[i] as usize, 0],
                    after: [0, add[i + 1] as usize, 0],
                };
                let mut to = x.shape();
                to[d] = to[d].saturating_add(add[i]).saturating_add(add[i + 1]);
                x = x.pad_kernel(&g, mode, &to)?;
            }
        }
        let lead = self.ndim() - self.ndim().min(3);
        let mut g = PadGeom {
            planes: x.dims()[..lead].iter().product(),
            input: [1; 3],
            before: [0; 3],
            after: [0; 3],
        };
        let mut to = x.shape();
        for (d, size) in to.iter_mut().enumerate().skip(lead) {
            let (k, i) = (d + 3 - self.ndim(), 2 * (self.ndim() - 1 - d));
            g.input[k] = x.dims()[d];
            if let Some(&[before, after]) = add.get(i..i + 2).and_then(|p| p.first_chunk::<2>()) {
                (g.before[k], g.after[k]) = (before as usize, after as usize);
                *size = size.saturating_add(before).saturating_add(after);
            }
        }
        if to == x.shape() { Ok(x) } else { x.pad_kernel(&g, mode, &to) }
    }

    fn pad_kernel(&self, g: &PadGeom, mode: PadMode<f64>, to: &[i64]) -> Result<Tensor> {
        let (x, dims) = (self.contiguous()?, crate::shape::sizes("pad", to)?);
        Tensor::build(&dims, x.dtype(), x.device(), |b, out| b.pad(g, mode, x.operand(), out))
    }
}
