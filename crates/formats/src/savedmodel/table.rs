//! LevelDB's sorted tables, as far as TensorFlow writes them (`table_format.txt` of LevelDB): data
//! blocks, an index block with the place of each, and a footer with the place of the index.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::crc32c;
use crate::error::{FormatError, Unsupported};

/// Bytes of the footer at the end of a file.
const FOOTER: usize = 48;
/// The last bytes of a file.
const MAGIC: [u8; 8] = 0xDB47_7524_8B80_FB57_u64.to_le_bytes();
/// Bytes behind each block: how it is packed, and a checksum.
const TRAILER: usize = 5;
/// Most bytes that all keys may have together, as a multiple of the file's size: a key may leave out
/// what it shares with the key before it.
const MOST_EXPANSION: usize = 64;

/// A table's entries, by key.
pub(super) type Table = BTreeMap<Bytes, Bytes>;

/// Reads a table; values are slices of the file.
///
/// # Errors
/// If a block lies, overlaps another, is packed, has another checksum, or keys are out of order.
pub(super) fn read(file: &Bytes, place: &str) -> Result<Table, FormatError> {
    let broken = |reason: &str| FormatError::broken(place, reason);
    let end = file.len().checked_sub(FOOTER).ok_or_else(|| broken("it is too short for a table"))?;
    let mut footer = Cursor { bytes: file.slice(end..), at: 0 };
    if !footer.bytes.ends_with(&MAGIC) {
        return Err(broken("it does not end like a table"));
    }
    let places = footer.handle().and_then(|_metaindex| footer.handle());
    let index = places.ok_or_else(|| broken("its footer is no footer"))?;
    let mut keys_left = file.len().saturating_mul(MOST_EXPANSION);
    let mut blocks = Vec::new();
    entries(&block(file, index, place)?, place, &mut keys_left, |_, value| {
        blocks.push(Cursor { bytes: value, at: 0 }.handle());
        Ok(())
    })?;
    let mut table = Table::new();
    let mut free_from = 0;
    for handle in blocks {
        let handle = handle.ok_or_else(|| broken("its index has no place of a block"))?;
        if handle.0 < free_from {
            return Err(broken("its blocks overlap or are out of order"));
        }
        let contents = block(file, handle, place)?;
        free_from = handle.0 + contents.len() + TRAILER;
        entries(&contents, place, &mut keys_left, |key, value| {
            if table.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(broken("its keys are out of order"));
            }
            table.insert(key, value);
            Ok(())
        })?;
    }
    Ok(table)
}

/// The contents of the block at a place, its checksum checked.
fn block(file: &Bytes, (offset, size): (usize, usize), place: &str) -> Result<Bytes, FormatError> {
    let broken = |reason: String| FormatError::broken(format!("{place}, block at {offset}"), reason);
    let end = offset
        .checked_add(size)
        .filter(|end| file.len() - FOOTER >= TRAILER && *end <= file.len() - FOOTER - TRAILER);
    let end = end.ok_or_else(|| broken("it lies beyond the end of the file".to_owned()))?;
    let stored = u32::from_le_bytes([file[end + 1], file[end + 2], file[end + 3], file[end + 4]]);
    if crc32c::masked(&[&file[offset..=end]]) != stored {
        return Err(broken("its checksum is another".to_owned()));
    }
    match file[end] {
        0 => Ok(file.slice(offset..end)),
        1 => Err(FormatError::Unsupported(vec![Unsupported {
            layer: place.to_owned(),
            operator: "table".to_owned(),
            reason: "its blocks are packed with snappy; save the model with TensorFlow, which packs none"
                .to_owned(),
        }])),
        kind => Err(broken(format!("it is packed in an unknown way ({kind})"))),
    }
}

/// Calls `each` with the key and value of each entry of a block. `keys_left` is how many bytes all
/// keys may still have.
fn entries(
    block: &Bytes,
    place: &str,
    keys_left: &mut usize,
    mut each: impl FnMut(Bytes, Bytes) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let broken = |reason: &str| FormatError::broken(place, reason);
    let (end, restarts) = restarts(block).ok_or_else(|| broken("a block has no restart points"))?;
    let mut restarts = restarts.into_iter().peekable();
    let mut cursor = Cursor { bytes: block.slice(..end), at: 0 };
    let mut key = Vec::new();
    while cursor.at < end {
        let restart = restarts.next_if_eq(&cursor.at).is_some();
        let entry = cursor.entry().ok_or_else(|| broken("an entry lies beyond the end of its block"))?;
        let (shared, suffix, value) = entry;
        if shared > key.len() || (restart && shared != 0) {
            return Err(broken("a key shares more than the key before it has"));
        }
        key.truncate(shared);
        key.extend_from_slice(&suffix);
        *keys_left = keys_left.checked_sub(key.len()).ok_or_else(|| broken("its keys are too long"))?;
        each(Bytes::copy_from_slice(&key), value)?;
    }
    // A block without entries has a restart point at its start.
    if restarts.any(|restart| restart != 0 || end != 0) {
        return Err(broken("a restart point is not at an entry"));
    }
    Ok(())
}

/// Where the entries of a block end, and its restart points.
fn restarts(block: &Bytes) -> Option<(usize, Vec<usize>)> {
    let (rest, count) = block.split_last_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    let end = rest.len().checked_sub(count.checked_mul(4)?)?;
    let points = rest[end..].as_chunks::<4>().0.iter();
    Some((end, points.map(|point| u32::from_le_bytes(*point) as usize).collect()))
}

/// Reads numbers one behind the other.
struct Cursor {
    bytes: Bytes,
    at: usize,
}

impl Cursor {
    /// A number of at most 64 bits, seven in each byte, the lowest first.
    fn varint(&mut self) -> Option<usize> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let part = self.bytes.slice(self.at..end);
        self.at = end;
        Some(part)
    }

    /// A block's place: offset and size.
    fn handle(&mut self) -> Option<(usize, usize)> {
        Some((self.varint()?, self.varint()?))
    }

    /// An entry: how much of the key before it shares, the rest of its key, its value.
    fn entry(&mut self) -> Option<(usize, Bytes, Bytes)> {
        let (shared, suffix, value) = (self.varint()?, self.varint()?, self.varint()?);
        Some((shared, self.take(suffix)?, self.take(value)?))
    }
}

/// Reads the lengths at the start of a text tensor; `None` if they are cut short.
pub(super) fn lengths(bytes: &Bytes, count: usize) -> Option<(Vec<usize>, usize)> {
    let mut cursor = Cursor { bytes: bytes.clone(), at: 0 };
    let lengths = (0..count).map(|_| cursor.varint()).collect::<Option<Vec<_>>>()?;
    Some((lengths, cursor.at))
}
