//! [`Dims`]: a short list of sizes.

use std::fmt;
use std::ops::{Deref, DerefMut};

use flodl_cpu::strided::same_dims;

/// How many sizes need no heap allocation: those of a batch of volumes. One more, and a tensor's
/// handle would take more than the 128 bytes that compilers move without a call.
const INLINE: usize = 5;

/// Sizes or strides, without a heap allocation for up to five dims.
///
/// Every operation clones the layouts of some handles, so a clone of an inline list copies all its
/// words at once instead of counting them.
#[derive(Clone)]
pub struct Dims(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, sizes: [usize; INLINE] },
    Heap(Vec<usize>),
}

impl Dims {
    /// No dims.
    pub const fn new() -> Self {
        Dims(Repr::Inline { len: 0, sizes: [0; INLINE] })
    }

    /// The same size in `n` dims.
    pub fn from_elem(size: usize, n: usize) -> Self {
        if n <= INLINE {
            Dims(Repr::Inline { len: n as u8, sizes: [size; INLINE] })
        } else {
            Dims(Repr::Heap(vec![size; n]))
        }
    }

    /// These sizes.
    #[inline]
    pub fn from_slice(from: &[usize]) -> Self {
        // In registers: a call of memcpy for a few words would cost more than all of an operation
        // on a scalar.
        match *from {
            [] => Dims::new(),
            [a] => Dims::inline([a]),
            [a, b] => Dims::inline([a, b]),
            [a, b, c] => Dims::inline([a, b, c]),
            [a, b, c, d] => Dims::inline([a, b, c, d]),
            [a, b, c, d, e] => Dims::inline([a, b, c, d, e]),
            _ => Dims(Repr::Heap(from.to_vec())),
        }
    }

    /// The strides of row-major order for these sizes.
    #[inline]
    pub fn row_major(shape: &[usize]) -> Self {
        match *shape {
            [] => Dims::new(),
            [_] => Dims::inline([1]),
            [_, b] => Dims::inline([b.max(1), 1]),
            [_, b, c] => Dims::inline([b.max(1) * c.max(1), c.max(1), 1]),
            _ => {
                let mut strides = Dims::from_elem(1, shape.len());
                for d in (1..shape.len()).rev() {
                    strides[d - 1] = strides[d] * shape[d].max(1);
                }
                strides
            }
        }
    }

    #[inline]
    fn inline<const N: usize>(these: [usize; N]) -> Self {
        let mut sizes = [0; INLINE];
        for (to, from) in sizes.iter_mut().zip(these) {
            *to = from;
        }
        Dims(Repr::Inline { len: N as u8, sizes })
    }

    /// Appends a size.
    pub fn push(&mut self, size: usize) {
        match &mut self.0 {
            Repr::Inline { len, sizes } if usize::from(*len) < INLINE => {
                sizes[usize::from(*len)] = size;
                *len += 1;
            }
            Repr::Inline { sizes, .. } => {
                let mut all = sizes.to_vec();
                all.push(size);
                self.0 = Repr::Heap(all);
            }
            Repr::Heap(all) => all.push(size),
        }
    }

    /// Appends sizes.
    pub fn extend_from_slice(&mut self, sizes: &[usize]) {
        self.extend(sizes.iter().copied());
    }

    /// Puts a size before dim `at`.
    pub fn insert(&mut self, at: usize, size: usize) {
        self.push(size);
        self[at..].rotate_right(1);
    }

    /// Takes dim `at` out.
    pub fn remove(&mut self, at: usize) -> usize {
        self[at..].rotate_left(1);
        match &mut self.0 {
            Repr::Inline { len, sizes } => {
                *len -= 1;
                sizes[usize::from(*len)]
            }
            Repr::Heap(all) => all.pop().unwrap_or_default(),
        }
    }
}

impl Default for Dims {
    fn default() -> Self {
        Dims::new()
    }
}

impl Deref for Dims {
    type Target = [usize];

    #[inline]
    fn deref(&self) -> &[usize] {
        match &self.0 {
            Repr::Inline { len, sizes } => &sizes[..usize::from(*len)],
            Repr::Heap(all) => all,
        }
    }
}

impl DerefMut for Dims {
    #[inline]
    fn deref_mut(&mut self) -> &mut [usize] {
        match &mut self.0 {
            Repr::Inline { len, sizes } => &mut sizes[..usize::from(*len)],
            Repr::Heap(all) => all,
        }
    }
}

impl Extend<usize> for Dims {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, sizes: I) {
        sizes.into_iter().for_each(|size| self.push(size));
    }
}

impl FromIterator<usize> for Dims {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        let mut dims = Dims::new();
        dims.extend(sizes);
        dims
    }
}

impl<'a> IntoIterator for &'a Dims {
    type Item = &'a usize;
    type IntoIter = std::slice::Iter<'a, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Dims {
    fn eq(&self, other: &Self) -> bool {
        same_dims(self, other)
    }
}

impl Eq for Dims {}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the length, a list behaves as a vector of the same sizes.
    #[test]
    fn dims_are_a_vector_on_both_sides_of_the_inline_length() {
        for n in 0..9 {
            let plain: Vec<usize> = (1..=n).collect();
            let dims = Dims::from_slice(&plain);
            assert_eq!(&dims[..], &plain[..]);
            assert_eq!(dims, plain.iter().copied().collect());
            assert_eq!(&Dims::from_elem(7, n)[..], &vec![7; n][..]);
            assert_eq!(format!("{dims:?}"), format!("{plain:?}"));
            for at in 0..=n {
                let (mut a, mut b) = (dims.clone(), plain.clone());
                a.insert(at, 40);
                b.insert(at, 40);
                assert_eq!(&a[..], &b[..], "insert at {at} of {n}");
                assert_eq!(a.remove(at), 40);
                assert_eq!(a, dims, "remove at {at} of {n}");
            }
        }
    }
}
