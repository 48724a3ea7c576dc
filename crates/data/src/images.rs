//! Folders of image files, and single ones, as samples.

use std::fs::{self, File};
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{panic, thread};

use crate::buffer::Buffer;
use crate::pixels::{self, Pixels};
use crate::resize::{Window, bilinear};
use crate::{Array, Crop, DataError, ElementType, InputSpec};

/// How deep folders in a class folder are followed.
const MAX_DEPTH: usize = 16;

/// The image files of a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) labels: Option<Vec<u32>>,
    pub(crate) class_names: Option<Vec<String>>,
}

/// Lists the images of `folder`: those of its sub-folders, which are the classes, or its own.
///
/// Everything is sorted by name; a class's number is its rank among the sub-folders, empty ones
/// included. Folders inside a class folder belong to the class, the way Keras walks them. Hidden
/// files and files that are not PNG or JPEG (by extension, else by content) are skipped.
pub(crate) fn list(folder: &Path) -> Result<Listing, DataError> {
    let here = entries(folder)?;
    let mut classes = Vec::new();
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for (label, class) in (0_u32..).zip(&here.folders) {
        let before = files.len();
        walk(class, &mut files, MAX_DEPTH)?;
        labels.resize(labels.len() + files.len() - before, label);
        classes.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    match (files.is_empty(), here.images.is_empty()) {
        (true, true) => Err(DataError::Empty {
            path: folder.to_owned(),
            what: "no PNG or JPEG images here or in sub-folders (data of other kinds: name the file itself)"
                .to_owned(),
        }),
        (true, false) => Ok(Listing { files: here.images, labels: None, class_names: None }),
        (false, true) => Ok(Listing { files, labels: Some(labels), class_names: Some(classes) }),
        (false, false) => Err(DataError::broken(
            folder,
            "images both here and in sub-folders: put them into class folders or all into one folder",
        )),
    }
}

struct Entries {
    images: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn entries(folder: &Path) -> Result<Entries, DataError> {
    let failed = |error| DataError::reading(folder, error);
    let (mut images, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if path.is_file() && is_image(&path)? {
            images.push(path);
        }
    }
    images.sort();
    folders.sort();
    Ok(Entries { images, folders })
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> Result<(), DataError> {
    if depth == 0 {
        return Err(DataError::broken(folder, format!("more than {MAX_DEPTH} folders inside each other")));
    }
    let entries = entries(folder)?;
    files.extend(entries.images);
    entries.folders.iter().try_for_each(|inner| walk(inner, files, depth - 1))
}

/// By extension, so that a broken `.png` is an error later and not skipped; else by content.
fn is_image(path: &Path) -> Result<bool, DataError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if ["png", "jpg", "jpeg"].contains(&extension.as_str()) {
        return Ok(true);
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(|error| DataError::reading(path, error))?;
    file.take(8).read_to_end(&mut start).map_err(|error| DataError::reading(path, error))?;
    Ok(pixels::format_of(&start).is_some())
}

/// Image files together with the input that they become.
#[derive(Debug)]
pub(crate) struct Images {
    files: Vec<PathBuf>,
    crop: Option<Crop>,
    threads: usize,
    height: usize,
    width: usize,
    channels: usize,
    /// Channels first.
    planar: bool,
    /// The shape of one sample: these sizes in the input's order of axes.
    pub(crate) shape: Vec<usize>,
}

impl Images {
    /// The images of `files`, of which there is at least one, for `input`.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        input: &InputSpec,
        crop: Option<Crop>,
        threads: Option<NonZeroUsize>,
    ) -> Result<Self, DataError> {
        if input.shape.len() >= 2 && input.shape.contains(&None) {
            return Err(DataError::usage(format!(
                "input `{}` has free dimensions, {}: give images a size (--image-size), or the input a fixed shape",
                input.name,
                crate::error::shape_text(&input.shape)
            )));
        }
        let shape: Vec<usize> = input.shape.iter().copied().flatten().collect();
        let (height, width, channels, planar) = match *shape {
            [height, width, channels @ (1 | 3)] => (height, width, channels, false),
            [channels @ (1 | 3), height, width] => (height, width, channels, true),
            [height, width] => (height, width, 1, false),
            _ => return Err(not_an_image(&files, input)),
        };
        if height == 0 || width == 0 {
            return Err(not_an_image(&files, input));
        }
        let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        Ok(Self { files, crop, threads, height, width, channels, planar, shape })
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The images at `indices`, which are below [`Images::len`], as `f32` from 0 to 255.
    pub(crate) fn gather(&self, indices: &[usize]) -> Result<Array, DataError> {
        let sample: usize = self.shape.iter().product();
        let bytes = indices.len().saturating_mul(sample).saturating_mul(size_of::<f32>());
        let mut data = Buffer::zeroed(bytes, "a batch of images")?;
        let out = data.elements_mut::<f32>();
        let share = indices.len().div_ceil(self.threads).max(1);
        let work = |indices: &[usize], out: &mut [f32]| {
            let mut samples = indices.iter().zip(out.chunks_exact_mut(sample));
            samples.try_for_each(|(&index, out)| self.read(&self.files[index], out))
        };
        thread::scope(|scope| {
            let shares = indices.chunks(share).zip(out.chunks_mut(share * sample));
            let workers: Vec<_> =
                shares.map(|(indices, out)| scope.spawn(move || work(indices, out))).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
        })?;
        let shape = [&[indices.len()], self.shape.as_slice()].concat();
        Array::from_buffer(ElementType::F32, shape, data)
    }

    fn read(&self, file: &Path, out: &mut [f32]) -> Result<(), DataError> {
        let image = decode_file(file, self.channels)?;
        let window = Window::of(&image, self.crop, self.height, self.width);
        if !self.planar {
            bilinear(&image, window, self.height, self.width, out);
            return Ok(());
        }
        let mut interleaved = vec![0.0; out.len()];
        bilinear(&image, window, self.height, self.width, &mut interleaved);
        for (channel, plane) in out.chunks_exact_mut(self.height * self.width).enumerate() {
            let values = interleaved.iter().skip(channel).step_by(self.channels);
            plane.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

fn decode_file(file: &Path, channels: usize) -> Result<Pixels, DataError> {
    let bytes = fs::read(file).map_err(|error| DataError::reading(file, error))?;
    pixels::decode(&bytes, channels, file)
}

/// The input has no shape of an image; the error shows that of the first one.
fn not_an_image(files: &[PathBuf], input: &InputSpec) -> DataError {
    match files.first().map(|file| decode_file(file, 3)) {
        Some(Err(error)) => error,
        Some(Ok(image)) => DataError::WrongShape {
            input: input.name.clone(),
            expected: input.shape.clone(),
            got: vec![image.height, image.width, image.channels],
        },
        None => DataError::usage("no images"),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    fn save(folder: &Path, name: &str, color: [u8; 3]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(4, 4, Rgb(color)).save_with_format(path, image::ImageFormat::Png).unwrap();
    }

    fn names(listing: &Listing, folder: &Path) -> Vec<String> {
        let name = |file: &PathBuf| file.strip_prefix(folder).unwrap().display().to_string();
        listing.files.iter().map(name).collect()
    }

    #[test]
    fn sub_folders_are_classes_by_rank() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in
            ["cat/2.png", "cat/10.png", "ant/x.PNG", "dog/deep/er.png", "dog/a.png", "dog/without-extension"]
        {
            save(root, name, [0; 3]);
        }
        fs::create_dir(root.join("bee")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        fs::write(root.join("README.txt"), "photos").unwrap();
        fs::write(root.join("cat/notes.txt"), "").unwrap();
        fs::write(root.join("cat/.hidden.png"), "").unwrap();
        let listing = list(root).unwrap();
        assert_eq!(
            names(&listing, root),
            ["ant/x.PNG", "cat/10.png", "cat/2.png", "dog/a.png", "dog/without-extension", "dog/deep/er.png"]
        );
        assert_eq!(listing.labels, Some(vec![0, 2, 2, 3, 3, 3]));
        assert_eq!(listing.class_names.unwrap(), ["ant", "bee", "cat", "dog"]);
    }

    #[test]
    fn a_flat_folder_has_no_labels_and_a_mixed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(matches!(list(root), Err(DataError::Empty { .. })));
        save(root, "b.png", [0; 3]);
        save(root, "a.png", [0; 3]);
        fs::create_dir(root.join("empty")).unwrap();
        let listing = list(root).unwrap();
        assert_eq!(names(&listing, root), ["a.png", "b.png"]);
        assert!(listing.labels.is_none() && listing.class_names.is_none());
        save(root, "class/c.png", [0; 3]);
        assert!(matches!(list(root), Err(DataError::Broken { .. })));
        assert!(matches!(list(&root.join("none")), Err(DataError::NotFound { .. })));
    }

    fn images(folder: &Path, shape: &[Option<usize>]) -> Result<Images, DataError> {
        let input = InputSpec::new("photo", shape, ElementType::F32);
        Images::new(list(folder)?.files, &input, None, NonZeroUsize::new(3))
    }

    #[test]
    fn layouts_follow_the_input() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1.png", "2.png", "3.png", "4.png"] {
            save(folder.path(), name, [10, 100, 250]);
        }
        let last = images(folder.path(), &[Some(2), Some(1), Some(3)]).unwrap();
        let batch = last.gather(&[3, 0, 1, 2]).unwrap();
        assert_eq!(batch.shape(), [4, 2, 1, 3]);
        assert_eq!(*batch.to_f32(), [10.0, 100.0, 250.0].repeat(8));
        let first = images(folder.path(), &[Some(3), Some(2), Some(2)]).unwrap().gather(&[1]).unwrap();
        assert_eq!(*first.to_f32(), [[10.0; 4], [100.0; 4], [250.0; 4]].concat());
        for gray in [&[Some(2), Some(2)][..], &[Some(2), Some(2), Some(1)], &[Some(1), Some(2), Some(2)]] {
            assert_eq!(*images(folder.path(), gray).unwrap().gather(&[0]).unwrap().to_f32(), [90.0; 4]);
        }
        assert_eq!(last.gather(&[]).unwrap().shape(), [0, 2, 1, 3]);
    }

    #[test]
    fn inputs_that_are_no_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "1.png", [0; 3]);
        let error = images(folder.path(), &[Some(784)]).unwrap_err();
        assert_eq!(error.to_string(), "input `photo` needs samples of shape [784], got [4, 4, 3]");
        assert!(images(folder.path(), &[Some(0), Some(2), Some(3)]).is_err());
        let free = images(folder.path(), &[None, None, Some(3)]).unwrap_err();
        assert!(matches!(free, DataError::Usage { .. }), "{free}");
    }

    #[test]
    fn an_unreadable_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "1.png", [0; 3]);
        fs::write(folder.path().join("2.jpg"), "no image").unwrap();
        let error = images(folder.path(), &[Some(2), Some(2), Some(3)]).unwrap().gather(&[0, 1]).unwrap_err();
        assert!(matches!(&error, DataError::Broken { path, .. } if path.ends_with("2.jpg")), "{error}");
    }
}
