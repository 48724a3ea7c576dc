//! Writing: tables are described first, then laid out front to back. What holds no offsets of its
//! own (numbers, texts, tables of plain numbers) stands behind all that refers to it, equal ones
//! once; long byte vectors stay where they are and are streamed into their place.

use std::collections::HashMap;
use std::io::{self, Write};

use bytes::Bytes;

use super::Scalar;
use crate::error::FormatError;

/// Alignment of streamed byte vectors.
const ALIGNMENT: u64 = 16;

/// Offsets of the format are signed in places, so what they span ends here.
const LONGEST: u64 = i32::MAX as u64;

/// A table to be written. Fields that are not set are absent.
#[derive(Default)]
pub struct Table {
    fields: Vec<(usize, Field)>,
}

/// Index of a long byte vector among those given to [`assemble`].
pub type Region = usize;

enum Field {
    Scalar(Vec<u8>),
    /// Offset of a child.
    Child(Child),
    /// Offset of a region that is written as a vector.
    Vector(Region),
    /// Place in the file, as a 64-bit number, of a region that is written without its length.
    Place(Region),
}

enum Child {
    Table(Table),
    Tables(Vec<Table>),
    Leaf(Leaf),
}

/// What holds no offsets, so that many may refer to one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Leaf {
    /// A table of numbers: slots and bytes, in the order of their layout.
    Table(Vec<(usize, Vec<u8>)>),
    /// A vector of numbers: how many, their size, their bytes.
    Numbers(usize, usize, Vec<u8>),
    Text(String),
}

impl Table {
    /// A number, which is left out where it is the schema's default.
    #[must_use]
    pub fn scalar<T: Scalar>(mut self, slot: usize, value: T, default: T) -> Table {
        if value != default {
            let mut bytes = Vec::with_capacity(T::SIZE);
            value.append(&mut bytes);
            self.fields.push((slot, Field::Scalar(bytes)));
        }
        self
    }

    /// A table.
    #[must_use]
    pub fn table(self, slot: usize, table: Table) -> Table {
        self.child(slot, Child::Table(table))
    }

    /// A vector of tables.
    #[must_use]
    pub fn tables(self, slot: usize, tables: Vec<Table>) -> Table {
        self.child(slot, Child::Tables(tables))
    }

    /// A vector of numbers.
    #[must_use]
    pub fn numbers<T: Scalar>(self, slot: usize, numbers: &[T]) -> Table {
        let mut bytes = Vec::with_capacity(numbers.len() * T::SIZE);
        for number in numbers {
            number.append(&mut bytes);
        }
        self.child(slot, Child::Leaf(Leaf::Numbers(numbers.len(), T::SIZE, bytes)))
    }

    /// A text.
    #[must_use]
    pub fn text(self, slot: usize, text: &str) -> Table {
        self.child(slot, Child::Leaf(Leaf::Text(text.to_owned())))
    }

    /// A region as a vector of bytes.
    #[must_use]
    pub fn vector(mut self, slot: usize, region: Region) -> Table {
        self.fields.push((slot, Field::Vector(region)));
        self
    }

    /// The place of a region behind all tables and vectors.
    #[must_use]
    pub fn place(mut self, slot: usize, region: Region) -> Table {
        self.fields.push((slot, Field::Place(region)));
        self
    }

    fn child(mut self, slot: usize, child: Child) -> Table {
        self.fields.push((slot, Field::Child(child)));
        self
    }

    /// Puts large fields first: then there are no gaps between them.
    fn sort(&mut self) {
        self.fields.sort_by_key(|(slot, field)| (std::cmp::Reverse(field.size()), *slot));
    }

    /// The table as a leaf, if it holds nothing but numbers.
    fn leaf(mut self) -> Result<Leaf, Table> {
        if self.fields.iter().any(|(_, field)| !matches!(field, Field::Scalar(_))) {
            return Err(self);
        }
        self.sort();
        let scalar =
            |(slot, field)| if let Field::Scalar(bytes) = field { Some((slot, bytes)) } else { None };
        Ok(Leaf::Table(self.fields.into_iter().filter_map(scalar).collect()))
    }
}

/// A file ready to be written.
pub struct Image {
    head: Vec<u8>,
    /// Padding and length in front of each region, and the region.
    tail: Vec<(Vec<u8>, Bytes)>,
}

impl Image {
    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        let tail = self.tail.iter().map(|(prefix, region)| (prefix.len() + region.len()) as u64);
        self.head.len() as u64 + tail.sum::<u64>()
    }

    /// Writes the file.
    pub fn write_to(&self, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.head)?;
        for (prefix, region) in &self.tail {
            output.write_all(prefix)?;
            output.write_all(region)?;
        }
        Ok(())
    }
}

/// Lays out a file: the tables, then the regions that are vectors, then those that are only placed.
/// Each region is referred to once.
///
/// # Errors
/// If tables and vectors together are longer than the format's offsets reach.
pub fn assemble(root: Table, identifier: &[u8; 4], regions: &[Bytes]) -> Result<Image, FormatError> {
    let mut layout = Layout { bytes: vec![0; 8], ..Layout::default() };
    layout.bytes[4..8].copy_from_slice(identifier);
    let position = layout.table(root);
    layout.refer(0, position);
    layout.leaves();
    layout.finish(regions)
}

#[derive(Default)]
struct Layout {
    bytes: Vec<u8>,
    vtables: HashMap<Vec<u16>, usize>,
    /// Where offsets of leaves, of vectors and places stand.
    leaves: Vec<(usize, Leaf)>,
    vectors: Vec<(usize, Region)>,
    places: Vec<(usize, Region)>,
}

impl Layout {
    fn align(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    /// Lets the offset at `position` lead to `target`, which lies behind it.
    fn refer(&mut self, position: usize, target: usize) {
        // A layout beyond 32 bits is refused at the end, so that nothing wrong is ever written.
        let offset = (target - position) as u32;
        self.bytes[position..position + 4].copy_from_slice(&offset.to_le_bytes());
    }

    fn table(&mut self, mut table: Table) -> usize {
        table.sort();
        let sizes: Vec<_> = table.fields.iter().map(|(slot, field)| (*slot, field.size())).collect();
        let (start, positions) = self.reserve(&sizes);
        let mut children = Vec::new();
        for ((slot, field), position) in table.fields.into_iter().zip(positions) {
            match field {
                Field::Scalar(bytes) => self.put(position, &bytes),
                Field::Child(child) => children.push((slot, position, child)),
                Field::Vector(region) => self.vectors.push((position, region)),
                Field::Place(region) => self.places.push((position, region)),
            }
        }
        children.sort_by_key(|(slot, ..)| *slot);
        for (_, position, child) in children {
            match child {
                Child::Leaf(leaf) => self.leaves.push((position, leaf)),
                Child::Table(table) => self.child_table(position, table),
                Child::Tables(tables) => {
                    let start = self.length(tables.len(), 4);
                    self.refer(position, start);
                    self.bytes.resize(start + 4 + 4 * tables.len(), 0);
                    for (index, table) in tables.into_iter().enumerate() {
                        self.child_table(start + 4 + 4 * index, table);
                    }
                }
            }
        }
        start
    }

    fn child_table(&mut self, position: usize, table: Table) {
        match table.leaf() {
            Ok(leaf) => self.leaves.push((position, leaf)),
            Err(table) => {
                let target = self.table(table);
                self.refer(position, target);
            }
        }
    }

    fn put(&mut self, position: usize, bytes: &[u8]) {
        self.bytes[position..position + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes room for a table whose fields have these slots and sizes, the largest first. Returns
    /// where the table and its fields stand.
    fn reserve(&mut self, fields: &[(usize, usize)]) -> (usize, Vec<usize>) {
        let slots = fields.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
        let alignment = if fields.first().is_some_and(|(_, size)| *size == 8) { 8 } else { 4 };
        let mut offsets = vec![0u16; slots];
        let mut size = alignment;
        for (slot, length) in fields {
            offsets[*slot] = size as u16;
            size += length;
        }
        let vtable = self.vtable(&offsets, size as u16);
        self.align(alignment);
        let start = self.bytes.len();
        let back = start as i64 - vtable as i64;
        (back as i32).append(&mut self.bytes);
        self.bytes.resize(start + size, 0);
        (start, fields.iter().map(|(slot, _)| start + usize::from(offsets[*slot])).collect())
    }

    fn vtable(&mut self, offsets: &[u16], size: u16) -> usize {
        let mut vtable = vec![(offsets.len() * 2 + 4) as u16, size];
        vtable.extend_from_slice(offsets);
        if let Some(position) = self.vtables.get(&vtable) {
            return *position;
        }
        self.align(2);
        let position = self.bytes.len();
        for entry in &vtable {
            entry.append(&mut self.bytes);
        }
        self.vtables.insert(vtable, position);
        position
    }

    /// Lays out all leaves behind the tables that refer to them, equal ones once.
    fn leaves(&mut self) {
        let mut known = HashMap::new();
        for (position, leaf) in std::mem::take(&mut self.leaves) {
            let target = match known.get(&leaf) {
                Some(target) => *target,
                None => {
                    let target = self.leaf(&leaf);
                    known.insert(leaf, target);
                    target
                }
            };
            self.refer(position, target);
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> usize {
        match leaf {
            Leaf::Table(fields) => {
                let sizes: Vec<_> = fields.iter().map(|(slot, bytes)| (*slot, bytes.len())).collect();
                let (start, positions) = self.reserve(&sizes);
                for ((_, bytes), position) in fields.iter().zip(positions) {
                    self.put(position, bytes);
                }
                start
            }
            Leaf::Numbers(count, size, bytes) => {
                let start = self.length(*count, *size);
                self.bytes.extend_from_slice(bytes);
                start
            }
            Leaf::Text(text) => {
                let start = self.length(text.len(), 1);
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.push(0);
                start
            }
        }
    }

    /// The length of a vector, so placed that its elements of this size are aligned.
    fn length(&mut self, count: usize, size: usize) -> usize {
        self.align(4);
        if size == 8 && self.bytes.len().is_multiple_of(8) {
            self.bytes.extend_from_slice(&[0; 4]);
        }
        let start = self.bytes.len();
        (count as u32).append(&mut self.bytes);
        start
    }

    fn finish(mut self, regions: &[Bytes]) -> Result<Image, FormatError> {
        let mut tail = Vec::new();
        let mut end = self.bytes.len() as u64;
        for (position, region) in std::mem::take(&mut self.vectors) {
            let bytes = regions[region].clone();
            let start = (end + 4).next_multiple_of(ALIGNMENT);
            let mut prefix = vec![0; (start - 4 - end) as usize];
            (bytes.len() as u32).append(&mut prefix);
            end = start + bytes.len() as u64;
            if end > LONGEST {
                break;
            }
            self.refer(position, (start - 4) as usize);
            tail.push((prefix, bytes));
        }
        if end > LONGEST {
            let reason = "its tables are longer than 2 GB";
            return Err(FormatError::broken("the file to be written", reason));
        }
        for (position, region) in std::mem::take(&mut self.places) {
            let bytes = regions[region].clone();
            let start = end.next_multiple_of(ALIGNMENT);
            self.bytes[position..position + 8].copy_from_slice(&start.to_le_bytes());
            tail.push((vec![0; (start - end) as usize], bytes.clone()));
            end = start + bytes.len() as u64;
        }
        // Verifiers and loaders that read whole words find a whole number of them.
        tail.push((vec![0; (end.next_multiple_of(8) - end) as usize], Bytes::new()));
        Ok(Image { head: self.bytes, tail })
    }
}

impl Field {
    fn size(&self) -> usize {
        match self {
            Field::Scalar(bytes) => bytes.len(),
            Field::Child(_) | Field::Vector(_) => 4,
            Field::Place(_) => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tflite::flatbuffer::reader::File;

    fn sample() -> Table {
        let inner = |value: i32| Table::default().scalar(0, value, 0).scalar(1, true, false);
        Table::default()
            .scalar(0, 3u32, 0)
            .text(2, "name")
            .tables(1, vec![inner(5), inner(6)])
            .numbers(3, &[1i64, -2])
            .scalar(4, 7u64, 0)
            .vector(5, 0)
            .place(6, 1)
            .table(7, inner(0))
            .scalar(8, 1u32, 1)
    }

    fn written() -> Vec<u8> {
        let regions = [Bytes::from(vec![9; 21]), Bytes::from(vec![8; 5])];
        let image = assemble(sample(), b"TEST", &regions).unwrap();
        let mut bytes = Vec::new();
        image.write_to(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, image.len());
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let file = File::new(written().into());
        let root = file.root(b"TEST").unwrap();
        assert_eq!(root.scalar(0, 0u32).unwrap(), 3);
        assert_eq!(root.text(2).unwrap(), "name");
        let values: Vec<i32> = root.tables(1).unwrap().iter().map(|t| t.scalar(0, 0).unwrap()).collect();
        assert_eq!(values, [5, 6]);
        assert_eq!(root.numbers::<i64, Vec<i64>>(3).unwrap(), Some(vec![1, -2]));
        assert_eq!(root.scalar(4, 0u64).unwrap(), 7);
        assert_eq!(root.bytes(5).unwrap().unwrap(), vec![9; 21]);
        let place = root.scalar(6, 0u64).unwrap();
        assert_eq!(file.slice(place, 5).unwrap(), vec![8; 5]);
        assert!(root.table(7).unwrap().unwrap().scalar(1, false).unwrap());
        assert_eq!((root.scalar(8, 1u32).unwrap(), root.scalar(20, 4i8).unwrap()), (1, 4));
        assert!(!root.has(8).unwrap() && root.table(20).unwrap().is_none());
        assert!(file.root(b"ELSE").is_err());
    }

    #[test]
    fn regions_and_wide_numbers_are_aligned() {
        let bytes = written();
        let file = File::new(bytes.clone().into());
        let root = file.root(b"TEST").unwrap();
        let place = root.scalar(6, 0u64).unwrap();
        let vector = root.bytes(5).unwrap().unwrap();
        let nines = bytes.windows(vector.len()).position(|window| window == vector).unwrap();
        assert_eq!((nines % 16, place % 16, bytes.len() % 8), (0, 0, 0));
        let numbers: Vec<u8> = [1i64, -2].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(bytes.windows(16).position(|window| window == numbers).unwrap() % 8, 0);
    }

    #[test]
    fn equal_parts_are_written_once() {
        let length =
            |tables: Vec<Table>| assemble(Table::default().tables(0, tables), b"TEST", &[]).unwrap().len();
        let equal = |count: usize| length((0..count).map(|_| Table::default().scalar(0, 7, 0)).collect());
        assert_eq!(equal(101) - equal(1), 100 * 4);
        let other = |count: i32| length((0..count).map(|i| Table::default().scalar(0, i + 1, 0)).collect());
        assert_eq!(other(101) - other(1), 100 * (4 + 4 + 4));
        let text = |count: usize| length((0..count).map(|_| Table::default().text(0, "a text")).collect());
        assert_eq!(text(101) - text(1), 100 * (4 + 4 + 4));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let bytes = written();
        let walk = |bytes: Vec<u8>| -> Result<(), FormatError> {
            let file = File::new(bytes.into());
            let root = file.root(b"TEST")?;
            root.tables(1)?;
            root.text(2)?;
            root.numbers::<i64, Vec<i64>>(3)?;
            root.scalar(4, 0u64)?;
            root.bytes(5)?;
            file.slice(root.scalar(6, 0)?, u64::MAX).map(|_| ())
        };
        for length in 0..bytes.len() {
            let _ = walk(bytes[..length].to_vec());
        }
        for position in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] = value;
                assert!(walk(damaged).is_err(), "the last slice lies outside in any case");
            }
        }
    }

    #[test]
    fn a_table_visited_over_and_over_is_refused() {
        let count = 100_000u32;
        let numbers = vec![0u32; count as usize];
        let root = Table::default().numbers(0, &numbers).table(1, Table::default());
        let mut bytes = Vec::new();
        assemble(root, b"TEST", &[]).unwrap().write_to(&mut bytes).unwrap();
        let first = bytes.windows(4).position(|window| window == count.to_le_bytes()).unwrap() + 4;
        let file = File::new(bytes.clone().into());
        let table = file.root(b"TEST").unwrap().child(1).unwrap().unwrap();
        // The numbers become offsets, all of them to the table behind them.
        for index in 0..count as usize {
            let position = first + 4 * index;
            bytes[position..position + 4].copy_from_slice(&((table - position) as u32).to_le_bytes());
        }
        let file = File::new(bytes.into());
        let error = file.root(b"TEST").unwrap().tables(0).err().unwrap().to_string();
        assert!(error.contains("over and over"), "{error}");
    }
}
