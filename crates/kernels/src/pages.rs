//! Memory for packed weights, cut from large maps.
//!
//! What the system hands out in large pages costs a quarter of the time that single ones take, and spares
//! look-ups of addresses ever after. A large page is shared by whatever is packed next to one another, so
//! that small layers have part in it. The first pieces of a map lie before its first large page: a
//! small model does not take a whole one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{MmapMut, MmapRaw};

/// Bytes of a large page.
const LARGE: usize = 2 << 20;

/// Bytes of a map before its first large page.
const HEAD: usize = 256 << 10;

/// Bytes of a map that is not for one larger piece. What nobody touches takes no memory.
const MAP: usize = 64 << 20;

/// What pieces begin at multiples of: a cache line.
const LINE: usize = 64;

/// A piece of a map, zero at first. The map goes back to the system with the last of its pieces.
pub(crate) struct Pages {
    map: Arc<MmapRaw>,
    start: usize,
    bytes: usize,
}

/// The map that pieces are cut from, as long as there is one of them, and where the next begins.
struct Open {
    map: Weak<MmapRaw>,
    next: usize,
}

static OPEN: Mutex<Open> = Mutex::new(Open { map: Weak::new(), next: 0 });

impl Pages {
    /// A piece of so many bytes, which are zero; `None` if the system has none.
    pub(crate) fn zeroed(bytes: usize) -> Option<Pages> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let place = open.next.checked_next_multiple_of(LINE)?;
        let fits = |map: &Arc<MmapRaw>| map.len().saturating_sub(place) >= bytes;
        let (map, start) = match open.map.upgrade().filter(fits) {
            Some(map) => (map, place),
            None => map(bytes)?,
        };
        *open = Open { map: Arc::downgrade(&map), next: start + bytes };
        Some(Pages { map, start, bytes })
    }

    /// The piece.
    #[cfg(test)]
    fn bytes(&self) -> &[u8] {
        // SAFETY: `zeroed` cut this piece from the map, which this value keeps, and gives no byte away
        // twice: nobody else writes it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.start), self.bytes) }
    }

    /// The piece, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(self.start), self.bytes) }
    }
}

/// A map for a first piece of so many bytes, and where that begins.
fn map(bytes: usize) -> Option<(Arc<MmapRaw>, usize)> {
    let map = MmapMut::map_anon(bytes.max(MAP).checked_add(LARGE + HEAD)?).ok()?;
    // A system that refuses gives small pages.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    let head = (map.as_ptr().addr() + HEAD).next_multiple_of(LARGE) - HEAD - map.as_ptr().addr();
    Some((Arc::new(map.into()), head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zero_and_apart() {
        let sizes = [1, 64, 100, 5000, 300_000, 3_000_000, 70_000_000, 40_000_000, 40_000_000, 7];
        let mut pieces: Vec<Pages> = sizes.iter().map(|bytes| Pages::zeroed(*bytes).unwrap()).collect();
        for (index, piece) in pieces.iter_mut().enumerate() {
            assert_eq!(piece.bytes().as_ptr().addr() % LINE, 0);
            let ends = [0, piece.bytes - 1];
            for end in ends {
                assert_eq!(piece.bytes()[end], 0);
            }
            ends.into_iter().for_each(|end| piece.bytes_mut()[end] = index as u8 + 1);
        }
        for (index, (piece, bytes)) in pieces.iter().zip(sizes).enumerate() {
            let own = piece.bytes();
            assert_eq!((own.len(), own[0], own[bytes - 1]), (bytes, index as u8 + 1, index as u8 + 1));
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(Pages::zeroed(usize::MAX).is_none());
        assert!(Pages::zeroed(usize::MAX / 2).is_none());
    }
}
