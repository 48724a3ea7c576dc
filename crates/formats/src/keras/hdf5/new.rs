//! New HDF5 files.

use std::collections::BTreeMap;
use std::io::Write;

use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder, make_f32_type, make_i64_type};
use litesmith_graph::DType;

use super::broken;
use crate::error::FormatError;

/// A file in the making: groups by name, in each of them texts and arrays.
#[derive(Default)]
pub(in crate::keras) struct NewHdf5 {
    root: Group,
}

#[derive(Default)]
struct Group {
    texts: Vec<(String, String)>,
    arrays: Vec<(String, NewArray)>,
    groups: BTreeMap<String, Group>,
}

struct NewArray {
    dtype: DType,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

impl NewHdf5 {
    /// Gives a group a text attribute; groups that are not there yet are made.
    pub fn set_text(&mut self, group: &str, name: &str, text: &str) {
        self.group(group).texts.push((name.to_owned(), text.to_owned()));
    }

    /// Adds an array of little-endian `f32` or `i64` elements, and the groups in its path that are not there yet.
    ///
    /// # Errors
    /// If its type is another one, or it has not as many bytes as its shape says.
    pub fn add_array(
        &mut self,
        path: &str,
        dtype: DType,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Result<(), FormatError> {
        let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if !matches!(dtype, DType::F32 | DType::I64)
            || elements.and_then(|count| dtype.bytes(count)) != Some(bytes.len())
        {
            let length = bytes.len();
            return Err(broken(path, format!("{length} bytes are no array of {dtype} of shape {shape:?}")));
        }
        let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
        let shape = shape.iter().map(|size| *size as u64).collect();
        self.group(group).arrays.push((name.to_owned(), NewArray { dtype, shape, bytes }));
        Ok(())
    }

    /// Bytes of all arrays.
    pub fn array_bytes(&self) -> usize {
        self.root.array_bytes()
    }

    /// Writes the file, from its first byte to its last.
    ///
    /// # Errors
    /// If `to` cannot be written, or the format cannot hold a name or a shape.
    pub fn write(self, to: &mut dyn Write) -> Result<(), FormatError> {
        let mut file = FileBuilder::new();
        for (name, text) in self.root.texts {
            file.set_attr(&name, AttrValue::VarLenString(text));
        }
        for (name, array) in self.root.arrays {
            array.put(file.create_dataset(&name));
        }
        for (name, group) in self.root.groups {
            let builder = file.create_group(&name);
            file.add_group(group.built(builder));
        }
        file.finish_to(to).map_err(|error| broken("/", error))
    }

    fn group(&mut self, path: &str) -> &mut Group {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(&mut self.root, |group, part| group.groups.entry(part.to_owned()).or_default())
    }
}

impl Group {
    fn array_bytes(&self) -> usize {
        let own: usize = self.arrays.iter().map(|(_, array)| array.bytes.len()).sum();
        own + self.groups.values().map(Group::array_bytes).sum::<usize>()
    }

    fn built(self, mut builder: GroupBuilder) -> hdf5_pure::FinishedGroup {
        for (name, text) in self.texts {
            builder.set_attr(&name, AttrValue::VarLenString(text));
        }
        for (name, array) in self.arrays {
            array.put(builder.create_dataset(&name));
        }
        for (name, group) in self.groups {
            let inner = builder.create_group(&name);
            builder.add_group(group.built(inner));
        }
        builder.finish()
    }
}

impl NewArray {
    fn put(self, dataset: &mut hdf5_pure::DatasetBuilder) {
        let datatype = if self.dtype == DType::I64 { make_i64_type() } else { make_f32_type() };
        let elements = self.shape.iter().product();
        dataset.with_raw_data(datatype, self.bytes, elements).with_shape(&self.shape);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keras::hdf5::Hdf5;

    #[test]
    fn what_is_written_is_read() {
        let mut file = NewHdf5::default();
        let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        file.set_text("layers/conv2d/vars", "name", "first");
        file.add_array("layers/conv2d/vars/0", DType::F32, &[1, 2, 3], bytes).unwrap();
        file.add_array("layers/normalization/vars/2", DType::I64, &[], 7i64.to_le_bytes().to_vec()).unwrap();
        assert!(file.add_array("x", DType::F32, &[2], vec![0; 4]).is_err());
        assert!(file.add_array("x", DType::I8, &[4], vec![0; 4]).is_err());
        assert_eq!(file.array_bytes(), 32);
        let mut written = Vec::new();
        file.write(&mut written).unwrap();
        let file = Hdf5::open(written.into()).unwrap();
        assert_eq!(file.text("layers/conv2d/vars", "name").unwrap().as_deref(), Some("first"));
        let kernel = file.array("layers/conv2d/vars/0").unwrap();
        assert_eq!((kernel.dtype, kernel.shape), (DType::F32, vec![1, 2, 3]));
        assert_eq!(*kernel.data.elements::<f32>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let count = file.array("layers/normalization/vars/2").unwrap();
        assert_eq!((count.dtype, count.shape.len()), (DType::I64, 0));
        assert_eq!(*count.data.elements::<i64>(), [7]);
    }
}
