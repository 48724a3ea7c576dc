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
    let places = footer.handle().zip(footer.handle());
    let (metaindex, index) = places.ok_or_else(|| broken("its footer is no footer"))?;
    block(file, metaindex, place)?;
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

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;
    use proptest::prelude::*;

    fn entries(count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..count)
            .map(|number| (format!("key/{number:03}").into_bytes(), vec![number as u8; number]))
            .collect()
    }

    fn reason(bytes: Vec<u8>) -> String {
        read(&bytes.into(), "index").unwrap_err().to_string()
    }

    #[test]
    fn all_blocks_are_followed() {
        for per_block in [1, 7, 40] {
            let table = read(&made::table(&entries(40), per_block).into(), "index").unwrap();
            let found: Vec<_> = table.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            assert_eq!(found, entries(40));
        }
        assert!(read(&made::table(&[], 1).into(), "index").unwrap().is_empty());
    }

    #[test]
    fn keys_out_of_order_are_broken() {
        let mut swapped = entries(4);
        swapped.swap(1, 2);
        for per_block in [1, 2, 4] {
            assert!(reason(made::table(&swapped, per_block)).contains("out of order"));
        }
    }

    /// A table of one block with these contents.
    fn of_block(contents: &[u8]) -> Vec<u8> {
        made::table_of(&[(b"key".to_vec(), contents.to_vec())])
    }

    #[test]
    fn blocks_that_lie_are_broken() {
        let block = |entry: &[u8], restarts: &[u32]| {
            let count = restarts.len() as u32;
            let numbers = restarts.iter().chain([&count]).flat_map(|number| number.to_le_bytes());
            entry.iter().copied().chain(numbers).collect::<Vec<u8>>()
        };
        assert!(read(&of_block(&block(&[0, 1, 1, b'k', 7], &[0])).into(), "").is_ok());
        let shares = |entry: &[u8], restarts: &[u32]| reason(of_block(&block(entry, restarts)));
        assert!(shares(&[1, 1, 1, b'k', 7], &[0]).contains("shares more"));
        assert!(shares(&[0, 1, 0, b'k', 1, 1, 0, b'l'], &[0, 4]).contains("shares more"));
        assert!(shares(&[0, 1, 1, b'k', 7], &[0, 3]).contains("restart point"));
        assert!(shares(&[0, 1, 1, b'k', 7], &[99]).contains("restart point"));
        assert!(shares(&[0, 9, 1, b'k', 7], &[0]).contains("beyond the end of its block"));
        assert!(
            shares(&[0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], &[0])
                .contains("beyond")
        );
        assert!(reason(of_block(&[0, 0, 0, 0xFF])).contains("no restart points"));
        assert!(reason(of_block(&[])).contains("no restart points"));
    }

    #[test]
    fn keys_that_unpack_to_too_much_are_broken() {
        let long = vec![b'k'; 1 << 12];
        let keys = (0u32..4096).map(|number| ([&long[..], &number.to_be_bytes()].concat(), Vec::new()));
        let contents = made::block(&keys.collect::<Vec<_>>(), 1 << 13);
        assert!(reason(of_block(&contents)).contains("too long"));
    }

    #[test]
    fn checksums_packing_and_places_are_checked() {
        let sound = made::table(&entries(3), 3);
        let mut flipped = sound.clone();
        flipped[3] ^= 1;
        assert!(reason(flipped).contains("checksum"));
        for cut in [0, 10, FOOTER, sound.len() - 1] {
            assert!(read(&Bytes::copy_from_slice(&sound[..cut]), "index").is_err());
        }
        // The footer's first handle, moved behind the end.
        let mut beyond = sound.clone();
        let footer = beyond.len() - FOOTER;
        beyond[footer..footer + 8].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1, 0, 0]);
        assert!(reason(beyond).contains("beyond the end"));
        let contents = made::block(&entries(1), 1);
        let mut packed = of_block(&contents);
        packed[contents.len()] = 1;
        let checksum = crc32c::masked(&[&packed[..=contents.len()]]);
        packed[contents.len() + 1..contents.len() + 5].copy_from_slice(&checksum.to_le_bytes());
        assert!(reason(packed).contains("snappy"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_of_any_bytes_are_no_panic(contents in prop::collection::vec(0u8..8, 0..60)) {
            if let Ok(table) = read(&of_block(&contents).into(), "index") {
                prop_assert!(table.len() <= contents.len());
            }
        }

        #[test]
        fn damaged_tables_are_broken(place in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = made::table(&entries(20), 4);
            // The padding of the footer says nothing.
            let place = place.index(bytes.len() - FOOTER);
            bytes[place] ^= flip;
            prop_assert!(read(&bytes.into(), "index").is_err());
        }
    }
}
