//! Memory of the CPU, with the forms of its values that matrix products have made.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flodl_cpu::alloc::Block;
use flodl_cpu::element::Element;
use flodl_cpu::gemm::{self, Gemm, Mat, PackedB};

use crate::Result;

/// Most bytes that packed matrices take in the whole process. Weights that a loop uses again and
/// again fit, and a large model does not take twice its size.
const MOST: usize = 64 << 20;

/// Most places of one memory that are kept in mind: a weight is used both ways round, but a data set
/// from a new place for each batch.
const PLACES: usize = 4;

static PACKED: AtomicUsize = AtomicUsize::new(0);

/// What a tensor's values lie in.
pub struct HostMemory {
    block: Block,
    /// Right-hand matrices of products, as they were used since the values were last written.
    forms: Mutex<Vec<Form>>,
}

/// Where a right-hand matrix lies in the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    kind: TypeId,
    form: gemm::Form,
    first: usize,
    sizes: [usize; 2],
    strides: [usize; 2],
}

struct Form {
    place: Place,
    packed: Option<Arc<dyn Any + Send + Sync>>,
}

/// Bytes that count towards [`MOST`].
struct Share(usize);

impl Share {
    /// `None` where there is no room for them.
    fn take(bytes: usize) -> Option<Self> {
        let room = |used: usize| Some(used + bytes).filter(|&sum| sum <= MOST);
        PACKED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Share(bytes))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        PACKED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// A packed matrix with its share.
pub struct Held<T: 'static> {
    pub matrix: PackedB<T>,
    _share: Share,
}

impl HostMemory {
    pub fn new(bytes: usize) -> Result<Self> {
        Ok(HostMemory { block: Block::new(bytes)?, forms: Mutex::default() })
    }

    /// Bytes held, what the allocator rounded up included.
    pub fn nbytes(&self) -> usize {
        self.block.capacity()
    }

    /// The first `len` values.
    pub fn read<T: Element>(&self, len: usize) -> &[T] {
        self.block.as_slice(len)
    }

    /// The first `len` values, to write. What was made of the old ones is forgotten.
    pub fn write<T: Element>(&mut self, len: usize) -> &mut [T] {
        self.forms.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.block.as_mut_slice(len)
    }

    /// The k×n matrix `b`, which starts at value `first` of this memory, packed for products of `m`
    /// rows: from the second time on that it is asked for, since a copy for one product is what the product makes better
    /// itself. `None` also where there is no room.
    pub fn packed<T: Gemm>(
        &self,
        first: usize,
        (m, n, k): (usize, usize, usize),
        b: Mat<'_, T>,
    ) -> Option<Arc<Held<T>>> {
        let strides = [b.row_stride, b.col_stride];
        let (kind, form) = (TypeId::of::<T>(), gemm::form::<T>(m, n, k));
        let place = Place { kind, form, first, sizes: [k, n], strides };
        let forms = || self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut forms = forms();
            let Some(known) = forms.iter().find(|form| form.place == place) else {
                if forms.len() == PLACES {
                    forms.remove(0);
                }
                forms.push(Form { place, packed: None });
                return None;
            };
            if let Some(packed) = &known.packed {
                return packed.clone().downcast().ok();
            }
        }
        let share = Share::take(PackedB::<T>::values(m, k, n) * size_of::<T>())?;
        let held = Arc::new(Held { matrix: PackedB::new(m, k, n, b).ok()?, _share: share });
        if let Some(form) = forms().iter_mut().find(|form| form.place == place) {
            form.packed = Some(held.clone());
        }
        Some(held)
    }
}
