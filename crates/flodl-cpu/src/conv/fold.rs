//! Sliding blocks as columns and back (im2col and col2im), as layers use them.

use super::ConvGeom;
use super::patches::{Patches, scatter_add};
use crate::element::Float;
use crate::threads::{SharedMut, parallel_rows};

/// Sizes of [`unfold`] and [`fold`]: the geometry of a convolution whose weights do not matter.
pub type FoldGeom = ConvGeom;

/// `[N, C, input…]` to `[N, C · kernel…, output positions]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn unfold<T: Float>(g: &FoldGeom, x: &[T], y: &mut [T]) {
    let (plane, taps) = (g.out_plane(), g.taps());
    assert_eq!(x.len(), g.batch * g.c_in * g.in_plane(), "length of the input");
    assert_eq!(y.len(), g.batch * g.c_in * taps * plane, "length of the output");
    let whole = ConvGeom { groups: 1, ..*g };
    let out = SharedMut::new(y);
    parallel_rows(g.batch * g.c_in, taps * plane, |rows| {
        for r in rows {
            let (n, c) = (r / g.c_in, r % g.c_in);
            // SAFETY: each channel of each image belongs to one task.
            let y = unsafe { out.range(r * taps * plane..(r + 1) * taps * plane) };
            Patches::new(&whole, x, 0, n..n + 1, 0..plane).gather(y, c..c + 1);
        }
    });
}

/// `[N, C · kernel…, output positions]` to `[N, C, input…]`: overlapping elements are added.
///
/// # Panics
/// If the lengths do not fit.
pub fn fold<T: Float>(g: &FoldGeom, y: &[T], x: &mut [T]) {
    let (plane, taps, in_plane) = (g.out_plane(), g.taps(), g.in_plane());
    assert_eq!(x.len(), g.batch * g.c_in * in_plane, "length of the output");
    assert_eq!(y.len(), g.batch * g.c_in * taps * plane, "length of the input");
    let out = SharedMut::new(x);
    parallel_rows(g.batch * g.c_in, taps * plane, |rows| {
        for r in rows {
            // SAFETY: each channel of each image belongs to one task.
            let x = unsafe { out.range(r * in_plane..(r + 1) * in_plane) };
            x.fill(T::ZERO);
            scatter_add(g, &y[r * taps * plane..(r + 1) * taps * plane], x);
        }
    });
}
