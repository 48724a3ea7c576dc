//! Cutting the columns of a slab into groups that are folded together.

use std::ops::Range;

/// Groups of neighbouring columns, of a few fixed widths, so that their partial results stay in
/// registers.
///
/// The last group may begin before the columns that are left, and does some of them again: that is
/// cheaper than single columns. Single columns are for rows shorter than a group.
pub(crate) struct Groups {
    first: usize,
    end: usize,
    next: usize,
}

/// Some columns.
pub(crate) struct Group {
    /// The first column, counted from the start of a row.
    pub(crate) start: usize,
    /// How many: [`Groups::WIDE`], [`Groups::NARROW`] or 1.
    pub(crate) width: usize,
    /// How many at the start are not wanted.
    pub(crate) skip: usize,
    /// Where the others go, counted from the first column of all.
    pub(crate) outputs: Range<usize>,
}

impl Groups {
    pub(crate) const WIDE: usize = 64;
    pub(crate) const NARROW: usize = 16;

    /// The groups of the columns `first..first + len` of a row.
    #[inline(always)]
    pub(crate) fn new(first: usize, len: usize) -> Groups {
        Groups { first, end: first + len, next: first }
    }
}

impl Iterator for Groups {
    type Item = Group;

    #[inline(always)]
    fn next(&mut self) -> Option<Group> {
        let left = self.end - self.next;
        if left == 0 {
            return None;
        }
        let width = if left >= Self::WIDE {
            Self::WIDE
        } else if self.end >= Self::NARROW {
            Self::NARROW
        } else {
            1
        };
        let next = (self.next + width).min(self.end);
        let start = next - width;
        let group = Group {
            start,
            width,
            skip: self.next - start,
            outputs: self.next - self.first..next - self.first,
        };
        self.next = next;
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_in_one_output_and_every_group_inside_its_row() {
        for (first, len, row_len) in
            [(0, 3, 3), (0, 17, 17), (5, 11, 40), (64, 80, 144), (0, 200, 200), (3, 9, 12)]
        {
            let mut outputs = 0;
            for group in Groups::new(first, len) {
                assert_eq!(group.outputs.start, outputs);
                assert_eq!(group.start + group.skip, first + outputs);
                assert_eq!(group.outputs.len(), group.width - group.skip);
                assert!(group.start + group.width <= row_len);
                outputs = group.outputs.end;
            }
            assert_eq!(outputs, len);
        }
    }
}
