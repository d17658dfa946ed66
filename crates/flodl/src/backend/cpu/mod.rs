//! The CPU engine: dtypes matched once, then the kernels of `flodl_cpu`.

mod arrange;
mod attention;
mod conv;
mod ctc;
mod elementwise;
mod embedding;
mod index;
mod loss;
mod matmul;
mod memory;
mod norm;
mod optim;
mod pad;
mod pool;
mod random;
mod reduce;
mod resample;
mod rnn;

use flodl_cpu::element::Element;
use flodl_cpu::index::Around;
use flodl_cpu::strided::View;

pub use memory::HostMemory;

use super::{Backend, Memory, Operand, Storage};
use crate::shape::Layout;
use crate::{DType, Error, Result};

/// The processor.
pub struct Cpu;

impl Backend for Cpu {}

impl Memory for Cpu {
    fn alloc(&self, bytes: usize) -> Result<Storage> {
        Ok(Storage::Cpu(HostMemory::new(bytes)?))
    }

    fn upload(&self, bytes: &[u8], out: &mut Storage) -> Result<()> {
        slice_mut::<u8>(out, bytes.len()).copy_from_slice(bytes);
        Ok(())
    }
}

/// An operand as kernels take it: the slice starts at its first element.
fn view<'a, T: Element>(x: Operand<'a>) -> View<'a, T> {
    View {
        data: from_offset(x.storage, x.layout.offset),
        dims: &x.layout.shape,
        strides: &x.layout.strides,
    }
}

/// The elements of a contiguous operand.
fn slice<'a, T: Element>(x: Operand<'a>) -> &'a [T] {
    debug_assert!(x.layout.is_contiguous());
    &from_offset(x.storage, x.layout.offset)[..x.layout.numel()]
}

fn from_offset<T: Element>(storage: &Storage, offset: usize) -> &[T] {
    let Storage::Cpu(memory) = storage;
    let all = memory.read::<T>(memory.nbytes() / size_of::<T>());
    &all[offset.min(all.len())..]
}

/// The first `len` elements of an output.
fn slice_mut<T: Element>(storage: &mut Storage, len: usize) -> &mut [T] {
    let Storage::Cpu(memory) = storage;
    memory.write(len)
}

/// The elements of a contiguous layout, to write.
fn layout_mut<'a, T: Element>(storage: &'a mut Storage, layout: &Layout) -> &'a mut [T] {
    let end = layout.offset + layout.numel();
    &mut slice_mut(storage, end)[layout.offset..]
}

/// A float kernel was asked for another dtype: a fault of the floors above, told as an error.
fn not_float(op: &'static str, got: DType) -> Error {
    Error::DType { op, expected: "a float32 or float64 tensor".into(), got }
}

/// A contiguous operand as kernels along one dim see it.
fn around(layout: &Layout, dim: usize) -> Around {
    if layout.ndim() == 0 {
        Around { outer: 1, len: 1, inner: 1 }
    } else {
        Around::new(&layout.shape, dim)
    }
}
