//! Sparse constants: reading how they are stored.

use litesmith_graph::quantization::SparseDimension;
use litesmith_graph::{DType, Shape, Sparsity};

use super::tensors::MOST_AXES;
use crate::error::FormatError;
use crate::tflite::flatbuffer::reader::Table;
use crate::tflite::schema::{self, dimension_format, index_vector};

/// Reads the description of a sparse tensor of this shape whose stored elements take `length`
/// bytes. It is checked to be whole.
pub(super) fn read_sparsity(
    table: &Table<'_>,
    shape: &Shape,
    dtype: DType,
    length: usize,
) -> Result<Result<Sparsity, String>, FormatError> {
    let sizes = |slot| -> Result<Option<Vec<usize>>, FormatError> {
        let numbers: Vec<i32> = table.numbers(slot)?.unwrap_or_default();
        Ok(numbers.into_iter().map(|number| usize::try_from(number).ok()).collect())
    };
    let order = sizes(schema::sparsity::TRAVERSAL_ORDER)?;
    let block_map = sizes(schema::sparsity::BLOCK_MAP)?;
    let mut dimensions = Vec::new();
    for dimension in table.tables(schema::sparsity::DIM_METADATA)? {
        dimensions.push(read_dimension(&dimension)?);
    }
    let (Some(traversal_order), Some(block_map), Some(dimensions)) =
        (order, block_map, dimensions.into_iter().collect::<Option<Vec<_>>>())
    else {
        return Ok(Err("a number of its sparsity is out of range".into()));
    };
    let sparsity = Sparsity { traversal_order, block_map, dimensions };
    Ok(check(&sparsity, shape, dtype, length).map(|()| sparsity))
}

fn read_dimension(table: &Table<'_>) -> Result<Option<SparseDimension>, FormatError> {
    use schema::dimension_metadata as slot;
    match table.scalar(slot::FORMAT, dimension_format::DENSE)? {
        dimension_format::DENSE => {
            let size: i32 = table.scalar(slot::DENSE_SIZE, 0)?;
            Ok(usize::try_from(size).ok().map(SparseDimension::Dense))
        }
        dimension_format::SPARSE_CSR => {
            let segments = read_indices(table, slot::ARRAY_SEGMENTS_TYPE, slot::ARRAY_SEGMENTS)?;
            let indices = read_indices(table, slot::ARRAY_INDICES_TYPE, slot::ARRAY_INDICES)?;
            let both = segments.zip(indices);
            Ok(both.map(|(segments, indices)| SparseDimension::Csr { segments, indices }))
        }
        _ => Ok(None),
    }
}

/// A vector of one of three widths.
fn read_indices(table: &Table<'_>, kind_slot: usize, slot: usize) -> Result<Option<Vec<usize>>, FormatError> {
    let kind: u8 = table.scalar(kind_slot, 0)?;
    let Some(vector) = table.table(slot)? else { return Ok(None) };
    let values = index_vector::VALUES;
    Ok(match kind {
        index_vector::INT32 => {
            let numbers: Vec<i32> = vector.numbers(values)?.unwrap_or_default();
            numbers.into_iter().map(|number| usize::try_from(number).ok()).collect()
        }
        index_vector::UINT16 => {
            let numbers: Vec<u16> = vector.numbers(values)?.unwrap_or_default();
            Some(numbers.into_iter().map(usize::from).collect())
        }
        index_vector::UINT8 => {
            let numbers: Vec<u8> = vector.numbers(values)?.unwrap_or_default();
            Some(numbers.into_iter().map(usize::from).collect())
        }
        _ => None,
    })
}

fn check(sparsity: &Sparsity, shape: &Shape, dtype: DType, length: usize) -> Result<(), String> {
    let shape = shape.to_fixed().ok_or("it is sparse, but its shape is not fixed")?;
    let few = sparsity.traversal_order.len() <= 2 * MOST_AXES;
    let extents = sparsity.extents(&shape).filter(|_| few).ok_or("its sparsity does not fit its shape")?;
    let mut count = 1usize;
    for (axis, dimension) in sparsity.traversal_order.iter().zip(&sparsity.dimensions) {
        let extent = extents[*axis];
        count = match dimension {
            SparseDimension::Dense(size) if *size == extent => {
                count.checked_mul(extent).ok_or("it is too large")?
            }
            SparseDimension::Csr { segments, indices } if fits(segments, indices, count, extent) => {
                indices.len()
            }
            _ => return Err(format!("its sparsity does not fit axis {axis}")),
        };
    }
    match dtype.bytes(count) {
        Some(bytes) if bytes == length && dtype != DType::I4 => Ok(()),
        _ => Err(format!("it has {length} bytes for {count} stored elements of {dtype}")),
    }
}

/// Whether there is a segment for each of `count` outer indices, with ascending indices below
/// `extent`.
fn fits(segments: &[usize], indices: &[usize], count: usize, extent: usize) -> bool {
    segments.len().checked_sub(1) == Some(count)
        && segments.first() == Some(&0)
        && segments.last() == Some(&indices.len())
        && segments.windows(2).all(|ends| match indices.get(ends[0]..ends[1]) {
            Some(indices) => {
                indices.windows(2).all(|pair| pair[0] < pair[1])
                    && indices.last().is_none_or(|last| *last < extent)
            }
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr(segments: &[usize], indices: &[usize]) -> SparseDimension {
        SparseDimension::Csr { segments: segments.to_vec(), indices: indices.to_vec() }
    }

    #[test]
    fn rows_of_single_elements() {
        let sparsity = Sparsity {
            traversal_order: vec![0, 1],
            block_map: vec![],
            dimensions: vec![SparseDimension::Dense(2), csr(&[0, 1, 3], &[2, 0, 3])],
        };
        assert_eq!(check(&sparsity, &Shape::from([2, 4]), DType::I8, 3), Ok(()));
        assert_eq!(sparsity.to_dense(&[2, 4], 1, &[7, 8, 9], 8).unwrap(), [0, 0, 7, 0, 8, 0, 0, 9]);
        assert!(check(&sparsity, &Shape::from([2, 3]), DType::I8, 3).is_err());
        assert!(check(&sparsity, &Shape::from([2, 4]), DType::I8, 4).is_err());
        assert!(check(&sparsity, &Shape::from([3, 4]), DType::I8, 3).is_err());
    }

    #[test]
    fn blocks() {
        let sparsity = Sparsity {
            traversal_order: vec![0, 1, 2],
            block_map: vec![1],
            dimensions: vec![SparseDimension::Dense(2), csr(&[0, 1, 2], &[1, 0]), SparseDimension::Dense(2)],
        };
        assert_eq!(check(&sparsity, &Shape::from([2, 4]), DType::I8, 4), Ok(()));
        assert_eq!(sparsity.to_dense(&[2, 4], 1, &[1, 2, 3, 4], 8).unwrap(), [0, 0, 1, 2, 3, 4, 0, 0]);
        assert!(check(&sparsity, &Shape::from([2, 5]), DType::I8, 4).is_err());
    }

    #[test]
    fn axes_in_another_order() {
        let sparsity = Sparsity {
            traversal_order: vec![1, 0],
            block_map: vec![],
            dimensions: vec![SparseDimension::Dense(3), csr(&[0, 1, 1, 2], &[1, 0])],
        };
        assert_eq!(check(&sparsity, &Shape::from([2, 3]), DType::I8, 2), Ok(()));
        assert_eq!(sparsity.to_dense(&[2, 3], 1, &[5, 6], 6).unwrap(), [0, 0, 6, 5, 0, 0]);
    }
}
