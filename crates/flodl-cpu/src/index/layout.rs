//! Triangles, diagonals, reversal and rotation.

use super::Around;
use crate::element::Element;
use crate::threads::{SharedMut, parallel_rows};

/// Keeps the upper (column - row >= diagonal) or lower (column - row <= diagonal) triangle of each
/// matrix `[rows, cols]` and clears the rest. The gradient is the same call on the gradient.
pub fn triangle<T: Element>(
    upper: bool,
    diagonal: i64,
    rows: usize,
    cols: usize,
    x: &[T],
    y: &mut [T],
) {
    assert!(x.len() == y.len() && (rows * cols == 0 || x.len().is_multiple_of(rows * cols)));
    let y = SharedMut::new(y);
    parallel_rows(x.len().checked_div(cols).unwrap_or(0), cols, |r| {
        for row in r {
            let part = row * cols..(row + 1) * cols;
            // SAFETY: each row belongs to one task.
            let (y, x) = (unsafe { y.range(part.clone()) }, &x[part]);
            let first = (row % rows) as i64;
            // First column of the upper part, or behind the last of the lower one.
            let edge = first.saturating_add(diagonal).saturating_add(i64::from(!upper));
            let edge = edge.clamp(0, cols as i64) as usize;
            let (zero, keep) = if upper { (0..edge, edge..cols) } else { (edge..cols, 0..edge) };
            y[zero].fill(T::ZERO);
            y[keep.clone()].copy_from_slice(&x[keep]);
        }
    });
}

/// Square matrices with the rows of `x [batch, n]` on a diagonal and zeros elsewhere; their size
/// is `n` plus the diagonal's distance from the main one.
pub fn diag_embed<T: Element>(n: usize, diagonal: i64, x: &[T], y: &mut [T]) {
    let off = diagonal.unsigned_abs() as usize;
    let size = n + off;
    let batch = x.len().checked_div(n).unwrap_or(0);
    assert!(n == 0 || y.len() == batch * size * size);
    y.fill(T::ZERO);
    if n == 0 {
        return;
    }
    let (row, col) = if diagonal < 0 { (off, 0) } else { (0, off) };
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(size * size)) {
        for (i, &v) in x.iter().enumerate() {
            y[(i + row) * size + i + col] = v;
        }
    }
}

/// Reverses the dims that are marked in `reverse`. The gradient is the same call on the gradient.
pub fn flip<T: Element>(dims: &[usize], reverse: &[bool], x: &[T], y: &mut [T]) {
    assert!(dims.len() == reverse.len() && x.len() == y.len());
    assert_eq!(x.len(), dims.iter().product::<usize>());
    let Some((&width, outer)) = dims.split_last() else { return y.copy_from_slice(x) };
    let back = reverse[dims.len() - 1];
    let y = SharedMut::new(y);
    parallel_rows(x.len().checked_div(width).unwrap_or(0), width, |r| {
        for row in r {
            let (mut rest, mut from, mut stride) = (row, 0, 1);
            for (&d, &flip) in outer.iter().zip(reverse).rev() {
                let i = rest % d;
                from += stride * if flip { d - 1 - i } else { i };
                (rest, stride) = (rest / d, stride * d);
            }
            // SAFETY: each row belongs to one task.
            let y = unsafe { y.range(row * width..(row + 1) * width) };
            let x = &x[from * width..(from + 1) * width];
            y.copy_from_slice(x);
            if back {
                y.reverse();
            }
        }
    });
}

/// Moves elements `shift` places on along the dim, those that fall off the end to its start. The
/// gradient is the call with `-shift`.
pub fn roll<T: Element>(g: Around, shift: i64, x: &[T], y: &mut [T]) {
    assert!(x.len() == g.numel() && y.len() == x.len());
    if g.numel() == 0 {
        return;
    }
    let plane = g.len * g.inner;
    let cut = shift.rem_euclid(g.len as i64) as usize * g.inner;
    for (x, y) in x.chunks_exact(plane).zip(y.chunks_exact_mut(plane)) {
        y[cut..].copy_from_slice(&x[..plane - cut]);
        y[..cut].copy_from_slice(&x[plane - cut..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triangles() {
        let x: Vec<i64> = (1..=24).collect();
        for diagonal in [-9, -2, -1, 0, 1, 3, 9, i64::MAX, i64::MIN] {
            for upper in [false, true] {
                let mut y = vec![-1; 24];
                triangle(upper, diagonal, 3, 4, &x, &mut y);
                for (i, &v) in y.iter().enumerate() {
                    let d = (i % 4) as i64 - (i / 4 % 3) as i64;
                    let keep = if upper { d >= diagonal } else { d <= diagonal };
                    assert_eq!(v, if keep { x[i] } else { 0 }, "{diagonal} {upper} {i}");
                }
            }
        }
    }

    #[test]
    fn diagonals() {
        let mut y = [9; 9];
        diag_embed(2, 1, &[1, 2], &mut y);
        assert_eq!(y, [0, 1, 0, 0, 0, 2, 0, 0, 0]);
        diag_embed(2, -1, &[1, 2], &mut y);
        assert_eq!(y, [0, 0, 0, 1, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn reversal_and_rotation() {
        let x: Vec<i64> = (0..12).collect();
        let mut y = vec![0; 12];
        flip(&[2, 3, 2], &[true, false, true], &x, &mut y);
        assert_eq!(y, [7, 6, 9, 8, 11, 10, 1, 0, 3, 2, 5, 4]);
        flip(&[2, 3, 2], &[false, true, false], &x, &mut y);
        assert_eq!(y, [4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]);
        let g = Around { outer: 2, len: 3, inner: 2 };
        roll(g, 1, &x, &mut y);
        assert_eq!(y, [4, 5, 0, 1, 2, 3, 10, 11, 6, 7, 8, 9]);
        roll(g, -4, &x, &mut y);
        assert_eq!(y, [2, 3, 4, 5, 0, 1, 8, 9, 10, 11, 6, 7]);
    }
}
