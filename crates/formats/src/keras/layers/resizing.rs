//! Images scaled to another size, or cut to it.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Pad, PadMode, Resize, ResizeKind, Squeeze};

use crate::emit::Emit;
use crate::keras::config::{Built, Config, Numbers, Version, unsupported};
use crate::keras::layers::global_pooling::weighted_sums;
use crate::keras::layers::reshaping::repeated;
use crate::keras::scope::Scope;

/// Longest side that a matrix of weights scales.
const LONGEST: usize = 1 << 12;

/// How new pixels are made of old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpolation {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos(u8),
}

fn interpolation(config: Config<'_>, default: &str) -> Built<Interpolation> {
    match config.text("interpolation")?.unwrap_or(default) {
        "nearest" => Ok(Interpolation::Nearest),
        "bilinear" => Ok(Interpolation::Bilinear),
        "bicubic" => Ok(Interpolation::Bicubic),
        "lanczos3" => Ok(Interpolation::Lanczos(3)),
        "lanczos5" => Ok(Interpolation::Lanczos(5)),
        other => unsupported!("interpolation '{other}' is not supported; use 'bilinear' or 'nearest'"),
    }
}

/// Nearest repeats each pixel; bilinear takes pixels as squares, as TensorFlow's image functions do.
pub(super) fn up_sampling_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let factors: [usize; 2] = scope.config().counts_or("size", [2, 2])?;
    let how = interpolation(scope.config(), "nearest")?;
    let open = scope.shape(image).dims()[1..3].iter().any(|dim| dim.fixed().is_none());
    if open && how == Interpolation::Nearest {
        let rows = repeated(scope, image, 1, factors[0])?;
        return repeated(scope, rows, 2, factors[1]);
    }
    let mut size = [0; 2];
    for (axis, size) in size.iter_mut().enumerate() {
        let length = scope.size(image, axis + 1)?.checked_mul(factors[axis]);
        *size = length.ok_or_else(|| scope.config().broken("its output is too large"))?;
    }
    scaled(scope, image, size, how, false)
}

/// Images scaled to a size; their aspect ratio is kept where that is asked for, by cutting or padding.
pub(super) fn resizing(scope: &mut Scope<'_>) -> Built<TensorId> {
    let size = [scope.config().count("height")?, scope.config().count("width")?];
    resized(scope, size)
}

/// The only input at a size, with the options of the settings.
pub(super) fn resized(scope: &mut Scope<'_>, size: [usize; 2]) -> Built<TensorId> {
    let mut image = scope.floats()?;
    let config = scope.config();
    let single = scope.rank(image) == 3;
    let how = interpolation(config, "bilinear")?;
    let antialias = config.flag("antialias", false)?;
    if single {
        image = scope.emit(ExpandDims { axis: 0 }, &[image])?;
    }
    if config.flag("crop_to_aspect_ratio", false)? {
        image = cropped_to_ratio(scope, image, size)?;
    } else if config.flag("pad_to_aspect_ratio", false)? {
        image = padded_to_ratio(scope, image, size)?;
    }
    let resized = scaled(scope, image, size, how, antialias)?;
    if single { scope.emit(Squeeze { axes: vec![0] }, &[resized]) } else { Ok(resized) }
}

/// The middle of an image; one that is too small is cut to the ratio and scaled.
pub(super) fn center_crop(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut image = scope.floats()?;
    let config = scope.config();
    let wanted = [config.count("height")?, config.count("width")?];
    let single = scope.rank(image) == 3;
    if single {
        image = scope.emit(ExpandDims { axis: 0 }, &[image])?;
    }
    let size = sides(scope, image)?;
    let result = if size[0] >= wanted[0] && size[1] >= wanted[1] {
        middle(scope, image, wanted)?
    } else {
        let cut = cropped_to_ratio(scope, image, wanted)?;
        scaled(scope, cut, wanted, Interpolation::Bilinear, false)?
    };
    if single { scope.emit(Squeeze { axes: vec![0] }, &[result]) } else { Ok(result) }
}

/// Keras 3 leaves images alone when it does not train; Keras 2 cuts them to the ratio and scales them.
pub(super) fn random_crop(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.floats()?;
    if scope.version == Version::Keras3 {
        return Ok(image);
    }
    let wanted = [scope.config().count("height")?, scope.config().count("width")?];
    let cut = cropped_to_ratio(scope, image, wanted)?;
    scaled(scope, cut, wanted, Interpolation::Bilinear, false)
}

fn sides(scope: &Scope<'_>, image: TensorId) -> Built<[usize; 2]> {
    if scope.rank(image) != 4 {
        return Err(scope.config().broken("it takes an image or a batch of images").into());
    }
    Ok([scope.size(image, 1)?, scope.size(image, 2)?])
}

fn middle(scope: &mut Scope<'_>, image: TensorId, wanted: [usize; 2]) -> Built<TensorId> {
    let size = sides(scope, image)?;
    let mut cut = image;
    for axis in [0, 1] {
        if size[axis] > wanted[axis] {
            cut = scope.part(cut, axis + 1, (size[axis] - wanted[axis]) / 2, wanted[axis])?;
        }
    }
    Ok(cut)
}

/// Side `a` of a rectangle with `b` in the ratio of `wanted`, in the arithmetic of TensorFlow.
fn in_ratio(b: usize, wanted_a: usize, wanted_b: usize) -> usize {
    ((b as f32 * wanted_a as f32) / wanted_b as f32) as usize
}

fn cropped_to_ratio(scope: &mut Scope<'_>, image: TensorId, [height, width]: [usize; 2]) -> Built<TensorId> {
    let size = sides(scope, image)?;
    let wanted = [
        in_ratio(size[1], height, width).min(size[0]).max(1),
        in_ratio(size[0], width, height).min(size[1]).max(1),
    ];
    middle(scope, image, wanted)
}

/// Keras pads both sides alike, so that an odd difference leaves one row out.
fn padded_to_ratio(scope: &mut Scope<'_>, image: TensorId, [height, width]: [usize; 2]) -> Built<TensorId> {
    let size = sides(scope, image)?;
    let wanted =
        [in_ratio(size[1], height, width).max(size[0]), in_ratio(size[0], width, height).max(size[1])];
    if wanted.iter().any(|side| *side > LONGEST * 16) {
        return Err(scope.config().broken("its padded image is too large").into());
    }
    let side = |axis: usize| [(wanted[axis] - size[axis]) / 2; 2];
    let value = scope.config().number("fill_value", 0.0)?;
    if scope.config().text("fill_mode")?.is_some_and(|mode| mode != "constant") {
        unsupported!("it pads by another fill_mode than 'constant'");
    }
    let amounts = vec![[0, 0], side(0), side(1), [0, 0]];
    let mode = if value == 0.0 { PadMode::Zero } else { PadMode::Value(value) };
    scope.emit(Pad { amounts, mode }, &[image])
}

/// By a resize operator where there is one, else by a matrix of weights for each axis.
fn scaled(
    scope: &mut Scope<'_>,
    image: TensorId,
    size: [usize; 2],
    how: Interpolation,
    antialias: bool,
) -> Built<TensorId> {
    let kind = match how {
        Interpolation::Nearest => Some(ResizeKind::Nearest),
        Interpolation::Bilinear if !antialias => Some(ResizeKind::Bilinear),
        _ => None,
    };
    if let Some(kind) = kind {
        return scope.emit(Resize { kind, size, align_corners: false, half_pixel_centers: true }, &[image]);
    }
    let from = sides(scope, image)?;
    let mut scaled = image;
    for axis in [0, 1] {
        if from[axis] > LONGEST || size[axis] > LONGEST {
            unsupported!("{how:?} of images with sides over {LONGEST} is not supported; use 'bilinear'");
        }
        let matrix = match how {
            Interpolation::Bicubic if !antialias => tabulated_cubic(from[axis], size[axis]),
            _ => spread(from[axis], size[axis], how, antialias),
        };
        let shape = vec![size[axis], from[axis]];
        scaled = weighted_sums(scope, scaled, axis + 1, Numbers { shape, values: matrix })?;
    }
    Ok(scaled)
}

/// Keys' cubic with a = -1/2 of a distance.
fn cubic(x: f64) -> f64 {
    match x {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    }
}

/// TensorFlow's RESIZE_BICUBIC at pixel centers: distances in steps of 1/1024, pixels beyond the border
/// left out.
fn tabulated_cubic(input: usize, output: usize) -> Vec<f32> {
    const STEPS: f32 = 1024.0;
    let scale = input as f32 / output as f32;
    rows(input, output, |place| {
        let at = (place as f32 + 0.5) * scale - 0.5;
        let step = ((at - at.floor()) * STEPS).round_ties_even() / STEPS;
        let weight = move |source: usize| {
            let distance = source as f64 - f64::from(at.floor()) - f64::from(step);
            cubic(distance.abs())
        };
        Box::new(weight)
    })
}

/// TensorFlow's ScaleAndTranslate: a kernel around each new pixel's center, as wide as the new pixel
/// where `antialias` asks for it.
fn spread(input: usize, output: usize, how: Interpolation, antialias: bool) -> Vec<f32> {
    let inverse = input as f64 / output as f64;
    let widen = if antialias { inverse.max(1.0) } else { 1.0 };
    rows(input, output, |place| {
        let center = (place as f64 + 0.5) * inverse;
        Box::new(move |source| kernel(how, (source as f64 + 0.5 - center).abs() / widen))
    })
}

fn kernel(how: Interpolation, x: f64) -> f64 {
    match how {
        Interpolation::Bicubic => cubic(x),
        Interpolation::Lanczos(radius) => {
            let radius = f64::from(radius);
            let turn = std::f64::consts::PI * x;
            match x {
                0.0 => 1.0,
                x if x >= radius => 0.0,
                _ => radius * turn.sin() * (turn / radius).sin() / (turn * turn),
            }
        }
        _ => (1.0 - x).max(0.0),
    }
}

/// A matrix whose rows are weights of the input's pixels, each divided by its sum.
fn rows(input: usize, output: usize, weights: impl Fn(usize) -> Box<dyn Fn(usize) -> f64>) -> Vec<f32> {
    let mut matrix = Vec::with_capacity(input * output);
    for place in 0..output {
        let weight = weights(place);
        let row: Vec<f64> = (0..input).map(weight).collect();
        let sum: f64 = row.iter().sum();
        let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
        matrix.extend(row.iter().map(|weight| (weight * factor) as f32));
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sum_to_one_and_keep_what_is_not_scaled() {
        for matrix in [
            tabulated_cubic(7, 12),
            spread(7, 3, Interpolation::Lanczos(3), true),
            spread(5, 9, Interpolation::Bilinear, false),
        ] {
            let width = if matrix.len() == 45 { 5 } else { 7 };
            for row in matrix.chunks(width) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
        let same = tabulated_cubic(4, 4);
        assert!((0..16).all(|i| same[i] == f32::from(i % 5 == 0)));
    }
}
