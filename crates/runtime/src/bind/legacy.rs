//! Products of `u8` with `u8` weights that have a zero point of their own, as files from before `int8`
//! have them. Plain loops over exact sums in double precision: such weights are not packed.

use litesmith_kernels::float::Clamp;
use litesmith_kernels::quantized::Requantize;
use litesmith_kernels::reference::convolution as reference;

use super::convolution::{Kind, Layer, scaled_bias};
use super::site::stored_bounds;
use super::{Bound, Site, Task};
use crate::error::{Refusal, refuse};

pub(super) fn layer(site: &Site<'_>, layer: &Layer) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.affine()?, site.output()?.affine()?);
    let weights = site.input(1)?;
    let Some(data) = weights.data else { refuse!("quantized weights must be constant") };
    let own = weights.affine()?;
    let Some(scale) = Requantize::scales(input.scale, &[own.scale], output.scale) else {
        refuse!("the scales of input, weights and output do not fit each other")
    };
    let steps = |byte: &u8, zero_point: u8| f64::from(*byte) - f64::from(zero_point);
    let weights: Vec<f64> = data.bytes().iter().map(|byte| steps(byte, own.zero_point)).collect();
    let bias = scaled_bias(site, 2)?;
    let bias: Option<Vec<f64>> = bias.map(|bias| bias.iter().map(|value| f64::from(*value)).collect());
    let [min, max] = stored_bounds(layer.activation, output);
    let requantize = Requantize { scale, zero_point: output.zero_point, min, max };
    let Layer { shape, window, in_channels, out_channels, kind, .. } = *layer;
    let groups = if let Kind::Conv { groups } = kind { groups } else { in_channels };
    let shape = reference::ConvShape { input: shape, window, groups, in_channels, out_channels };
    Ok(Task::new(move |_, io| {
        // What lies in the padding has the input's zero point, and adds nothing.
        let image: Vec<f64> = io.inputs.bytes(0).iter().map(|byte| steps(byte, input.zero_point)).collect();
        let clamp = Clamp::NONE.widen();
        let sums = match kind {
            Kind::Conv { .. } => reference::conv2d(&shape, &image, &weights, bias.as_deref(), clamp),
            Kind::Depthwise { .. } => reference::depthwise(&shape, &image, &weights, bias.as_deref(), clamp),
        };
        for (index, (out, sum)) in io.output.iter_mut().zip(sums).enumerate() {
            // Sums wrap around as those of 32 bits do.
            let sum = (sum as i64) as i32;
            let rounded = (sum as f32 * requantize.scale_of(index % out_channels)).round_ties_even();
            let value = (rounded as i64).saturating_add(i64::from(requantize.zero_point));
            *out = value.clamp(requantize.min.into(), requantize.max.into()) as u8;
        }
        Ok(())
    })
    .into())
}
