//! Layers, activations, losses and initialisation. A family of layers is one file.

mod activation;
mod conv;
mod dropout;
pub mod init;
mod linear;
mod module;
mod parameter;
mod shape;

pub use activation::*;
pub use conv::*;
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d};
pub use init::*;
pub use linear::Linear;
pub(crate) use module::unique;
pub use module::*;
pub use parameter::{Buffer, Parameter};
pub use shape::{Flatten, Identity, Reshape};
