//! Equalization: channels that hold small numbers get larger ones, so that they use as many of the
//! integers that the channels of a tensor share.
//!
//! Between a convolution without activation, with ReLU or with ReLU6 and the depthwise convolution that
//! alone reads it, a factor for each channel can go into the weights and the bias of the first and out
//! of the weights of the second, whose scales are per channel, so nothing is lost there. It is exact as
//! long as ReLU6 does not cut off what it did not cut off before (Nagel, van Baalen, Blankevoort,
//! Welling: Data-Free Quantization Through Weight Equalization and Bias Correction, 2019).

use litesmith_graph::ops::Activation;
use litesmith_graph::{Data, Graph, NodeId, Op, Tensor, TensorId, TensorKind};

use super::channels::Channels;
use super::product::Product;
use crate::statistics::Range;

/// How far a channel may go beyond what calibration saw of it before it is cut off.
const HEADROOM: f32 = 1.1;

/// Largest factor: what is smaller still is no signal.
const LARGEST_FACTOR: f32 = 1024.0;

/// The factors of the channels of one tensor.
pub(super) struct Equalized {
    pub(super) tensor: TensorId,
    pub(super) factors: Vec<f32>,
    /// What the tensor holds now.
    pub(super) range: Range,
}

/// Equalizes the tensor between a convolution and `reader`, if it can be. `may_change` says of which
/// nodes the weights may be changed.
pub(super) fn equalize(
    graph: &mut Graph,
    reader: &Product,
    channels: &Channels,
    may_change: &dyn Fn(NodeId) -> bool,
) -> Option<Equalized> {
    let multiplier = reader.multiplier?;
    let tensor = reader.input;
    let producers = graph.producers();
    let writer = Product::of(graph, producers[tensor.index()]?)?;
    let consumers = graph.consumers();
    let alone = |id: TensorId| consumers[id.index()].len() == 1 && !graph.is_output(id);
    let constants = [Some(writer.weights), writer.bias, Some(reader.weights)];
    let suits = matches!(
        &graph[writer.node].op,
        Op::Conv2D(op) if matches!(op.activation, Activation::None | Activation::Relu | Activation::Relu6)
    );
    if !suits
        || !may_change(writer.node)
        || !may_change(reader.node)
        || !alone(tensor)
        || !constants.into_iter().flatten().all(alone)
        || channels.len() != writer.rows
    {
        return None;
    }
    let factors = factors(channels.extremes());
    if factors.iter().all(|factor| *factor == 1.0) {
        return None;
    }
    let each = |product: &Product, scale: &dyn Fn(usize, f32) -> f32| {
        let mut weights = product.weights(graph).into_owned();
        for row in 0..product.rows {
            (0..product.taps).for_each(|tap| {
                let weight = &mut weights[product.index(row, tap)];
                *weight = scale(row, *weight);
            });
        }
        weights
    };
    let written = each(&writer, &|row, weight| weight * factors[row]);
    let read = each(reader, &|row, weight| weight / factors[row / multiplier]);
    let bias: Vec<f32> = writer.bias(graph).iter().zip(&factors).map(|(b, factor)| b * factor).collect();
    put(graph, writer.weights, written);
    put(graph, reader.weights, read);
    if let Some(id) = writer.bias {
        put(graph, id, bias);
    }
    let scaled = channels.extremes().iter().zip(&factors);
    let scaled = scaled.map(|(range, factor)| Range { min: range.min * factor, max: range.max * factor });
    let range = scaled.fold(Range::EMPTY, Range::union);
    Some(Equalized { tensor, factors, range })
}

/// The factors that let each channel use the range of all, but for the headroom.
fn factors(extremes: &[Range]) -> Vec<f32> {
    let all = extremes.iter().copied().fold(Range::EMPTY, Range::union);
    let room = |end: f32, own: f32| if own == 0.0 { LARGEST_FACTOR } else { end / own / HEADROOM };
    let factor = |own: &Range| {
        if own.max <= 0.0 && own.min >= 0.0 {
            return 1.0;
        }
        room(all.max.max(0.0), own.max.max(0.0))
            .min(room(all.min.min(0.0), own.min.min(0.0)))
            .clamp(1.0, LARGEST_FACTOR)
    };
    extremes.iter().map(factor).collect()
}

fn put(graph: &mut Graph, id: TensorId, values: Vec<f32>) {
    let old = &graph[id];
    graph[id] = Tensor { kind: TensorKind::Constant(Data::from_vec(values)), ..old.clone() };
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::text;

    const SOURCE: &str = r#"graph main(%x: f32[1,1,1,1]) -> (%z) {
             %w: f32[2,1,1,1] = [2,0.25]
             %b: f32[2] = [1,0.5]
             %v: f32[1,1,1,4] = [1,2,3,4]
             %y: f32[1,1,1,2] = Conv2D(%x, %w, %b) {"activation":"relu6"}
             %z: f32[1,1,1,4] = DepthwiseConv2D(%y, %v, _) {"multiplier":2}
           }"#;

    fn equalized(source: &str, may_change: bool) -> (Graph, Option<Equalized>) {
        let model = text::parse(source).unwrap();
        let mut graph = model.main().clone();
        let reader = Product::all(&graph).find(|product| product.multiplier.is_some()).unwrap();
        let channels = Channels::of(&[4.4, 0.5, 0.0, 0.25], 2).unwrap();
        let result = equalize(&mut graph, &reader, &channels, &|_| may_change);
        (graph, result)
    }

    #[test]
    fn a_small_channel_grows_and_the_reader_takes_it_back() {
        let (graph, result) = equalized(SOURCE, true);
        let result = result.unwrap();
        assert_eq!(result.factors, [1.0, 8.0]);
        assert_eq!(result.range, Range { min: 0.0, max: 4.4 });
        let products: Vec<Product> = Product::all(&graph).collect();
        assert_eq!(*products[0].weights(&graph), [2.0, 2.0]);
        assert_eq!(*products[0].bias(&graph), [1.0, 4.0]);
        assert_eq!(*products[1].weights(&graph), [1.0, 2.0, 0.375, 0.5]);
    }

    #[test]
    fn others_are_left_alone() {
        assert!(equalized(SOURCE, false).1.is_none());
        assert!(equalized(&SOURCE.replace("relu6", "relu_n1_to1"), true).1.is_none());
        assert!(equalized(&SOURCE.replace("(%z) {", "(%z, %y) {"), true).1.is_none());
    }

    #[test]
    fn factors_respect_both_ends() {
        let range = |min, max| Range { min, max };
        let found = factors(&[range(-4.4, 2.2), range(-0.5, 1.0), range(0.0, 0.0), range(0.0, 1e-9)]);
        assert_eq!(found, [1.0, 2.0, 1.0, LARGEST_FACTOR]);
    }
}
