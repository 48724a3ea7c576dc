//! The variables of a SavedModel: an index (a table) and shards with the bytes of all tensors, one
//! behind the other (`tensor_bundle.proto`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::attributes::Constant;
use super::crc32c;
use super::proto::{BundleEntry, BundleHeader};
use super::table::{self, Table};
use super::tensor::{self, Element};
use crate::error::{FormatError, Unsupported};
use crate::mapping;

/// The number of the element type of texts.
const TEXT: i32 = 7;

/// A bundle of tensors by key.
pub(super) struct Bundle {
    /// The files' path without their endings.
    prefix: PathBuf,
    table: Table,
    shard_count: u32,
    shards: HashMap<u32, Bytes>,
}

impl Bundle {
    /// Opens the bundle `prefix.index`, `prefix.data-…`; `None` if there is no index, as in models
    /// without variables.
    ///
    /// # Errors
    /// If the index is damaged, or the bundle is of a machine with other byte order.
    pub fn open(prefix: &Path) -> Result<Option<Bundle>, FormatError> {
        let index = prefix.with_extension("index");
        if !index.is_file() {
            return Ok(None);
        }
        let place = file_name(&index);
        let table = table::read(&mapping::open(&index)?, &place)?;
        let header =
            table.get(&Bytes::new()).ok_or_else(|| FormatError::broken(&place, "it has no header"))?;
        let header: BundleHeader = message(header, &place)?;
        if header.endianness != 0 {
            return Err(unsupported(
                &place,
                "its numbers are big-endian; save it on a little-endian machine",
            ));
        }
        let shard_count = match u32::try_from(header.shards) {
            Ok(count @ 1..) => count,
            _ => return Err(FormatError::broken(&place, format!("{} shards cannot be", header.shards))),
        };
        Ok(Some(Bundle { prefix: prefix.to_owned(), table, shard_count, shards: HashMap::new() }))
    }

    /// Whether there is a tensor of this key.
    pub fn contains(&self, key: &str) -> bool {
        !key.is_empty() && self.table.contains_key(key.as_bytes())
    }

    /// A tensor of numbers; its bytes are those of the shard.
    ///
    /// # Errors
    /// If there is none of this key, its shard is missing, or its bytes are not what the index says.
    pub fn tensor(&mut self, key: &str) -> Result<Constant, FormatError> {
        let place = format!("variable '{key}'");
        let entry = self.entry(key, &place)?;
        if !entry.slices.is_empty() {
            return Err(in_pieces(key));
        }
        let element = Element::of(entry.dtype, &place)?;
        if let Err(reason) = element.dtype() {
            return Err(unsupported(key, &reason));
        }
        if entry.dtype == TEXT {
            return Err(unsupported(key, "it is made of text; look texts up before the model"));
        }
        let bytes = self.bytes(&entry, &place)?;
        let shape = tensor::fixed(entry.shape.as_ref(), &place)?;
        let constant = element.tensor(shape, bytes.clone(), &place)?;
        check(&entry, &[&bytes], &place)?;
        Ok(constant)
    }

    /// A tensor of texts: the lengths of all, a checksum of them, the texts.
    ///
    /// # Errors
    /// As [`Bundle::tensor`]; also if it is a tensor of numbers.
    pub fn texts(&mut self, key: &str) -> Result<Vec<Bytes>, FormatError> {
        let place = format!("variable '{key}'");
        let broken = |reason: &str| FormatError::broken(&place, reason);
        let entry = self.entry(key, &place)?;
        if entry.dtype != TEXT {
            return Err(broken("it is not made of text"));
        }
        let bytes = self.bytes(&entry, &place)?;
        let shape = tensor::fixed(entry.shape.as_ref(), &place)?;
        // Each text takes at least the byte of its length.
        let count = tensor::elements(&shape).filter(|count| *count <= bytes.len());
        let count = count.ok_or_else(|| broken("it has more texts than bytes"))?;
        let (lengths, end) =
            table::lengths(&bytes, count).ok_or_else(|| broken("its lengths are cut short"))?;
        let mut fixed = Vec::with_capacity(count.saturating_mul(4));
        for length in &lengths {
            match u32::try_from(*length) {
                Ok(length) => fixed.extend_from_slice(&length.to_le_bytes()),
                Err(_) => fixed.extend_from_slice(&(*length as u64).to_le_bytes()),
            }
        }
        let start = end.checked_add(4).filter(|start| *start <= bytes.len());
        let start = start.ok_or_else(|| broken("its lengths have no checksum"))?;
        if crc32c::masked(&[&fixed]).to_le_bytes() != bytes[end..start] {
            return Err(broken("the checksum of its lengths is another"));
        }
        check(&entry, &[&fixed, &bytes[end..]], &place)?;
        let mut at = start;
        let mut texts = Vec::with_capacity(count);
        for length in lengths {
            let end = at.checked_add(length).filter(|end| *end <= bytes.len());
            let end = end.ok_or_else(|| broken("its texts are longer than its bytes"))?;
            texts.push(bytes.slice(at..end));
            at = end;
        }
        if at != bytes.len() {
            return Err(broken("its texts are shorter than its bytes"));
        }
        Ok(texts)
    }

    fn entry(&self, key: &str, place: &str) -> Result<BundleEntry, FormatError> {
        match self.table.get(key.as_bytes()) {
            Some(entry) if !key.is_empty() => message(entry, place),
            _ => Err(FormatError::broken(place, "the variables' index does not have it")),
        }
    }

    fn bytes(&mut self, entry: &BundleEntry, place: &str) -> Result<Bytes, FormatError> {
        let shard = u32::try_from(entry.shard).ok().filter(|shard| *shard < self.shard_count);
        let shard =
            shard.ok_or_else(|| FormatError::broken(place, format!("shard {} cannot be", entry.shard)))?;
        let file = match self.shards.get(&shard) {
            Some(file) => file,
            None => {
                let file = self.open_shard(shard)?;
                self.shards.entry(shard).or_insert(file)
            }
        };
        let range = usize::try_from(entry.offset).ok().zip(usize::try_from(entry.size).ok());
        let range = range.and_then(|(start, size)| Some(start..start.checked_add(size)?));
        match range.filter(|range| range.end <= file.len()) {
            Some(range) => Ok(file.slice(range)),
            None => Err(FormatError::broken(place, "its bytes lie beyond the end of its shard")),
        }
    }

    fn open_shard(&self, shard: u32) -> Result<Bytes, FormatError> {
        let path = self.prefix.with_extension(format!("data-{shard:05}-of-{:05}", self.shard_count));
        match mapping::open(&path) {
            Err(FormatError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(FormatError::broken(file_name(&path), "it is missing, and variables are in it"))
            }
            file => file,
        }
    }
}

/// That a variable is stored in pieces.
pub(super) fn in_pieces(name: &str) -> FormatError {
    unsupported(name, "it is stored in pieces; save the model without partitioned variables")
}

fn check(entry: &BundleEntry, pieces: &[&[u8]], place: &str) -> Result<(), FormatError> {
    if crc32c::masked(pieces) == entry.checksum {
        return Ok(());
    }
    Err(FormatError::broken(place, "its checksum is another"))
}

fn message<M: Message + Default>(bytes: &Bytes, place: &str) -> Result<M, FormatError> {
    M::decode(bytes.clone()).map_err(|error| FormatError::broken(place, error.to_string()))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn unsupported(name: &str, reason: &str) -> FormatError {
    FormatError::Unsupported(vec![Unsupported {
        layer: name.to_owned(),
        operator: "variable".to_owned(),
        reason: reason.to_owned(),
    }])
}

#[cfg(test)]
mod tests {
    use super::super::made::*;
    use super::super::proto::{ShapeProto, SliceProto};
    use super::*;

    /// A bundle of one entry with these bytes.
    fn of_entry(entry: &BundleEntry, bytes: &[u8]) -> Result<Bundle, FormatError> {
        let header = BundleHeader { shards: 1, endianness: 0 };
        let entries = [(Vec::new(), header.encode_to_vec()), (b"w".to_vec(), entry.encode_to_vec())];
        let folder = folder(&[], &table(&entries, 2), bytes);
        let mut bundle = Bundle::open(&folder.path().join("variables/variables"))?.unwrap();
        // The shard is opened while the folder is there.
        bundle.shards.insert(0, Bytes::copy_from_slice(bytes));
        Ok(bundle)
    }

    /// What is wrong with an entry that is otherwise `[2]` of single precision.
    fn refusal(bytes: &[u8], change: impl Fn(&mut BundleEntry)) -> String {
        let mut entry = BundleEntry {
            dtype: FLOAT,
            shape: Some(shape(&[2])),
            size: bytes.len() as i64,
            checksum: crc32c::masked(&[bytes]),
            ..BundleEntry::default()
        };
        change(&mut entry);
        of_entry(&entry, bytes).unwrap().tensor("w").unwrap_err().to_string()
    }

    #[test]
    fn entries_that_lie_are_refused() {
        let bytes = [0u8; 8];
        assert!(refusal(&bytes, |entry| entry.checksum ^= 1).contains("its checksum is another"));
        assert!(refusal(&bytes, |entry| entry.offset = 1).contains("beyond the end"));
        assert!(refusal(&bytes, |entry| entry.offset = -1).contains("beyond the end"));
        assert!(refusal(&bytes, |entry| entry.size = i64::MAX).contains("beyond the end"));
        assert!(refusal(&bytes, |entry| entry.shard = 1).contains("shard 1 cannot be"));
        assert!(refusal(&bytes, |entry| entry.dtype = 99).contains("type 99 does not exist"));
        assert!(refusal(&bytes, |entry| entry.dtype = 8).contains("complex64"));
        assert!(refusal(&bytes, |entry| entry.dtype = 7).contains("text"));
        assert!(refusal(&bytes, |entry| entry.slices.push(SliceProto::default())).contains("in pieces"));
        assert!(refusal(&bytes, |entry| entry.shape = Some(shape(&[3]))).contains("8 bytes do not make"));
        assert!(
            refusal(&bytes, |entry| entry.shape = Some(shape(&[1 << 31, 1 << 31, 4])))
                .contains("do not make")
        );
        assert!(refusal(&bytes, |entry| entry.shape = Some(shape(&[-2]))).contains("-2"));
        let unknown = ShapeProto { unknown_rank: true, ..ShapeProto::default() };
        assert!(refusal(&bytes, |entry| entry.shape = Some(unknown.clone())).contains("not known"));
    }

    #[test]
    fn brain_floats_are_widened() {
        let bytes = [0x80, 0x3F, 0x00, 0xC0];
        let entry = BundleEntry {
            dtype: 14,
            shape: Some(shape(&[2])),
            size: 4,
            checksum: crc32c::masked(&[&bytes]),
            ..BundleEntry::default()
        };
        let constant = of_entry(&entry, &bytes).unwrap().tensor("w").unwrap();
        assert_eq!(*constant.data.elements::<f32>(), [1.0, -2.0]);
    }

    #[test]
    fn texts_are_read_and_their_lengths_checked() {
        let lengths = [2u32.to_le_bytes(), 1u32.to_le_bytes()].concat();
        let inner = crc32c::masked(&[&lengths]).to_le_bytes();
        let whole = [&[2, 1][..], &inner, b"abc"].concat();
        let mut entry = BundleEntry {
            dtype: 7,
            shape: Some(shape(&[2])),
            size: whole.len() as i64,
            checksum: crc32c::masked(&[&lengths, &inner, b"abc"]),
            ..BundleEntry::default()
        };
        assert_eq!(of_entry(&entry, &whole).unwrap().texts("w").unwrap(), [&b"ab"[..], b"c"]);
        for damaged in [&[2, 2][..], &[1, 1], &[0x80, 0x80]] {
            let bytes = [damaged, &whole[2..]].concat();
            assert!(of_entry(&entry, &bytes).unwrap().texts("w").is_err());
        }
        entry.shape = Some(shape(&[1 << 31]));
        assert!(of_entry(&entry, &whole).unwrap().texts("w").is_err());
    }

    #[test]
    fn a_bundle_needs_a_header_and_our_byte_order() {
        let open = |header: Option<BundleHeader>| {
            let entries: Vec<_> = header.iter().map(|header| (Vec::new(), header.encode_to_vec())).collect();
            let folder = folder(&[], &table(&entries, 1), &[]);
            Bundle::open(&folder.path().join("variables/variables")).err().map(|error| error.to_string())
        };
        assert_eq!(open(Some(BundleHeader { shards: 1, endianness: 0 })), None);
        assert!(open(None).unwrap().contains("no header"));
        assert!(open(Some(BundleHeader { shards: 0, endianness: 0 })).unwrap().contains("0 shards"));
        assert!(open(Some(BundleHeader { shards: 1, endianness: 1 })).unwrap().contains("big-endian"));
        assert!(Bundle::open(Path::new("/none/variables")).unwrap().is_none());
    }
}
