//! Normalisations, forward and backward.
//!
//! Layer and RMS norm work on dense rows (`layer`), batch norm on channels of [N, C, S] (`batch`),
//! group norm, and so instance norm, on groups of channels (`group`). What a forward pass saves is
//! the least its gradient needs: mean and 1 / standard deviation.

mod batch;
mod group;
mod layer;
mod long;

pub use batch::{BatchNorm, batch_norm_apply, batch_norm_backward, batch_norm_forward};
pub use group::{group_norm_backward, group_norm_forward};
pub use layer::{
    Plus, layer_norm_backward, layer_norm_forward, rms_norm_backward, rms_norm_forward,
};
