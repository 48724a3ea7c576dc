//! Constants that stand in files beside the model: in its folder or below, nowhere else.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::tensor::Fault;
use crate::error::FormatError;
use crate::mapping;
use crate::onnx::proto::StringStringEntryProto;

/// The files beside a model.
pub(super) struct External {
    /// The model's folder; `None` where the model is no file.
    folder: Option<PathBuf>,
    /// Files that have been opened.
    open: RefCell<HashMap<String, Bytes>>,
}

impl External {
    /// Files in this folder.
    pub fn new(folder: Option<PathBuf>) -> External {
        External { folder, open: RefCell::default() }
    }

    /// The elements that these entries name, which must be this many bytes.
    pub fn read(
        &self,
        entries: &[StringStringEntryProto],
        length: usize,
        place: &str,
    ) -> Result<Bytes, Fault> {
        let entry = |key: &str| {
            let found = entries.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.as_deref())
        };
        let number = |key: &str| -> Result<Option<usize>, FormatError> {
            let parse = |text: &str| {
                let reason = || format!("'{key}' of its elements in another file is '{text}'");
                text.parse().map_err(|_| FormatError::broken(place, reason()))
            };
            entry(key).map(parse).transpose()
        };
        let location = entry("location")
            .ok_or_else(|| FormatError::broken(place, "the file of its elements is not named"))?;
        let offset = number("offset")?.unwrap_or(0);
        if let Some(stated) = number("length")?.filter(|stated| *stated != length) {
            let reason = format!("it has {stated} bytes in another file instead of {length}");
            return Err(FormatError::broken(place, reason).into());
        }
        let file = self.file(location, place)?;
        match offset.checked_add(length).filter(|end| *end <= file.len()) {
            Some(end) => Ok(file.slice(offset..end)),
            None => {
                let reason = format!(
                    "its {length} bytes at {offset} lie beyond the {} bytes of '{location}'",
                    file.len()
                );
                Err(FormatError::broken(place, reason).into())
            }
        }
    }

    fn file(&self, location: &str, place: &str) -> Result<Bytes, Fault> {
        if let Some(bytes) = self.open.borrow().get(location) {
            return Ok(bytes.clone());
        }
        let Some(folder) = &self.folder else {
            return Err(Fault::Unsupported(
                "its elements stand in another file; read the model by its path".into(),
            ));
        };
        let path = inside(folder, location, place)?;
        let bytes = mapping::open(&path)?;
        self.open.borrow_mut().insert(location.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

/// The path of a file in a folder or below it.
///
/// # Errors
/// If the location leads out of the folder, by its words or by a link.
fn inside(folder: &Path, location: &str, place: &str) -> Result<PathBuf, FormatError> {
    let outside = || {
        let reason = format!(
            "its elements stand in '{location}', outside the model's folder; put the file beside the model"
        );
        FormatError::broken(place, reason)
    };
    let location = Path::new(location);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.as_os_str().is_empty() || !location.components().all(plain) {
        return Err(outside());
    }
    let path = folder.join(location);
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real =
        |path: &Path| path.canonicalize().map_err(|source| FormatError::Io { path: path.to_owned(), source });
    if !real(&path)?.starts_with(real(here)?) {
        return Err(outside());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(location: &str, more: &[(&str, &str)]) -> Vec<StringStringEntryProto> {
        let all = [("location", location)].into_iter().chain(more.iter().copied());
        all.map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) })
            .collect()
    }

    #[test]
    fn what_lies_in_the_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/weights"), b"0123456789").unwrap();
        let external = External::new(Some(folder.path().to_owned()));
        let read = |more: &[(&str, &str)], length| external.read(&entries("data/weights", more), length, "w");
        assert_eq!(read(&[("offset", "3"), ("length", "2")], 2).unwrap(), b"34"[..]);
        assert_eq!(read(&[], 10).unwrap(), b"0123456789"[..]);
        for (more, length) in [
            (&[("offset", "9")][..], 2),
            (&[("offset", "-1")], 2),
            (&[("offset", "18446744073709551615")], 2),
            (&[("length", "3")], 2),
            (&[("offset", "x")], 2),
        ] {
            assert!(matches!(read(more, length), Err(Fault::Error(FormatError::Broken { .. }))), "{more:?}");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("secret"), b"12").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("link")).unwrap();
        let external = External::new(Some(folder));
        let absolute = outer.path().join("secret").display().to_string();
        for location in ["../secret", "x/../../secret", "link", "", absolute.as_str()] {
            if location == "link" && !cfg!(unix) {
                continue;
            }
            let read = external.read(&entries(location, &[]), 2, "w");
            assert!(matches!(read, Err(Fault::Error(FormatError::Broken { .. }))), "{location}");
        }
        assert!(matches!(External::new(None).read(&entries("a", &[]), 2, "w"), Err(Fault::Unsupported(_))));
    }
}
