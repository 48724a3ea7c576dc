//! How integers stand for real numbers, and how zeros are left out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scales::Scales;

/// `real = scale * (integer - zero_point)`, for the whole tensor or for each slice of one axis. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantization {
    /// One scale, or one for each slice of `axis`; finite and positive.
    pub scales: Scales,
    /// As many as `scales`.
    pub zero_points: Arc<[i32]>,
    /// The quantized dimension; `None` means per-tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<usize>,
}

impl Quantization {
    /// One scale and zero point for the whole tensor.
    #[must_use]
    pub fn per_tensor(scale: f32, zero_point: i32) -> Quantization {
        Quantization { scales: [scale].into(), zero_points: [zero_point].into(), axis: None }
    }

    /// One scale for each slice of `axis`, all zero points 0.
    #[must_use]
    pub fn per_channel(scales: Vec<f32>, axis: usize) -> Quantization {
        let zero_points = scales.iter().map(|_| 0).collect();
        Quantization { scales: scales.into(), zero_points, axis: Some(axis) }
    }

    /// Scale and zero point, if there is just one pair.
    #[must_use]
    pub fn single(&self) -> Option<(f32, i32)> {
        match (&*self.scales, &*self.zero_points) {
            ([scale], [zero_point]) => Some((*scale, *zero_point)),
            _ => None,
        }
    }
}

/// How a sparse constant is stored: the dimension metadata of TFLite's `SparsityParameters`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sparsity {
    /// Order in which dimensions (block dimensions last) are walked.
    pub traversal_order: Vec<usize>,
    /// For each block dimension, the dimension that it divides.
    pub block_map: Vec<usize>,
    /// One entry for each walked dimension.
    pub dimensions: Vec<SparseDimension>,
}

/// One walked dimension of a sparse constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SparseDimension {
    /// Every index is stored.
    Dense(usize),
    /// Compressed: for each outer index a segment of stored indices.
    Csr {
        /// Start of each segment, and the end of the last.
        segments: Vec<usize>,
        /// The stored indices.
        indices: Vec<usize>,
    },
}
