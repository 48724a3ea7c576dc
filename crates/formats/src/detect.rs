//! Which format a file has, told by its content.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use litesmith_graph::Format;
use zip::ZipArchive;
use zip::result::ZipResult;

use crate::error::FormatError;

/// First bytes of an HDF5 file.
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// First bytes of a zip file with members.
const ZIP: &[u8] = b"PK\x03\x04";

/// The member that makes a zip file one of Keras.
const CONFIGURATION: &str = "config.json";

/// The format of a file, or of a folder, by its content; its name does not matter.
///
/// # Errors
/// If it cannot be read, or is of no format known here.
pub fn detect(path: &Path) -> Result<Format, FormatError> {
    let io = |source| FormatError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(io)?.is_dir() {
        if path.join(crate::savedmodel::SAVED_MODEL).is_file() {
            return Ok(Format::SavedModel);
        }
        return Err(unrecognized(path, "it is a folder without saved_model.pb"));
    }
    let mut file = File::open(path).map_err(io)?;
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start).map_err(io)?;
    let zipped =
        || ZipArchive::new(BufReader::new(&file)).map(|zip| zip.index_for_name(CONFIGURATION).is_some());
    if let Some(format) = by_start(&start, zipped, &path.display().to_string())? {
        return Ok(format);
    }
    if is_onnx(&file).map_err(io)? {
        return Ok(Format::Onnx);
    }
    if is_graph_def(&file).map_err(io)? {
        return Ok(Format::SavedModel);
    }
    Err(unrecognized(path, "it starts like none of Keras, HDF5, TFLite and TensorFlow's graphs"))
}

/// The format of the bytes of a file: TFLite, `.keras` or `.h5`.
///
/// # Errors
/// If they are none of these.
pub fn detect_bytes(bytes: &[u8]) -> Result<Format, FormatError> {
    let zipped =
        || ZipArchive::new(Cursor::new(bytes)).map(|zip| zip.index_for_name(CONFIGURATION).is_some());
    let start = &bytes[..bytes.len().min(16)];
    let known = by_start(start, zipped, "the bytes given")?;
    let reason = "they start like none of Keras, HDF5 and TFLite";
    known.ok_or_else(|| FormatError::Unrecognized(format!("the bytes given: {reason}")))
}

/// The format that begins so; `zipped` says whether a zip file is one of Keras.
fn by_start(
    start: &[u8],
    zipped: impl FnOnce() -> ZipResult<bool>,
    name: &str,
) -> Result<Option<Format>, FormatError> {
    if start.starts_with(HDF5) {
        return Ok(Some(Format::H5));
    }
    if start.get(4..8) == Some(crate::tflite::IDENTIFIER) {
        return Ok(Some(Format::Tflite));
    }
    if !start.starts_with(ZIP) {
        return Ok(None);
    }
    let reason = match zipped() {
        Ok(true) => return Ok(Some(Format::Keras)),
        Ok(false) => "it is a zip file without config.json".to_owned(),
        Err(error) => format!("it is a broken zip file: {error}"),
    };
    Err(FormatError::Unrecognized(format!("{name}: {reason}")))
}

fn unrecognized(path: &Path, reason: &str) -> FormatError {
    FormatError::Unrecognized(format!("{}: {reason}", path.display()))
}

/// Whether a file is an ONNX model: protocol buffer fields from its first byte to its last, those of
/// `ModelProto` only, the version (1) and the graph (7) among them.
fn is_onnx(file: &File) -> std::io::Result<bool> {
    let (mut version, mut graph) = (false, false);
    let all = every_field(file, |tag, value, _| match (tag >> 3, tag & 7) {
        (1, 0) => {
            version = (1..=1000).contains(&value);
            true
        }
        (5, 0) => true,
        (field @ (2..=4 | 6..=8 | 14 | 20 | 25 | 26), 2) => {
            graph |= field == 7;
            true
        }
        _ => false,
    })?;
    Ok(all && version && graph)
}

/// Whether a file is a graph of TensorFlow: the fields of `GraphDef` only, the first of its nodes (1)
/// with a name (1) and an operation (2).
fn is_graph_def(file: &File) -> std::io::Result<bool> {
    let mut node = None;
    let all = every_field(file, |tag, _, start| match (tag >> 3, tag & 7) {
        (1, 2) => {
            node.get_or_insert(start);
            true
        }
        (2 | 4, 2) | (3, 0) => true,
        _ => false,
    })?;
    let Some(start) = node.filter(|_| all) else { return Ok(false) };
    let mut file = BufReader::new(file);
    file.seek(SeekFrom::Start(start))?;
    let mut text = |tag: u64| -> std::io::Result<bool> {
        if varint(&mut file)?.map(|(found, _)| found) != Some(tag << 3 | 2) {
            return Ok(false);
        }
        let length = varint(&mut file)?.map_or(0, |(length, _)| length);
        let mut text = Vec::new();
        file.by_ref().take(length.min(1 << 16)).read_to_end(&mut text)?;
        Ok(!text.is_empty() && text.len() as u64 == length && std::str::from_utf8(&text).is_ok())
    };
    Ok(text(1)? && text(2)?)
}

/// Whether a file is protocol buffer fields from its first byte to its last, and each is known: `known`
/// gets its tag, its number or length, and where its contents start.
fn every_field(file: &File, mut known: impl FnMut(u64, u64, u64) -> bool) -> std::io::Result<bool> {
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    file.seek(SeekFrom::Start(0))?;
    let mut position = 0u64;
    while position < length {
        let Some((tag, read)) = varint(&mut file)? else { return Ok(false) };
        let Some((value, more)) = varint(&mut file)? else { return Ok(false) };
        position += read + more;
        if !known(tag, value, position) {
            return Ok(false);
        }
        if tag & 7 == 2 {
            let Some(end) = position.checked_add(value).filter(|end| *end <= length) else {
                return Ok(false);
            };
            let Ok(distance) = i64::try_from(value) else { return Ok(false) };
            file.seek_relative(distance)?;
            position = end;
        }
    }
    Ok(true)
}

/// A number of up to ten bytes with seven bits each, and how many bytes it took.
fn varint(file: &mut impl Read) -> std::io::Result<Option<(u64, u64)>> {
    let mut value = 0u64;
    for index in 0..10 {
        let mut byte = [0];
        if file.read(&mut byte)? == 0 {
            return Ok(None);
        }
        value |= u64::from(byte[0] & 0x7f) << (7 * index).min(63);
        if byte[0] & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn detected(content: &[u8]) -> Result<Format, FormatError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.txt");
        std::fs::write(&path, content).unwrap();
        detect(&path)
    }

    fn zipped(member: &str) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(b"{}").unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn content_tells_the_format() {
        assert_eq!(detected(b"\x89HDF\r\n\x1a\n and more").unwrap(), Format::H5);
        assert_eq!(detected(b"\x1c\0\0\0TFL3 and more").unwrap(), Format::Tflite);
        assert_eq!(detected(&zipped("config.json")).unwrap(), Format::Keras);
        assert_eq!(detected(b"\x08\x08\x12\x02pt\x3a\x03\x0a\x01x\x42\x02\x10\x0d").unwrap(), Format::Onnx);
        assert_eq!(detected(b"\x0a\x08\x0a\x01x\x12\x03Add\x22\x02\x08\x01").unwrap(), Format::SavedModel);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("saved_model.pb"), b"").unwrap();
        assert_eq!(detect(folder.path()).unwrap(), Format::SavedModel);
    }

    #[test]
    fn anything_else_is_refused() {
        let graph_is_too_long = b"\x08\x08\x3a\x7f\x0a\x01x";
        let node_without_operation = b"\x0a\x03\x0a\x01x";
        for content in [
            &b""[..],
            b"text",
            node_without_operation,
            b"PK\x03\x04",
            &zipped("other"),
            b"\x08\x08",
            graph_is_too_long,
        ] {
            assert!(matches!(detected(content), Err(FormatError::Unrecognized(_))), "{content:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(detect(folder.path()), Err(FormatError::Unrecognized(_))));
        assert!(matches!(detect(&folder.path().join("none")), Err(FormatError::Io { .. })));
    }
}
