//! Frequencies of a signal over time, as convolutions with waves.

use std::f64::consts::{LN_10, TAU};

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, Concat, Conv2D, ExpandDims, FullyConnected, Pad, PadMode, Reduce, ReduceKind, Reshape,
    ReshapeDim, Transpose, UnaryKind,
};

use crate::emit::Emit;
use crate::keras::config::{Built, Config, Numbers, unsupported};
use crate::keras::layers::convolution::padding;
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// Keras' least number under a root or a logarithm.
const EPSILON: f32 = 1e-7;
/// Longest transform.
const LONGEST: usize = 1 << 13;

pub(super) fn stft_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mode = config.text("mode")?.unwrap_or("log");
    let mut variables = Vec::new();
    if mode != "imag" {
        variables.push(Variable::trained("real_kernel", ""));
    }
    if mode != "real" {
        variables.push(Variable::trained("imag_kernel", ""));
    }
    Ok(variables)
}

/// Short-time Fourier transform of each channel, with the layer's own waves.
pub(super) fn stft(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut signal = scope.ranked(3)?;
    let config = scope.config();
    let first = config.text("data_format")? == Some("channels_first");
    if !first {
        signal = scope.emit(Transpose::by(&[0, 2, 1]), &[signal])?;
    }
    // An image whose rows are the channels.
    let image = scope.emit(ExpandDims { axis: 3 }, &[signal])?;
    let mode = config.text("mode")?.unwrap_or("log");
    let result = match mode {
        "real" => waves(scope, image, "real_kernel")?,
        "imag" => waves(scope, image, "imag_kernel")?,
        "stft" => {
            let parts = [waves(scope, image, "real_kernel")?, waves(scope, image, "imag_kernel")?];
            scope.emit(Concat { axis: 3, ..Concat::default() }, &parts)?
        }
        "angle" => unsupported!("mode 'angle' is not supported: TFLite's arc tangent is no fast operator"),
        _ => {
            let power = power(scope, image)?;
            strength(scope, power, mode)?
        }
    };
    arranged(scope, result, first)
}

fn waves(scope: &mut Scope<'_>, image: TensorId, kernel: &'static str) -> Built<TensorId> {
    let config = scope.config();
    let (length, step) = (config.count("frame_length")?, config.count("frame_step")?);
    let fft = config.count_or("fft_length", length)?;
    let kernel = scope.weight(kernel, &[length, 1, fft / 2 + 1])?;
    let rows = scope.laid_out(kernel, Transpose::by(&[2, 0, 1]))?;
    let kernel = scope.laid_out(rows, ExpandDims { axis: 1 })?;
    let op = Conv2D { stride: [1, step], padding: padding(scope.config())?, ..Conv2D::default() };
    scope.emit_some(op, vec![Some(image), Some(kernel), None])
}

fn power(scope: &mut Scope<'_>, image: TensorId) -> Built<TensorId> {
    let (real, imaginary) = (waves(scope, image, "real_kernel")?, waves(scope, image, "imag_kernel")?);
    let (real, imaginary) =
        (scope.unary(UnaryKind::Square, real)?, scope.unary(UnaryKind::Square, imaginary)?);
    scope.binary(BinaryKind::Add, real, imaginary)
}

fn strength(scope: &mut Scope<'_>, power: TensorId, mode: &str) -> Built<TensorId> {
    if mode == "psd" {
        // Each frequency but the lowest and the highest stands for two.
        let bins = scope.channels(power)?;
        scope.affordable(&[bins])?;
        let values = (0..bins).map(|bin| if bin == 0 || bin + 1 == bins { 1.0 } else { 2.0 }).collect();
        let factors = scope.constant("factors", Numbers { shape: vec![bins], values })?;
        return scope.binary(BinaryKind::Mul, power, factors);
    }
    let bounded = scope.with_scalar(BinaryKind::Maximum, power, EPSILON)?;
    let magnitude = scope.unary(UnaryKind::Sqrt, bounded)?;
    match mode {
        "magnitude" => Ok(magnitude),
        "log" => {
            let bounded = scope.with_scalar(BinaryKind::Maximum, magnitude, EPSILON)?;
            scope.unary(UnaryKind::Log, bounded)
        }
        other => unsupported!("mode '{other}' is not known"),
    }
}

/// `[batch, channels, time, frequencies]` in the order that the settings ask for.
fn arranged(scope: &mut Scope<'_>, x: TensorId, channels_first: bool) -> Built<TensorId> {
    let (channels, bins) = (scope.size(x, 1)?, scope.size(x, 3)?);
    let both = scope.affordable(&[channels, bins])?;
    match (scope.config().flag("expand_dims", false)?, channels_first) {
        (true, true) => Ok(x),
        (true, false) => scope.emit(Transpose::by(&[0, 2, 3, 1]), &[x]),
        (false, true) => {
            let x = scope.emit(Transpose::by(&[0, 1, 3, 2]), &[x])?;
            let shape = vec![ReshapeDim::Copy(0), ReshapeDim::Fixed(both), ReshapeDim::Copy(3)];
            scope.emit(Reshape::to(shape), &[x])
        }
        (false, false) => {
            let x = scope.emit(Transpose::by(&[0, 2, 1, 3]), &[x])?;
            let shape = vec![ReshapeDim::Copy(0), ReshapeDim::Copy(1), ReshapeDim::Fixed(both)];
            scope.emit(Reshape::to(shape), &[x])
        }
    }
}

/// Strengths of bands that are evenly spaced to the ear, in decibels.
pub(super) fn mel(scope: &mut Scope<'_>) -> Built<TensorId> {
    let signal = scope.ranked(2)?;
    let config = scope.config();
    let fft = config.count_or("fft_length", 2048)?;
    let step = config.count_or("sequence_stride", 512)?;
    let length = config.count_or("sequence_length", fft)?;
    if fft > LONGEST || length > fft {
        return Err(config.broken(format!("its frames of {length} do not fit a transform of {fft}")).into());
    }
    let half = fft / 2;
    let amounts = vec![[0, 0], [half, half]];
    let padded = scope.emit(Pad { amounts, mode: PadMode::Reflect }, &[signal])?;
    let row = scope.emit(ExpandDims { axis: 1 }, &[padded])?;
    let image = scope.emit(ExpandDims { axis: 3 }, &[row])?;
    let window = window(config, length, fft)?;
    let mut power = None;
    for wave in [f64::cos as fn(f64) -> f64, |x| -x.sin()] {
        let kernel = fourier(&window, wave);
        let kernel = scope.constant("waves", Numbers { shape: vec![half + 1, 1, fft, 1], values: kernel })?;
        let op = Conv2D { stride: [1, step], ..Conv2D::default() };
        let part = scope.emit_some(op, vec![Some(image), Some(kernel), None])?;
        let square = scope.unary(UnaryKind::Square, part)?;
        power = Some(match power {
            Some(sum) => scope.binary(BinaryKind::Add, sum, square)?,
            None => square,
        });
    }
    let Some(power) = power else { return Err(config.broken("it has no waves").into()) };
    let exponent = config.number("mag_exp", 2.0)?;
    let spectrum =
        if exponent == 2.0 { power } else { scope.with_scalar(BinaryKind::Pow, power, exponent / 2.0)? };
    let bands = config.count_or("num_mel_bins", 128)?;
    let matrix = scope.constant("bands", mel_bands(config, bands, half + 1)?)?;
    let op = FullyConnected { keep_num_dims: true, ..FullyConnected::default() };
    let mut mel = scope.emit_some(op, vec![Some(spectrum), Some(matrix), None])?;
    if config.flag("power_to_db", true)? {
        mel = decibels(scope, mel)?;
    }
    let mel = scope.emit(litesmith_graph::ops::Squeeze { axes: vec![1] }, &[mel])?;
    scope.emit(Transpose::by(&[0, 2, 1]), &[mel])
}

/// A window over a frame, in the middle of the transform's length.
fn window(config: Config<'_>, length: usize, fft: usize) -> Built<Vec<f64>> {
    let weight = |place: usize| {
        let turn = (TAU * place as f64 / length as f64).cos();
        match config.get("window").map(|name| name.as_str()) {
            None => Some(1.0),
            Some(Some("hann")) => Some(0.5 - 0.5 * turn),
            Some(Some("hamming")) => Some(0.54 - 0.46 * turn),
            _ => None,
        }
    };
    let frame: Option<Vec<f64>> = (0..length).map(weight).collect();
    let Some(frame) = frame else {
        unsupported!("its window is not supported; use 'hann', 'hamming' or none")
    };
    let before = (fft - length) / 2;
    let mut window = vec![0.0; fft];
    window[before..before + length].copy_from_slice(&frame);
    Ok(window)
}

fn fourier(window: &[f64], wave: fn(f64) -> f64) -> Vec<f32> {
    let length = window.len();
    let turn = |bin: usize, place: usize| TAU * ((bin * place) % length) as f64 / length as f64;
    let rows = 0..=length / 2;
    rows.flat_map(|bin| {
        let value = move |(place, weight): (usize, &f64)| (weight * wave(turn(bin, place))) as f32;
        window.iter().enumerate().map(value)
    })
    .collect()
}

/// Triangles between evenly spaced frequencies on HTK's mel scale, as a matrix `[bands, bins]`.
fn mel_bands(config: Config<'_>, bands: usize, bins: usize) -> Built<Numbers> {
    let rate = f64::from(config.number("sampling_rate", 16000.0)?);
    let lowest = f64::from(config.number("min_freq", 20.0)?);
    let highest = config.optional_number("max_freq")?.map_or(rate / 2.0, f64::from);
    if bands > LONGEST / 2 {
        return Err(config.broken(format!("it makes {bands} bands")).into());
    }
    let mel = |hertz: f64| 1127.0 * (1.0 + hertz / 700.0).ln();
    let (start, end) = (mel(lowest), mel(highest));
    let edge = |place: usize| start + (end - start) * place as f64 / (bands + 1) as f64;
    let mut values = Vec::with_capacity(bands * bins);
    for band in 0..bands {
        let (lower, center, upper) = (edge(band), edge(band + 1), edge(band + 2));
        values.push(0.0);
        for bin in 1..bins {
            let at = mel(rate / 2.0 * bin as f64 / (bins - 1) as f64);
            let slopes = ((at - lower) / (center - lower)).min((upper - at) / (upper - center));
            values.push(slopes.max(0.0) as f32);
        }
    }
    Ok(Numbers { shape: vec![bands, bins], values })
}

/// `10 log10` of strengths relative to a reference, at most `top_db` below the strongest.
fn decibels(scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
    let config = scope.config();
    let least = config.number("min_power", 1e-10)?;
    let reference = config.number("ref_power", 1.0)?.abs().max(least);
    let range = config.number("top_db", 80.0)?;
    let bounded = scope.with_scalar(BinaryKind::Maximum, x, least)?;
    let log = scope.unary(UnaryKind::Log, bounded)?;
    let scaled = scope.with_scalar(BinaryKind::Mul, log, (10.0 / LN_10) as f32)?;
    let relative = scope.with_scalar(BinaryKind::Sub, scaled, 10.0 * reference.log10())?;
    let axes = (0..scope.rank(relative) as i32).collect();
    let most = scope.emit(Reduce { kind: ReduceKind::Max, axes, keep_dims: true }, &[relative])?;
    let floor = scope.with_scalar(BinaryKind::Sub, most, range)?;
    scope.binary(BinaryKind::Maximum, relative, floor)
}
