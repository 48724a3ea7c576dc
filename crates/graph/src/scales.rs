//! Scales of quantized tensors, shared and cheap to clone.

use std::fmt;
use std::ops::Deref;

use bytemuck::cast_slice;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::Data;

/// The scales of a tensor: a slice of the file that they stand in, or numbers of their own.
#[derive(Clone, Default)]
pub struct Scales {
    /// Whole numbers, on an address that suits them.
    bytes: Bytes,
}

impl Scales {
    /// The little-endian numbers in these bytes; they share their memory where it is aligned.
    #[must_use]
    pub fn of_bytes(bytes: Bytes) -> Scales {
        if bytemuck::try_cast_slice::<u8, f32>(&bytes).is_ok() {
            return Scales { bytes };
        }
        Scales::from(Data::new(bytes).elements().into_owned())
    }
}

/// Numbers whose bytes are shared.
struct Owner(Vec<f32>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        cast_slice(&self.0)
    }
}

impl From<Vec<f32>> for Scales {
    fn from(scales: Vec<f32>) -> Scales {
        // Bytes of none may lie anywhere.
        if scales.is_empty() { Scales::default() } else { Scales { bytes: Bytes::from_owner(Owner(scales)) } }
    }
}

impl<const N: usize> From<[f32; N]> for Scales {
    fn from(scales: [f32; N]) -> Scales {
        Scales::from(Vec::from(scales))
    }
}

impl FromIterator<f32> for Scales {
    fn from_iter<I: IntoIterator<Item = f32>>(scales: I) -> Scales {
        Scales::from(Vec::from_iter(scales))
    }
}

impl Deref for Scales {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        if self.bytes.is_empty() { &[] } else { cast_slice(&self.bytes) }
    }
}

impl PartialEq for Scales {
    fn eq(&self, other: &Scales) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Scales {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

impl Serialize for Scales {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scales {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scales, D::Error> {
        Vec::deserialize(deserializer).map(Scales::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_file_are_shared_where_they_are_aligned() {
        let file = Bytes::from_owner(Owner(vec![0.5, 2.0, 3.0]));
        let shared = Scales::of_bytes(file.slice(4..12));
        assert_eq!((&*shared, shared.as_ptr().cast::<u8>()), (&[2.0, 3.0][..], file[4..].as_ptr()));
        // Of four starts in a row one is aligned.
        for start in 0..4 {
            let moved: Vec<u8> = vec![9; start].into_iter().chain(file.iter().copied()).collect();
            assert_eq!(*Scales::of_bytes(Bytes::from(moved).slice(start..)), [0.5, 2.0, 3.0]);
        }
    }

    #[test]
    fn scales_compare_and_serialize_as_numbers() {
        let scales = Scales::from([0.25, 4.0]);
        assert_eq!(scales, [0.25, 4.0].into_iter().collect());
        assert_ne!(scales, Scales::from([0.25]));
        assert_eq!(format!("{scales:?}"), "[0.25, 4.0]");
        let text = serde_json::to_string(&scales).unwrap();
        assert_eq!(text, "[0.25,4.0]");
        assert_eq!(serde_json::from_str::<Scales>(&text).unwrap(), scales);
        assert!(Scales::default().is_empty() && Scales::from(Vec::new()).is_empty());
    }
}
