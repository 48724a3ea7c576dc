//! Archives of named arrays, as `numpy.savez` and `numpy.savez_compressed` write them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::npy;
use crate::store::Stored;
use crate::{Array, DataError};

/// Uncompressed members up to this size are read at once, which checks their checksum; larger ones
/// stay in the file and are read piece by piece.
const HELD_WHOLE: u64 = 256 << 20;

/// What inflating can multiply bytes by at most (RFC 1951: 258 bytes from two bits), with a margin.
const MAX_EXPANSION: u64 = 1100;

/// An npz file whose members are read on demand.
pub(crate) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// The arrays' names (members without `.npy`) with the members' indices, in order of the file.
    names: Vec<(String, usize)>,
}

impl Archive {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|error| DataError::reading(path, error))?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| zip_error(path, error))?;
        let names = (0..zip.len())
            .filter_map(|index| {
                let name = zip.name_for_index(index)?.ok()?;
                Some((name.strip_suffix(".npy")?.to_owned(), index))
            })
            .collect();
        Ok(Self { path: path.to_owned(), zip, names })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// The array called `name`, which must be one of [`Archive::names`].
    pub(crate) fn array(&mut self, name: &str, max_memory: u64) -> Result<Stored, DataError> {
        self.stored(name, max_memory, false)
    }

    /// The same; where they are taken, a single value is a list of one.
    fn stored(&mut self, name: &str, max_memory: u64, single: bool) -> Result<Stored, DataError> {
        let index = self.names.iter().find(|(other, _)| other == name).map(|(_, index)| *index);
        let Some(index) = index else {
            return Err(DataError::broken(&self.path, format!("no array `{name}`")));
        };
        // Errors name the member like a file in the archive.
        let place = self.path.join(format!("{name}.npy"));
        let failed = |error| zip_error(&place, error);
        let mut member = self.zip.by_index(index).map_err(failed)?;
        let (stored, size, packed) =
            (member.compression() == CompressionMethod::Stored, member.size(), member.compressed_size());
        let start = member.data_start();
        let (mut header, header_bytes) = npy::read_header(&mut member, &place)?;
        if single && header.shape.is_empty() {
            header.shape.push(1);
        }
        let declared = header.bytes(&place)?;
        npy::check_length(&place, &header, declared, size.saturating_sub(header_bytes))?;
        if size > packed.saturating_mul(if stored { 1 } else { MAX_EXPANSION }) {
            let what = format!("{packed} bytes cannot unpack to the declared {size}");
            return Err(DataError::broken(&place, what));
        }
        if let Some(start) = start.filter(|_| stored && size > HELD_WHOLE && !header.fortran_order) {
            drop(member);
            return self.in_file(header, &place, start.saturating_add(header_bytes), declared);
        }
        npy::check_memory(&place, declared, max_memory)?;
        let bytes = npy::read_elements(&mut member, &header, &place)?;
        // Reading on to the end is what compares the checksum.
        if member.read(&mut [0]).map_err(|error| DataError::reading(&place, error))? != 0 {
            return Err(DataError::broken(&place, "more bytes than declared"));
        }
        Stored::in_memory(header, bytes, &place)
    }

    fn in_file(
        &self,
        header: crate::store::Header,
        place: &Path,
        start: u64,
        declared: usize,
    ) -> Result<Stored, DataError> {
        let failed = |error| DataError::reading(&self.path, error);
        let file = File::open(&self.path).map_err(failed)?;
        let real = file.metadata().map_err(failed)?.len().saturating_sub(start);
        if real < declared as u64 {
            return Err(DataError::broken(place, "the member reaches beyond the end of the file"));
        }
        Stored::in_file(header, file, &self.path, start)
    }
}

fn zip_error(path: &Path, error: ZipError) -> DataError {
    match error {
        ZipError::Io(error) => DataError::reading(path, error),
        ZipError::UnsupportedArchive(what) => {
            DataError::Unsupported { path: path.to_owned(), what: format!("npz archive: {what}") }
        }
        ZipError::CompressionMethodNotSupported(id) => DataError::Unsupported {
            path: path.to_owned(),
            what: format!("compression method {id}; npz members are stored or deflated"),
        },
        other => DataError::broken(path, format!("npz archive: {other}")),
    }
}

/// Reads every array of an npz file, named as there. A single value comes as a list of one.
///
/// # Errors
/// A file that cannot be read, is broken, or holds an array of more than `max_memory` bytes.
pub fn read(path: &Path, max_memory: u64) -> Result<Vec<Array>, DataError> {
    let mut archive = Archive::open(path)?;
    let names: Vec<String> = archive.names().map(str::to_owned).collect();
    let array = |name: String| {
        let stored = archive.stored(&name, max_memory, true)?;
        Ok(stored.whole()?.named(name))
    };
    names.into_iter().map(array).collect()
}

/// How arrays are kept in an npz file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are; large ones can then be read piece by piece.
    #[default]
    Stored,
    /// Deflated.
    Deflated,
}

/// Writes `arrays` to the npz file `path`, under their names; unnamed ones are called `arr_0`,
/// `arr_1` ... by their place, as `numpy.savez` does. A file that exists is replaced only by a
/// complete new one.
///
/// # Errors
/// [`DataError::Usage`] if two arrays have the same name, [`DataError::Io`] if writing fails.
pub fn write(path: &Path, arrays: &[Array], compression: Compression) -> Result<(), DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    // A link is followed: what it points to is replaced, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.metadata().is_ok_and(|is| !is.is_file() && !is.is_dir()) {
        // A device or a pipe cannot be replaced; it takes the bytes.
        let mut bytes = io::Cursor::new(Vec::new());
        write_to(&mut bytes, arrays, compression)?;
        return std::fs::write(path, bytes.get_ref()).map_err(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".litesmith-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What a newly made file would get; the process's mask still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    write_to(&mut file, arrays, compression).map_err(|error| match error {
        DataError::Io { source, .. } => failed(source),
        other => other,
    })?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Writes `arrays` as an npz archive to `writer`; see [`write()`]. The same arrays give the same bytes.
///
/// # Errors
/// As [`write()`].
pub fn write_to(
    writer: impl Write + Seek,
    arrays: &[Array],
    compression: Compression,
) -> Result<(), DataError> {
    let io_failed = |source| DataError::Io { path: PathBuf::from("npz archive"), source };
    let failed = |error| match error {
        ZipError::Io(source) => io_failed(source),
        other => DataError::usage(format!("cannot write the npz archive: {other}")),
    };
    let method = match compression {
        Compression::Stored => CompressionMethod::Stored,
        Compression::Deflated => CompressionMethod::Deflated,
    };
    let mut zip = ZipWriter::new(BufWriter::new(writer));
    for (name, array) in member_names(arrays)?.iter().zip(arrays) {
        let header = npy::header_bytes(array);
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .large_file((header.len() + array.bytes().len()) as u64 >= u64::from(u32::MAX));
        zip.start_file(format!("{name}.npy"), options).map_err(failed)?;
        zip.write_all(&header).and_then(|()| zip.write_all(array.bytes())).map_err(io_failed)?;
    }
    zip.finish().map_err(failed)?.flush().map_err(io_failed)
}

fn member_names(arrays: &[Array]) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = Vec::with_capacity(arrays.len());
    for (place, array) in arrays.iter().enumerate() {
        let name = array.name().map_or_else(|| format!("arr_{place}"), str::to_owned);
        if names.contains(&name) {
            return Err(DataError::usage(format!("two arrays of one npz file are called `{name}`")));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::ElementType;

    fn some_arrays() -> Vec<Array> {
        let values: Vec<f32> = (0..600).map(|i| (i % 7) as f32).collect();
        vec![
            Array::from_slice(&[200, 3], &values).unwrap().named("x"),
            Array::from_slice(&[2], &[1_u8, 0]).unwrap().convert(ElementType::Bool).unwrap().named("a/b:0"),
            Array::from_slice(&[1, 2, 1], &[i64::MIN, i64::MAX]).unwrap(),
        ]
    }

    fn archive(arrays: &[Array], compression: Compression) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        write_to(&mut bytes, arrays, compression).unwrap();
        bytes.into_inner()
    }

    fn read_bytes(bytes: &[u8], max_memory: u64) -> Result<Vec<Array>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), max_memory)
    }

    #[test]
    fn arrays_come_back_under_their_names() {
        let mut expected = some_arrays();
        expected[2] = expected[2].clone().named("arr_2");
        for compression in [Compression::Stored, Compression::Deflated] {
            let bytes = archive(&some_arrays(), compression);
            assert_eq!(read_bytes(&bytes, 1 << 20).unwrap(), expected);
            assert_eq!(archive(&some_arrays(), compression), bytes, "the same bytes again");
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_no_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npz");
        std::fs::write(&path, "old").unwrap();
        let twice = [some_arrays(), some_arrays()].concat();
        assert!(matches!(write(&path, &twice, Compression::Stored), Err(DataError::Usage { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write(&path, &some_arrays(), Compression::Stored).unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap().len(), 3);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = write(&folder.path().join("no/out.npz"), &[], Compression::Stored).unwrap_err();
        assert!(matches!(nowhere, DataError::Io { .. }), "{nowhere}");
    }

    #[test]
    fn a_bomb_meets_the_limit() {
        let zeros = Array::from_slice(&[4 << 20], &vec![0_u8; 4 << 20]).unwrap().named("x");
        let bytes = archive(&[zeros], Compression::Deflated);
        assert!(bytes.len() < 8192);
        let error = read_bytes(&bytes, 1 << 20).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { bytes: 4_194_304, limit: 1_048_576, .. }), "{error}");
    }

    #[test]
    fn a_shape_larger_than_its_member_is_broken() {
        for compression in [Compression::Stored, Compression::Deflated] {
            let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
            let method = match compression {
                Compression::Stored => CompressionMethod::Stored,
                Compression::Deflated => CompressionMethod::Deflated,
            };
            zip.start_file("x.npy", SimpleFileOptions::default().compression_method(method)).unwrap();
            let large = Array::from_slice(&[1000], &[0_f64; 1000]).unwrap();
            zip.write_all(&npy::header_bytes(&large)).unwrap();
            zip.write_all(&[0; 100]).unwrap();
            let bytes = zip.finish().unwrap().into_inner();
            let error = read_bytes(&bytes, 1 << 20).unwrap_err();
            assert!(error.to_string().contains("take 8000 bytes, but 100 are there"), "{error}");
        }
    }

    #[test]
    fn flipped_bits_are_found_by_the_checksum() {
        for compression in [Compression::Stored, Compression::Deflated] {
            let mut bytes = archive(&some_arrays()[..1], compression);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            let error = read_bytes(&bytes, 1 << 20).unwrap_err();
            assert!(matches!(error, DataError::Broken { .. }), "{error}");
        }
    }

    #[test]
    fn large_stored_members_stay_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        write(&path, &some_arrays(), Compression::Stored).unwrap();
        let mut archive = Archive::open(&path).unwrap();
        let member = archive.zip.by_index(0).unwrap();
        let start = member.data_start().unwrap();
        drop(member);
        let mut file = std::fs::File::open(&path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start)).unwrap();
        let (header, header_bytes) = npy::read_header(&mut file, &path).unwrap();
        let stored = archive.in_file(header.clone(), &path, start + header_bytes, 2400).unwrap();
        assert_eq!(*stored.gather(&[5]).unwrap().to_f32(), some_arrays()[0].to_f32()[15..18]);
        let beyond = archive.in_file(header, &path, start + header_bytes, 1 << 20).unwrap_err();
        assert!(matches!(beyond, DataError::Broken { .. }), "{beyond}");
    }
}
