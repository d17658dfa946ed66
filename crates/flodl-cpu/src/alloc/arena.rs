//! Large blocks: pieces of one range of addresses, cut where they fit best and joined again when
//! they are freed.
//!
//! Kept by size class, the blocks of a training step would each have to come back at their own size:
//! the pages of a free block of another size are of no use, more has to be kept than is ever in
//! use, and what is kept beyond a bound is given back and cleared again by the system at every step.
//! Cut from one range, all that is free serves every size.

use std::collections::{BTreeMap, BTreeSet};

/// Huge pages.
pub(super) const HUGE: usize = 2 << 20;
/// What the sizes of all large blocks are multiples of, and so their places: whole pages, of
/// whatever size up to this the system has.
pub(super) const STEP: usize = 256 << 10;
/// Addresses taken from the system at once, as far as it gives them; pages come when touched.
const CHUNK: usize = 1 << 30;

/// A free piece.
#[derive(Clone, Copy)]
struct Piece {
    size: usize,
    /// How much of it, at most, has pages.
    held: usize,
}

/// The free pieces, none of which touch each other.
pub(super) struct Arena {
    by_place: BTreeMap<usize, Piece>,
    by_size: BTreeSet<(usize, usize)>,
    /// Bytes of free pieces that have pages.
    held: usize,
}

impl Arena {
    pub const fn new() -> Self {
        Self { by_place: BTreeMap::new(), by_size: BTreeSet::new(), held: 0 }
    }

    /// Bytes of free pieces that have pages.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The address of `size` bytes from the free piece that fits best, if one does.
    pub fn take(&mut self, size: usize) -> Option<usize> {
        let &(_, place) = self.by_size.range((size, 0)..).next()?;
        let piece = self.remove(place)?;
        // From its start: what lies at the end of a range was perhaps never touched.
        let rest = Piece { size: piece.size - size, held: piece.held.saturating_sub(size) };
        if rest.size > 0 {
            self.insert(place + size, rest);
        }
        Some(place)
    }

    /// Takes `size` bytes back; `held` of them may have pages.
    pub fn give(&mut self, mut place: usize, mut size: usize, mut held: usize) {
        let before = self.by_place.range(..place).next_back().map(|(&at, &piece)| (at, piece.size));
        if let Some((at, length)) = before
            && at + length == place
            && let Some(piece) = self.remove(at)
        {
            (place, size, held) = (at, size + piece.size, held + piece.held);
        }
        if let Some(piece) = self.remove(place + size) {
            (size, held) = (size + piece.size, held + piece.held);
        }
        self.insert(place, Piece { size, held });
    }

    /// Asks the system for more addresses; says whether there is now room for `size` bytes.
    pub fn grow(&mut self, size: usize) -> bool {
        for wanted in [size.max(CHUNK), size] {
            if let Some((place, length)) = map(wanted) {
                self.give(place, length, 0);
                return true;
            }
        }
        false
    }

    /// Gives the pages of free pieces back to the system until at most `limit` bytes have some, as
    /// far as the pieces have whole granules. With granules of [`HUGE`] no huge page is torn.
    pub fn trim(&mut self, limit: usize, granule: usize) {
        let whole = |place: usize, size: usize| {
            let (start, end) =
                (place.next_multiple_of(granule), (place + size) / granule * granule);
            (start, end.max(start))
        };
        // What certainly goes when a piece's whole granules do: its pages may all lie outside them.
        let gain = |(&place, piece): (&usize, &Piece)| {
            let (start, end) = whole(place, piece.size);
            (piece.held.saturating_sub(piece.size - (end - start)), place)
        };
        while self.held > limit {
            let Some((gain, place)) = self.by_place.iter().map(gain).max() else { return };
            if gain == 0 {
                return;
            }
            let Some(piece) = self.remove(place) else { return };
            let (start, end) = whole(place, piece.size);
            // SAFETY: whole pages of a free piece: nobody reads them, and they come back as zeros.
            unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
            self.insert(place, Piece { held: piece.held - gain, ..piece });
        }
    }

    fn insert(&mut self, place: usize, piece: Piece) {
        self.held += piece.held;
        self.by_size.insert((piece.size, place));
        self.by_place.insert(place, piece);
    }

    fn remove(&mut self, place: usize) -> Option<Piece> {
        let piece = self.by_place.remove(&place)?;
        self.by_size.remove(&(piece.size, place));
        self.held -= piece.held;
        Some(piece)
    }
}

/// Fresh addresses for at least `size` bytes, on huge pages where there are some.
fn map(size: usize) -> Option<(usize, usize)> {
    let size = size.checked_next_multiple_of(HUGE)?;
    let total = size.checked_add(HUGE)?;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice; the parts before
    // and after the aligned range belong to that mapping and are unmapped, whole pages each.
    unsafe {
        let base = libc::mmap(
            std::ptr::null_mut(),
            total,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if base == libc::MAP_FAILED {
            return None;
        }
        let start = (base as usize).next_multiple_of(HUGE);
        let (lead, tail) = (start - base as usize, base as usize + HUGE - start);
        if lead > 0 {
            libc::munmap(base, lead);
        }
        if tail > 0 {
            libc::munmap((start + size) as *mut _, tail);
        }
        libc::madvise(start as *mut _, size, libc::MADV_HUGEPAGE);
        Some((start, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_serves_every_size() {
        let mut arena = Arena::new();
        arena.give(1000, 100, 0);
        let places: Vec<usize> = [40, 30, 30].iter().map(|&s| arena.take(s).unwrap()).collect();
        assert_eq!(places, [1000, 1040, 1070]);
        assert_eq!(arena.take(1), None);
        arena.give(1000, 40, 40);
        arena.give(1070, 30, 30);
        assert_eq!(arena.take(50), None);
        // The tighter of the two holes.
        assert_eq!(arena.take(20), Some(1070));
        arena.give(1070, 20, 20);
        arena.give(1040, 30, 30);
        assert_eq!((arena.held(), arena.by_place.len()), (100, 1));
        assert_eq!(arena.take(100), Some(1000));
        assert_eq!(arena.held(), 0);
    }

    #[test]
    fn trimmed_pieces_read_as_zeros() {
        let mut arena = Arena::new();
        assert!(arena.grow(3 * HUGE));
        let place = arena.take(3 * HUGE).unwrap();
        // SAFETY: three huge pages that the arena has handed out.
        unsafe { (place as *mut u8).write_bytes(7, 3 * HUGE) };
        arena.give(place, 3 * HUGE, 3 * HUGE);
        arena.trim(2 * HUGE, HUGE);
        assert_eq!(arena.held(), 0);
        assert_eq!(arena.take(3 * HUGE), Some(place));
        // SAFETY: as above.
        assert_eq!(unsafe { *(place as *const u8).add(HUGE) }, 0);
    }

    #[test]
    fn what_no_whole_granule_holds_stays_held() {
        let mut arena = Arena::new();
        assert!(arena.grow(3 * HUGE));
        let place = arena.take(3 * HUGE).unwrap();
        // A piece that touches three huge pages and holds one of them whole.
        let (start, size) = (place + STEP, 2 * HUGE);
        arena.give(start, size, size);
        arena.trim(0, HUGE);
        assert_eq!(arena.held(), size - HUGE);
        // Trimming again finds nothing more to give.
        arena.trim(0, HUGE);
        assert_eq!(arena.held(), size - HUGE);
        arena.trim(0, STEP);
        assert_eq!(arena.held(), 0);
        // Less than a huge page is no huge page.
        assert_eq!(arena.take(size), Some(start));
        arena.give(start, HUGE - STEP, HUGE - STEP);
        arena.trim(0, HUGE);
        assert_eq!(arena.held(), HUGE - STEP);
    }

    #[test]
    fn an_impossible_size_is_refused() {
        assert!(!Arena::new().grow(usize::MAX / 2));
        assert!(!Arena::new().grow(usize::MAX));
    }
}
