//! How a sparse constant is stored, as a table.

use litesmith_graph::Sparsity;
use litesmith_graph::quantization::SparseDimension;

use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{UnionType, dimension_format, dimension_metadata, index_vector, sparsity};

/// The table of a sparsity.
pub(super) fn sparsity_table(sparse: &Sparsity) -> Result<Table, String> {
    let mut dimensions = Vec::new();
    for dimension in &sparse.dimensions {
        dimensions.push(dimension_table(dimension)?);
    }
    let mut table = Table::default()
        .numbers(sparsity::TRAVERSAL_ORDER, &narrow(&sparse.traversal_order)?)
        .tables(sparsity::DIM_METADATA, dimensions);
    if !sparse.block_map.is_empty() {
        table = table.numbers(sparsity::BLOCK_MAP, &narrow(&sparse.block_map)?);
    }
    Ok(table)
}

fn dimension_table(dimension: &SparseDimension) -> Result<Table, String> {
    use dimension_metadata as slot;
    match dimension {
        SparseDimension::Dense(size) => {
            Ok(Table::default().scalar(slot::DENSE_SIZE, narrow(&[*size])?[0], 0))
        }
        SparseDimension::Csr { segments, indices } => {
            let (segments_kind, segments) = index_table(segments)?;
            let (indices_kind, indices) = index_table(indices)?;
            Ok(Table::default()
                .scalar(slot::FORMAT, dimension_format::SPARSE_CSR, dimension_format::DENSE)
                .scalar(slot::ARRAY_SEGMENTS_TYPE, segments_kind, 0)
                .table(slot::ARRAY_SEGMENTS, segments)
                .scalar(slot::ARRAY_INDICES_TYPE, indices_kind, 0)
                .table(slot::ARRAY_INDICES, indices))
        }
    }
}

/// A vector of the smallest type that holds all of its numbers.
fn index_table(numbers: &[usize]) -> Result<(UnionType, Table), String> {
    use index_vector as kind;
    let largest = numbers.iter().copied().max().unwrap_or(0);
    let table = Table::default();
    Ok(if largest <= usize::from(u8::MAX) {
        let numbers: Vec<u8> = numbers.iter().map(|n| *n as u8).collect();
        (kind::UINT8, table.numbers(kind::VALUES, &numbers))
    } else if largest <= usize::from(u16::MAX) {
        let numbers: Vec<u16> = numbers.iter().map(|n| *n as u16).collect();
        (kind::UINT16, table.numbers(kind::VALUES, &numbers))
    } else {
        (kind::INT32, table.numbers(kind::VALUES, &narrow(numbers)?))
    })
}

fn narrow(numbers: &[usize]) -> Result<Vec<i32>, String> {
    let narrow = |number: &usize| i32::try_from(*number);
    numbers.iter().map(narrow).collect::<Result<_, _>>().map_err(|_| "its sparsity is too large".to_owned())
}
