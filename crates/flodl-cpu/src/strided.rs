//! Views: a slice with dims and strides, as every strided kernel takes its inputs; and the walk
//! over several of them in step.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// A read-only strided view. `data[0]` is the element at index 0 of every dim; a stride is in
/// elements and is 0 along a broadcast dim. All views of one kernel call have the same dims.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The elements, from the view's first one on.
    pub data: &'a [T],
    /// Size of each dim.
    pub dims: &'a [usize],
    /// Elements between neighbours along each dim.
    pub strides: &'a [usize],
}

impl<'a, T> View<'a, T> {
    /// Number of elements, 1 without dims.
    #[inline]
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether some dim has size 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they lie one after another in the order of the dims.
    ///
    /// # Panics
    /// If `data` is too short for that.
    #[inline]
    pub fn contiguous(&self) -> Option<&'a [T]> {
        is_contiguous(self.dims, self.strides).then(|| &self.data[..self.len()])
    }

    /// Panics if the view reaches beyond its data; what makes unchecked reads through it sound.
    #[inline]
    pub fn check(&self) {
        assert_eq!(self.dims.len(), self.strides.len(), "dims and strides differ in number");
        assert!(extent(self.dims, self.strides) <= self.data.len(), "view beyond its data");
    }
}

/// Whether dims are the same. Comparing slices calls memcmp, which for a few sizes takes longer than
/// an operation on a scalar.
#[inline]
pub fn same_dims(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// Copies a short row to one of its length, in pieces: a call of memcpy for each row would cost more
/// than the copy.
#[inline(always)]
pub(crate) fn copy_short<T: Copy>(from: &[T], to: &mut [T]) {
    debug_assert_eq!(from.len(), to.len());
    let (pieces, rest) = from.as_chunks::<8>();
    let (to_pieces, to_rest) = to.as_chunks_mut::<8>();
    for (to, from) in to_pieces.iter_mut().zip(pieces) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(rest) {
        *to = *from;
    }
}

/// Whether strides are those of a dense row-major layout; dims of size 1 do not matter.
#[inline]
pub fn is_contiguous(dims: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (&dim, &stride) in dims.iter().zip(strides).rev() {
        if dim != 1 && stride != expected {
            return dims.contains(&0);
        }
        expected *= dim;
    }
    true
}

/// One more than the largest offset that dims and strides reach, 0 when there is no element.
#[inline]
pub fn extent(dims: &[usize], strides: &[usize]) -> usize {
    let mut last = 0usize;
    for (&dim, &stride) in dims.iter().zip(strides) {
        if dim == 0 {
            return 0;
        }
        last = last.saturating_add((dim - 1).saturating_mul(stride));
    }
    last.saturating_add(1)
}

/// A short list of sizes that lives on the stack up to eight of them.
#[derive(Clone, Debug, Default)]
pub struct Dims {
    inline: [usize; 8],
    len: usize,
    heap: Vec<usize>,
}

impl Dims {
    /// No dims.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a size.
    #[inline]
    pub fn push(&mut self, value: usize) {
        if self.len < self.inline.len() {
            self.inline[self.len] = value;
        } else {
            if self.heap.is_empty() {
                self.heap.extend(self.inline);
            }
            self.heap.push(value);
        }
        self.len += 1;
    }
}

impl Deref for Dims {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        if self.len <= self.inline.len() { &self.inline[..self.len] } else { &self.heap }
    }
}

impl DerefMut for Dims {
    #[inline]
    fn deref_mut(&mut self) -> &mut [usize] {
        if self.len <= self.inline.len() { &mut self.inline[..self.len] } else { &mut self.heap }
    }
}

impl FromIterator<usize> for Dims {
    fn from_iter<I: IntoIterator<Item = usize>>(iter: I) -> Self {
        let mut dims = Self::new();
        iter.into_iter().for_each(|d| dims.push(d));
        dims
    }
}

/// The dims that `N` operands share, merged where all of them allow it; at least one dim.
#[derive(Clone, Debug)]
pub struct Nest<const N: usize> {
    /// Sizes, outermost first; none is 1 unless it is the only one.
    pub dims: Dims,
    /// Strides of each operand.
    pub strides: [Dims; N],
}

impl<const N: usize> Nest<N> {
    /// Drops dims of size 1 and merges neighbours that every operand walks in one stride.
    pub fn new(dims: &[usize], strides: [&[usize]; N]) -> Self {
        let mut nest = Self { dims: Dims::new(), strides: std::array::from_fn(|_| Dims::new()) };
        for (d, &size) in dims.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let merge = !nest.dims.is_empty()
                && (0..N).all(|k| {
                    nest.strides[k].last().is_some_and(|&outer| outer == strides[k][d] * size)
                });
            if merge {
                let last = nest.dims.len() - 1;
                nest.dims[last] *= size;
                (0..N).for_each(|k| nest.strides[k][last] = strides[k][d]);
            } else {
                nest.dims.push(size);
                (0..N).for_each(|k| nest.strides[k].push(strides[k][d]));
            }
        }
        if nest.dims.is_empty() {
            nest.dims.push(1);
            (0..N).for_each(|k| nest.strides[k].push(1));
        }
        nest
    }

    /// The index in each dim, and each operand's offset, of the element at `flat`.
    #[inline]
    pub fn locate(&self, flat: usize) -> (Dims, [usize; N]) {
        let mut index = self.dims.clone();
        let mut offsets = [0; N];
        let mut rest = flat;
        for d in (0..self.dims.len()).rev() {
            let size = self.dims[d];
            let i = if d == 0 { rest } else { rest % size };
            rest /= size.max(1);
            index[d] = i;
            (0..N).for_each(|k| offsets[k] += i * self.strides[k][d]);
        }
        (index, offsets)
    }
}

/// Elements in a block of the walk: three operands of `f64` stay inside the L1 cache.
pub const BLOCK: usize = 512;
/// Rows shorter than this are gathered into blocks: a call for each would cost more.
const SHORT_ROW: usize = 64;

/// Room for one operand's block.
pub struct Buffer<T>([MaybeUninit<T>; BLOCK]);

impl<T: Copy> Buffer<T> {
    /// An empty buffer; costs nothing.
    #[inline(always)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; BLOCK])
    }

    /// A copy of `values`, at most [`BLOCK`] of them.
    #[inline]
    pub fn copy_of(&mut self, values: &[T]) -> &[T] {
        let dst = &mut self.0[..values.len()];
        // SAFETY: the slices have one length, and a buffer of our own does not overlap `values`.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), dst.as_mut_ptr().cast(), values.len());
            std::slice::from_raw_parts(dst.as_ptr().cast(), values.len())
        }
    }
}

/// A walk over `N` operands in the order of their shared dims, in blocks that each operand shows
/// as a plain slice: its own memory where that is dense, a buffer where not. So a kernel for dense
/// slices is all an operation needs.
pub struct Walk<const N: usize> {
    nest: Nest<N>,
    dense: [bool; N],
    /// Blocks keep inside a row, whose operands are all dense or constant.
    rows: bool,
}

/// A place in a [`Walk`].
pub struct Place<const N: usize> {
    start: usize,
    len: usize,
    index: Dims,
    offsets: [usize; N],
}

impl<const N: usize> Walk<N> {
    /// Plans the walk.
    pub fn new(dims: &[usize], strides: [&[usize]; N]) -> Self {
        let nest = Nest::new(dims, strides);
        let last = nest.dims.len() - 1;
        let dense = std::array::from_fn(|k| is_contiguous(&nest.dims, &nest.strides[k]));
        let rows = nest.dims[last] >= SHORT_ROW && (0..N).all(|k| nest.strides[k][last] <= 1);
        Self { nest, dense, rows }
    }

    /// Calls `f(start, place)` for blocks that cover `range` of the flat order; each has at most
    /// [`BLOCK`] elements.
    #[inline]
    pub fn blocks(
        &self,
        range: std::ops::Range<usize>,
        mut f: impl FnMut(std::ops::Range<usize>, &Place<N>),
    ) {
        if range.is_empty() {
            return;
        }
        let last = self.nest.dims.len() - 1;
        let (index, offsets) = self.nest.locate(range.start);
        let mut place = Place { start: range.start, len: 0, index, offsets };
        loop {
            place.len = BLOCK.min(range.end - place.start);
            if self.rows {
                place.len = place.len.min(self.nest.dims[last] - place.index[last]);
            }
            f(place.start..place.start + place.len, &place);
            place.start += place.len;
            if place.start >= range.end {
                return;
            }
            if self.rows {
                self.advance(&mut place);
            } else {
                (place.index, place.offsets) = self.nest.locate(place.start);
            }
        }
    }

    /// Moves on by the place's length, which ends in its row.
    #[inline]
    fn advance(&self, place: &mut Place<N>) {
        let (dims, strides) = (&self.nest.dims[..], &self.nest.strides);
        let mut d = dims.len() - 1;
        place.index[d] += place.len;
        (0..N).for_each(|k| place.offsets[k] += place.len * strides[k][d]);
        while d > 0 && place.index[d] == dims[d] {
            place.index[d] = 0;
            (0..N).for_each(|k| place.offsets[k] -= dims[d] * strides[k][d]);
            d -= 1;
            place.index[d] += 1;
            (0..N).for_each(|k| place.offsets[k] += strides[k][d]);
        }
    }

    /// Operand `k`'s block at `place`, in `buffer` if it is not dense.
    ///
    /// # Safety
    /// `data` holds every offset that the operand's dims and strides reach.
    #[inline]
    pub unsafe fn fetch<'b, T: Copy>(
        &self,
        k: usize,
        data: &'b [T],
        place: &Place<N>,
        buffer: &'b mut Buffer<T>,
    ) -> &'b [T] {
        let last = self.nest.dims.len() - 1;
        if self.dense[k] {
            return &data[place.start..place.start + place.len];
        }
        if self.rows && self.nest.strides[k][last] == 1 {
            return &data[place.offsets[k]..place.offsets[k] + place.len];
        }
        let dst = &mut buffer.0[..place.len];
        if self.rows {
            dst.fill(MaybeUninit::new(data[place.offsets[k]]));
            // SAFETY: `fill` wrote every element.
            return unsafe { std::slice::from_raw_parts(dst.as_ptr().cast(), dst.len()) };
        }
        // SAFETY: the caller vouches for `data`, and the place came from this walk.
        unsafe { gather(&self.nest, k, data, place.index.clone(), place.offsets[k], dst) };
        // SAFETY: `gather` wrote every element.
        unsafe { std::slice::from_raw_parts(dst.as_ptr().cast(), dst.len()) }
    }
}

/// Copies `dst.len()` elements of operand `k` in flat order, from the element at `index`, which
/// lies at `offset`.
///
/// # Safety
/// `data` holds every offset that the operand's dims and strides reach, and so many elements
/// follow `index`.
pub(crate) unsafe fn gather<T: Copy, const N: usize>(
    nest: &Nest<N>,
    k: usize,
    data: &[T],
    mut index: Dims,
    mut offset: usize,
    mut dst: &mut [MaybeUninit<T>],
) {
    let (dims, strides) = (&nest.dims[..], &nest.strides[k][..]);
    let last = dims.len() - 1;
    let stride = strides[last];
    while !dst.is_empty() {
        let run = (dims[last] - index[last]).min(dst.len());
        let (head, tail) = dst.split_at_mut(run);
        // SAFETY: offsets inside dims and strides are inside `data`, says the caller.
        let from = |i: usize| unsafe { *data.get_unchecked(offset + i * stride) };
        match stride {
            0 => head.fill(MaybeUninit::new(from(0))),
            // SAFETY: the run is inside `data`, and the destination is exclusive.
            1 => unsafe {
                let from = data.as_ptr().add(offset).cast::<MaybeUninit<T>>();
                std::ptr::copy_nonoverlapping(from, head.as_mut_ptr(), run);
            },
            _ => head.iter_mut().enumerate().for_each(|(i, d)| *d = MaybeUninit::new(from(i))),
        }
        dst = tail;
        index[last] += run;
        offset += run * stride;
        let mut d = last;
        while d > 0 && index[d] == dims[d] {
            offset -= index[d] * strides[d];
            index[d] = 0;
            d -= 1;
            index[d] += 1;
            offset += strides[d];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(dims: &[usize], strides: &[usize]) -> Vec<usize> {
        let n: usize = dims.iter().product();
        (0..n)
            .map(|mut flat| {
                let mut offset = 0;
                for (&d, &s) in dims.iter().zip(strides).rev() {
                    offset += flat % d * s;
                    flat /= d;
                }
                offset
            })
            .collect()
    }

    #[test]
    fn dims_merge_where_all_operands_allow_it() {
        let nest = Nest::new(&[2, 1, 3, 4], [&[12, 7, 4, 1], &[0, 0, 4, 1]]);
        assert_eq!((&nest.dims[..], &nest.strides[1][..]), (&[2, 12][..], &[0, 1][..]));
        let scalar = Nest::new(&[], [&[]]);
        assert_eq!(&scalar.dims[..], &[1]);
        let all = Nest::new(&[5, 4, 3], [&[12, 3, 1], &[0, 0, 0]]);
        assert_eq!(&all.dims[..], &[60]);
    }

    #[test]
    fn blocks_show_every_element_in_order() {
        let data: Vec<usize> = (0..40_000).collect();
        let cases: &[(&[usize], [&[usize]; 2])] = &[
            (&[3, 700], [&[700, 1], &[0, 1]]),
            (&[3, 700], [&[700, 1], &[1, 0]]),
            (&[700, 3], [&[3, 1], &[1, 700]]),
            (&[5, 7, 11], [&[1, 5, 35], &[0, 1, 0]]),
            (&[40, 130], [&[260, 2], &[131, 1]]),
            (&[], [&[], &[]]),
            (&[4, 0, 3], [&[3, 3, 1], &[0, 0, 0]]),
            (&[2, 1, 2, 3, 2, 1, 2, 3, 2, 2, 2], [&[1; 11], &[0, 1, 2, 0, 1, 0, 1, 0, 3, 0, 5]]),
        ];
        for (dims, strides) in cases {
            let n: usize = dims.iter().product();
            let walk = Walk::new(dims, *strides);
            for k in 0..2 {
                let mut seen = Vec::new();
                let mut buffer = Buffer::new();
                for range in [0..n / 3, n / 3..n] {
                    walk.blocks(range, |r, place| {
                        assert_eq!(r.start, seen.len());
                        // SAFETY: `data` is longer than any offset of the cases.
                        let block = unsafe { walk.fetch(k, &data, place, &mut buffer) };
                        assert_eq!(block.len(), r.len());
                        seen.extend_from_slice(block);
                    });
                }
                assert_eq!(seen, naive(dims, strides[k]), "{dims:?} {strides:?}");
            }
        }
    }

    #[test]
    fn extent_and_contiguity() {
        assert_eq!(extent(&[2, 3], &[3, 1]), 6);
        assert_eq!(extent(&[2, 3], &[0, 0]), 1);
        assert_eq!(extent(&[2, 0], &[3, 1]), 0);
        assert!(is_contiguous(&[2, 1, 3], &[3, 99, 1]) && is_contiguous(&[], &[]));
        assert!(is_contiguous(&[2, 0], &[7, 7]) && !is_contiguous(&[2, 3], &[1, 2]));
    }
}
