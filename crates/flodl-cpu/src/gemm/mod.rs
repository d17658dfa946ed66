//! Matrix multiplication.

pub mod kernel;
pub mod pack;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::{Gemm, Kernel, Tile};
