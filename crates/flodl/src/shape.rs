//! Shapes, strides and the arithmetic on them. Nothing here touches memory.

mod dims;

use smallvec::SmallVec;

pub use dims::Dims;
pub(crate) use flodl_cpu::strided::same_dims;

use crate::{Error, Result};

/// How a tensor's elements lie in its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of each dim.
    pub shape: Dims,
    /// Elements between neighbours along each dim; 0 where a dim is broadcast.
    pub strides: Dims,
    /// Elements before the first one.
    pub offset: usize,
}

impl Layout {
    /// Row-major order from the start of the storage.
    #[inline]
    pub fn contiguous(shape: &[usize]) -> Self {
        Layout { shape: Dims::from_slice(shape), strides: Dims::row_major(shape), offset: 0 }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of dims.
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size != 1 && stride != expected {
                return self.numel() == 0;
            }
            expected *= size;
        }
        true
    }

    /// The same elements under another shape, if that needs no copy.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape) });
        }
        // Each run of old dims that lies evenly in memory must map onto a run of new dims.
        let old: SmallVec<[(usize, usize); 6]> = self
            .shape
            .iter()
            .zip(&self.strides)
            .filter(|&(&n, _)| n != 1)
            .map(|(&n, &s)| (n, s))
            .collect();
        let mut strides = Dims::from_elem(0, shape.len());
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (mut have, mut last) = (old[i].0, i);
            let start = j;
            let mut want = 1;
            while want != have {
                if want < have {
                    want *= *shape.get(j)?;
                    j += 1;
                } else {
                    let (size, stride) = *old.get(last + 1)?;
                    if old[last].1 != size * stride {
                        return None;
                    }
                    last += 1;
                    have *= size;
                }
            }
            let mut stride = old[last].1;
            for d in (start..j).rev() {
                strides[d] = stride;
                stride *= shape[d];
            }
            i = last + 1;
        }
        Some(Layout { shape: Dims::from_slice(shape), strides, offset: self.offset })
    }

    /// The view broadcast to `shape` (aligned at the last dim), if that is possible.
    pub fn expand(&self, shape: &[usize]) -> Option<Layout> {
        let lead = shape.len().checked_sub(self.ndim())?;
        let mut strides = Dims::from_elem(0, shape.len());
        for (d, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            if size == shape[lead + d] {
                strides[lead + d] = stride;
            } else if size != 1 {
                return None;
            }
        }
        Some(Layout { shape: Dims::from_slice(shape), strides, offset: self.offset })
    }
}

/// Shape of the result when operands of these shapes meet in elementwise arithmetic.
pub fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Dims> {
    if a == b {
        return Ok(Dims::from_slice(a));
    }
    let n = a.len().max(b.len());
    let at = |s: &[usize], d: usize| if d + s.len() >= n { s[d + s.len() - n] } else { 1 };
    let dims: Dims = (0..n)
        .map(|d| match (at(a, d), at(b, d)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            (x, y) => Err(Error::ShapeMismatch {
                op,
                lhs: to_i64(a),
                rhs: to_i64(b),
                why: format!("sizes {x} and {y} at dim {d} cannot be broadcast"),
            }),
        })
        .collect::<Result<_>>()?;
    if countable(&dims) { Ok(dims) } else { Err(too_large(op, &dims)) }
}

/// Whether a tensor of any dtype with these sizes could be addressed.
pub(crate) fn countable(dims: &[usize]) -> bool {
    // Strides count the dims of an empty tensor too.
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
    count.is_some_and(|n| n <= isize::MAX as usize / 8)
}

/// The error for sizes that cannot.
pub(crate) fn too_large(op: &'static str, dims: &[usize]) -> Error {
    Error::Shape {
        op,
        expected: "fewer elements than memory can address".into(),
        got: to_i64(dims),
    }
}

/// A dim that may count from the end, checked.
pub fn dim(op: &'static str, dim: i32, ndim: usize) -> Result<usize> {
    // A scalar accepts dim 0 and -1, as in PyTorch.
    let n = ndim.max(1) as i64;
    let d = i64::from(dim);
    if d >= -n && d < n {
        Ok((if d < 0 { d + n } else { d }) as usize)
    } else {
        Err(Error::DimOutOfRange { op, dim: d, ndim })
    }
}

/// Sizes from the public `i64` form, checked to be non-negative and to have a countable product.
pub fn sizes(op: &'static str, shape: &[i64]) -> Result<Dims> {
    let mut dims = Dims::from_elem(0, shape.len());
    for (size, &n) in dims.iter_mut().zip(shape) {
        *size = usize::try_from(n).map_err(|_| Error::Shape {
            op,
            expected: "sizes of at least 0".into(),
            got: shape.to_vec(),
        })?;
    }
    if countable(&dims) { Ok(dims) } else { Err(too_large(op, &dims)) }
}

/// Sizes in the public form.
pub fn to_i64(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| n as i64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_of_a_transpose_needs_a_copy_and_of_a_narrow_does_not() {
        let t = Layout {
            shape: Dims::from_slice(&[3, 2]),
            strides: Dims::from_slice(&[1, 3]),
            offset: 0,
        };
        assert_eq!(t.reshape(&[6]), None);
        let n = Layout {
            shape: Dims::from_slice(&[2, 4]),
            strides: Dims::from_slice(&[8, 1]),
            offset: 2,
        };
        let r = n.reshape(&[2, 1, 2, 2]).unwrap();
        assert_eq!(r.strides[..], [8, 4, 2, 1]);
        assert_eq!(n.reshape(&[8]), None);
    }

    #[test]
    fn broadcast_aligns_at_the_end() {
        assert_eq!(broadcast("add", &[3, 1], &[2, 1, 4]).unwrap()[..], [2, 3, 4]);
        assert_eq!(broadcast("add", &[0], &[1]).unwrap()[..], [0]);
        assert!(broadcast("add", &[3], &[4]).is_err());
    }
}
