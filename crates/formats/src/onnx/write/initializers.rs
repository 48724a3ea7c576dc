//! Constants of a file: small ones shared, large ones kept as slices of the model's memory and brought to
//! ONNX's layout while they are written.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use bytes::Bytes;
use litesmith_graph::DType;

use super::values::Value;

/// Bytes that are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// The constants of a file.
#[derive(Default)]
pub(super) struct Initializers {
    pub entries: Vec<Initializer>,
    known: HashMap<(DType, Vec<usize>, Vec<u8>), Value>,
    /// Small ones of int8.
    signed: HashSet<Value>,
}

/// One constant.
pub(super) struct Initializer {
    pub value: Value,
    pub dtype: DType,
    pub dims: Vec<usize>,
    pub content: Content,
}

impl Initializers {
    /// The constant that has just these elements, if it was added as a small one.
    pub fn known(&self, dtype: DType, dims: &[usize], bytes: &[u8]) -> Option<Value> {
        self.known.get(&(dtype, dims.to_vec(), bytes.to_vec())).copied()
    }

    pub fn add_small(&mut self, value: Value, dtype: DType, dims: &[usize], bytes: Vec<u8>) {
        self.known.insert((dtype, dims.to_vec(), bytes.clone()), value);
        if dtype == DType::I8 {
            self.signed.insert(value);
        }
        self.add(value, dtype, dims, Content::plain(bytes.into()));
    }

    pub fn add(&mut self, value: Value, dtype: DType, dims: &[usize], content: Content) {
        self.entries.push(Initializer { value, dtype, dims: dims.to_vec(), content });
    }

    /// Shape and elements of a small constant.
    pub fn bytes_of(&self, value: Value) -> Option<(Vec<usize>, Bytes)> {
        let entry = self.entries.iter().find(|entry| entry.value == value)?;
        Some((entry.dims.clone(), entry.content.bytes.clone()))
    }

    /// Whether a constant is of int8.
    pub fn is_signed_byte(&self, value: Value) -> bool {
        self.signed.contains(&value)
    }

    /// Leaves out the constants that nobody reads.
    pub fn retain(&mut self, is_read: impl Fn(Value) -> bool) {
        self.entries.retain(|entry| is_read(entry.value));
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.content.length as u64).sum()
    }
}

/// The elements of a constant, and what is done to them while they are written.
pub(super) struct Content {
    bytes: Bytes,
    length: usize,
    change: Option<Change>,
}

/// A change of layout.
struct Change {
    /// Sizes of the result's axes, and how far a step along each goes in the source.
    axes: Vec<(usize, usize)>,
    /// Bytes of an element; `None` for four-bit ones.
    size: Option<usize>,
    form: Form,
}

/// How integers of four or eight bits are written. Others are written as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As they are.
    Same,
    /// Those of four bits as bytes.
    Bytes,
    /// As bytes without sign, signed ones 128 higher.
    Unsigned,
}

impl Form {
    /// The type of the elements in the file.
    pub fn dtype(self, dtype: DType) -> DType {
        match (self, dtype) {
            (Form::Bytes, DType::I4) => DType::I8,
            (Form::Unsigned, DType::I4 | DType::I8) => DType::U8,
            _ => dtype,
        }
    }
}

impl Content {
    /// Elements that are written as they are.
    pub fn plain(bytes: Bytes) -> Content {
        Content { length: bytes.len(), bytes, change: None }
    }

    /// Elements of this type and shape whose axis `i` becomes axis `permutation[i]` of the source.
    /// `None` where there are not as many bytes as the shape says.
    pub fn permuted(
        bytes: Bytes,
        dtype: DType,
        shape: &[usize],
        permutation: &[usize],
        form: Form,
    ) -> Option<Content> {
        let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
        let length = dtype.bytes(elements)?;
        if bytes.len() < length || permutation.len() != shape.len() {
            return None;
        }
        let bytes = bytes.slice(..length);
        let target = form.dtype(dtype);
        let is_same = permutation.iter().copied().eq(0..shape.len());
        if (is_same && target == dtype) || elements == 0 {
            return Some(Content::plain(bytes));
        }
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let axis = |axis: &usize| Some((*shape.get(*axis)?, *strides.get(*axis)?));
        let axes = permutation.iter().map(axis).collect::<Option<Vec<_>>>()?;
        let size = if dtype == DType::I4 { None } else { Some(dtype.bits()? / 8) };
        let form = if target == dtype { Form::Same } else { form };
        let length = target.bytes(elements)?;
        Some(Content { bytes, length, change: Some(Change { axes, size, form }) })
    }

    /// Number of bytes that are written.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Writes the elements; no more than a chunk of them is held in memory.
    pub fn write_to(&self, output: &mut dyn Write) -> io::Result<()> {
        let Some(change) = &self.change else { return output.write_all(&self.bytes) };
        if self.length == 0 {
            return Ok(());
        }
        let mut chunk = Chunk { bytes: Vec::with_capacity(CHUNK + 8), half: None, output };
        let (inner, outer) = match change.axes.split_last() {
            Some((inner, outer)) => (*inner, outer),
            None => ((1, 1), &[][..]),
        };
        let mut index = vec![0usize; outer.len()];
        loop {
            let start: usize = index.iter().zip(outer).map(|(i, (_, stride))| i * stride).sum();
            for step in 0..inner.0 {
                let at = start + step * inner.1;
                match (change.size, change.form) {
                    (Some(_), Form::Unsigned) => chunk.push(&[self.bytes[at] ^ 0x80])?,
                    (Some(size), _) => chunk.push(&self.bytes[at * size..][..size])?,
                    (None, Form::Same) => chunk.push_half(nibble(&self.bytes, at))?,
                    (None, Form::Bytes) => chunk.push(&nibble(&self.bytes, at).to_le_bytes())?,
                    (None, Form::Unsigned) => {
                        chunk.push(&[nibble(&self.bytes, at).cast_unsigned() ^ 0x80])?
                    }
                }
            }
            if !advance(&mut index, outer) {
                return chunk.finish();
            }
        }
    }
}

/// The next index in row-major order; `false` after the last.
fn advance(index: &mut [usize], axes: &[(usize, usize)]) -> bool {
    for (i, (size, _)) in index.iter_mut().zip(axes).rev() {
        *i += 1;
        if *i < *size {
            return true;
        }
        *i = 0;
    }
    false
}

/// A four-bit element, with its sign.
fn nibble(bytes: &[u8], at: usize) -> i8 {
    let byte = bytes[at / 2].cast_signed();
    if at.is_multiple_of(2) { byte << 4 >> 4 } else { byte >> 4 }
}

/// Bytes on their way to the output.
struct Chunk<'a> {
    bytes: Vec<u8>,
    /// The first of two four-bit elements.
    half: Option<u8>,
    output: &'a mut dyn Write,
}

impl Chunk<'_> {
    fn push(&mut self, element: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(element);
        if self.bytes.len() < CHUNK {
            return Ok(());
        }
        self.output.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    fn push_half(&mut self, element: i8) -> io::Result<()> {
        let element = element.cast_unsigned() & 0xF;
        match self.half.take() {
            Some(first) => self.push(&[first | element << 4]),
            None => {
                self.half = Some(element);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.bytes.extend(self.half);
        self.output.write_all(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        content.write_to(&mut bytes).unwrap();
        assert_eq!(bytes.len(), content.len());
        bytes
    }

    #[test]
    fn axes_are_permuted_for_every_size_of_element() {
        let shape = [2, 3, 2];
        let source: Vec<u16> = (0..12).collect();
        let bytes: Vec<u8> = source.iter().flat_map(|x| x.to_le_bytes()).collect();
        let content = Content::permuted(bytes.into(), DType::I16, &shape, &[2, 0, 1], Form::Same).unwrap();
        let expected = [0u16, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11];
        let expected: Vec<u8> = expected.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(written(&content), expected);
    }

    #[test]
    fn four_bit_elements_are_permuted_and_widened() {
        // Rows [1, -2, 3] and [-4, 5, -6].
        let bytes = Bytes::from_static(&[0xE1, 0xC3, 0xA5]);
        let narrow = Content::permuted(bytes.clone(), DType::I4, &[2, 3], &[1, 0], Form::Same).unwrap();
        assert_eq!(written(&narrow), [0xC1, 0x5E, 0xA3]);
        let wide = Content::permuted(bytes, DType::I4, &[2, 3], &[0, 1], Form::Bytes).unwrap();
        let expected: Vec<u8> = [1i8, -2, 3, -4, 5, -6].iter().map(|x| x.cast_unsigned()).collect();
        assert_eq!(written(&wide), expected);
    }

    #[test]
    fn signed_bytes_are_shifted_to_unsigned_ones() {
        let bytes = Bytes::from_static(&[0x80, 0xFF, 0, 127]);
        let content = Content::permuted(bytes, DType::I8, &[2, 2], &[1, 0], Form::Unsigned).unwrap();
        assert_eq!(written(&content), [0, 128, 127, 255]);
        let four = Content::permuted(Bytes::from_static(&[0x18]), DType::I4, &[2], &[0], Form::Unsigned);
        assert_eq!(written(&four.unwrap()), [120, 129]);
    }

    #[test]
    fn bytes_that_do_not_fit_the_shape_are_refused() {
        let bytes = Bytes::from_static(&[0; 7]);
        assert!(Content::permuted(bytes.clone(), DType::F32, &[2], &[0], Form::Same).is_none());
        assert!(Content::permuted(bytes.clone(), DType::I8, &[usize::MAX, 2], &[0, 1], Form::Same).is_none());
        let empty = [0, usize::MAX, usize::MAX];
        assert_eq!(Content::permuted(bytes, DType::I8, &empty, &[2, 1, 0], Form::Same).unwrap().len(), 0);
    }
}
