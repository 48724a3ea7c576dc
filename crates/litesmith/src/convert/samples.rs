//! What the source and the result are run on: calibration samples, else seeded numbers.

use litesmith_graph::{DType, Dim, GraphId, Model, Shape, infer_shapes};
use litesmith_runtime::{Array, TensorInfo};

use super::ConvertOptions;
use crate::error::Error;
use crate::feed::Feed;

/// Number of seeded samples for the check.
const SEEDED: usize = 2;

/// Size that a free height, width or length takes where nothing says more.
const USUAL_SIZE: usize = 96;

/// Sizes that are tried where that one does not fit the model.
const OTHER_SIZES: [usize; 7] = [32, 128, 224, 512, 1024, 4096, 16_384];

/// Samples for the inputs of a model.
pub(super) struct Samples {
    feed: Option<Feed>,
    infos: Vec<TensorInfo>,
    /// The same inputs with sizes that fit the model, where sizes are free.
    seeded: Vec<TensorInfo>,
}

impl Samples {
    pub(super) fn open(model: &Model, options: &ConvertOptions) -> Result<Samples, Error> {
        let graph = model.main();
        let info = |id: &litesmith_graph::TensorId| TensorInfo {
            name: graph[*id].name.clone(),
            tensor: *id,
            dtype: graph[*id].dtype,
            shape: graph[*id].shape.clone(),
            quantization: graph[*id].quantization.clone(),
        };
        let infos: Vec<TensorInfo> = graph.inputs.iter().map(info).collect();
        // Ranges are measured one sample at a time, so that an unfit one can be named.
        let feed = match &options.calibration {
            Some(data) => Some(Feed::open(model, &infos, data)?.with_batch(1)),
            None => None,
        };
        let seeded = with_sizes(model, &infos);
        Ok(Samples { feed, infos, seeded })
    }

    /// The inputs that samples are for.
    pub(super) fn inputs(&self) -> &[TensorInfo] {
        &self.infos
    }

    pub(super) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// Seeded inputs, valid for their types, one sample each.
    pub(super) fn seeded(&self) -> Result<Vec<Vec<Array>>, Error> {
        (0..SEEDED as u64)
            .map(|sample| self.seeded.iter().map(|info| seeded_input(info, sample)).collect())
            .collect()
    }
}

/// The inputs with the first size for which the model's shapes fit each other in place of all free sizes
/// but the batch; as they are, if none does.
fn with_sizes(model: &Model, infos: &[TensorInfo]) -> Vec<TensorInfo> {
    let sized = |size: usize| {
        let mut infos = infos.to_vec();
        for info in &mut infos {
            let dims = info.shape.0.iter_mut().enumerate().filter(|(_, dim)| dim.fixed().is_none());
            dims.for_each(|(axis, dim)| *dim = Dim::Fixed(if axis == 0 { 1 } else { size }));
        }
        infos
    };
    let fits = |infos: &Vec<TensorInfo>| {
        let shapes: Vec<Shape> = infos.iter().map(|info| info.shape.clone()).collect();
        infer_shapes(model, GraphId(0), Some(&shapes)).is_ok()
    };
    let mut candidates = [USUAL_SIZE].into_iter().chain(OTHER_SIZES).map(sized);
    candidates.find(fits).unwrap_or_else(|| infos.to_vec())
}

/// Numbers between -1 and 1, small integers that are indices of anything, or integers on a grid.
pub(crate) fn seeded_input(info: &TensorInfo, seed: u64) -> Result<Array, Error> {
    let size = |(axis, dim): (usize, &Dim)| dim.fixed().unwrap_or(if axis == 0 { 1 } else { USUAL_SIZE });
    let shape: Vec<usize> = info.shape.dims().iter().enumerate().map(size).collect();
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|elements| info.dtype.bytes(elements));
    let (Some(elements), Some(bytes)) = (elements, bytes) else {
        return Err(Error::Limit(format!("input '{}' of shape {} is too large", info.name, info.shape)));
    };
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(info.name.len() as u64);
    let mut uniform = || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    };
    let data = match info.dtype {
        DType::F32 => (0..elements).flat_map(|_| ((uniform() * 2.0 - 1.0) as f32).to_le_bytes()).collect(),
        DType::F64 => (0..elements).flat_map(|_| (uniform() * 2.0 - 1.0).to_le_bytes()).collect(),
        DType::I8 | DType::U8 | DType::I16 if info.quantization.is_some() => {
            (0..bytes).map(|_| (uniform() * 256.0) as u8).collect()
        }
        // Zero is a valid index, length and truth value everywhere.
        _ => vec![0; bytes],
    };
    Ok(Array { dtype: info.dtype, shape, data })
}
