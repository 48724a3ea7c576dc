//! Normalization by statistics of the sample itself: layer, group and RMS normalization. There is no
//! operator for them; they get the one spelling that layers are read in, which keeps small differences
//! from a large mean and costs least:
//! `c = x - mean(x)`, `c * rsqrt(mean(c^2) + epsilon) * gamma + beta`.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Binary, BinaryKind, Reduce, ReduceKind, Reshape, ReshapeDim, Unary, UnaryKind};
use litesmith_graph::{Graph, NodeId, Op, TensorId};

use super::normal::{Normal, normal};
use super::view::View;
use super::{Operand, Replacement, number, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, |view, root| grouped(view, root).or_else(|| whole(view, root)))
}

/// What is divided by the root of which mean square, and over which axes.
struct Statistics {
    x: TensorId,
    axes: Vec<usize>,
    centered: bool,
}

fn whole(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let found = normal(view, node)?;
    let statistics = statistics(view, &found)?;
    if view.dims(statistics.x) != view.dims(node.outputs[0]) {
        return None;
    }
    let weight = |id: TensorId| weight(view, id, &statistics);
    let (gamma, beta) = (found.inverse.gamma.map(weight), found.beta.map(weight));
    let (mut replacement, result) = standardized(&statistics, found.inverse.epsilon);
    affine(&mut replacement, result, gamma, beta);
    Some(replacement)
}

/// Groups of channels, joined again: gamma and beta come behind that, one for each channel.
fn grouped(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let Op::Reshape(_) = node.op else { return None };
    let found = normal(view, view.bare((*node.inputs.first()?)?)?)?;
    let statistics = statistics(view, &found)?;
    let [leading @ .., groups, size] = view.dims(statistics.x) else { return None };
    let (groups, size) = (groups.fixed()?, size.fixed()?);
    let [others @ .., channels] = view.dims(node.outputs[0]) else { return None };
    let known = leading.iter().filter(|dim| **dim == litesmith_graph::Dim::Unknown).count() <= 1;
    let affected = found.inverse.gamma.is_some() || found.beta.is_some();
    if !affected || !known || leading != others || channels.fixed() != groups.checked_mul(size) {
        return None;
    }
    let channels = channels.fixed()?;
    let vector = |id: Option<TensorId>| match id {
        Some(id) => view.vector(id, &[groups, size], leading.len() + 2).map(Some),
        None => Some(None),
    };
    let (gamma, beta) = (vector(found.inverse.gamma)?, vector(found.beta)?);
    let (mut replacement, result) = standardized(&statistics, found.inverse.epsilon);
    let mut shape: Vec<ReshapeDim> = (0..leading.len()).map(ReshapeDim::Copy).collect();
    shape.push(ReshapeDim::Fixed(channels));
    let joined = replacement.push("joined", Reshape::to(shape), vec![result]);
    affine(&mut replacement, joined, gamma, beta);
    Some(replacement)
}

/// Mean and variance as those of `x` itself.
fn statistics(view: &View<'_>, found: &Normal) -> Option<Statistics> {
    let (squares, axes) = view.reduced(found.inverse.variance, ReduceKind::Mean)?;
    let is_mean = |id: TensorId, x: TensorId| {
        view.reduced(id, ReduceKind::Mean).is_some_and(|(of, over)| of == x && over == axes)
    };
    let differs = |x: TensorId| match view.binary(squares, BinaryKind::SquaredDifference) {
        Some([a, b]) => (a == x && is_mean(b, x)) || (b == x && is_mean(a, x)),
        None => view
            .squared(squares)
            .and_then(|root| view.binary(root, BinaryKind::Sub))
            .is_some_and(|[a, b]| a == x && is_mean(b, x)),
    };
    match found.mean {
        Some(mean) if is_mean(mean, found.x) && differs(found.x) => {
            Some(Statistics { x: found.x, axes, centered: true })
        }
        None if view.squared(squares) == Some(found.x) => {
            Some(Statistics { x: found.x, axes, centered: false })
        }
        _ => None,
    }
}

/// The steps up to the division, and their result.
fn standardized(statistics: &Statistics, epsilon: f32) -> (Replacement, Operand) {
    let mut replacement = Replacement::new();
    let axes: Vec<i32> = statistics.axes.iter().map(|axis| *axis as i32).collect();
    let mean = Reduce { kind: ReduceKind::Mean, axes, keep_dims: true };
    let mut x = Operand::Tensor(statistics.x);
    if statistics.centered {
        let middle = replacement.push("mean", mean.clone(), vec![x.clone()]);
        x = replacement.push("centered", Binary::from(BinaryKind::Sub), vec![x, middle]);
    }
    let squares = replacement.push("square", Unary::from(UnaryKind::Square), vec![x.clone()]);
    let variance = replacement.push("variance", mean, vec![squares]);
    let shifted = vec![variance, number("epsilon", epsilon)];
    let shifted = replacement.push("shifted", Binary::from(BinaryKind::Add), shifted);
    let inverse = replacement.push("inverse", Unary::from(UnaryKind::Rsqrt), vec![shifted]);
    let result = replacement.push("normal", Binary::from(BinaryKind::Mul), vec![x, inverse]);
    (replacement, result)
}

fn affine(replacement: &mut Replacement, mut x: Operand, gamma: Option<Operand>, beta: Option<Operand>) {
    if let Some(gamma) = gamma {
        x = replacement.push("scaled", Binary::from(BinaryKind::Mul), vec![x, gamma]);
    }
    if let Some(beta) = beta {
        replacement.push("", Binary::from(BinaryKind::Add), vec![x, beta]);
    }
}

/// Gamma or beta as the source keeps it, where that broadcasts alike.
fn weight(view: &View<'_>, id: TensorId, statistics: &Statistics) -> Operand {
    let rank = view.dims(statistics.x).len();
    let sizes = statistics.axes.iter().map(|axis| view.dims(statistics.x)[*axis].fixed());
    let trailing = statistics.axes.iter().copied().eq(rank - statistics.axes.len()..rank);
    let source = view.source(id);
    let alike = || {
        let sizes = sizes.collect::<Option<Vec<usize>>>()?;
        (view.spreads(id, &sizes, rank) && view.graph[source].shape.to_fixed()? == sizes).then_some(source)
    };
    Operand::Tensor(if trailing { alike().unwrap_or(id) } else { id })
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    const PARAMETERS: &str = "parameter @ln/gamma: f32[6] trainable = [1,2,3,4,5,6]
         parameter @ln/beta: f32[6] trainable = [6,5,4,3,2,1]";

    /// As `tf.nn.moments` and `tf.nn.batch_normalization` compute it.
    fn moments(x: &str, shape: &str, kept: &str, axes: &str, weight: &str) -> String {
        format!(
            r#"%e: f32[] = [0.5]
               %mu: f32{kept} = Reduce({x}) {{"axes":{axes},"keep_dims":true}} # ln
               %d: f32{shape} = Binary({x}, %mu) {{"kind":"squared_difference"}} # ln
               %v: f32{kept} = Reduce(%d) {{"axes":{axes},"keep_dims":true}} # ln
               %s: f32{kept} = Binary(%v, %e) # ln
               %i: f32{kept} = Unary(%s) {{"kind":"rsqrt"}} # ln
               %g: f32{weight} = Reshape(@ln/gamma) {{"shape":{weight}}} # ln
               %b: f32{weight} = Reshape(@ln/beta) {{"shape":{weight}}} # ln
               %m: f32{shape} = Binary(%i, %g) {{"kind":"mul"}} # ln
               %p: f32{shape} = Binary({x}, %m) {{"kind":"mul"}} # ln
               %n: f32{kept} = Unary(%mu) {{"kind":"neg"}} # ln
               %q: f32{shape} = Binary(%n, %m) {{"kind":"mul"}} # ln
               %o: f32{shape} = Binary(%q, %b) # ln"#
        )
    }

    fn standardized(x: &str, shape: &str, kept: &str, axes: &str) -> String {
        format!(
            r#"%z/mean: f32{kept} = Reduce({x}) {{"axes":{axes},"keep_dims":true}} # ln
               %z/centered: f32{shape} = Binary({x}, %z/mean) {{"kind":"sub"}} # ln
               %z/square: f32{shape} = Unary(%z/centered) {{"kind":"square"}} # ln
               %z/variance: f32{kept} = Reduce(%z/square) {{"axes":{axes},"keep_dims":true}} # ln
               %z/epsilon: f32[] = [0.5]
               %z/shifted: f32{kept} = Binary(%z/variance, %z/epsilon) # ln
               %z/inverse: f32{kept} = Unary(%z/shifted) {{"kind":"rsqrt"}} # ln
               %z/normal: f32{shape} = Binary(%z/centered, %z/inverse) {{"kind":"mul"}} # ln"#
        )
    }

    #[test]
    fn layer_normalization_gets_the_spelling_of_layers() {
        let shape = "[batch,4,6]";
        let before = format!(
            "{PARAMETERS}
             graph main(%x: f32{shape}) -> (%z) {{
               {}
               %z: f32{shape} = Binary(%p, %o) # ln
             }}",
            moments("%x", shape, "[batch,4,1]", "[2]", "[1,1,6]")
        );
        let after = format!(
            r#"{PARAMETERS}
               graph main(%x: f32{shape}) -> (%z) {{
                 {}
                 %z/scaled: f32{shape} = Binary(%z/normal, @ln/gamma) {{"kind":"mul"}} # ln
                 %z: f32{shape} = Binary(%z/scaled, @ln/beta) # ln
               }}"#,
            standardized("%x", shape, "[batch,4,1]", "[2]")
        );
        check(&[super::apply], &before, &after);
        // Once it is spelled so, it stays.
        let Ok(mut model) = litesmith_graph::text::parse(&after) else { panic!("{after}") };
        let (parameters, mut count) = (model.parameters.clone(), 0);
        litesmith_graph::infer_model(&mut model).unwrap();
        model.graphs.iter_mut().for_each(|graph| count += super::apply(graph, &parameters));
        assert_eq!(count, 0);
    }

    #[test]
    fn group_normalization_scales_the_joined_channels() {
        let (shape, kept) = ("[batch,4,2,3]", "[batch,1,2,1]");
        check(
            &[super::apply],
            &format!(
                r#"{PARAMETERS}
                   graph main(%x: f32[batch,4,6]) -> (%z) {{
                     %r: f32{shape} = Reshape(%x) {{"shape":["infer",4,2,3]}} # ln
                     {}
                     %w: f32{shape} = Binary(%p, %o) # ln
                     %z: f32[batch,4,6] = Reshape(%w) {{"shape":[{{"copy":0}},4,6]}} # ln
                   }}"#,
                moments("%r", shape, kept, "[1,3]", "[1,1,2,3]")
            ),
            &format!(
                r#"{PARAMETERS}
                   graph main(%x: f32[batch,4,6]) -> (%z) {{
                     %r: f32{shape} = Reshape(%x) {{"shape":["infer",4,2,3]}} # ln
                     {}
                     %z/joined: f32[batch,4,6] = Reshape(%z/normal) {{"shape":[{{"copy":0}},{{"copy":1}},6]}} # ln
                     %z/scaled: f32[batch,4,6] = Binary(%z/joined, @ln/gamma) {{"kind":"mul"}} # ln
                     %z: f32[batch,4,6] = Binary(%z/scaled, @ln/beta) # ln
                   }}"#,
                standardized("%r", shape, kept, "[1,3]")
            ),
        );
    }

    #[test]
    fn a_root_mean_square_is_multiplied_before_the_scale() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,6]) -> (%z) {
                 %e: f32[] = [0.5]
                 %g: f32[6] = [1,2,3,4,5,6]
                 %d: f32[batch,6] = Binary(%x, %x) {"kind":"mul"} # ln
                 %v: f32[batch,1] = Reduce(%d) {"axes":[-1],"keep_dims":true} # ln
                 %s: f32[batch,1] = Binary(%e, %v) # ln
                 %i: f32[batch,1] = Unary(%s) {"kind":"sqrt"} # ln
                 %n: f32[batch,6] = Binary(%x, %i) {"kind":"div"} # ln
                 %z: f32[batch,6] = Binary(%g, %n) {"kind":"mul"} # ln
               }"#,
            r#"graph main(%x: f32[batch,6]) -> (%z) {
                 %z/square: f32[batch,6] = Unary(%x) {"kind":"square"} # ln
                 %z/variance: f32[batch,1] = Reduce(%z/square) {"axes":[1],"keep_dims":true} # ln
                 %z/epsilon: f32[] = [0.5]
                 %z/shifted: f32[batch,1] = Binary(%z/variance, %z/epsilon) # ln
                 %z/inverse: f32[batch,1] = Unary(%z/shifted) {"kind":"rsqrt"} # ln
                 %z/normal: f32[batch,6] = Binary(%x, %z/inverse) {"kind":"mul"} # ln
                 %g: f32[6] = [1,2,3,4,5,6]
                 %z: f32[batch,6] = Binary(%z/normal, %g) {"kind":"mul"} # ln
               }"#,
        );
    }

    #[test]
    fn a_mean_over_other_axes_stays() {
        let text = format!(
            "{PARAMETERS}
             graph main(%x: f32[batch,4,6]) -> (%z) {{
               {}
               %z: f32[batch,4,6] = Binary(%p, %o) # ln
             }}",
            moments("%x", "[batch,4,6]", "[batch,4,1]", "[2]", "[1,1,6]")
                .replacen("[batch,4,1]", "[batch,1,6]", 1)
                .replacen("[2]", "[1]", 1)
                .replace("%n: f32[batch,4,1]", "%n: f32[batch,1,6]")
        );
        stays(super::apply, &text);
    }
}
