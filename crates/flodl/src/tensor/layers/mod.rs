//! The layers' functions on plain tensors, a file for each family: shapes are checked and sizes
//! worked out here, once; [`crate::Variable`]'s operations call the same code and add gradients.

mod bilinear;
mod conv;
mod dropout;
mod embedding;
mod fold;
mod norm;
mod pad;
mod pool;
mod resample;

pub(crate) use bilinear::Bilinear;
pub use conv::ConvOptions;
pub(crate) use conv::{ConvKind, conv_geometry, conv_transpose_geometry};
pub(crate) use dropout::{Drop, alpha_drop, check_probability, drop_all, feature_drop};
pub(crate) use embedding::{BagPlan, bag_plan, integers};
pub(crate) use fold::{fold_geometry, unfold_geometry};
pub(crate) use norm::{Batch, Rows, channels, row_length};
pub(crate) use pad::{PadStep, pad_mode_of, pad_plan};
pub use pool::Windows;
pub(crate) use pool::{adaptive_geometry, pool_geometry};
pub(crate) use resample::{grid_geometry, resample_geometry};

/// The names of spatial dims in messages, by how many there are.
pub(crate) const SPACE: [&str; 3] = ["L", "H, W", "D, H, W"];

/// A list of at most three sizes, filled up in front.
pub(crate) fn lift<const D: usize>(values: [i64; D], missing: usize) -> [usize; 3] {
    let mut out = [missing; 3];
    for (o, v) in out[3 - D..].iter_mut().zip(values) {
        *o = v as usize;
    }
    out
}

/// A step as kernels take it: where it is not taken at all, as between the elements of a window of
/// one, its size has no meaning and may be any number.
pub(crate) fn step(size: i64, steps: i64, idle: i64) -> i64 {
    if steps > 0 { size } else { idle }
}
