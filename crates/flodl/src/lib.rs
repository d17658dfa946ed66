//! Deep learning in pure Rust: PyTorch's layers, reverse-mode autograd and a fluent graph builder,
//! on kernels of its own. No libtorch, no Python, no C++ build.
//!
//! ```
//! use flodl::*;
//! manual_seed(0);
//! let model = FlowBuilder::from(Linear::new(2, 16)?).through(GELU).through(Linear::new(16, 1)?).build()?;
//! let mut optimizer = Adam::new(&model.parameters(), 0.01);
//! let x = Variable::new(Tensor::randn(&[64, 2], TensorOptions::default())?, false);
//! let y = x.narrow(1, 0, 1)?.mul(&x.narrow(1, 1, 1)?)?;
//! let mut last = f64::INFINITY;
//! for _ in 0..200 {
//!     let loss = mse_loss(&model.forward(&x)?, &y)?;
//!     optimizer.zero_grad();
//!     loss.backward()?;
//!     optimizer.step()?;
//!     last = loss.item()?;
//! }
//! assert!(last < 0.1);
//! # Ok::<(), Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod autograd;
pub mod backend;
mod checkpoint;
pub mod data;
mod device;
mod dtype;
mod error;
pub mod graph;
mod hash;
pub mod log;
pub mod metrics;
pub mod monitor;
pub mod nn;
pub mod optim;
mod rng;
pub mod shape;
pub mod tensor;
pub mod train;
mod worker;

pub use autograd::ops::*;
pub use autograd::{
    AutocastGuard, BackwardOptions, GradAccumulatorHandle, NoGradGuard, Variable, autocast,
    enable_grad, grad, is_autocast_enabled, is_autocast_enabled_for, is_grad_enabled, no_grad,
};
pub use backend::{Reduction, RnnMode};
pub use checkpoint::*;
pub use data::*;
pub use device::{Device, TensorOptions, cuda_available};
pub use dtype::DType;
pub use error::{Error, Result, TensorError};
pub use flodl_cpu::alloc::{MemoryStats, empty_cache, memory_stats, reset_peak, set_cache_limit};
pub use flodl_cpu::conv::{set_winograd, winograd};
pub use flodl_cpu::simd::{amx, set_amx};
pub use flodl_cpu::threads::{num_threads, set_num_threads};
pub use graph::*;
pub use log::*;
pub use metrics::*;
pub use monitor::{EpochRecord, Metrics, Monitor};
pub use nn::*;
pub use optim::*;
pub use rng::{Rng, manual_seed, rng_state, set_rng_state};
pub use tensor::{RnnParams, Tensor};
pub use train::*;
pub use worker::CpuWorker;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The examples of the guide for users of PyTorch compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-pytorch.md")]
struct FromPyTorch;
