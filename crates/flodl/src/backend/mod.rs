//! The one seam between tensors and engines.
//!
//! An engine implements [`Backend`], a trait in families, for the memory it owns. The floors above
//! speak to it through [`of`] and never name a device. Inputs are [`Operand`]s: storage, layout,
//! dtype. Outputs are fresh contiguous storages that the caller has allocated through
//! [`Memory::alloc`]. Shapes, dtypes and dims are checked above; index values are checked here,
//! where they can be read.

mod cpu;
mod families;
mod mode;
mod rnn;

use std::cell::Cell;

pub use families::*;
pub use mode::*;
pub use rnn::*;

use crate::{DType, Device, Result, shape::Layout};

/// Memory on a device, shared by all tensors that view it.
pub enum Storage {
    /// Main memory.
    Cpu(cpu::HostMemory),
}

impl Storage {
    /// The device that holds the memory.
    pub fn device(&self) -> Device {
        match self {
            Storage::Cpu(_) => Device::CPU,
        }
    }

    /// Bytes held, what the allocator rounded up included.
    pub fn nbytes(&self) -> usize {
        match self {
            Storage::Cpu(memory) => memory.nbytes(),
        }
    }
}

/// An input of a kernel.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// Where the elements are.
    pub storage: &'a Storage,
    /// How they lie.
    pub layout: &'a Layout,
    /// What they are.
    pub dtype: DType,
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has asked for an engine: once for each kernel that it called, whatever the
/// kernel's size. Memory does not count. What is fused is told by differences of it.
pub fn calls() -> u64 {
    CALLS.get()
}

/// The engine of a device, for one kernel.
///
/// # Errors
/// [`crate::Error::DeviceUnavailable`] when there is none in this build or on this machine.
pub fn of(device: Device) -> Result<&'static dyn Backend> {
    CALLS.set(CALLS.get() + 1);
    engine(device)
}

/// The engine of a device, for what is no kernel.
pub(crate) fn engine(device: Device) -> Result<&'static dyn Backend> {
    device.check()?;
    Ok(&cpu::Cpu)
}
