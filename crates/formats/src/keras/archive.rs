//! The zip file that a `.keras` file is.

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::error::FormatError;

/// Most bytes that a deflated member may unpack to, as a multiple of the archive's size.
const MOST_EXPANSION: u64 = 64;
/// Bytes that a deflated member may have, however small the archive is.
const ALWAYS_ALLOWED: u64 = 1 << 26;
/// Members above this size need the 64-bit fields of zip.
const LARGE: usize = 0xFFFF_0000;

/// A zip file in memory.
pub(super) struct Archive {
    zip: ZipArchive<Cursor<Bytes>>,
    bytes: Bytes,
}

fn broken(place: &str, error: impl std::fmt::Display) -> FormatError {
    FormatError::broken(format!("zip member '{place}'"), error.to_string())
}

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    /// If it is no zip file.
    pub fn open(bytes: Bytes) -> Result<Archive, FormatError> {
        let zip = ZipArchive::new(Cursor::new(bytes.clone()))
            .map_err(|error| FormatError::broken("zip directory", error.to_string()))?;
        Ok(Archive { zip, bytes })
    }

    /// A member's bytes, its checksum checked; `None` if there is no such member. A stored member
    /// is not copied.
    ///
    /// # Errors
    /// If it is damaged, encrypted, packed by an unknown method, or unpacks to more than is honest.
    pub fn member(&mut self, name: &str) -> Result<Option<Bytes>, FormatError> {
        let Some(index) = self.zip.index_for_name(name) else { return Ok(None) };
        let limit = (self.bytes.len() as u64).saturating_mul(MOST_EXPANSION).saturating_add(ALWAYS_ALLOWED);
        let mut member = self.zip.by_index(index).map_err(|error| broken(name, error))?;
        let size = member.size();
        if size > limit {
            return Err(broken(name, format!("{size} bytes cannot come out of this archive")));
        }
        if member.compression() == CompressionMethod::Stored {
            // Reading to the end checks the checksum; the bytes themselves stay where they are.
            std::io::copy(&mut member, &mut std::io::sink()).map_err(|error| broken(name, error))?;
            let start = member.data_start().and_then(|start| usize::try_from(start).ok());
            let end = start.and_then(|start| start.checked_add(usize::try_from(size).ok()?));
            return match (start, end) {
                (Some(start), Some(end)) if end <= self.bytes.len() => Ok(Some(self.bytes.slice(start..end))),
                _ => Err(broken(name, "it lies beyond the end of the file")),
            };
        }
        let mut unpacked = Vec::new();
        member
            .take(limit.saturating_add(1))
            .read_to_end(&mut unpacked)
            .map_err(|error| broken(name, error))?;
        if unpacked.len() as u64 > limit {
            return Err(broken(name, "it unpacks to more than can come out of this archive"));
        }
        Ok(Some(unpacked.into()))
    }

    /// The archive with some members replaced, in place, or added behind the others.
    ///
    /// # Errors
    /// If a member cannot be copied.
    pub fn rewritten(&mut self, replacements: &[(&str, &[u8])]) -> Result<Vec<u8>, FormatError> {
        let error = |error: zip::result::ZipError| FormatError::broken("zip file", error.to_string());
        let mut writer = ZipWriter::new(Cursor::new(Vec::with_capacity(self.bytes.len())));
        let mut written = vec![false; replacements.len()];
        for index in 0..self.zip.len() {
            let member = self.zip.by_index_raw(index).map_err(error)?;
            let name = member.name().map_err(error)?.into_owned();
            match replacements.iter().position(|(replaced, _)| *replaced == name) {
                None => writer.raw_copy_file(member).map_err(error)?,
                Some(place) => {
                    let time = member.last_modified().unwrap_or_default();
                    drop(member);
                    store(&mut writer, replacements[place], time)?;
                    written[place] = true;
                }
            }
        }
        for (replacement, written) in replacements.iter().zip(written) {
            if !written {
                store(&mut writer, *replacement, zip::DateTime::default())?;
            }
        }
        Ok(writer.finish().map_err(error)?.into_inner())
    }
}

/// A zip file in the making.
pub(super) struct NewArchive {
    writer: ZipWriter<Cursor<Vec<u8>>>,
}

impl NewArchive {
    /// An archive without members that will have about this many bytes.
    pub fn with_capacity(bytes: usize) -> NewArchive {
        NewArchive { writer: ZipWriter::new(Cursor::new(Vec::with_capacity(bytes))) }
    }

    /// Adds a member of at most `most` bytes, written by a function.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn add(
        &mut self,
        name: &str,
        most: usize,
        write: impl FnOnce(&mut dyn Write) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let options = stored(zip::DateTime::default(), most);
        self.writer.start_file(name, options).map_err(|error| broken(name, error))?;
        write(&mut self.writer)
    }

    /// The bytes.
    ///
    /// # Errors
    /// If the last member is too large.
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        let finished = self.writer.finish().map_err(|error| broken("", error))?;
        Ok(finished.into_inner())
    }
}

fn stored(time: zip::DateTime, bytes: usize) -> SimpleFileOptions {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    options.last_modified_time(time).large_file(bytes > LARGE)
}

fn store(
    writer: &mut ZipWriter<Cursor<Vec<u8>>>,
    (name, bytes): (&str, &[u8]),
    time: zip::DateTime,
) -> Result<(), FormatError> {
    writer.start_file(name, stored(time, bytes.len())).map_err(|error| broken(name, error))?;
    writer.write_all(bytes).map_err(|error| broken(name, error))
}
