//! Reading and writing by index: gather, scatter, embeddings, masks, and the rearrangements that
//! strides alone cannot express.
//!
//! Tensors come as contiguous slices `[outer, len, inner]`, where `len` is the dim that is indexed.
//! Indices must have passed [`check_indices`]; a bad one panics here.

mod embedding;
mod layout;
mod select;

pub use embedding::{
    Bag, BagInput, embedding, embedding_backward, embedding_bag, embedding_bag_backward,
    embedding_bag_weight_grad,
};
pub use layout::{diag_embed, flip, roll, triangle};
pub use select::{count_nonzero, masked_scatter, masked_select, nonzero, searchsorted};

use crate::element::{Element, Number};
use crate::threads::{SharedMut, parallel_rows};

/// The dims around an indexed one: `[outer, len, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Product of the dims before it.
    pub outer: usize,
    /// Size of the dim.
    pub len: usize,
    /// Product of the dims after it.
    pub inner: usize,
}

impl Around {
    /// Geometry of dim `dim` of a contiguous tensor.
    pub fn new(dims: &[usize], dim: usize) -> Self {
        Self {
            outer: dims[..dim].iter().product(),
            len: dims[dim],
            inner: dims[dim + 1..].iter().product(),
        }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.outer * self.len * self.inner
    }
}

/// The first index outside `0 .. len`, if there is one; negative ones do not count from the end.
pub fn check_indices(idx: &[i64], len: usize) -> Option<i64> {
    let bad = |i: i64| i as u64 >= len as u64;
    // Without a branch in the loop, since good indices are the rule.
    let any = idx.chunks(4096).any(|c| c.iter().fold(false, |any, &i| any | bad(i)));
    if any { idx.iter().copied().find(|&i| bad(i)) } else { None }
}

/// `out[o, j, i] = x[o, idx[o, j, i], i]`; `idx` and `out` are `[outer, n, inner]`.
pub fn gather<T: Element>(g: Around, x: &[T], idx: &[i64], out: &mut [T]) {
    assert!(x.len() == g.numel() && idx.len() == out.len());
    if idx.is_empty() {
        return;
    }
    let row = idx.len().checked_div(g.outer).unwrap_or(0);
    let out = SharedMut::new(out);
    parallel_rows(g.outer, 4 * row, |r| {
        for o in r {
            // SAFETY: each outer index belongs to one task.
            let out = unsafe { out.range(o * row..(o + 1) * row) };
            let x = &x[o * g.len * g.inner..(o + 1) * g.len * g.inner];
            let idx = &idx[o * row..(o + 1) * row];
            if g.inner == 1 {
                for (out, &i) in out.iter_mut().zip(idx) {
                    *out = x[i as usize];
                }
            } else {
                let lines = out.chunks_exact_mut(g.inner).zip(idx.chunks_exact(g.inner));
                for (out, idx) in lines {
                    for (i, (out, &at)) in out.iter_mut().zip(idx).enumerate() {
                        *out = x[at as usize * g.inner + i];
                    }
                }
            }
        }
    });
}

/// Runs `put(&mut y[o, idx[o, j, i], i], src[o, j, i])` in order of `j`.
fn scatter_with<T: Element>(
    g: Around,
    y: &mut [T],
    idx: &[i64],
    src: &[T],
    put: impl Fn(&mut T, T) + Sync,
) {
    assert!(y.len() == g.numel() && idx.len() == src.len());
    if idx.is_empty() {
        return;
    }
    let (row, plane) = (idx.len().checked_div(g.outer).unwrap_or(0), g.len * g.inner);
    let y = SharedMut::new(y);
    parallel_rows(g.outer, 4 * row, |r| {
        for o in r {
            // SAFETY: each outer index belongs to one task.
            let y = unsafe { y.range(o * plane..(o + 1) * plane) };
            let part = o * row..(o + 1) * row;
            let lines = idx[part.clone()].chunks(g.inner).zip(src[part].chunks(g.inner));
            for (idx, src) in lines {
                for (i, (&at, &v)) in idx.iter().zip(src).enumerate() {
                    put(&mut y[at as usize * g.inner + i], v);
                }
            }
        }
    });
}

/// `y[o, idx[o, j, i], i] = src[o, j, i]`; of equal indices the last wins.
pub fn scatter<T: Element>(g: Around, y: &mut [T], idx: &[i64], src: &[T]) {
    scatter_with(g, y, idx, src, |y, v| *y = v);
}

/// `y[o, idx[o, j, i], i] += src[o, j, i]`; also the gradient of [`gather`].
pub fn scatter_add<T: Number>(g: Around, y: &mut [T], idx: &[i64], src: &[T]) {
    scatter_with(g, y, idx, src, |y, v| *y = y.add_(v));
}

/// `out[o, j, :] = x[o, idx[j], :]`.
pub fn index_select<T: Element>(g: Around, x: &[T], idx: &[i64], out: &mut [T]) {
    let n = idx.len();
    assert!(x.len() == g.numel() && out.len() == g.outer * n * g.inner);
    let out = SharedMut::new(out);
    parallel_rows(g.outer * n, g.inner + 2, |r| {
        // SAFETY: the rows of one region are disjoint.
        let out = unsafe { out.range(r.start * g.inner..r.end * g.inner) };
        let (mut o, mut j) = (r.start / n, r.start % n);
        let mut at = 0;
        for _ in r {
            let from = (o * g.len + idx[j] as usize) * g.inner;
            if g.inner == 1 {
                out[at] = x[from];
            } else {
                out[at..at + g.inner].copy_from_slice(&x[from..from + g.inner]);
            }
            at += g.inner;
            j += 1;
            if j == n {
                (j, o) = (0, o + 1);
            }
        }
    });
}

/// `y[o, idx[j], :] += alpha * src[o, j, :]` in order of `j`; also the gradient of
/// [`index_select`].
pub fn index_add<T: Number>(g: Around, y: &mut [T], idx: &[i64], alpha: T, src: &[T]) {
    let (n, plane) = (idx.len(), g.len * g.inner);
    assert!(y.len() == g.numel() && src.len() == g.outer * n * g.inner);
    let y = SharedMut::new(y);
    parallel_rows(g.outer, n * g.inner, |r| {
        for o in r {
            // SAFETY: each outer index belongs to one task.
            let y = unsafe { y.range(o * plane..(o + 1) * plane) };
            for (j, &at) in idx.iter().enumerate() {
                let y = &mut y[at as usize * g.inner..][..g.inner];
                let src = &src[(o * n + j) * g.inner..][..g.inner];
                for (y, &v) in y.iter_mut().zip(src) {
                    *y = y.add_(alpha.mul_(v));
                }
            }
        }
    });
}

/// `y[o, idx[j], :] = src[o, j, :]`; of equal indices the last wins.
pub fn index_copy<T: Element>(g: Around, y: &mut [T], idx: &[i64], src: &[T]) {
    assert!(y.len() == g.numel() && src.len() == g.outer * idx.len() * g.inner);
    for o in 0..g.outer {
        for (j, &at) in idx.iter().enumerate() {
            let to = (o * g.len + at as usize) * g.inner;
            let from = (o * idx.len() + j) * g.inner;
            y[to..to + g.inner].copy_from_slice(&src[from..from + g.inner]);
        }
    }
}

/// `y[o, idx[j], :] = value`; the gradient of an index copy with respect to its target.
pub fn index_fill<T: Element>(g: Around, y: &mut [T], idx: &[i64], value: T) {
    assert_eq!(y.len(), g.numel());
    for o in 0..g.outer {
        for &at in idx {
            y[(o * g.len + at as usize) * g.inner..][..g.inner].fill(value);
        }
    }
}

/// Rows `[n, classes]` of zeros with a 1 at the index of each row.
pub fn one_hot<T: Element>(idx: &[i64], classes: usize, out: &mut [T]) {
    assert_eq!(out.len(), idx.len() * classes);
    out.fill(T::ZERO);
    for (j, &i) in idx.iter().enumerate() {
        assert!((i as usize) < classes, "class outside the range");
        out[j * classes + i as usize] = T::ONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, randint};

    fn ints(seed: u64, high: i64, n: usize) -> Vec<i64> {
        let mut out = vec![0; n];
        randint(Key { seed, offset: 0 }, 0, high, &mut out);
        out
    }

    #[test]
    fn indices_are_checked() {
        assert_eq!(check_indices(&[0, 4, 2], 5), None);
        assert_eq!(check_indices(&[0, 5, -1], 5), Some(5));
        assert_eq!(check_indices(&[0, -1], 5), Some(-1));
        assert_eq!(check_indices(&[], 0), None);
        assert_eq!(check_indices(&[0], 0), Some(0));
        let mut long = vec![3; 10_000];
        long[9_999] = i64::MIN;
        assert_eq!(check_indices(&long, 4), Some(i64::MIN));
    }

    #[test]
    fn gather_and_scatter_follow_their_definition() {
        for (outer, len, inner, n) in [(3, 5, 7, 4), (2, 6, 1, 9), (1, 3, 4, 2), (300, 40, 3, 50)] {
            let g = Around { outer, len, inner };
            let x = ints(1, 1000, g.numel());
            let idx = ints(2, len as i64, outer * n * inner);
            let mut out = vec![-1; idx.len()];
            gather(g, &x, &idx, &mut out);
            let place = |e: usize| (e / (n * inner) * len + idx[e] as usize) * inner + e % inner;
            assert!((0..idx.len()).all(|e| out[e] == x[place(e)]));
            let (mut set, mut sum) = (x.clone(), x.clone());
            scatter(g, &mut set, &idx, &out.iter().map(|v| v + 1).collect::<Vec<_>>());
            scatter_add(g, &mut sum, &idx, &out);
            let (mut set2, mut sum2) = (x.clone(), x.clone());
            for e in 0..idx.len() {
                set2[place(e)] = out[e] + 1;
                sum2[place(e)] += out[e];
            }
            assert_eq!((set, sum), (set2, sum2));
        }
    }

    #[test]
    fn rows_are_selected_added_and_set() {
        for (outer, len, inner, n) in [(3, 5, 7, 4), (2, 6, 1, 9), (1, 1000, 64, 3000)] {
            let g = Around { outer, len, inner };
            let x = ints(1, 1000, g.numel());
            let idx = ints(2, len as i64, n);
            let mut out = vec![-1; outer * n * inner];
            index_select(g, &x, &idx, &mut out);
            let place = |e: usize| {
                (e / (n * inner) * len + idx[e / inner % n] as usize) * inner + e % inner
            };
            assert!((0..out.len()).all(|e| out[e] == x[place(e)]));
            let (mut sum, mut set, mut fill) = (x.clone(), x.clone(), x.clone());
            index_add(g, &mut sum, &idx, -2, &out);
            index_copy(g, &mut set, &idx, &ints(3, 50, out.len()));
            index_fill(g, &mut fill, &idx, 77);
            let (mut sum2, mut set2, mut fill2) = (x.clone(), x.clone(), x.clone());
            for (e, v) in ints(3, 50, out.len()).into_iter().enumerate() {
                sum2[place(e)] -= 2 * out[e];
                set2[place(e)] = v;
                fill2[place(e)] = 77;
            }
            assert_eq!((sum, set, fill), (sum2, set2, fill2));
        }
        let mut hot = [9u8; 6];
        one_hot(&[2, 0], 3, &mut hot);
        assert_eq!(hot, [0, 0, 1, 1, 0, 0]);
    }

    #[test]
    fn empty_tensors_are_fine() {
        let g = Around { outer: 2, len: 3, inner: 0 };
        gather::<f32>(g, &[], &[], &mut []);
        scatter_add::<f32>(g, &mut [], &[], &[]);
        index_select::<f32>(g, &[], &[1, 2], &mut []);
        index_add::<f32>(g, &mut [], &[1, 2], 1.0, &[]);
        embedding_backward::<f32>(0, &[0, 0], None, false, &[], &mut []);
        searchsorted(&[1.0, 2.0], 1, false, &[], 0, false, &mut []);
        flip::<f32>(&[2, 0], &[true, true], &[], &mut []);
        triangle::<f32>(true, 0, 0, 3, &[], &mut []);
        let bags = BagInput { idx: &[], offsets: &[0, 0], weights: None, padding_idx: None };
        let mut out = [9.0f32; 4];
        for mode in [Bag::Sum, Bag::Mean, Bag::Max] {
            embedding_bag(mode, &[1.0; 6], 2, bags, &mut out, None);
            assert_eq!(out, [0.0; 4]);
        }
    }

    #[test]
    fn around_a_dim() {
        assert_eq!(Around::new(&[2, 3, 4, 5], 1), Around { outer: 2, len: 3, inner: 20 });
    }
}
