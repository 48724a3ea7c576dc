//! The buffers of a file: one for each constant, equal ones shared.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

use crate::tflite::flatbuffer::builder::{Region, Table};
use crate::tflite::schema;

/// Buffers below this size stay inside the flatbuffer; runtimes take a size of one byte behind it
/// for none at all.
const SMALLEST_BEHIND: usize = 64;

/// Buffers in the making.
pub(super) struct Buffers {
    /// The first is empty: tensors without elements of their own point at it.
    entries: Vec<Entry>,
    known: HashMap<Content, u32>,
}

/// Bytes that are found by their length and some of them; equal ones are equal throughout. Reading all
/// of a large model only to tell its constants apart would take longer than writing it.
#[derive(PartialEq, Eq)]
struct Content(Bytes);

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        const WHOLE: usize = 1 << 16;
        const PIECES: usize = 64;
        let bytes = &self.0;
        bytes.len().hash(state);
        if bytes.len() <= WHOLE {
            return bytes.hash(state);
        }
        let step = bytes.len() / PIECES;
        for piece in bytes.chunks(step) {
            piece[..piece.len().min(WHOLE / PIECES)].hash(state);
        }
    }
}

struct Entry {
    bytes: Bytes,
    constant: bool,
}

impl Buffers {
    pub fn new() -> Buffers {
        let empty = Entry { bytes: Bytes::new(), constant: false };
        Buffers { entries: vec![empty], known: HashMap::from([(Content(Bytes::new()), 0)]) }
    }

    /// The index of a buffer that holds a constant's elements.
    pub fn add(&mut self, bytes: Bytes) -> u32 {
        let next = self.entries.len() as u32;
        let index = *self.known.entry(Content(bytes.clone())).or_insert(next);
        if index == next {
            self.push(bytes, true);
        }
        index
    }

    /// The index of a buffer that holds metadata.
    pub fn add_metadata(&mut self, bytes: Bytes) -> u32 {
        self.push(bytes, false)
    }

    fn push(&mut self, bytes: Bytes, constant: bool) -> u32 {
        self.entries.push(Entry { bytes, constant });
        (self.entries.len() - 1) as u32
    }

    /// The tables of all buffers, and the bytes that they refer to. Constants stand behind the
    /// flatbuffer where all together take more than `largest_inline` bytes.
    pub fn finish(self, largest_inline: u64) -> (Vec<Table>, Vec<Bytes>) {
        let total: u64 = self.entries.iter().map(|entry| entry.bytes.len() as u64).sum();
        let mut regions = Vec::new();
        let mut table = |entry: Entry| {
            if entry.bytes.is_empty() {
                return Table::default();
            }
            let region: Region = regions.len();
            let length = entry.bytes.len();
            regions.push(entry.bytes);
            if total > largest_inline && entry.constant && length >= SMALLEST_BEHIND {
                return Table::default().place(schema::buffer::OFFSET, region).scalar(
                    schema::buffer::SIZE,
                    length as u64,
                    0,
                );
            }
            Table::default().vector(schema::buffer::DATA, region)
        };
        let tables = self.entries.into_iter().map(&mut table).collect();
        (tables, regions)
    }
}
