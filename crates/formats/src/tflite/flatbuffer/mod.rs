//! A small FlatBuffers layer: a checked reader and a streaming builder.
//!
//! It stands in for generated code because generated accessors need `unsafe`, verify a file once
//! and then trust it, and because the usual builder works backwards in one growing buffer, which
//! doubles the memory that a large model needs. Here every access is checked where it happens, the
//! total work that a file can cause is bounded by its length, and weights are never copied: the
//! reader hands out slices, the builder leaves gaps that are filled while the file is written.
//!
//! Format, as the FlatBuffers documentation describes it: all numbers are little-endian. A *table*
//! starts with a signed offset back to its *vtable* (size of the vtable, size of the table, then
//! for each field its place in the table, 0 if absent). Strings, vectors and tables inside a table
//! are unsigned offsets forward from where they stand. A vector starts with its length.

pub mod builder;
pub mod reader;

/// A number as it stands in a file.
pub trait Scalar: Copy + PartialEq {
    /// Bytes that it takes.
    const SIZE: usize;

    /// The number in the first [`Scalar::SIZE`] of these bytes; `None` if there are fewer.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// The numbers in these bytes, as many as they hold.
    fn read_all<C: FromIterator<Self>>(bytes: &[u8]) -> C;

    /// Appends its bytes.
    fn append(self, bytes: &mut Vec<u8>);
}

macro_rules! scalars {
    ($($type:ty),*) => {
        $(impl Scalar for $type {
            const SIZE: usize = size_of::<$type>();

            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|bytes| <$type>::from_le_bytes(*bytes))
            }

            fn read_all<C: FromIterator<Self>>(bytes: &[u8]) -> C {
                let (chunks, _) = bytes.as_chunks();
                chunks.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect()
            }

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

scalars!(u8, i8, u16, u32, i32, u64, i64, f32);

impl Scalar for bool {
    const SIZE: usize = 1;

    fn read(bytes: &[u8]) -> Option<bool> {
        bytes.first().map(|byte| *byte != 0)
    }

    fn read_all<C: FromIterator<bool>>(bytes: &[u8]) -> C {
        bytes.iter().map(|byte| *byte != 0).collect()
    }

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self));
    }
}
