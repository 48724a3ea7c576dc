//! How near an integer model comes to the real one, on calibration samples.

use litesmith_graph::{DType, Model, Tensor};
use litesmith_runtime::{Array, Interpreter, RuntimeError};

use super::moments::Moments;

/// What an exact output counts as, in dB.
const EXACT: f64 = 100.0;

/// The mean over the outputs of their signal-to-noise ratio in dB on the samples that `moments` kept for
/// this; `None` where there is nothing to compare.
///
/// # Errors
/// If the model does not run.
pub(crate) fn nearness(quantized: &Model, moments: &Moments) -> Result<Option<f64>, RuntimeError> {
    let graph = quantized.main();
    let mut interpreter = Interpreter::new(quantized, &moments.options())?;
    // Of each output: the energy of what it should be, and that of its error.
    let mut energies = vec![(0f64, 0f64); graph.outputs.len()];
    for (sample, truth) in moments.judged() {
        let inputs: Vec<Array> =
            graph.inputs.iter().zip(sample).map(|(id, array)| fed(&graph[*id], array)).collect();
        let outputs = interpreter.run(&inputs)?;
        for (((energy, id), output), truth) in
            energies.iter_mut().zip(&graph.outputs).zip(&outputs).zip(truth)
        {
            let parameters = graph[*id].quantization.as_ref().and_then(|quantization| quantization.single());
            let (scale, zero_point) = parameters.unwrap_or((1.0, 0));
            for (value, truth) in output.floats().iter().zip(truth.floats().iter()) {
                let value = (value - zero_point as f32) * scale;
                energy.0 += f64::from(*truth).powi(2);
                energy.1 += f64::from(value - truth).powi(2);
            }
        }
    }
    let ratios: Vec<f64> = energies
        .iter()
        .filter(|(signal, noise)| *signal > 0.0 && noise.is_finite())
        .map(|(signal, noise)| (10.0 * (signal / noise).log10()).min(EXACT))
        .collect();
    Ok((!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64))
}

/// A sample as an input takes it: where that is integer, as QUANTIZE makes it.
pub(super) fn fed(tensor: &Tensor, sample: &Array) -> Array {
    let parameters = tensor.quantization.as_ref().and_then(|quantization| quantization.single());
    let (Some((scale, zero_point)), DType::F32) = (parameters, sample.dtype) else { return sample.clone() };
    let inverse = 1.0 / scale;
    let floats = sample.floats();
    let integers = floats.iter().map(|x| (x * inverse).round_ties_even() + zero_point as f32);
    match tensor.dtype {
        DType::I8 => Array::from_i8(&sample.shape, &integers.map(|q| q as i8).collect::<Vec<_>>()),
        DType::U8 => Array::from_u8(&sample.shape, &integers.map(|q| q as u8).collect::<Vec<_>>()),
        DType::I16 => Array::from_i16(&sample.shape, &integers.map(|q| q as i16).collect::<Vec<_>>()),
        _ => sample.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repair;
    use litesmith_graph::text;

    #[test]
    fn nearness_is_the_mean_ratio_of_the_outputs() {
        let source = |factor: &str| {
            let source = format!(
                r#"graph main(%x: f32[1,2]) -> (%y, %z) {{
                     %f: f32[] = [{factor}]
                     %y: f32[1,2] = Unary(%x) {{"kind":"neg"}}
                     %z: f32[1,2] = Binary(%x, %f) {{"kind":"mul"}}
                   }}"#
            );
            text::parse(&source).unwrap()
        };
        let model = source("1");
        let mut interpreter = Interpreter::new(&model, &Default::default()).unwrap();
        let mut moments = Moments::new(&model, &interpreter, Repair::Default, 1);
        assert_eq!(nearness(&model, &moments).unwrap(), None);
        let sample = [Array::from_f32(&[1, 2], &[1.0, 2.0])];
        let outputs = interpreter.run(&sample).unwrap();
        moments.end_run(&sample, &outputs);
        assert_eq!(nearness(&model, &moments).unwrap(), Some(EXACT));
        let nearly = nearness(&source("1.1"), &moments).unwrap().unwrap();
        assert!((nearly - 60.0).abs() < 1e-3, "{nearly}");
        let integer = Tensor::activation("x", DType::I8, litesmith_graph::Shape::fixed(&[1, 2]));
        let integer = integer.with_quantization(litesmith_graph::Quantization::per_tensor(0.5, -1));
        assert_eq!(fed(&integer, &sample[0]), Array::from_i8(&[1, 2], &[1, 3]));
    }
}
