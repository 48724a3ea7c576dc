//! The idx files of MNIST and its relatives, gzipped or not: two zero bytes, a type, the number of
//! axes, their sizes and the elements, all big endian.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::buffer::Buffer;
use crate::npy::{check_length, check_memory};
use crate::store::{Header, Stored};
use crate::{DataError, ElementType};

/// Whether a file that starts with `start` is an idx file.
pub(crate) fn recognizes(start: &[u8]) -> bool {
    matches!(start, [0, 0, kind, axes, ..] if element_type(*kind).is_some() && *axes > 0)
}

fn element_type(kind: u8) -> Option<ElementType> {
    Some(match kind {
        0x08 => ElementType::U8,
        0x09 => ElementType::I8,
        0x0B => ElementType::I16,
        0x0C => ElementType::I32,
        0x0D => ElementType::F32,
        0x0E => ElementType::F64,
        _ => return None,
    })
}

/// Opens an idx file; the elements of one that is not gzipped stay in the file.
pub(crate) fn open(path: &Path, gzipped: bool, max_memory: u64) -> Result<Stored, DataError> {
    let failed = |error| DataError::reading(path, error);
    let mut file = File::open(path).map_err(failed)?;
    if !gzipped {
        let length = file.metadata().map_err(failed)?.len();
        let (header, header_bytes) = read_header(&mut file, path)?;
        check_length(path, &header, header.bytes(path)?, length.saturating_sub(header_bytes))?;
        return Stored::in_file(header, file, path, header_bytes);
    }
    let mut reader = MultiGzDecoder::new(BufReader::new(file));
    let (header, _) = read_header(&mut reader, path)?;
    let declared = header.bytes(path)?;
    check_memory(path, declared, max_memory)?;
    let bytes = Buffer::read(&mut reader, declared).map_err(failed)?;
    if reader.read(&mut [0]).map_err(failed)? != 0 {
        return Err(DataError::broken(path, "more elements than the header declares"));
    }
    Stored::in_memory(header, bytes, path)
}

fn read_header(reader: &mut impl Read, path: &Path) -> Result<(Header, u64), DataError> {
    let failed = |error| DataError::reading(path, error);
    let mut start = [0; 4];
    reader.read_exact(&mut start).map_err(failed)?;
    let dtype = element_type(start[2]).filter(|_| recognizes(&start));
    let dtype = dtype.ok_or_else(|| DataError::broken(path, "no idx header"))?;
    let axes = usize::from(start[3]);
    let mut shape = Vec::with_capacity(axes);
    for _ in 0..axes {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(failed)?;
        shape.push(u32::from_be_bytes(size) as usize);
    }
    let header = Header { dtype, shape, big_endian: true, fortran_order: false };
    Ok((header, 4 + 4 * axes as u64))
}

/// The labels that belong to the images of `path` by their usual name: `train-images-idx3-ubyte` and
/// `train-labels-idx1-ubyte`, each with or without `.gz`. `None` if there is no such file.
pub(crate) fn labels_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    if !name.contains("images") {
        return None;
    }
    let axes = name.find("idx").and_then(|at| name.get(at..at + 4));
    let mut labels = name.replace("images", "labels");
    if let Some(axes) = axes {
        labels = labels.replace(axes, "idx1");
    }
    let other = match labels.strip_suffix(".gz") {
        Some(bare) => bare.to_owned(),
        None => format!("{labels}.gz"),
    };
    [labels, other].into_iter().map(|name| path.with_file_name(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn opened(bytes: &[u8], gzipped: bool, max_memory: u64) -> Result<Stored, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = if gzipped { gzip(bytes) } else { bytes.to_vec() };
        std::fs::write(file.path(), bytes).unwrap();
        open(file.path(), gzipped, max_memory)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    const IMAGES: [u8; 24] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn plain_and_gzipped_are_read() {
        for gzipped in [false, true] {
            let stored = opened(&IMAGES, gzipped, 100).unwrap();
            assert_eq!((stored.samples, stored.shape.as_slice()), (2, &[2, 2][..]));
            assert_eq!(stored.gather(&[1]).unwrap().bytes(), [5, 6, 7, 8]);
        }
        let wide = opened(&[0, 0, 0x0C, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFE], false, 100).unwrap();
        assert_eq!(wide.whole().unwrap().as_slice::<i32>(), Some([-2].as_slice()));
    }

    #[test]
    fn truncated_and_lying_files_are_broken() {
        for gzipped in [false, true] {
            for length in 0..IMAGES.len() {
                let error = opened(&IMAGES[..length], gzipped, 100).unwrap_err();
                assert!(matches!(error, DataError::Broken { .. }), "{length}: {error}");
            }
            let error = opened(&[&IMAGES[..], &[9]].concat(), gzipped, 100).unwrap_err();
            assert!(matches!(error, DataError::Broken { .. }), "{error}");
            let huge = [&[0, 0, 14, 4][..], &[0xFF; 16], &[0; 8]].concat();
            let error = opened(&huge, gzipped, 100).unwrap_err();
            assert!(matches!(error, DataError::Broken { .. }), "{error}");
        }
        let huge = [&[0, 0, 8, 1][..], &[0xFF; 4], &[0; 8]].concat();
        assert!(matches!(opened(&huge, true, 100), Err(DataError::TooLarge { .. })));
        assert!(matches!(opened(&huge, true, 1 << 40), Err(DataError::Broken { .. })));
    }

    #[test]
    fn labels_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let labels = folder.path().join("t10k-labels-idx1-ubyte.gz");
        std::fs::write(&labels, "").unwrap();
        let beside = |name: &str| labels_beside(&folder.path().join(name));
        assert_eq!(beside("t10k-images-idx3-ubyte.gz"), Some(labels.clone()));
        assert_eq!(beside("t10k-images-idx3-ubyte"), Some(labels.clone()));
        assert_eq!(beside("train-images-idx3-ubyte"), None);
        assert_eq!(beside("t10k-labels-idx1-ubyte.gz"), None);
        std::fs::write(folder.path().join("x-labels.idx1-ubyte"), "").unwrap();
        assert!(beside("x-images.idx3-ubyte").is_some());
    }
}
