//! Sparse constants: all of their elements from those that are stored.

use crate::quantization::{SparseDimension, Sparsity};

impl Sparsity {
    /// Bytes of its indices, each array in the smallest type of TFLite that holds it.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        let bytes = |numbers: &[usize]| {
            let size = match numbers.iter().copied().max().unwrap_or(0) {
                0..=0xFF => 1,
                0x100..=0xFFFF => 2,
                _ => 4,
            };
            numbers.len() * size
        };
        let of = |dimension: &SparseDimension| match dimension {
            SparseDimension::Dense(_) => 0,
            SparseDimension::Csr { segments, indices } => bytes(segments) + bytes(indices),
        };
        self.dimensions.iter().map(of).sum()
    }

    /// How far each dimension goes for a tensor of this shape, with block dimensions behind the others;
    /// `None` where the description does not fit the shape.
    #[must_use]
    pub fn extents(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let Sparsity { traversal_order, block_map, dimensions } = self;
        let count = shape.len() + block_map.len();
        let mut sorted = traversal_order.clone();
        sorted.sort_unstable();
        if dimensions.len() != count || !sorted.into_iter().eq(0..count) {
            return None;
        }
        let mut extents = shape.to_vec();
        extents.resize(count, 0);
        for (axis, dimension) in traversal_order.iter().zip(dimensions) {
            if let Some(place) = axis.checked_sub(shape.len()) {
                let SparseDimension::Dense(block) = dimension else { return None };
                let divided = *block_map.get(place)?;
                let extent = extents.get_mut(divided).filter(|_| divided < shape.len())?;
                if *block == 0 || !extent.is_multiple_of(*block) {
                    return None;
                }
                *extent /= block;
                *extents.get_mut(*axis)? = *block;
            }
        }
        Some(extents)
    }

    /// All elements, each of `size` bytes, of a tensor of this shape of which `stored` holds some. The
    /// result has `length` bytes. `None` where the description does not fit.
    #[must_use]
    pub fn to_dense(&self, shape: &[usize], size: usize, stored: &[u8], length: usize) -> Option<Vec<u8>> {
        let extents = self.extents(shape)?;
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].checked_mul(shape[axis])?;
        }
        let mut steps = strides.clone();
        for (block, axis) in self.block_map.iter().enumerate() {
            // A step of the divided axis is a whole block, a step inside the block a single element.
            steps.push(*strides.get(*axis)?);
            let step = steps.get_mut(*axis)?;
            *step = step.checked_mul(*extents.get(shape.len() + block)?)?;
        }
        let mut walk = Walk { sparsity: self, steps, size, stored, dense: vec![0; length] };
        walk.descend(0, 0, 0)?;
        Some(walk.dense)
    }
}

struct Walk<'a> {
    sparsity: &'a Sparsity,
    /// Distance in elements that a step along each dimension makes.
    steps: Vec<usize>,
    size: usize,
    stored: &'a [u8],
    dense: Vec<u8>,
}

impl Walk<'_> {
    /// Goes through all that is stored below place `stored` of this level; `element` is where its
    /// outer indices lead.
    fn descend(&mut self, level: usize, stored: usize, element: usize) -> Option<()> {
        let sparsity = self.sparsity;
        let Some(dimension) = sparsity.dimensions.get(level) else {
            let bytes = |place: usize| {
                let start = place.checked_mul(self.size)?;
                Some(start..start.checked_add(self.size)?)
            };
            let source = self.stored.get(bytes(stored)?)?;
            let target = bytes(element)?;
            self.dense.get_mut(target)?.copy_from_slice(source);
            return Some(());
        };
        let step = *self.steps.get(*sparsity.traversal_order.get(level)?)?;
        let at = |index: usize| element.checked_add(index.checked_mul(step)?);
        match dimension {
            SparseDimension::Dense(size) => {
                let first = stored.checked_mul(*size)?;
                for index in 0..*size {
                    self.descend(level + 1, first.checked_add(index)?, at(index)?)?;
                }
            }
            SparseDimension::Csr { segments, indices } => {
                let places = *segments.get(stored)?..*segments.get(stored.checked_add(1)?)?;
                for (place, index) in places.clone().zip(indices.get(places)?) {
                    self.descend(level + 1, place, at(*index)?)?;
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr(segments: &[usize], indices: &[usize]) -> SparseDimension {
        SparseDimension::Csr { segments: segments.to_vec(), indices: indices.to_vec() }
    }

    #[test]
    fn blocks_and_axes_in_another_order_are_walked() {
        let blocks = Sparsity {
            traversal_order: vec![0, 1, 2],
            block_map: vec![1],
            dimensions: vec![SparseDimension::Dense(2), csr(&[0, 1, 2], &[1, 0]), SparseDimension::Dense(2)],
        };
        assert_eq!(blocks.to_dense(&[2, 4], 1, &[1, 2, 3, 4], 8).unwrap(), [0, 0, 1, 2, 3, 4, 0, 0]);
        let turned = Sparsity {
            traversal_order: vec![1, 0],
            block_map: vec![],
            dimensions: vec![SparseDimension::Dense(3), csr(&[0, 1, 1, 2], &[1, 0])],
        };
        assert_eq!(turned.to_dense(&[2, 3], 1, &[5, 6], 6).unwrap(), [0, 0, 6, 5, 0, 0]);
    }

    #[test]
    fn descriptions_that_do_not_fit_lead_nowhere() {
        let rows = |segments: &[usize], indices: &[usize]| Sparsity {
            traversal_order: vec![0, 1],
            block_map: vec![],
            dimensions: vec![SparseDimension::Dense(2), csr(segments, indices)],
        };
        assert_eq!(rows(&[0, 1, 3], &[2, 0, 3]).to_dense(&[2, 4], 1, &[7, 8, 9], 8).unwrap()[7], 9);
        assert_eq!(rows(&[0, 1, 3], &[2, 0, 9]).to_dense(&[2, 4], 1, &[7, 8, 9], 8), None);
        assert_eq!(rows(&[0, 1, 9], &[2, 0, 3]).to_dense(&[2, 4], 1, &[7, 8, 9], 8), None);
        assert_eq!(rows(&[0, 1, 3], &[2, 0, 3]).to_dense(&[2, 4], 1, &[7, 8], 8), None);
        assert_eq!(rows(&[0, 1, 3], &[2, usize::MAX, 3]).to_dense(&[2, 4], 2, &[0; 6], 16), None);
        let block = Sparsity { block_map: vec![7], ..rows(&[0], &[]) };
        assert_eq!(block.extents(&[2]), None);
    }
}
