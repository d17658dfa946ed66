//! Where tensors live.

use crate::{DType, Error, Result};

/// A place that holds tensors and computes on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor and its memory.
    #[default]
    CPU,
    /// An NVIDIA GPU by index.
    CUDA(u8),
}

impl Device {
    /// Index of the device among its kind; 0 for the CPU.
    pub fn index(&self) -> u8 {
        match self {
            Device::CPU => 0,
            Device::CUDA(i) => *i,
        }
    }

    /// Whether this is a GPU.
    pub fn is_cuda(&self) -> bool {
        matches!(self, Device::CUDA(_))
    }

    /// `Ok` if tensors can be made here.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Device::CPU => Ok(()),
            Device::CUDA(_) => Err(Error::DeviceUnavailable {
                device: self,
                why: "this build of flodl has no CUDA engine; use Device::CPU".into(),
            }),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::CPU => f.write_str("cpu"),
            Device::CUDA(i) => write!(f, "cuda:{i}"),
        }
    }
}

/// Whether a CUDA device can be used by this program on this machine.
pub fn cuda_available() -> bool {
    Device::CUDA(0).check().is_ok()
}

/// Dtype and device of a new tensor; the default is `Float32` on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TensorOptions {
    /// Type of the elements.
    pub dtype: DType,
    /// Where they live.
    pub device: Device,
}

impl From<DType> for TensorOptions {
    fn from(dtype: DType) -> Self {
        Self { dtype, ..Self::default() }
    }
}

impl From<Device> for TensorOptions {
    fn from(device: Device) -> Self {
        Self { device, ..Self::default() }
    }
}
