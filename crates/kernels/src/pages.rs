//! Memory for packed weights, cut from large maps.
//!
//! What the system hands out in large pages costs a quarter of the time that single ones take, and spares
//! look-ups of addresses ever after. A large page is shared by whatever is packed next to one another, so
//! that small layers have part in it. The first pieces of a map lie before its first large page, so that a
//! small model does not take a whole one; those of a model that will fill one begin there.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use memmap2::{MmapMut, MmapRaw};

use crate::pool::spare::{Offer, offer};

/// Bytes of a large page.
const LARGE: usize = 2 << 20;

/// Bytes of a small page.
const SMALL: usize = 4 << 10;

/// Bytes of a mapped file that Linux makes present around one that is read.
const AROUND: usize = 64 << 10;

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

/// How often a piece has been asked for.
static ASKED: AtomicUsize = AtomicUsize::new(0);

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    /// A map with room for a piece, and where it begins.
    fn room(&self, bytes: usize) -> Option<(Arc<MmapRaw>, usize)> {
        let place = self.next.checked_next_multiple_of(LINE)?;
        let fits = |map: &Arc<MmapRaw>| map.len().saturating_sub(place) >= bytes;
        self.map.upgrade().filter(fits).map(|map| (map, place)).or_else(|| map(bytes))
    }
}

/// What a model needs that is being read, asked from the system on a thread of its own: the pages of its file, if
/// that is mapped, and memory for its packed weights, until the first piece is cut from that. It takes a third of a
/// millisecond for two megabytes of memory, in which a model can be read. The next thread pool has the thread as a
/// worker. To be kept until then.
pub struct Ahead {
    _map: Arc<MmapRaw>,
    _offer: Offer,
}

impl Ahead {
    /// For a model in this file, whose weights take about as much room when they are packed; `None` if the system
    /// has no memory or no thread.
    #[must_use]
    pub fn new(file: impl AsRef<[u8]> + Send + 'static) -> Option<Ahead> {
        let bytes = file.as_ref().len().min(MAP);
        let (map, start) = {
            let mut open = open();
            let (map, mut start) = open.room(bytes)?;
            // The small pages before it would take as long as half a large one.
            if bytes >= LARGE {
                start = next_large(&map, start);
            }
            *open = Open { map: Arc::downgrade(&map), next: start };
            (map, start)
        };
        let (weak, asked) = (Arc::downgrade(&map), ASKED.load(Ordering::Relaxed));
        let work = move || {
            let is_awaited = || ASKED.load(Ordering::Relaxed) != asked;
            let pages = file.as_ref().iter().step_by(AROUND);
            pages.take_while(|_| !is_awaited()).for_each(|byte| _ = black_box(*byte));
            drop(file);
            hand_out(&weak, start..start + bytes, is_awaited);
        };
        Some(Ahead { _map: map, _offer: offer("litesmith-ahead", work)? })
    }
}

/// Where the first large page begins that does not begin before `place`.
fn next_large(map: &MmapRaw, place: usize) -> usize {
    (map.as_ptr().addr() + place).next_multiple_of(LARGE) - map.as_ptr().addr()
}

/// Touches one page after the other, as long as nobody waits for the memory and the map is there.
fn hand_out(map: &Weak<MmapRaw>, mut range: Range<usize>, is_awaited: impl Fn() -> bool) {
    // Asked before the lock is taken: who waits for that would not get it in between.
    while !range.is_empty() && !is_awaited() {
        // Held while a page is touched: no piece can be cut from it meanwhile.
        let open = open();
        let Some(map) = map.upgrade() else { return };
        let is_open = Weak::ptr_eq(&open.map, &Arc::downgrade(&map));
        if !is_open || open.next > range.start || range.start >= map.len() {
            return;
        }
        // SAFETY: the place lies in the map, and behind all pieces, so that nobody else has this byte.
        unsafe { map.as_mut_ptr().add(range.start).write_volatile(0) };
        let address = map.as_ptr().addr() + range.start;
        let page = if (address + 1).next_multiple_of(LARGE) - address > HEAD { LARGE } else { SMALL };
        range.start += (address + 1).next_multiple_of(page) - address;
    }
}

impl Pages {
    /// A piece of so many bytes, which are zero; `None` if the system has none.
    pub(crate) fn zeroed(bytes: usize) -> Option<Pages> {
        ASKED.fetch_add(1, Ordering::Relaxed);
        let mut open = open();
        let (map, start) = open.room(bytes)?;
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
    fn memory_handed_out_ahead_is_used_and_stays_zero() {
        for bytes in [1, 300_000, 5_000_000] {
            let ahead = Ahead::new(vec![1; bytes]).unwrap();
            let mut piece = Pages::zeroed(bytes).unwrap();
            assert!(piece.bytes().iter().all(|byte| *byte == 0));
            piece.bytes_mut().fill(7);
            drop(ahead);
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(piece.bytes().iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(Pages::zeroed(usize::MAX).is_none());
        assert!(Pages::zeroed(usize::MAX / 2).is_none());
    }
}
