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
            let reason = "it is stored in pieces; save the model without partitioned variables";
            return Err(unsupported(key, reason));
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
