//! A loop over the steps: a graph that says whether there is another step, and one that takes it.
//!
//! What goes around the loop keeps its sizes, which interpreters know before the first step. A graph
//! sees nothing but its inputs, so that what every step reads goes around as well.

use litesmith_graph::ops::{
    Binary, BinaryKind, Compare, CompareKind, ExpandDims, Fill, Gather, Pack, ShapeOf, StridedSlice,
    Transpose, UpdateSlice, While,
};
use litesmith_graph::{Dim, Facts, Graph, TensorId};

use super::cell::{self, States, masked};
use super::{Layer, Results};
use crate::legalize::Called;
use crate::legalize::writer::Writer;

/// What goes around, in this order; what the layer has no use for is left out.
#[derive(Clone, Default)]
struct Variables<T> {
    /// Number of steps that have been taken.
    step: T,
    /// The input's products `[time, batch, gates * units]`.
    products: T,
    /// Which steps count, `[time, batch, 1]`.
    mask: Option<T>,
    /// `[batch, units]`.
    h: T,
    /// `[batch, units]`.
    c: Option<T>,
    /// The output of the step before, where it may not be `h`.
    output: Option<T>,
    /// The outputs of all steps, `[time, batch, units]`.
    sequence: Option<T>,
}

impl<T> Variables<T> {
    fn map<U>(&self, mut f: impl FnMut(&'static str, &T) -> U) -> Variables<U> {
        Variables {
            step: f("step", &self.step),
            products: f("products", &self.products),
            mask: self.mask.as_ref().map(|mask| f("mask", mask)),
            h: f("h", &self.h),
            c: self.c.as_ref().map(|c| f("c", c)),
            output: self.output.as_ref().map(|output| f("output", output)),
            sequence: self.sequence.as_ref().map(|sequence| f("sequence", sequence)),
        }
    }

    fn listed(self) -> Vec<T> {
        let Variables { step, products, mask, h, c, output, sequence } = self;
        [Some(step), Some(products), mask, Some(h), c, output, sequence].into_iter().flatten().collect()
    }
}

/// The layer as a loop, whose graphs are added to `called`.
pub(super) fn looped(writer: &mut Writer<'_>, layer: &Layer, called: &mut Called) -> Results {
    let start = start(writer, layer);
    let facts = start.map(|_, id| {
        let tensor = &writer.graph[*id];
        Facts::new(tensor.dtype, tensor.shape.clone())
    });
    let condition = called.add(condition(writer, layer, &facts));
    let body = called.add(body(writer, layer, &facts));
    let inputs: Vec<Option<TensorId>> = start.clone().listed().into_iter().map(Some).collect();
    let op = While { condition, body };
    let mut outputs = writer.push_as("loop", op, &inputs, facts.clone().listed()).into_iter();
    let results = start.map(|_, id| outputs.next().unwrap_or(*id));
    let sequence =
        results.sequence.map(|sequence| writer.push("sequence", Transpose::by(&[1, 0, 2]), &[sequence]));
    Results { sequence, states: States { h: Some(results.h), c: results.c } }
}

/// What enters the loop.
fn start(writer: &mut Writer<'_>, layer: &Layer) -> Variables<TensorId> {
    let products = writer.push("time", Transpose::by(&[1, 0, 2]), &[layer.products]);
    let mask = layer.mask.map(|mask| {
        let mask = writer.push("mask/time", Transpose::by(&[1, 0]), &[mask]);
        writer.push("mask", ExpandDims { axis: 2 }, &[mask])
    });
    let lstm = layer.op.cell.gates() == 4;
    let own_output = mask.is_some() && layer.before.h.is_some() && !layer.op.zero_masked;
    let given = [layer.before.h, layer.before.c];
    let wanted = [given[0].is_none(), lstm && given[1].is_none(), own_output];
    let zero = wanted.contains(&true).then(|| zeros(writer, layer));
    // Every step writes its own part of the outputs, so that they may start as anything of their shape.
    let sequence = layer.sequence_read.then(|| {
        if layer.op.cell.gates() == 1 {
            return products;
        }
        let first = StridedSlice {
            begin: vec![0; 3],
            end: vec![0, 0, layer.units as i64],
            strides: vec![1; 3],
            begin_mask: 0b111,
            end_mask: 0b011,
            ..StridedSlice::default()
        };
        writer.push("outputs", first, &[products])
    });
    Variables {
        step: writer.integer("first", 0),
        products,
        mask,
        h: given[0].or(zero).unwrap_or(products),
        c: if lstm { given[1].or(zero) } else { None },
        output: if own_output { zero } else { None },
        sequence,
    }
}

/// Zeros `[batch, units]`.
fn zeros(writer: &mut Writer<'_>, layer: &Layer) -> TensorId {
    if let Dim::Fixed(batch) = layer.batch {
        let elements = batch.saturating_mul(layer.units);
        return writer.floats("zeros", &[batch, layer.units], vec![0.0; elements]);
    }
    let batch = size(writer, "batch", layer.products, 0);
    let units = writer.integer("units", layer.units as i32);
    let shape = writer.push("zeros/shape", Pack { axis: 0 }, &[batch, units]);
    let zero = writer.number("zero", 0.0);
    writer.push("zeros", Fill {}, &[shape, zero])
}

/// The size of an axis of a tensor, a scalar.
fn size(writer: &mut Writer<'_>, name: &str, x: TensorId, axis: i64) -> TensorId {
    let shape = writer.push(&format!("{name}/shape"), ShapeOf::default(), &[x]);
    let one = StridedSlice {
        begin: vec![axis],
        end: vec![axis + 1],
        strides: vec![1],
        shrink_axis_mask: 1,
        ..StridedSlice::default()
    };
    writer.push(name, one, &[shape])
}

/// The number of steps, a scalar.
fn steps(writer: &mut Writer<'_>, layer: &Layer, products: TensorId) -> TensorId {
    match layer.time.fixed().and_then(|time| i32::try_from(time).ok()) {
        Some(time) => writer.integer("steps", time),
        None => size(writer, "steps", products, 0),
    }
}

/// Whether there is another step.
fn condition(outer: &Writer<'_>, layer: &Layer, facts: &Variables<Facts>) -> Graph {
    let mut graph = Graph::new(&outer.name("condition"));
    let mut writer = outer.elsewhere(&mut graph, "condition");
    let inputs = facts.map(|name, facts| writer.input(name, facts));
    let steps = steps(&mut writer, layer, inputs.products);
    let less = Compare { kind: CompareKind::Less };
    let more = writer.push("more", less, &[inputs.step, steps]);
    graph.outputs = vec![more];
    graph
}

/// Takes a step.
fn body(outer: &Writer<'_>, layer: &Layer, facts: &Variables<Facts>) -> Graph {
    let mut graph = Graph::new(&outer.name("step"));
    let mut writer = outer.elsewhere(&mut graph, "step");
    let before = facts.map(|name, facts| writer.input(name, facts));
    let weights = layer.weights.place(&mut writer);
    let one = writer.integer("one", 1);
    let next = writer.push("next", Binary::from(BinaryKind::Add), &[before.step, one]);
    let at = if layer.op.backwards {
        let steps = steps(&mut writer, layer, before.products);
        writer.push("at", Binary::from(BinaryKind::Sub), &[steps, next])
    } else {
        before.step
    };
    let gather = |writer: &mut Writer<'_>, name: &str, x: TensorId| {
        writer.push(name, Gather { axis: 0, batch_dims: 0 }, &[x, at])
    };
    let product = gather(&mut writer, "product", before.products);
    let states = States { h: Some(before.h), c: before.c };
    let fresh = cell::step(&mut writer, &layer.op, &weights, product, states);
    let (mut h, mut c) = (fresh.h.unwrap_or(before.h), fresh.c);
    let mut output = h;
    if let Some(mask) = before.mask {
        let mask = gather(&mut writer, "counts", mask);
        h = masked(&mut writer, "h/masked", mask, h, Some(before.h));
        c = c.map(|c| masked(&mut writer, "c/masked", mask, c, before.c));
        output = match before.output {
            Some(last) => masked(&mut writer, "output/masked", mask, output, Some(last)),
            None if layer.op.zero_masked => masked(&mut writer, "output/masked", mask, output, None),
            // Outputs start from zero, as the state does.
            None => h,
        };
    }
    let sequence = before.sequence.map(|sequence| {
        let row = writer.push("row", ExpandDims { axis: 0 }, &[output]);
        let zero = writer.integer("zero", 0);
        let place = writer.push("place", Pack { axis: 0 }, &[before.step, zero, zero]);
        writer.push("outputs", UpdateSlice {}, &[sequence, row, place])
    });
    let after = Variables {
        step: next,
        products: before.products,
        mask: before.mask,
        h,
        c,
        output: before.output.map(|_| output),
        sequence,
    };
    graph.outputs = after.listed();
    graph
}
