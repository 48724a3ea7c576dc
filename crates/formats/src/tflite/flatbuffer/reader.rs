//! Reading: every offset, length and total amount of work is checked.

use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;

use super::Scalar;
use crate::error::FormatError;

/// What visiting a table costs, in bytes; what is copied out of a file costs its own length. Files of
/// TensorFlow cost less than once their length; a file that leads to the same tables over and over
/// costs many times its length, and memory with it, so it is refused.
const COST_OF_TABLE: usize = 32;

/// Cost that is allowed for each byte of a file.
const COST_LIMIT: usize = 2;

/// Cost that is always allowed.
const COST_FLOOR: usize = 1 << 16;

/// The bytes of a file and the work that may still be done on it.
pub struct File {
    bytes: Bytes,
    budget: Cell<usize>,
}

/// A table of a file: its fields go by slot, in the order of the schema.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    file: &'a File,
    position: usize,
    vtable: usize,
    slots: usize,
    size: usize,
}

fn broken(position: usize, reason: &str) -> FormatError {
    FormatError::broken(format!("byte {position}"), reason)
}

impl File {
    /// A file of these bytes.
    pub fn new(bytes: Bytes) -> File {
        let budget = bytes.len().saturating_mul(COST_LIMIT).saturating_add(COST_FLOOR);
        File { bytes, budget: Cell::new(budget) }
    }

    /// The table that a file with this identifier starts from.
    pub fn root(&self, identifier: &[u8; 4]) -> Result<Table<'_>, FormatError> {
        if self.bytes.get(4..8) != Some(identifier) {
            return Err(broken(4, "the identifier is missing"));
        }
        self.nested_root()
    }

    /// The table that a file without identifier starts from.
    pub fn nested_root(&self) -> Result<Table<'_>, FormatError> {
        self.table(self.target(0)?)
    }

    /// Pays for work that the file causes.
    pub fn charge(&self, cost: usize) -> Result<(), FormatError> {
        match self.budget.get().checked_sub(cost) {
            Some(rest) => {
                self.budget.set(rest);
                Ok(())
            }
            None => Err(FormatError::broken("the file", "it refers to the same bytes over and over")),
        }
    }

    /// A slice of the file that shares its memory.
    pub fn slice(&self, start: u64, length: u64) -> Result<Bytes, FormatError> {
        let end = start.checked_add(length).and_then(|end| usize::try_from(end).ok());
        match (usize::try_from(start), end) {
            (Ok(start), Some(end)) if end <= self.bytes.len() => Ok(self.bytes.slice(start..end)),
            _ => Err(FormatError::broken(
                format!("bytes {start} to {}", start.saturating_add(length)),
                format!("they lie outside the file of {} bytes", self.bytes.len()),
            )),
        }
    }

    fn scalar<T: Scalar>(&self, position: usize) -> Result<T, FormatError> {
        let bytes = self.bytes.get(position..).unwrap_or_default();
        T::read(bytes).ok_or_else(|| broken(position, "the file ends here"))
    }

    /// The place that the offset at `position` leads to.
    fn target(&self, position: usize) -> Result<usize, FormatError> {
        let offset: u32 = self.scalar(position)?;
        match usize::try_from(offset).ok().and_then(|offset| position.checked_add(offset)) {
            Some(target) if target < self.bytes.len() => Ok(target),
            _ => Err(broken(position, "an offset leads outside the file")),
        }
    }

    fn table(&self, position: usize) -> Result<Table<'_>, FormatError> {
        self.charge(COST_OF_TABLE)?;
        let offset: i32 = self.scalar(position)?;
        let vtable = i64::try_from(position).ok().map(|position| position - i64::from(offset));
        let Some(vtable) = vtable.and_then(|vtable| usize::try_from(vtable).ok()) else {
            return Err(broken(position, "a table's description lies outside the file"));
        };
        let length = usize::from(self.scalar::<u16>(vtable)?);
        let size = usize::from(self.scalar::<u16>(vtable.saturating_add(2))?);
        let fits = |start: usize, length: usize| {
            start.checked_add(length).is_some_and(|end| end <= self.bytes.len())
        };
        if length < 4 || size < 4 || !fits(vtable, length) || !fits(position, size) {
            return Err(broken(position, "a table does not fit its description"));
        }
        Ok(Table { file: self, position, vtable, slots: length / 2 - 2, size })
    }

    /// The elements of the vector at `position`, of this size each.
    fn vector(&self, position: usize, size: usize) -> Result<Range<usize>, FormatError> {
        let length: u32 = self.scalar(position)?;
        let bytes = usize::try_from(length).ok().and_then(|length| length.checked_mul(size));
        let start = position + 4;
        match bytes.and_then(|bytes| start.checked_add(bytes)) {
            Some(end) if end <= self.bytes.len() => Ok(start..end),
            _ => Err(broken(position, "a vector is longer than the file")),
        }
    }
}

impl<'a> Table<'a> {
    /// The file that it stands in.
    pub fn file(&self) -> &'a File {
        self.file
    }

    /// Where a field of at least `size` bytes stands.
    fn field(&self, slot: usize, size: usize) -> Result<Option<usize>, FormatError> {
        if slot >= self.slots {
            return Ok(None);
        }
        match usize::from(self.file.scalar::<u16>(self.vtable + 4 + 2 * slot)?) {
            0 => Ok(None),
            offset if offset >= 4 && offset + size <= self.size => Ok(Some(self.position + offset)),
            _ => Err(broken(self.position, "a field lies outside its table")),
        }
    }

    pub(super) fn child(&self, slot: usize) -> Result<Option<usize>, FormatError> {
        self.field(slot, 4)?.map(|position| self.file.target(position)).transpose()
    }

    /// A number.
    pub fn scalar<T: Scalar>(&self, slot: usize, default: T) -> Result<T, FormatError> {
        self.field(slot, T::SIZE)?.map_or(Ok(default), |position| self.file.scalar(position))
    }

    /// A table.
    pub fn table(&self, slot: usize) -> Result<Option<Table<'a>>, FormatError> {
        self.child(slot)?.map(|position| self.file.table(position)).transpose()
    }

    /// A vector of tables; none where it is absent.
    pub fn tables(&self, slot: usize) -> Result<Vec<Table<'a>>, FormatError> {
        let Some(position) = self.child(slot)? else { return Ok(Vec::new()) };
        let elements = self.file.vector(position, 4)?;
        // No more than may still be visited: the file may lie about their number.
        let count = (elements.len() / 4).min(self.file.budget.get() / COST_OF_TABLE);
        let mut tables = Vec::with_capacity(count);
        for position in elements.step_by(4) {
            tables.push(self.file.table(self.file.target(position)?)?);
        }
        Ok(tables)
    }

    /// A vector of numbers.
    pub fn numbers<T: Scalar, C: FromIterator<T>>(&self, slot: usize) -> Result<Option<C>, FormatError> {
        let Some(position) = self.child(slot)? else { return Ok(None) };
        let elements = self.file.vector(position, T::SIZE)?;
        self.file.charge(elements.len())?;
        Ok(Some(T::read_all(&self.file.bytes[elements])))
    }

    /// The bytes of a vector of numbers; they share the file's memory.
    pub fn bytes_of_numbers<T: Scalar>(&self, slot: usize) -> Result<Bytes, FormatError> {
        let Some(position) = self.child(slot)? else { return Ok(Bytes::new()) };
        let elements = self.file.vector(position, T::SIZE)?;
        self.file.charge(elements.len())?;
        Ok(self.file.bytes.slice(elements))
    }

    /// A vector of bytes; it shares the file's memory.
    pub fn bytes(&self, slot: usize) -> Result<Option<Bytes>, FormatError> {
        let Some(position) = self.child(slot)? else { return Ok(None) };
        Ok(Some(self.file.bytes.slice(self.file.vector(position, 1)?)))
    }

    /// A text; empty where it is absent. Bytes that are no UTF-8 are replaced.
    pub fn text(&self, slot: usize) -> Result<String, FormatError> {
        let Some(bytes) = self.bytes(slot)? else { return Ok(String::new()) };
        self.file.charge(bytes.len())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether a field is there.
    pub fn has(&self, slot: usize) -> Result<bool, FormatError> {
        Ok(self.field(slot, 1)?.is_some())
    }
}
