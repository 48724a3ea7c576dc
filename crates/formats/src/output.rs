//! Files put into place whole: what was there stays until the new file is complete.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::FormatError;

/// Writes a file by a function. It is written to a temporary file in the same folder, brought to
/// the disk and renamed, so that `path` holds the old file or the complete new one, never less; on
/// failure nothing is left behind. A symbolic link stays, and the file that it leads to is replaced.
/// Devices and pipes are written to directly.
///
/// # Errors
/// [`FormatError::Io`] with the path.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    replace(path, write).map_err(|source| FormatError::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    match complete(path, write)? {
        Some(complete) => complete.put(),
        None => Ok(()),
    }
}

/// Writes two files as [`write_atomically`] writes one: both are complete before either is put into place.
///
/// # Errors
/// [`FormatError::Io`] with the path.
pub fn write_both_atomically(
    first: (&Path, impl FnOnce(&mut dyn Write) -> io::Result<()>),
    second: (&Path, impl FnOnce(&mut dyn Write) -> io::Result<()>),
) -> Result<(), FormatError> {
    let about = |path: &Path| {
        let path = path.to_owned();
        move |source| FormatError::Io { path, source }
    };
    let completed = complete(first.0, first.1).map_err(about(first.0))?;
    let also = complete(second.0, second.1).map_err(about(second.0))?;
    for (file, path) in [(completed, first.0), (also, second.0)] {
        file.map_or(Ok(()), Complete::put).map_err(about(path))?;
    }
    Ok(())
}

/// A file that is complete, but not in its place.
struct Complete {
    file: NamedTempFile,
    path: PathBuf,
}

impl Complete {
    fn put(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|error| error.error)?;
        sync_folder(&folder_of(&self.path));
        Ok(())
    }
}

/// Writes what will be a file; `None` for a device or pipe, which has got everything then.
fn complete(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Option<Complete>> {
    let path = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => {
            let mut device = BufWriter::new(File::options().write(true).open(path)?);
            write(&mut device)?;
            device.flush()?;
            return Ok(None);
        }
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    let Some(name) = path.file_name() else { return Err(io::ErrorKind::InvalidFilename.into()) };
    let mut temporary = BufWriter::new(temporary_file(&folder_of(&path), name)?);
    write(&mut temporary)?;
    let file = temporary.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Ok(old) = fs::metadata(&path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    Ok(Some(Complete { file, path }))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A new file whose name starts with a dot and tells what it will become.
fn temporary_file(folder: &Path, name: &OsStr) -> io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    // As files are made ordinarily: readable for all whom the user's mask lets.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Brings the renaming to the disk where the system can; the file itself is there already.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        // A file system that cannot do this for folders has no other way to do it.
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.tflite");
        for content in ["first", "second"] {
            write_atomically(&path, |output| output.write_all(content.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["model.tflite"]);
    }

    #[test]
    fn failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.tflite");
        fs::write(&path, "old").unwrap();
        let failed = write_atomically(&path, |output| {
            output.write_all(b"half of it")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(failed, Err(FormatError::Io { path: named, .. }) if named == path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["model.tflite"]);
    }

    #[test]
    fn of_two_files_both_are_put_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (data, model) = (folder.path().join("model.data"), folder.path().join("model"));
        fs::write(&data, "old").unwrap();
        let write = |model: &Path| {
            let text = |text: &'static str| move |output: &mut dyn Write| output.write_all(text.as_bytes());
            write_both_atomically((&data, text("new data")), (model, text("new model")))
        };
        assert!(matches!(write(folder.path()), Err(FormatError::Io { path, .. }) if path == folder.path()));
        assert_eq!(fs::read_to_string(&data).unwrap(), "old");
        assert_eq!(names(folder.path()), ["model.data"]);
        write(&model).unwrap();
        assert_eq!(fs::read_to_string(&data).unwrap(), "new data");
        assert_eq!(fs::read_to_string(&model).unwrap(), "new model");
    }

    #[test]
    fn folders_and_missing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &Path| write_atomically(path, |output| output.write_all(b"x"));
        assert!(write(folder.path()).is_err());
        assert!(write(&folder.path().join("missing/model.tflite")).is_err());
        assert!(write(Path::new("/")).is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay_and_devices_are_written_to() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        write_atomically(&link, |output| output.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        write_atomically(Path::new("/dev/null"), |output| output.write_all(b"new")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
