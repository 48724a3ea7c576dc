//! Inputs made of seeded numbers, for models that come without data.

use litesmith_graph::{DType, Dim, GraphId, Model, Shape, infer_shapes};
use litesmith_runtime::{Array, TensorInfo};

use crate::error::Error;

/// Size that a free height, width or length takes where nothing says more.
const USUAL_SIZE: usize = 96;

/// Sizes that are tried where that one does not fit the model.
const OTHER_SIZES: [usize; 7] = [32, 128, 224, 512, 1024, 4096, 16_384];

/// What the state of [`Random`] grows by: 2^64 over the golden ratio, made odd.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of something that has a name, independent of those of other names and seeds.
    pub(crate) fn of(seed: u64, name: &str) -> Random {
        // FNV-1a; the generator scatters what it starts from.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Random(Random(hash).bits() ^ Random(seed).bits().rotate_left(32))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number between 0 and 1, both left out.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Two independent numbers of the normal distribution of mean 0 and deviation 1 (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> [f64; 2] {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * self.uniform());
        [radius * cosine, radius * sine]
    }
}

/// The inputs with this batch, where it is free, and with the first size for which the model's shapes fit
/// each other in place of all other free sizes; as they are, if none does.
pub(crate) fn with_sizes(model: &Model, infos: &[TensorInfo], batch: usize) -> Vec<TensorInfo> {
    let sized = |size: usize| {
        let mut infos = infos.to_vec();
        for info in &mut infos {
            let dims = info.shape.0.iter_mut().enumerate().filter(|(_, dim)| dim.fixed().is_none());
            dims.for_each(|(axis, dim)| *dim = Dim::Fixed(if axis == 0 { batch } else { size }));
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
    let mut random = Random(seed.wrapping_mul(GAMMA).wrapping_add(info.name.len() as u64));
    let mut uniform = || random.bits() as f64 / u64::MAX as f64;
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
