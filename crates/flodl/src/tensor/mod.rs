//! [`Tensor`]: shared storage, shape, strides and offset.
//!
//! A clone is another handle on the same values, and what one handle sees never changes under it:
//! the in-place methods take `&mut self` and copy first when the storage is shared. Transposing,
//! slicing and broadcasting make views without a copy. Tensors are `Send + Sync` and record no
//! gradients; [`crate::Variable`] does.

mod arrange;
mod attention;
mod compat;
mod create;
mod display;
mod elementwise;
mod index;
mod inplace;
mod layers;
mod linalg;
mod movement;
mod random;
mod reduce;
mod rnn;
mod scalar;
mod sort;

pub(crate) use attention::{Attend, attention_lead, attention_mask, attention_spec, four_dims};
pub(crate) use layers::*;
pub use layers::{ConvOptions, Windows};
pub use rnn::RnnParams;
pub(crate) use rnn::{CellSpec, PackedWeights, SequenceSpec, state_rows};

use std::sync::Arc;

use crate::backend::{self, Backend, Operand, Storage};
use crate::dtype::any_type;
use crate::shape::{self, Dims, Layout};
use crate::{DType, Device, Error, Result};

/// An n-dimensional array of numbers.
///
/// ```
/// use flodl::*;
/// let a = Tensor::from_f32(&[1.0, 2.0, 3.0, 4.0], &[2, 2], Device::CPU)?;
/// let b = a.transpose(0, 1)?;
/// assert_eq!(a.matmul(&b)?.to_f32_vec()?, [5.0, 11.0, 11.0, 25.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    layout: Layout,
    dtype: DType,
}

/// Bytes of a contiguous tensor.
#[inline]
fn bytes(shape: &[usize], dtype: DType) -> Result<usize> {
    let bytes = shape.iter().try_fold(dtype.element_size(), |n, &d| n.checked_mul(d));
    bytes.filter(|&n| n <= isize::MAX as usize).ok_or_else(|| shape::too_large("empty", shape))
}

impl Tensor {
    /// A contiguous tensor on fresh memory with arbitrary contents.
    #[inline]
    pub(crate) fn fresh(shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
        let storage = backend::engine(device)?.alloc(bytes(shape, dtype)?)?;
        Ok(Tensor { storage: Arc::new(storage), layout: Layout::contiguous(shape), dtype })
    }

    /// The storage of a fresh tensor, to write a kernel's result to.
    pub(crate) fn fresh_storage(&mut self) -> &mut Storage {
        Arc::get_mut(&mut self.storage).expect("a fresh tensor owns its storage")
    }

    /// Makes a tensor on fresh memory and has `write` fill it.
    #[inline]
    pub(crate) fn build(
        shape: &[usize],
        dtype: DType,
        device: Device,
        write: impl FnOnce(&dyn Backend, &mut Storage) -> Result<()>,
    ) -> Result<Tensor> {
        let bytes = bytes(shape, dtype)?;
        let mut storage = backend::engine(device)?.alloc(bytes)?;
        if bytes > 0 {
            write(backend::of(device)?, &mut storage)?;
        }
        Ok(Tensor { storage: Arc::new(storage), layout: Layout::contiguous(shape), dtype })
    }

    /// Another view of the same storage.
    pub(crate) fn with_layout(&self, layout: Layout) -> Tensor {
        Tensor { storage: self.storage.clone(), layout, dtype: self.dtype }
    }

    /// As a kernel sees it.
    pub(crate) fn operand(&self) -> Operand<'_> {
        Operand { storage: &self.storage, layout: &self.layout, dtype: self.dtype }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn backend(&self) -> Result<&'static dyn Backend> {
        backend::of(self.device())
    }

    /// Sizes of the dims, borrowed.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Number of elements as an index.
    pub(crate) fn len(&self) -> usize {
        self.layout.numel()
    }

    /// Whether no other tensor sees the storage.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.storage) == 1
    }

    /// Whether two tensors view the same storage.
    pub fn shares_storage(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
    }

    /// Whether two handles see the very same elements.
    pub(crate) fn is_same_view(&self, other: &Tensor) -> bool {
        self.shares_storage(other) && self.layout == other.layout
    }

    /// Number of dims.
    pub fn ndim(&self) -> usize {
        self.layout.ndim()
    }

    /// Size of each dim.
    pub fn shape(&self) -> Vec<i64> {
        shape::to_i64(&self.layout.shape)
    }

    /// Size of one dim; negative counts from the end.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn size(&self, dim: i32) -> Result<i64> {
        let d = shape::dim("size", dim, self.ndim())?;
        self.dims().get(d).map(|&n| n as i64).ok_or(Error::DimOutOfRange {
            op: "size",
            dim: i64::from(dim),
            ndim: self.ndim(),
        })
    }

    /// Elements between neighbours along each dim.
    pub fn strides(&self) -> Vec<i64> {
        shape::to_i64(&self.layout.strides)
    }

    /// Number of elements.
    pub fn numel(&self) -> i64 {
        self.len() as i64
    }

    /// Bytes of the elements.
    pub fn nbytes(&self) -> usize {
        self.len() * self.dtype.element_size()
    }

    /// Bytes of the storage, which other views may share.
    pub fn storage_nbytes(&self) -> usize {
        self.storage.nbytes()
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the elements live.
    pub fn device(&self) -> Device {
        self.storage.device()
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// The tensor in row-major order: itself if it is so already, else a copy.
    ///
    /// # Errors
    /// When there is no memory for the copy.
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() { Ok(self.clone()) } else { self.copy() }
    }

    /// A copy on memory of its own.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn copy(&self) -> Result<Tensor> {
        Tensor::build(self.dims(), self.dtype, self.device(), |b, out| b.copy(self.operand(), out))
    }

    /// Converts to another dtype. Floats truncate towards zero when they become integers;
    /// everything but 0 becomes `true`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        Tensor::build(self.dims(), dtype, self.device(), |b, out| {
            b.cast(self.operand(), dtype, out)
        })
    }

    /// The tensor on another device.
    ///
    /// # Errors
    /// When that device cannot be used.
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        device.check()?;
        Ok(self.clone())
    }

    /// The tensor on the device of another one.
    ///
    /// # Errors
    /// When that device cannot be used.
    pub fn to_device_of(&self, other: &Tensor) -> Result<Tensor> {
        self.to_device(other.device())
    }

    /// Like [`Tensor::to_device`]; may return before the copy is done.
    ///
    /// # Errors
    /// When that device cannot be used.
    pub fn to_device_async(&self, device: Device) -> Result<Tensor> {
        self.to_device(device)
    }

    /// The elements as bytes in native order, row-major.
    ///
    /// # Errors
    /// When there is no memory for a contiguous copy.
    pub fn to_blob(&self) -> Result<Vec<u8>> {
        any_type!(self.dtype, T => self.read::<T, _>(|values| {
            let mut bytes = Vec::with_capacity(std::mem::size_of_val(values));
            for v in values {
                bytes.extend_from_slice(&v.to_ne_bytes());
            }
            bytes
        }))
    }

    /// Runs `f` on the elements in row-major order.
    pub(crate) fn read<T: flodl_cpu::element::Element, R>(
        &self,
        f: impl FnOnce(&[T]) -> R,
    ) -> Result<R> {
        let t = self.to_device(Device::CPU)?.contiguous()?;
        let Storage::Cpu(memory) = &*t.storage;
        let end = t.layout.offset + t.len();
        Ok(f(&memory.read::<T>(end)[t.layout.offset..]))
    }

    /// The elements as `f32`, row-major, converted from any dtype.
    ///
    /// # Errors
    /// When there is no memory for the conversion.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        self.to_dtype(DType::Float32)?.read::<f32, _>(<[f32]>::to_vec)
    }

    /// The elements as `f64`, row-major, converted from any dtype.
    ///
    /// # Errors
    /// When there is no memory for the conversion.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        self.to_dtype(DType::Float64)?.read::<f64, _>(<[f64]>::to_vec)
    }

    /// The elements as `i64`, row-major; floats truncate towards zero.
    ///
    /// # Errors
    /// When there is no memory for the conversion.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>> {
        self.to_dtype(DType::Int64)?.read::<i64, _>(<[i64]>::to_vec)
    }

    /// The value of a one-element tensor.
    ///
    /// # Errors
    /// When there is more or less than one element.
    pub fn item(&self) -> Result<f64> {
        if self.len() != 1 {
            return Err(Error::Shape {
                op: "item",
                expected: "exactly one element".into(),
                got: self.shape(),
            });
        }
        any_type!(self.dtype, T => {
            self.read::<T, _>(|v| flodl_cpu::element::Element::to_f64(v[0]))
        })
    }

    /// The same handle: a tensor is never part of a tape.
    ///
    /// # Errors
    /// None.
    pub fn detach(&self) -> Result<Tensor> {
        Ok(self.clone())
    }

    /// Checks that two operands share dtype and device.
    pub(crate) fn check_same(&self, op: &'static str, other: &Tensor) -> Result<()> {
        if self.device() != other.device() {
            return Err(Error::DeviceMismatch { op, lhs: self.device(), rhs: other.device() });
        }
        if self.dtype != other.dtype {
            return Err(Error::DTypeMismatch { op, lhs: self.dtype, rhs: other.dtype });
        }
        Ok(())
    }

    /// Checks that the elements are floating-point numbers.
    pub(crate) fn check_float(&self, op: &'static str) -> Result<()> {
        if self.dtype.is_float() {
            return Ok(());
        }
        Err(Error::DType { op, expected: "a floating-point tensor".into(), got: self.dtype })
    }

    /// A dim that may count from the end.
    pub(crate) fn dim(&self, op: &'static str, dim: i32) -> Result<usize> {
        shape::dim(op, dim, self.ndim())
    }

    /// The shape with one dim replaced.
    pub(crate) fn dims_with(&self, dim: usize, size: usize) -> Dims {
        let mut dims = Dims::from_slice(self.dims());
        if let Some(d) = dims.get_mut(dim) {
            *d = size;
        }
        dims
    }

    /// Runs `f` in a dtype that kernels compute in: 16-bit floats go through `Float32` and back.
    pub(crate) fn through_f32(&self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        if self.dtype.is_half() {
            f(&self.to_dtype(DType::Float32)?)?.to_dtype(self.dtype)
        } else {
            f(self)
        }
    }
}
