//! How many messages a protocol buffer may hold: each takes far more memory than the two bytes that it may
//! have in the file, so they are counted before any is made.

use crate::error::FormatError;

/// Most messages and texts of one file.
const MOST_MESSAGES: usize = 6 << 20;

/// Deepest message inside messages that is looked into; what decodes them goes no deeper either.
const DEEPEST: usize = 100;

/// The fields of a message that hold messages or texts, each with the fields of those.
pub(crate) struct Fields(pub &'static [(u64, &'static Fields)]);

/// Fields of which every one is counted, and none looked into.
pub(crate) static LEAF: Fields = Fields(&[]);

/// Checks that a file holds no more messages than a graph can need.
///
/// # Errors
/// If it holds more, or a field is cut short.
pub(crate) fn check(bytes: &[u8], fields: &Fields, place: &str) -> Result<(), FormatError> {
    let mut left = MOST_MESSAGES;
    match count(bytes, fields, &mut left, DEEPEST) {
        Some(()) if left > 0 => Ok(()),
        Some(()) => Err(FormatError::broken(place, format!("it holds more than {MOST_MESSAGES} messages"))),
        None => Err(FormatError::broken(place, "a field is cut short or is no field")),
    }
}

/// Takes the messages of the fields from `left`, which stays at zero; `None` where bytes are no fields.
fn count(mut bytes: &[u8], fields: &Fields, left: &mut usize, depth: usize) -> Option<()> {
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
                    let looked_into = !inner.0.is_empty() && depth > 0;
                    count(if looked_into { contents } else { &[] }, inner, left, depth.saturating_sub(1))?;
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
