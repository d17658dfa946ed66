//! CPU kernels: plain functions on slices and small plain-data descriptors.
//!
//! This crate knows neither tensors nor autograd. Threads, SIMD and raw memory live here only.
//! Every kernel is written once against [`simd::Arch`] and compiled for each instruction set the
//! CPU may have; [`simd::dispatch`] picks the best one at run time.

pub mod alloc;
pub mod attention;
pub mod conv;
pub mod ctc;
pub mod element;
pub mod elementwise;
pub mod gemm;
pub mod index;
pub mod loss;
pub mod math;
pub mod mix;
pub mod norm;
pub mod optim;
pub mod pad;
pub mod peak;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod resample;
pub mod rnn;
pub mod scan;
pub mod simd;
pub mod softmax;
pub mod sort;
pub mod strided;
pub mod threads;
