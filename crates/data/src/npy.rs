//! NumPy's array files: a magic, a version, a header that is a Python literal, the elements.
//! Format: `numpy.lib.format` (versions 1.0, 2.0 and 3.0).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::buffer::Buffer;
use crate::store::{Header, Stored};
use crate::{Array, DataError, ElementType};

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is read; real ones have about 100 bytes.
const MAX_HEADER: usize = 1 << 16;

/// Opens an `.npy` file; its elements stay in the file unless they are in Fortran order.
pub(crate) fn open(path: &Path, max_memory: u64) -> Result<Stored, DataError> {
    let failed = |error| DataError::reading(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let (header, header_bytes) = read_header(&mut file, path)?;
    let declared = header.bytes(path)?;
    check_length(path, &header, declared, length - header_bytes.min(length))?;
    if header.fortran_order {
        check_memory(path, declared, max_memory)?;
        let bytes = Buffer::read(&mut file, declared).map_err(failed)?;
        Stored::in_memory(header, bytes, path)
    } else {
        Stored::in_file(header, file, path, header_bytes)
    }
}

/// That `real` bytes of elements are what the header declares.
pub(crate) fn check_length(
    path: &Path,
    header: &Header,
    declared: usize,
    real: u64,
) -> Result<(), DataError> {
    if real == declared as u64 {
        return Ok(());
    }
    let shape = crate::error::shape_text(&header.shape);
    let dtype = header.dtype;
    Err(DataError::broken(
        path,
        format!("{dtype} elements of shape {shape} take {declared} bytes, but {real} are there"),
    ))
}

pub(crate) fn check_memory(path: &Path, bytes: usize, limit: u64) -> Result<(), DataError> {
    if bytes as u64 <= limit {
        return Ok(());
    }
    let what = format!("{} (an array that is compressed or in Fortran order, held whole)", path.display());
    Err(DataError::TooLarge { what, bytes: bytes as u64, limit })
}

/// The header and the bytes that it takes, from the start of a file or archive member.
pub(crate) fn read_header(reader: &mut impl Read, path: &Path) -> Result<(Header, u64), DataError> {
    let failed = |error: io::Error| DataError::reading(path, error);
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(failed)?;
    if &start[..6] != MAGIC {
        return Err(DataError::broken(path, "no NumPy array: it does not start with \\x93NUMPY"));
    }
    let (length, length_bytes) = match start[6] {
        1 => {
            let mut length = [0; 2];
            reader.read_exact(&mut length).map_err(failed)?;
            (usize::from(u16::from_le_bytes(length)), 2)
        }
        2 | 3 => {
            let mut length = [0; 4];
            reader.read_exact(&mut length).map_err(failed)?;
            (u32::from_le_bytes(length) as usize, 4)
        }
        version => return Err(DataError::broken(path, format!("unknown npy version {version}"))),
    };
    if length > MAX_HEADER {
        return Err(DataError::broken(path, format!("an npy header of {length} bytes")));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    let header = parse_header(&text, path)?;
    Ok((header, 8 + length_bytes + length as u64))
}

fn parse_header(text: &str, path: &Path) -> Result<Header, DataError> {
    let broken = || DataError::broken(path, format!("unreadable npy header `{}`", text.trim()));
    let mut literal = Literal { rest: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    literal.take('{').ok_or_else(broken)?;
    while literal.take('}').is_none() {
        let key = literal.string().ok_or_else(broken)?;
        literal.take(':').ok_or_else(broken)?;
        match key {
            "descr" if literal.peek('[') => {
                let what = "an array of records; save one array per input".to_owned();
                return Err(DataError::Unsupported { path: path.to_owned(), what });
            }
            "descr" => descr = Some(literal.string().ok_or_else(broken)?),
            "fortran_order" => fortran_order = Some(literal.boolean().ok_or_else(broken)?),
            "shape" => shape = Some(literal.shape().ok_or_else(broken)?),
            _ => return Err(broken()),
        }
        if literal.take(',').is_none() && !literal.peek('}') {
            return Err(broken());
        }
    }
    let (descr, fortran_order, shape) =
        descr.zip(fortran_order).zip(shape).map(|((d, f), s)| (d, f, s)).ok_or_else(broken)?;
    let (dtype, big_endian) = parse_type(descr).ok_or_else(|| DataError::Unsupported {
        path: path.to_owned(),
        what: format!(
            "elements of NumPy type `{descr}`; numbers and booleans of at most 8 bytes are read \
             (Python objects, strings and complex numbers are not)"
        ),
    })?;
    Ok(Header { dtype, shape, big_endian, fortran_order })
}

/// The element type of a NumPy type string such as `<f4`, and whether it is big endian.
fn parse_type(descr: &str) -> Option<(ElementType, bool)> {
    let dtype = match descr.get(1..)? {
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        "i1" => ElementType::I8,
        "u1" => ElementType::U8,
        "i2" => ElementType::I16,
        "u2" => ElementType::U16,
        "i4" => ElementType::I32,
        "u4" => ElementType::U32,
        "i8" => ElementType::I64,
        "u8" => ElementType::U64,
        "b1" => ElementType::Bool,
        _ => return None,
    };
    match descr.as_bytes()[0] {
        b'<' | b'|' | b'=' => Some((dtype, false)),
        b'>' => Some((dtype, true)),
        _ => None,
    }
}

/// The few Python literals that a header consists of.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn peek(&mut self, mark: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(mark)
    }

    fn take(&mut self, mark: char) -> Option<()> {
        self.rest = self.rest.trim_start();
        self.rest = self.rest.strip_prefix(mark)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.rest[1..].split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn boolean(&mut self) -> Option<bool> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(value);
            }
        }
        None
    }

    /// A tuple of sizes; Python 2 wrote them with an `L`.
    fn shape(&mut self) -> Option<Vec<usize>> {
        self.take('(')?;
        let (inside, rest) = self.rest.split_once(')')?;
        self.rest = rest;
        let inside = inside.trim();
        let inside = inside.strip_suffix(',').unwrap_or(inside);
        if inside.is_empty() {
            return Some(Vec::new());
        }
        let size = |text: &str| {
            let text = text.trim();
            text.strip_suffix('L').unwrap_or(text).parse().ok()
        };
        inside.split(',').map(size).collect()
    }
}

/// The header that NumPy itself would write for `array`: version 1.0, padded to a multiple of 64.
pub(crate) fn header_bytes(array: &Array) -> Vec<u8> {
    let dtype = array.dtype();
    let kind = match dtype {
        ElementType::Bool => "|b1".to_owned(),
        ElementType::I8 => "|i1".to_owned(),
        ElementType::U8 => "|u1".to_owned(),
        _ => {
            let letter = if dtype.is_float() {
                'f'
            } else if dtype.name().starts_with('u') {
                'u'
            } else {
                'i'
            };
            format!("<{letter}{}", dtype.size())
        }
    };
    let sizes: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let text =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    let length_bytes = if text.len() + 1 + 10 + 64 > usize::from(u16::MAX) { 4 } else { 2 };
    let unpadded = MAGIC.len() + 2 + length_bytes + text.len() + 1;
    let padding = unpadded.next_multiple_of(64) - unpadded;
    let length = text.len() + padding + 1;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([if length_bytes == 2 { 1 } else { 2 }, 0]);
    bytes.extend(&length.to_le_bytes()[..length_bytes]);
    bytes.extend(text.as_bytes());
    bytes.extend(std::iter::repeat_n(b' ', padding));
    bytes.push(b'\n');
    bytes
}

/// Reads a whole array from the elements that follow a header; used for archive members.
pub(crate) fn read_elements(
    reader: &mut impl Read,
    header: &Header,
    path: &Path,
) -> Result<Buffer, DataError> {
    Buffer::read(reader, header.bytes(path)?).map_err(|error| DataError::reading(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, elements: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), elements].concat()
    }

    fn opened(bytes: &[u8]) -> Result<Stored, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        open(file.path(), 1 << 20)
    }

    #[test]
    fn headers_of_every_style_are_read() {
        for text in [
            "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }            \n",
            "{\"shape\":(2L,3L),\"descr\":\"<i2\",\"fortran_order\":False}",
        ] {
            let bytes = npy(text, bytemuck::cast_slice(&[0_i16, 1, 2, 3, 4, 5]));
            let stored = opened(&bytes).unwrap();
            assert_eq!(
                (stored.dtype, stored.samples, stored.shape.as_slice()),
                (ElementType::I16, 2, &[3][..])
            );
            assert_eq!(stored.whole().unwrap().as_slice::<i16>(), Some([0, 1, 2, 3, 4, 5].as_slice()));
        }
    }

    #[test]
    fn every_type_is_written_and_read_back() {
        for dtype in ElementType::ALL {
            for shape in [vec![2], vec![2, 1], vec![1, 1, 2]] {
                let array = Array::from_slice(&shape, &[0_u8, 1]).unwrap().convert(dtype).unwrap();
                let header = header_bytes(&array);
                assert_eq!(header.len() % 64, 0);
                let stored = opened(&[&header, array.bytes()].concat()).unwrap();
                assert_eq!(stored.whole().unwrap(), array, "{dtype}");
            }
        }
    }

    #[test]
    fn fortran_and_big_endian_are_read() {
        let header = "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 2), }\n";
        let stored = opened(&npy(header, &[0, 1, 0, 3, 0, 2, 0, 4])).unwrap();
        assert_eq!(stored.whole().unwrap().as_slice::<u16>(), Some([1, 2, 3, 4].as_slice()));
    }

    #[test]
    fn lies_and_strangers_are_errors() {
        let header = |descr: &str, shape: &str| {
            npy(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"), &[0; 8])
        };
        for (descr, shape) in [
            ("'<f4'", "(3,)"),
            ("'<f4'", "(1,)"),
            ("'<f4'", "(4294967296, 4294967296, 4)"),
            ("'<f4'", "(18446744073709551616,)"),
            ("'<f4'", "(-2,)"),
            ("'<f4'", "2"),
            ("'<f4'", "()"),
            ("<f4", "(2,)"),
        ] {
            let error = opened(&header(descr, shape)).unwrap_err();
            assert!(matches!(error, DataError::Broken { .. }), "{descr} {shape}: {error}");
        }
        for descr in ["'|O'", "'<U5'", "'<c8'", "[('a', '<f4')]", "''"] {
            let error = opened(&header(descr, "(2,)")).unwrap_err();
            assert!(matches!(error, DataError::Unsupported { .. }), "{descr}: {error}");
        }
        let bytes = header("'<f4'", "(2,)");
        for length in 0..bytes.len() {
            assert!(opened(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn arrays_to_be_held_whole_obey_the_limit() {
        let header = "{'descr': '<f8', 'fortran_order': True, 'shape': (262144, 2), }\n";
        let error = opened(&npy(header, &vec![0; 4 << 20])).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { bytes: 4_194_304, .. }), "{error}");
    }
}
