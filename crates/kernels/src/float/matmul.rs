//! Batched matrix products.

mod batch;

use std::borrow::Cow;

pub(crate) use batch::Batch;

use super::Clamp;
use super::filters::{Filters, Order};
use super::packed::{Addend, Output, Packed};
use super::split::{Split, Work};
use super::taps::{Image, Reading, Taps};
use super::tile;
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Columns of `b` that one task packs and multiplies.
const COLUMNS_PER_TASK: usize = 128;
/// Rows of `a` that one task multiplies: enough to make up for packing the columns.
const ROWS_PER_TASK: usize = 256;

/// The matrices of a batched product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMul {
    /// Rows of `a` and of the output.
    pub rows: usize,
    /// Columns of `a` and rows of `b`.
    pub depth: usize,
    /// Columns of `b` and of the output.
    pub columns: usize,
    /// `a` is stored transposed: `[depth, rows]` instead of `[rows, depth]`.
    pub adjoint_a: bool,
    /// `b` is stored transposed: `[columns, depth]` instead of `[depth, columns]`.
    pub adjoint_b: bool,
}

/// `output = a * b` for every matrix of a batch: `[batch..., rows, columns]`.
///
/// `a_batch` and `b_batch` are the leading dimensions of `a` and `b`; they broadcast to those of
/// the output as in NumPy (aligned at the right, a dimension of 1 is repeated).
///
/// # Panics
/// When the machine lacks `isa`, when the leading dimensions do not broadcast, or when a slice
/// has another length than its dimensions say.
// Two tensors with their shapes, a result and where to run: none of it goes together better.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    isa: Isa,
    pool: &ThreadPool,
    matrices: MatMul,
    a: &[f32],
    a_batch: &[usize],
    b: &[f32],
    b_batch: &[usize],
    output: &mut [f32],
) {
    let MatMul { rows, depth, columns, .. } = matrices;
    let batch = Batch::new(matrices, a_batch, b_batch, [a.len(), b.len(), output.len()]);
    if output.is_empty() {
        return;
    }
    if depth == 0 {
        output.fill(0.0);
        return;
    }
    let a = batch.arranged_a(pool, Cow::Borrowed(a));

    let tiles = tile::tiles(isa);
    let zeros = vec![0.0; depth];
    let [row_parts, column_parts] = [rows.div_ceil(ROWS_PER_TASK), columns.div_ceil(COLUMNS_PER_TASK)];
    let output = DisjointSlice::new(output);
    pool.run(batch.count() * row_parts * column_parts, &|task| {
        let (index, part) = (task / (row_parts * column_parts), task % (row_parts * column_parts));
        let first_row = part / column_parts * ROWS_PER_TASK;
        let first_column = part % column_parts * COLUMNS_PER_TASK;
        let task_rows = ROWS_PER_TASK.min(rows - first_row);
        let task_columns = COLUMNS_PER_TASK.min(columns - first_column);

        let b = &b[batch.source_b(index) * depth * columns..][..depth * columns];
        let mut packed = Packed::new(tiles, 1, task_columns, 1, depth, Aligned::zeroed);
        if matrices.adjoint_b {
            let own =
                Filters { data: &b[first_column * depth..], order: &Order::plain(task_columns, 1, depth) };
            packed.fill(isa, pool, own, None);
        } else {
            packed.fill_columns(&b[first_column..], columns);
        }

        let first = (batch.source_a(index) * rows + first_row) * depth;
        let image = Image {
            data: &a[first..][..task_rows * depth],
            shape: [1, 1, task_rows],
            channels: depth,
            window: Window::POINT,
            output: [1, task_rows],
            zeros: &zeros,
        };
        let work = Work {
            pixels: task_rows,
            most_pixels: tiles.pixels,
            panels: packed.panels(),
            work_per_pixel: packed.floats(),
            floats_per_pixel: depth + task_columns,
            weights: packed.floats(),
        };
        let split = Split::new(&work, 1);
        let mut taps = Taps::new(image, Reading::Taps, tiles.pixels);
        let corner = (index * rows + first_row) * columns + first_column;
        let output = Output {
            data: &output,
            addend: Addend::Nothing,
            first: corner,
            pitch: columns,
            clamp: Clamp::NONE,
            rectifier: None,
        };
        // SAFETY: tasks share no row and column of the output; each row has `depth` floats.
        unsafe { packed.run(&mut taps, &split, 0, &output) };
    });
}
