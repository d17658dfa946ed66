//! Memory for tensors and scratch: 64-byte aligned blocks, kept for reuse, with counters.
//!
//! A freed block goes to the list of its size class and is handed out again, last in, first out,
//! while it is still warm. Blocks of 2 MiB and more are cut from one range of addresses instead
//! (`arena`), on huge pages where the system has them: a fresh 4 KiB page costs more than filling
//! it (bench: `kernels alloc`). Those of 16 KiB and more first come from such a range too: a matrix
//! whose rows lie in pages of their own costs a search for each row (bench:
//! `models --only feedback_fixed`).
//!
//! Every block is zero when it first comes from the system, and only initialised values are ever
//! written to it, so a reused block holds old values but never uninitialised memory. That is what
//! makes it sound to view a fresh [`Block`] as a slice of numbers.

#[cfg(all(target_os = "linux", not(miri)))]
mod arena;
mod lock;

use std::alloc::Layout;
use std::ptr::NonNull;

use lock::{Guard, Lock};

/// Alignment of every block in bytes: a cache line, and the widest vector register.
pub const ALIGN: usize = 64;

/// Bytes from which a block is cut from the arena. (With `--cfg flodl_heap` all blocks come from the
/// heap, where sanitizers see what goes beyond them.)
#[cfg(all(target_os = "linux", not(miri)))]
const LARGE: usize = if cfg!(flodl_heap) { usize::MAX } else { 2 << 20 };
/// Bytes from which a block lies on huge pages.
#[cfg(all(target_os = "linux", not(miri)))]
const MEDIUM: usize = if cfg!(flodl_heap) { usize::MAX } else { 16 << 10 };
/// Size classes: four below 256 bytes, then eight to each doubling, so that rounding up wastes at
/// most an eighth.
const CLASSES: usize = 4 + 8 * 40;
/// What may stay cached even when little has ever been in use.
const MIN_CACHE: usize = 64 << 20;

/// What the allocator has done so far, in bytes where not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// In blocks that are in use now.
    pub current: usize,
    /// The most that was ever in use at once since the start or [`reset_peak`].
    pub peak: usize,
    /// In blocks that are free and kept for reuse.
    pub cached: usize,
    /// Number of times that memory was taken from the operating system so far.
    pub system_allocs: usize,
    /// Given back to the operating system so far. Where it grows at every step, pages go and come
    /// again, which costs more than what they are used for.
    pub returned: usize,
    /// Number of blocks handed out so far, reused ones included.
    pub allocs: usize,
}

/// What is free, and the counters, which change with it under one lock: a counter of its own for
/// each would cost as much as the rest of a small allocation.
struct Pool {
    /// Blocks by size class.
    lists: [Vec<usize>; CLASSES],
    /// Bytes in these.
    listed: usize,
    /// What large blocks are cut from.
    #[cfg(all(target_os = "linux", not(miri)))]
    arena: arena::Arena,
    /// What blocks from [`MEDIUM`] on are cut from that are listed when free. Among large blocks
    /// they would lie in the way.
    #[cfg(all(target_os = "linux", not(miri)))]
    medium: arena::Arena,
    current: usize,
    peak: usize,
    /// The most that was ever in use.
    top: usize,
    system_allocs: usize,
    returned: usize,
    allocs: usize,
    /// Bytes that may be kept, where the user says so.
    limit: Option<usize>,
}

static POOL: Lock<Pool> = Lock::new(Pool::new());

#[inline]
fn pool() -> Guard<'static, Pool> {
    POOL.lock()
}

impl Pool {
    const fn new() -> Self {
        Self {
            lists: [const { Vec::new() }; CLASSES],
            listed: 0,
            #[cfg(all(target_os = "linux", not(miri)))]
            arena: arena::Arena::new(),
            #[cfg(all(target_os = "linux", not(miri)))]
            medium: arena::Arena::new(),
            current: 0,
            peak: 0,
            top: 0,
            system_allocs: 0,
            returned: 0,
            allocs: 0,
            limit: None,
        }
    }

    /// Bytes that are free and kept.
    fn cached(&self) -> usize {
        #[cfg(all(target_os = "linux", not(miri)))]
        return self.listed + self.arena.held() + self.medium.held();
        #[cfg(not(all(target_os = "linux", not(miri))))]
        self.listed
    }

    /// Bytes that may be kept.
    fn limit(&self) -> usize {
        self.limit.unwrap_or((self.top / 2 * 3).max(MIN_CACHE))
    }

    /// A block of a class, free or from the system; null if there is none.
    fn take(&mut self, class: usize, size: usize) -> *mut u8 {
        #[cfg(all(target_os = "linux", not(miri)))]
        if in_arena(size) {
            return cut(&mut self.arena, size, &mut self.system_allocs);
        }
        if let Some(address) = self.lists[class].pop() {
            self.listed -= size;
            return address as *mut u8;
        }
        #[cfg(all(target_os = "linux", not(miri)))]
        if on_huge_pages(size) {
            return cut(&mut self.medium, size, &mut self.system_allocs);
        }
        self.system_allocs += 1;
        heap_alloc(size)
    }

    /// Takes a free block back; if it says no, the block is the caller's to free.
    fn give(&mut self, address: usize, class: usize, size: usize) -> bool {
        let limit = self.limit();
        #[cfg(all(target_os = "linux", not(miri)))]
        if in_arena(size) {
            self.arena.give(address, size, size);
            self.trim(limit, arena::HUGE);
            return true;
        }
        // Pages of large pieces make room: a small block is asked for more often.
        #[cfg(all(target_os = "linux", not(miri)))]
        if self.cached() + size > limit {
            self.trim(limit.saturating_sub(size), arena::HUGE);
        }
        if self.cached() + size <= limit {
            self.listed += size;
            self.lists[class].push(address);
            return true;
        }
        #[cfg(all(target_os = "linux", not(miri)))]
        if on_huge_pages(size) {
            self.medium.give(address, size, size);
            self.trim(limit, arena::HUGE);
            return true;
        }
        self.returned += size;
        false
    }

    /// Gives pages of the arenas back until no more than `limit` bytes are cached, if that will do.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn trim(&mut self, limit: usize, granule: usize) {
        let mut over = self.cached().saturating_sub(limit);
        for arena in [&mut self.arena, &mut self.medium] {
            let before = arena.held();
            arena.trim(before.saturating_sub(over), granule);
            let gone = before - arena.held();
            over = over.saturating_sub(gone);
            self.returned += gone;
        }
    }

    /// Gives everything back that is free.
    fn empty(&mut self) {
        for (class, list) in self.lists.iter_mut().enumerate() {
            let size = class_size(class);
            for address in std::mem::take(list) {
                self.listed -= size;
                #[cfg(all(target_os = "linux", not(miri)))]
                if on_huge_pages(size) {
                    self.medium.give(address, size, size);
                    continue;
                }
                self.returned += size;
                // SAFETY: `address` came from `heap_alloc(size)` and is owned by the list alone.
                unsafe { heap_free(address as *mut u8, size) };
            }
        }
        #[cfg(all(target_os = "linux", not(miri)))]
        self.trim(0, arena::STEP);
    }
}

/// Whether blocks of this size are cut from the arena.
#[cfg(all(target_os = "linux", not(miri)))]
fn in_arena(size: usize) -> bool {
    size >= LARGE
}

/// Whether blocks of this size lie on huge pages.
#[cfg(all(target_os = "linux", not(miri)))]
fn on_huge_pages(size: usize) -> bool {
    size >= MEDIUM
}

/// A piece of an arena, which grows if it has to; null if the system has no more.
#[cfg(all(target_os = "linux", not(miri)))]
fn cut(arena: &mut arena::Arena, size: usize, system_allocs: &mut usize) -> *mut u8 {
    let mut found = arena.take(size);
    if found.is_none() && arena.grow(size) {
        *system_allocs += 1;
        found = arena.take(size);
    }
    found.map_or(std::ptr::null_mut(), |address| address as *mut u8)
}

/// The counters now.
pub fn memory_stats() -> MemoryStats {
    let pool = pool();
    MemoryStats {
        current: pool.current,
        peak: pool.peak,
        cached: pool.cached(),
        system_allocs: pool.system_allocs,
        returned: pool.returned,
        allocs: pool.allocs,
    }
}

/// Makes [`MemoryStats::peak`] start again from what is in use now.
pub fn reset_peak() {
    let mut pool = pool();
    pool.peak = pool.current;
}

/// Bounds the bytes kept for reuse. By default half as much again stays cached as was ever in use
/// at once.
pub fn set_cache_limit(bytes: usize) {
    let mut pool = pool();
    pool.limit = Some(bytes);
    if pool.cached() > bytes {
        pool.empty();
    }
}

/// Gives every cached block back to the operating system.
pub fn empty_cache() {
    pool().empty();
}

/// An owned, 64-byte aligned piece of memory that returns to the cache when dropped.
pub struct Block {
    ptr: NonNull<u8>,
    size: usize,
    class: u32,
}

// SAFETY: a block owns its memory; shared access is read-only, exclusive access needs `&mut`.
unsafe impl Send for Block {}
// SAFETY: see above.
unsafe impl Sync for Block {}

/// Returned when the operating system has no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub requested: usize,
    /// Bytes in use at the time.
    pub in_use: usize,
}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "out of memory: asked for {} bytes with {} in use", self.requested, self.in_use)
    }
}

impl std::error::Error for OutOfMemory {}

impl Block {
    /// A block of at least `bytes` bytes. Its contents are initialised but arbitrary.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the system refuses, after the cache was given back.
    pub fn new(bytes: usize) -> Result<Self, OutOfMemory> {
        let mut pool = pool();
        let error = OutOfMemory { requested: bytes, in_use: pool.current };
        let class = size_class(bytes).ok_or(error)?;
        let size = class_size(class);
        let mut address = pool.take(class, size);
        if address.is_null() {
            pool.empty();
            address = pool.take(class, size);
        }
        let ptr = NonNull::new(address).ok_or(error)?;
        pool.allocs += 1;
        pool.current += size;
        if pool.current > pool.peak {
            pool.peak = pool.current;
            pool.top = pool.top.max(pool.peak);
        }
        Ok(Self { ptr, size, class: class as u32 })
    }

    /// Bytes in the block, at least what was asked for.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.size
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// The first `len` values of type `T`.
    ///
    /// # Panics
    /// If the block is smaller than that.
    #[inline]
    pub fn as_slice<T: crate::element::Element>(&self, len: usize) -> &[T] {
        assert!(len.checked_mul(size_of::<T>()).is_some_and(|b| b <= self.capacity()));
        // SAFETY: in bounds by the assert, aligned to 64, initialised (see the module's head), and
        // every bit pattern is a valid `Element`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), len) }
    }

    /// The first `len` values of type `T`, to write.
    ///
    /// # Panics
    /// If the block is smaller than that.
    #[inline]
    pub fn as_mut_slice<T: crate::element::Element>(&mut self, len: usize) -> &mut [T] {
        assert!(len.checked_mul(size_of::<T>()).is_some_and(|b| b <= self.capacity()));
        // SAFETY: as in `as_slice`, and exclusive through `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut pool = pool();
        pool.current -= self.size;
        if !pool.give(self.ptr.as_ptr() as usize, self.class as usize, self.size) {
            drop(pool);
            // SAFETY: the memory came from `heap_alloc(size)`, and nobody else has it.
            unsafe { heap_free(self.ptr.as_ptr(), self.size) };
        }
    }
}

/// Scratch memory of `len` values for the time of a kernel: arbitrary contents, cached like all.
pub struct Scratch<T> {
    block: Block,
    len: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: crate::element::Element> Scratch<T> {
    /// Room for `len` values.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the system refuses.
    pub fn new(len: usize) -> Result<Self, OutOfMemory> {
        let block = Block::new(len.saturating_mul(size_of::<T>()))?;
        Ok(Self { block, len, kind: std::marker::PhantomData })
    }
}

impl<T: crate::element::Element> std::ops::Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.block.as_slice(self.len)
    }
}

impl<T: crate::element::Element> std::ops::DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.block.as_mut_slice(self.len)
    }
}

/// The smallest class that holds `bytes`.
fn size_class(bytes: usize) -> Option<usize> {
    if bytes <= 256 {
        return Some(bytes.max(1).div_ceil(64) - 1);
    }
    // 2^e < bytes <= 2^(e+1), cut in eighths.
    let e = usize::BITS as usize - 1 - (bytes - 1).leading_zeros() as usize;
    let eighth = (bytes - 1 - (1 << e)) >> (e - 3);
    let class = 4 + (e - 8) * 8 + eighth;
    (class < CLASSES).then_some(class)
}

/// Bytes in a block of a class.
fn class_size(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * 64;
    }
    let e = 8 + (class - 4) / 8;
    (1usize << e) + (((class - 4) % 8 + 1) << (e - 3))
}

fn small_layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, ALIGN).ok()
}

/// Zeroed memory from the system, null if there is none.
fn heap_alloc(size: usize) -> *mut u8 {
    match small_layout(size) {
        // SAFETY: the layout's size is not zero: every class has at least 64 bytes.
        Some(layout) => unsafe { std::alloc::alloc_zeroed(layout) },
        None => std::ptr::null_mut(),
    }
}

/// # Safety
/// `ptr` must come from `heap_alloc(size)` and not be used afterwards.
unsafe fn heap_free(ptr: *mut u8, size: usize) {
    if let Some(layout) = small_layout(size) {
        // SAFETY: allocated in `heap_alloc` with this very layout.
        unsafe { std::alloc::dealloc(ptr, layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_promise_and_waste_at_most_an_eighth() {
        let mut sizes: Vec<usize> = (1..5000).collect();
        sizes.extend((13..36).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + 1, 3 << (e - 1)]));
        for bytes in sizes {
            let size = class_size(size_class(bytes).unwrap());
            assert!(size >= bytes, "{bytes} in {size}");
            assert!(size.is_multiple_of(64) || bytes > 256, "{size}");
            assert!(size <= bytes.max(64) + bytes / 8 + 64, "{bytes} takes {size}");
        }
        assert_eq!(size_class(usize::MAX), None);
    }

    #[test]
    fn a_freed_block_is_handed_out_again() {
        let odd = 1_900_017;
        let first = Block::new(odd).unwrap().as_ptr();
        let again = Block::new(odd).unwrap();
        assert_eq!(first, again.as_ptr());
        for bytes in [1, odd, 2 * odd] {
            assert_eq!(Block::new(bytes).unwrap().as_ptr() as usize % ALIGN, 0);
        }
    }

    /// A pool of its own, since other tests use the common one.
    #[cfg(all(target_os = "linux", not(miri), not(flodl_heap)))]
    #[test]
    fn a_medium_block_is_listed_and_goes_back_to_its_arena_when_there_is_too_much() {
        let mut pool = Pool::new();
        let class = size_class(512 << 10).unwrap();
        let size = class_size(class);
        let blocks: Vec<usize> = (0..8).map(|_| pool.take(class, size) as usize).collect();
        assert!(blocks.windows(2).all(|pair| pair[1] == pair[0] + size));
        assert_eq!((pool.system_allocs, pool.cached()), (1, 0));
        blocks[..4].iter().for_each(|&block| assert!(pool.give(block, class, size)));
        assert_eq!((pool.cached(), pool.listed, pool.medium.held()), (4 * size, 4 * size, 0));
        // Last in, first out; then no more is cached than may be, but for a torn huge page.
        assert_eq!(pool.take(class, size) as usize, blocks[3]);
        pool.limit = Some(3 * size);
        blocks[3..].iter().for_each(|&block| assert!(pool.give(block, class, size)));
        assert_eq!((pool.cached(), pool.listed, pool.returned), (4 * size, 3 * size, 4 * size));
        pool.empty();
        assert_eq!((pool.cached(), pool.returned), (0, 8 * size));
        assert_eq!(pool.take(class, size) as usize, blocks[0]);
        assert_eq!(pool.system_allocs, 1);
    }

    #[test]
    fn fresh_memory_reads_as_numbers() {
        let mut scratch = Scratch::<f32>::new(1000).unwrap();
        scratch.fill(2.0);
        assert_eq!(scratch.iter().sum::<f32>(), 2000.0);
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(Block::new(usize::MAX / 2).is_err());
        assert!(Scratch::<f64>::new(usize::MAX / 4).is_err());
    }
}
