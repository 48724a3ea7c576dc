//! Files as bytes: read into memory when small, mapped when large.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use memmap2::Mmap;

use crate::error::FormatError;

/// Files above this size are mapped instead of read, which would take longer than packing their weights.
const MAPPED_ABOVE: u64 = 1 << 20;

/// The bytes of a file, shared and cheap to slice.
///
/// # Errors
/// If the file cannot be opened or read.
pub fn open(path: &Path) -> Result<Bytes, FormatError> {
    let io = |source| FormatError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    if metadata.len() > MAPPED_ABOVE {
        return map(&file).map_err(io);
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes.into())
}

/// The maps that are in use.
static MAPS: Mutex<Vec<Weak<Mmap>>> = Mutex::new(Vec::new());

/// A map that [`Bytes`] own.
struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Gives the memory that pages of mapped files take back to the system, which reads them again where they
/// are needed: a large model that has been read through needs none any more.
pub fn release() {
    let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    maps.retain(|map| map.strong_count() > 0);
    maps.iter().filter_map(Weak::upgrade).for_each(|map| forget_pages(&map));
}

#[cfg(unix)]
#[allow(unsafe_code, reason = "the one place that maps files")]
fn forget_pages(map: &Mmap) {
    // SAFETY: the map is shared with the file and never written to, so that the pages come back as they
    // were. A system that refuses keeps them, which changes nothing but the memory in use.
    let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
}

#[cfg(not(unix))]
fn forget_pages(_map: &Mmap) {}

#[allow(unsafe_code, reason = "the one place that maps files")]
fn map(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: the map is only read, and as plain bytes. A file that another process shortens or
    // rewrites meanwhile can end this process by a signal or change the bytes under it, as with
    // every program that maps its input; our own writers never touch a file in place, they rename.
    let map = unsafe { Mmap::map(file)? };
    let map = Arc::new(map);
    MAPS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&map));
    Ok(Bytes::from_owner(Shared(map)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_mapped_and_small_ones_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [10, MAPPED_ABOVE + 1] {
            std::fs::write(&path, [7]).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            let bytes = open(&path).unwrap();
            assert_eq!((bytes.len() as u64, bytes[0], bytes[9]), (length, 7, 0));
            release();
            assert_eq!((bytes[0], bytes[9]), (7, 0));
        }
    }

    #[test]
    fn missing_files_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open(folder.path()), Err(FormatError::Io { .. })));
        assert!(matches!(open(&folder.path().join("none")), Err(FormatError::Io { .. })));
    }
}
