//! How many messages a file may hold: each takes far more memory than the two bytes that it may have
//! in the file, so they are counted before any is made.

use crate::error::FormatError;

/// Most messages and texts of one file.
const MOST_MESSAGES: usize = 6 << 20;

/// The fields of a message that hold messages or texts, each with the fields of those.
pub(super) struct Fields(&'static [(u64, Fields)]);

/// Fields of which every one is counted, and none looked into.
const LEAF: Fields = Fields(&[]);

const SHAPE: Fields = Fields(&[(2, LEAF)]);
const TENSOR: Fields = Fields(&[(2, SHAPE), (8, LEAF)]);
const LIST: Fields = Fields(&[(2, LEAF), (7, SHAPE), (9, LEAF)]);
const VALUE: Fields = Fields(&[(1, LIST), (2, LEAF), (7, SHAPE), (8, TENSOR), (10, LEAF)]);
/// An entry of a map from texts.
const VALUE_ENTRY: Fields = Fields(&[(2, VALUE)]);
const NODE: Fields = Fields(&[(1, LEAF), (2, LEAF), (3, LEAF), (5, VALUE_ENTRY)]);
const ARGUMENT: Fields = Fields(&[(1, LEAF), (5, LEAF), (6, LEAF)]);
const OPERATION: Fields = Fields(&[(1, LEAF), (2, ARGUMENT), (3, ARGUMENT)]);
const NOTES_ENTRY: Fields = Fields(&[(2, Fields(&[(1, VALUE_ENTRY)]))]);
const FUNCTION: Fields = Fields(&[(1, OPERATION), (3, NODE), (4, LEAF), (6, LEAF), (7, NOTES_ENTRY)]);
/// `GraphDef`.
pub(super) const GRAPH: Fields = Fields(&[(1, NODE), (2, Fields(&[(1, FUNCTION)]))]);
const SIGNATURE: Fields = Fields(&[
    (1, Fields(&[(2, Fields(&[(1, LEAF), (3, SHAPE)]))])),
    (2, Fields(&[(2, Fields(&[(1, LEAF), (3, SHAPE)]))])),
]);
const OBJECTS: Fields = Fields(&[(1, Fields(&[(7, LEAF)])), (2, Fields(&[(2, LEAF)]))]);
const META_GRAPH: Fields = Fields(&[
    (1, Fields(&[(2, Fields(&[(1, OPERATION)])), (4, LEAF)])),
    (2, GRAPH),
    (5, Fields(&[(2, SIGNATURE)])),
    (7, OBJECTS),
]);
/// `SavedModel`.
pub(super) const SAVED_MODEL: Fields = Fields(&[(2, META_GRAPH)]);
/// `TrackableObjectGraph`.
pub(super) const TRACKABLE_OBJECTS: Fields = Fields(&[(1, Fields(&[(2, LEAF)]))]);

/// Checks that a file holds no more messages than a graph can need.
///
/// # Errors
/// If it holds more, or a field is cut short.
pub(super) fn check(bytes: &[u8], fields: Fields, place: &str) -> Result<(), FormatError> {
    let mut left = MOST_MESSAGES;
    match count(bytes, &fields, &mut left) {
        Some(()) if left > 0 => Ok(()),
        Some(()) => Err(FormatError::broken(place, format!("it holds more than {MOST_MESSAGES} messages"))),
        None => Err(FormatError::broken(place, "a field is cut short or is no field")),
    }
}

/// Takes the messages of the fields from `left`, which stays at zero; `None` where bytes are no fields.
fn count(mut bytes: &[u8], fields: &Fields, left: &mut usize) -> Option<()> {
    while !bytes.is_empty() && *left > 0 {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => bytes = bytes.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (contents, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                if let Some((_, inner)) = fields.0.iter().find(|(field, _)| *field == tag >> 3) {
                    *left -= 1;
                    count(if inner.0.is_empty() { &[] } else { contents }, inner, left)?;
                }
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(())
}

/// A number of at most 64 bits, seven in each byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
