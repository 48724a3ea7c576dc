//! Text in, text out. Numbers are compared where models can be run.

use litesmith_graph::{Graph, Model, NodeId, Op, text, validate};

use super::roles::image_place;
use super::{Interface, channels_first, channels_last};

fn arranged(before: &str, arrange: impl Fn(&mut Model)) -> Model {
    let mut model = text::parse(before).expect("the text before parses");
    validate(&model).expect("the model before is sound");
    arrange(&mut model);
    validate(&model).expect("the model after is sound");
    model
}

fn first(before: &str, interface: Interface) -> Model {
    arranged(before, |model| channels_first(model, interface).expect("the model can be arranged"))
}

fn last(before: &str) -> Model {
    arranged(before, |model| channels_last(model, Interface::Source).expect("the model can be arranged"))
}

fn lines(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn same(model: &Model, after: &str) {
    assert_eq!(lines(&text::print(model)), lines(after));
}

/// What becomes of statements between two convolutions, the first of which gives `%a` of 2 channels and
/// the second of which reads `%b`; both work channels first.
fn between(body: &str, after: &str) {
    let source = format!(
        r#"graph main(%x: f32[batch,4,4,2], %v: f32[2]) -> (%z) {{
             %w: f32[2,1,1,2] = [1,2,3,4]
             %a: f32[batch,4,4,2] = Conv2D(%x, %w) # before
             {body}
             %y: f32[batch,4,4,2] = Conv2D(%b, %k) # after
             %z: f32[batch,4,4,2] = Unary(%y) # end
           }}"#
    );
    // The weights of the second convolution see as many channels as `%b` has.
    let channels = if body.contains("WIDE") { 4 } else { 2 };
    let weights = vec!["1"; 2 * channels].join(",");
    let kernel = format!("%k: f32[2,1,1,{channels}] = [{weights}]");
    let source = source.replace(" WIDE", "").replace("%w: f32", &format!("{kernel}\n%w: f32"));
    let text = lines(&text::print(&first(&source, Interface::ChannelsFirst)));
    let rest = text.split_once("# before\n%a: ").and_then(|(_, rest)| rest.split_once("# before\n"));
    let rest = rest.expect("the first convolution is bracketed").1;
    let inner: Vec<&str> =
        rest.lines().take_while(|line| !line.contains("/image: ") || !line.ends_with("# after")).collect();
    assert_eq!(inner.join("\n"), lines(after), "{text}");
}

/// Transpositions that are no part of a bracket; every layout-bound node must be in one.
fn outside(graph: &Graph) -> usize {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let is_transpose = |id: &NodeId| matches!(graph[*id].op, Op::Transpose(_));
    let brackets = |id: &NodeId| {
        let place = image_place(&graph[*id].op).unwrap_or(0);
        let (image, output) = (graph[*id].inputs[place].expect("there is an image"), graph[*id].outputs[0]);
        let alone = consumers[image.index()].len() == 1 && consumers[output.index()].len() == 1;
        let inner = producers[image.index()].filter(is_transpose);
        let outer = consumers[output.index()].first().copied().filter(is_transpose);
        alone && inner.is_some() && outer.is_some() && !graph.is_output(output)
    };
    let bound = |id: &NodeId| image_place(&graph[*id].op).is_some();
    let last_axis = |id: &NodeId| matches!(graph[*id].op, Op::Softmax(_) | Op::L2Norm(_) | Op::BatchNorm(_));
    assert!(graph.node_ids().filter(bound).all(|id| brackets(&id)), "a layout-bound node has no bracket");
    let bracketed = graph.node_ids().filter(|id| (bound(id) || last_axis(id)) && brackets(id)).count();
    graph.node_ids().filter(is_transpose).count() - 2 * bracketed
}

#[test]
fn images_are_turned_once_where_they_enter_and_where_they_leave() {
    let before = r#"graph main(%x: f32[batch,4,4,2]) -> (%z, %s) {
          %w: f32[2,1,1,2] = [1,2,3,4]
          %c: f32[2] = [5,6]
          %a: f32[batch,4,4,2] = Conv2D(%x, %w) # conv
          %b: f32[batch,4,4,2] = Binary(%a, %c) {"kind":"mul"} # scale
          %s: f32[batch,2] = Reduce(%b) {"axes":[1,2]} # pool
          %t: f32[batch,1,1,2] = Reshape(%s) {"shape":["infer",1,1,2]} # shape
          %v: f32[batch,4,4,2] = Binary(%b, %t) {"kind":"mul"} # gate
          %z: f32[batch,4,4,2] = Softmax(%v) # softmax
        }"#;
    let model = first(before, Interface::Source);
    same(
        &model,
        r#"graph main(%x: f32[batch,4,4,2]) -> (%z, %s) {
          %x/channels_first: f32[batch,2,4,4] = Transpose(%x) {"permutation":[0,3,1,2]} # conv
          %a/image: f32[batch,4,4,2] = Transpose(%x/channels_first) {"permutation":[0,2,3,1]} # conv
          %w: f32[2,1,1,2] = [1,2,3,4]
          %a/result: f32[batch,4,4,2] = Conv2D(%a/image, %w) # conv
          %a: f32[batch,2,4,4] = Transpose(%a/result) {"permutation":[0,3,1,2]} # conv
          %c: f32[2,1,1] = [5,6]
          %b: f32[batch,2,4,4] = Binary(%a, %c) {"kind":"mul"} # scale
          %s: f32[batch,2] = Reduce(%b) {"axes":[2,3]} # pool
          %t: f32[batch,2,1,1] = Reshape(%s) {"shape":["infer",2,1,1]} # shape
          %v: f32[batch,2,4,4] = Binary(%b, %t) {"kind":"mul"} # gate
          %v/channels_last: f32[batch,4,4,2] = Transpose(%v) {"permutation":[0,2,3,1]} # softmax
          %z: f32[batch,4,4,2] = Softmax(%v/channels_last) # softmax
        }"#,
    );
    assert_eq!(outside(model.main()), 2);
    let turned = first(before, Interface::ChannelsFirst);
    assert_eq!(outside(turned.main()), 0);
    let shape = |id: &litesmith_graph::TensorId| turned.main()[*id].shape.to_string();
    assert_eq!(turned.main().inputs.iter().map(shape).collect::<Vec<_>>(), ["[batch,2,4,4]"]);
    assert_eq!(turned.main().outputs.iter().map(shape).collect::<Vec<_>>(), ["[batch,2,4,4]", "[batch,2]"]);
}

#[test]
fn operands_broadcast_as_they_did() {
    between(
        r#"%one: f32[] = [3]
           %row: f32[4,2] = [1,2,3,4,5,6,7,8]
           %p: f32[batch,4,4,2] = Binary(%a, %one) # scalar
           %q: f32[batch,4,4,2] = Binary(%row, %p) {"kind":"sub"} # row
           %r: bool[batch,4,4,2] = Compare(%q, %v) {"kind":"less"} # vector
           %b: f32[batch,4,4,2] = Select(%r, %q, %one) # select"#,
        r#"%one: f32[] = [3]
           %p: f32[batch,2,4,4] = Binary(%a, %one) # scalar
           %row: f32[2,1,4] = [1,3,5,7,2,4,6,8]
           %q: f32[batch,2,4,4] = Binary(%row, %p) {"kind":"sub"} # row
           %v/reshape: f32[2,1,1] = Reshape(%v) {"shape":[2,1,1]} # vector
           %r: bool[batch,2,4,4] = Compare(%q, %v/reshape) {"kind":"less"} # vector
           %b: f32[batch,2,4,4] = Select(%r, %q, %one) # select"#,
    );
}

#[test]
fn axes_get_new_numbers() {
    between(
        r#"%p: f32[batch,4,4,2] = Reverse(%a) {"axes":[1,-1]} # reverse
           %q: f32[batch,4,4,2] = CumSum(%p) {"axis":2} # sum
           %r: f32[batch,2,4,2], %s: f32[batch,2,4,2] = Split(%q) {"axis":1,"parts":2} # split
           %t: f32[batch,2,4,4] = Concat(%r, %s) {"axis":-1} # concat
           %i: i32[3] = [0,0,1]
           %u: f32[batch,3,4,4] = Gather(%t, %i) {"axis":1} # gather
           %b: f32[batch,3,4,4] = Tile(%u) {"multiples":[1,1,1,1]} # tile WIDE"#,
        r#"%p: f32[batch,2,4,4] = Reverse(%a) {"axes":[2,1]} # reverse
           %q: f32[batch,2,4,4] = CumSum(%p) {"axis":3} # sum
           %r: f32[batch,2,2,4], %s: f32[batch,2,2,4] = Split(%q) {"axis":2,"parts":2} # split
           %t: f32[batch,4,2,4] = Concat(%r, %s) {"axis":1} # concat
           %i: i32[3] = [0,0,1]
           %u: f32[batch,4,3,4] = Gather(%t, %i) {"axis":2} # gather
           %b: f32[batch,4,3,4] = Tile(%u) {"multiples":[1,1,1,1]} # tile"#,
    );
}

#[test]
fn lists_with_an_entry_for_each_axis_are_permuted() {
    between(
        r#"%d: i32[4,2] = [0,0,1,1,0,0,0,2]
           %p: f32[batch,6,4,4] = Pad(%a, %d) # pad
           %q: f32[batch,3,4,4] = StridedSlice(%p) {"begin":[0,1],"end":[0,0],"strides":[1,2],"begin_mask":1,"end_mask":3} # stride
           %b: f32[batch,3,3,2] = Slice(%q) {"begin":[0,0,1,2],"size":[-1,3,3,2]} # slice"#,
        r#"%d: i32[4,2] = [0,0,0,2,1,1,0,0]
           %p: f32[batch,4,6,4] = Pad(%a, %d) # pad
           %q: f32[batch,4,3,4] = StridedSlice(%p) {"begin":[0,0,1,0],"end":[0,0,0,0],"strides":[1,1,2,1],"begin_mask":11,"end_mask":15} # stride
           %b: f32[batch,2,3,3] = Slice(%q) {"begin":[0,2,0,1],"size":[-1,2,3,3]} # slice"#,
    );
    between(
        r#"%s: i32[4] = ShapeOf(%a) # sizes
           %row: f32[1,1,1,2] = [1,2]
           %b: f32[batch,4,4,2] = BroadcastTo(%row, %s) # spread"#,
        r#"%s/channels_first: i32[4] = ShapeOf(%a) # sizes
           %s/channels_first/axes: i32[4] = [0,2,3,1]
           %s: i32[4] = Gather(%s/channels_first, %s/channels_first/axes) # sizes
           %s/axes: i32[4] = [0,3,1,2]
           %s/reordered: i32[4] = Gather(%s, %s/axes) # spread
           %row: f32[1,2,1,1] = [1,2]
           %b: f32[batch,2,4,4] = BroadcastTo(%row, %s/reordered) # spread"#,
    );
}

#[test]
fn axes_come_and_go() {
    between(
        r#"%p: f32[batch,4,2] = Reduce(%a) {"kind":"max","axes":[1]} # rows
           %q: f32[batch,4,2] = Unary(%p) {"kind":"abs"} # sequence
           %r: f32[batch,1,4,2] = ExpandDims(%q) {"axis":1} # expand
           %m: i32[batch,4,4] = ArgReduce(%a) {"axis":3,"dtype":"i32"} # class
           %on: f32[] = [1]
           %off: f32[] = [0]
           %o: f32[batch,4,4,2] = OneHot(%m, %on, %off) {"depth":2} # hot
           %b: f32[batch,4,4,2] = Binary(%r, %o) # join"#,
        r#"%p: f32[batch,2,4] = Reduce(%a) {"kind":"max","axes":[2]} # rows
           %q: f32[batch,2,4] = Unary(%p) {"kind":"abs"} # sequence
           %r: f32[batch,2,1,4] = ExpandDims(%q) {"axis":2} # expand
           %m: i32[batch,4,4] = ArgReduce(%a) {"axis":1,"dtype":"i32"} # class
           %on: f32[] = [1]
           %off: f32[] = [0]
           %o: f32[batch,2,4,4] = OneHot(%m, %on, %off) {"depth":2,"axis":1} # hot
           %b: f32[batch,2,4,4] = Binary(%r, %o) # join"#,
    );
}

#[test]
fn places_may_be_joined_but_not_mixed_with_channels() {
    between(
        r#"%p: f32[batch,16,2] = Reshape(%a) {"shape":["infer",16,2]} # join
           %b: f32[batch,4,4,2] = Reshape(%p) {"shape":["infer",4,4,2]} # split"#,
        r#"%p: f32[batch,2,16] = Reshape(%a) {"shape":["infer",2,16]} # join
           %b: f32[batch,2,4,4] = Reshape(%p) {"shape":["infer",2,4,4]} # split"#,
    );
    between(
        r#"%p: f32[batch,32] = Reshape(%a) {"shape":["infer",32]} # flatten
           %b: f32[batch,4,4,2] = Reshape(%p) {"shape":["infer",4,4,2]} # fold"#,
        r#"%a/channels_last: f32[batch,4,4,2] = Transpose(%a) {"permutation":[0,2,3,1]} # flatten
           %p: f32[batch,32] = Reshape(%a/channels_last) {"shape":["infer",32]} # flatten
           %b: f32[batch,4,4,2] = Reshape(%p) {"shape":["infer",4,4,2]} # fold
           %b/channels_first: f32[batch,2,4,4] = Transpose(%b) {"permutation":[0,3,1,2]} # after"#,
    );
}

#[test]
fn operators_on_the_last_axis_go_into_brackets() {
    between(
        r#"%f: f32[2,2] = [1,2,3,4]
           %p: f32[batch,4,4,2] = Softmax(%a) # softmax
           %b: f32[batch,4,4,2] = FullyConnected(%p, %f, _) {"keep_num_dims":true,"activation":"relu"} # dense"#,
        r#"%p/image: f32[batch,4,4,2] = Transpose(%a) {"permutation":[0,2,3,1]} # softmax
           %p/result: f32[batch,4,4,2] = Softmax(%p/image) # softmax
           %p: f32[batch,2,4,4] = Transpose(%p/result) {"permutation":[0,3,1,2]} # softmax
           %b/image: f32[batch,4,4,2] = Transpose(%p) {"permutation":[0,2,3,1]} # dense
           %f: f32[2,1,1,2] = [1,2,3,4]
           %b/result: f32[batch,4,4,2] = Conv2D(%b/image, %f, _) {"activation":"relu"} # dense
           %b: f32[batch,2,4,4] = Transpose(%b/result) {"permutation":[0,3,1,2]} # dense"#,
    );
    // Without a neighbour that is channels first they stay as they were.
    let text = r#"graph main(%x: f32[1,4,4,2]) -> (%y) {
          %f: f32[2,2] = [1,2,3,4]
          %p: f32[1,4,4,2] = Softmax(%x) # softmax
          %y: f32[1,4,4,2] = FullyConnected(%p, %f) {"keep_num_dims":true} # dense
        }"#;
    let printed = text::print(&text::parse(text).unwrap());
    same(&first(text, Interface::Source), &printed);
}

#[test]
fn types_that_round_differently_stay_matrix_products() {
    let model = first(
        r#"graph main(%x: f32[1,4,4,2]) -> (%z) {
             %w: f32[2,1,1,2] = [1,2,3,4]
             %f: i8[2,2] q{"scales":[0.5],"zero_points":[0]} = [1,2,3,4]
             %a: f32[1,4,4,2] = Conv2D(%x, %w) # before
             %b: f32[1,4,4,2] = FullyConnected(%a, %f) {"keep_num_dims":true} # dense
             %z: f32[1,4,4,2] = Conv2D(%b, %w) # after
           }"#,
        Interface::ChannelsFirst,
    );
    assert_eq!(outside(model.main()), 2, "{}", text::print(&model));
}

#[test]
fn parameters_of_quantization_go_with_their_tensors() {
    let model = first(
        r#"graph main(%x: f32[1,2,2,2]) -> (%z) {
             %q: i8[1,2,2,2] q{"scales":[0.5],"zero_points":[1]} = Quantize(%x) # in
             %w: i8[2,1,1,2] q{"scales":[0.5,0.25],"zero_points":[0,0],"axis":0} = [1,2,3,4]
             %b: i32[2] q{"scales":[0.25,0.125],"zero_points":[0,0],"axis":0} = [1,2]
             %y: i8[1,2,2,2] q{"scales":[2.0],"zero_points":[3]} = Conv2D(%q, %w, %b) # conv
             %c: i8[2] q{"scales":[0.5],"zero_points":[1]} = [7,8]
             %p: i8[1,2,2,2] q{"scales":[2.0],"zero_points":[4]} = Binary(%y, %c) # add
             %z: f32[1,2,2,2] = Dequantize(%p) # out
           }"#,
        Interface::Source,
    );
    same(
        &model,
        r#"graph main(%x: f32[1,2,2,2]) -> (%z) {
             %q: i8[1,2,2,2] q{"scales":[0.5],"zero_points":[1]} = Quantize(%x) # in
             %q/channels_first: i8[1,2,2,2] q{"scales":[0.5],"zero_points":[1]} = Transpose(%q) {"permutation":[0,3,1,2]} # conv
             %y/image: i8[1,2,2,2] q{"scales":[0.5],"zero_points":[1]} = Transpose(%q/channels_first) {"permutation":[0,2,3,1]} # conv
             %w: i8[2,1,1,2] q{"scales":[0.5,0.25],"zero_points":[0,0],"axis":0} = [1,2,3,4]
             %b: i32[2] q{"scales":[0.25,0.125],"zero_points":[0,0],"axis":0} = [1,2]
             %y/result: i8[1,2,2,2] q{"scales":[2.0],"zero_points":[3]} = Conv2D(%y/image, %w, %b) # conv
             %y: i8[1,2,2,2] q{"scales":[2.0],"zero_points":[3]} = Transpose(%y/result) {"permutation":[0,3,1,2]} # conv
             %c: i8[2,1,1] q{"scales":[0.5],"zero_points":[1]} = [7,8]
             %p: i8[1,2,2,2] q{"scales":[2.0],"zero_points":[4]} = Binary(%y, %c) # add
             %p/channels_last: i8[1,2,2,2] q{"scales":[2.0],"zero_points":[4]} = Transpose(%p) {"permutation":[0,2,3,1]} # out
             %z: f32[1,2,2,2] = Dequantize(%p/channels_last) # out
           }"#,
    );
}

#[test]
fn sequences_and_volumes_have_orders_too() {
    let model = first(
        r#"graph main(%x: f32[batch,8,2]) -> (%s) {
             %w: f32[2,1,3,2] = [1,2,3,4,5,6,7,8,9,10,11,12]
             %i: f32[batch,1,8,2] = ExpandDims(%x) {"axis":1} # conv1
             %y: f32[batch,1,8,2] = Conv2D(%i, %w) {"padding":"same"} # conv1
             %o: f32[batch,8,2] = Squeeze(%y) {"axes":[1]} # conv1
             %r: f32[batch,8,2] = Unary(%o) # relu
             %j: f32[batch,1,8,2] = ExpandDims(%r) {"axis":1} # conv2
             %u: f32[batch,1,8,2] = Conv2D(%j, %w) {"padding":"same"} # conv2
             %p: f32[batch,8,2] = Squeeze(%u) {"axes":[1]} # conv2
             %s: f32[batch,2] = Reduce(%p) {"axes":[1]} # pool
           }"#,
        Interface::Source,
    );
    assert_eq!(outside(model.main()), 1, "{}", text::print(&model));
    let model = first(
        r#"graph main(%x: f32[batch,4,4,4,1]) -> (%z) {
             %w: f32[1,1,1,1,2] = [1,2]
             %y: f32[batch,4,4,4,2] = Conv3D(%x, %w) # volume
             %z: f32[batch,2] = Reduce(%y) {"axes":[1,2,3]} # pool
           }"#,
        Interface::Source,
    );
    same(
        &model,
        r#"graph main(%x: f32[batch,4,4,4,1]) -> (%z) {
             %x/channels_first: f32[batch,1,4,4,4] = Reshape(%x) {"shape":["infer",1,4,4,4]} # volume
             %y/image: f32[batch,4,4,4,1] = Transpose(%x/channels_first) {"permutation":[0,2,3,4,1]} # volume
             %w: f32[1,1,1,1,2] = [1,2]
             %y/result: f32[batch,4,4,4,2] = Conv3D(%y/image, %w) # volume
             %y: f32[batch,2,4,4,4] = Transpose(%y/result) {"permutation":[0,4,1,2,3]} # volume
             %z: f32[batch,2] = Reduce(%y) {"axes":[2,3,4]} # pool
           }"#,
    );
}

#[test]
fn graphs_that_others_call_keep_their_interface() {
    let model = first(
        r#"
        graph main(%c: bool[], %x: f32[1,4,4,2]) -> (%y) {
          %w: f32[2,1,1,2] = [1,2,3,4]
          %a: f32[1,4,4,2] = Conv2D(%x, %w) # conv
          %y: f32[1,4,4,2] = If(%c, %a) {"then_graph":1,"else_graph":2} # if
        }
        graph then(%a: f32[1,4,4,2]) -> (%b) {
          %b: f32[1,4,4,2] = Pool2D(%a) # pool
        }
        graph other(%a: f32[1,4,4,2]) -> (%b) {
          %b: f32[1,4,4,2] = Unary(%a) # relu
        }"#,
        Interface::ChannelsFirst,
    );
    // After the convolution and behind the branch; before and after the pooling; none beside it.
    let counts: Vec<usize> = model.graphs.iter().map(outside).collect();
    assert_eq!(counts, [2, 2, 0], "{}", text::print(&model));
    let shape = |id: litesmith_graph::TensorId| model.main()[id].shape.to_string();
    assert_eq!(shape(model.main().outputs[0]), "[1,2,4,4]");
}

#[test]
fn a_source_that_is_channels_first_loses_its_transpositions() {
    let before = r#"graph main(%x: f32[1,2,4,4]) -> (%z) {
          %w: f32[2,1,1,2] = [1,2,3,4]
          %c: f32[2,1,1] = [5,6]
          %i: f32[1,4,4,2] = Transpose(%x) {"permutation":[0,2,3,1]} # conv1
          %j: f32[1,4,4,2] = Conv2D(%i, %w) # conv1
          %a: f32[1,2,4,4] = Transpose(%j) {"permutation":[0,3,1,2]} # conv1
          %b: f32[1,2,4,4] = Binary(%a, %c) # bias
          %d: f32[1,2,4,4] = Concat(%b, %a) {"axis":2} # concat
          %k: f32[1,8,4,2] = Transpose(%d) {"permutation":[0,2,3,1]} # conv2
          %l: f32[1,8,4,2] = Conv2D(%k, %w) # conv2
          %e: f32[1,2,8,4] = Transpose(%l) {"permutation":[0,3,1,2]} # conv2
          %t: f32[1,2,32] = Reshape(%e) {"shape":[1,2,32]} # tokens
          %z: f32[1,32,2] = Transpose(%t) {"permutation":[0,2,1]} # tokens
        }"#;
    same(
        &last(before),
        r#"graph main(%x: f32[1,2,4,4]) -> (%z) {
          %x/channels_last: f32[1,4,4,2] = Transpose(%x) {"permutation":[0,2,3,1]} # conv1
          %w: f32[2,1,1,2] = [1,2,3,4]
          %j: f32[1,4,4,2] = Conv2D(%x/channels_last, %w) # conv1
          %c: f32[2] = [5,6]
          %b: f32[1,4,4,2] = Binary(%j, %c) # bias
          %d: f32[1,8,4,2] = Concat(%b, %j) {"axis":1} # concat
          %l: f32[1,8,4,2] = Conv2D(%d, %w) # conv2
          %z: f32[1,32,2] = Reshape(%l) {"shape":[1,32,2]} # tokens
        }"#,
    );
    let mut turned = text::parse(before).unwrap();
    channels_last(&mut turned, Interface::ChannelsLast).unwrap();
    validate(&turned).unwrap();
    assert!(turned.main().nodes.iter().all(|node| !matches!(node.op, Op::Transpose(_))));
    assert_eq!(turned.main()[turned.main().inputs[0]].shape.to_string(), "[1,4,4,2]");
}

#[test]
fn other_transpositions_take_up_their_neighbours() {
    let model = first(
        r#"graph main(%x: f32[1,4,6,2]) -> (%z) {
             %w: f32[2,1,1,2] = [1,2,3,4]
             %a: f32[1,4,6,2] = Conv2D(%x, %w) # conv
             %t: f32[1,6,4,2] = Transpose(%a) {"permutation":[0,2,1,3]} # turn
             %u: f32[2,4,6,1] = Transpose(%t) {"permutation":[3,2,1,0]} # permute
             %z: f32[48] = Reshape(%u) {"shape":[48]} # flatten
           }"#,
        Interface::ChannelsFirst,
    );
    let text = text::print(&model);
    // The convolution gives [1,2,4,6]: what is left swaps the first two axes.
    assert!(text.contains(r#"Transpose(%a) {"permutation":[1,2,3,0]}"#), "{text}");
    assert_eq!(outside(model.main()), 1, "{text}");
}

#[test]
fn the_smallest_tensor_is_turned() {
    // Behind the addition there is one tensor, before it there are two.
    let model = first(
        r#"graph main(%x: f32[1,4,4,2]) -> (%z) {
             %w: f32[2,1,1,2] = [1,2,3,4]
             %a: f32[1,4,4,2] = Conv2D(%x, %w) # left
             %b: f32[1,4,4,2] = Conv2D(%x, %w) {"activation":"relu"} # right
             %s: f32[1,4,4,2] = Binary(%a, %b) # sum
             %h: f32[1,2,2,2] = StridedSlice(%s) {"begin":[0,0,0],"end":[0,0,0],"strides":[1,2,2],"begin_mask":7,"end_mask":7} # half
             %z: f32[1,8] = Reshape(%h) {"shape":[1,8]} # flatten
           }"#,
        Interface::Source,
    );
    assert_eq!(outside(model.main()), 2);
    assert!(
        text::print(&model).contains("%h: f32[1,2,2,2] = Transpose(%h/channels_first)")
            || text::print(&model).contains("%h/channels_last: f32[1,2,2,2] = Transpose(%h)"),
        "{}",
        text::print(&model)
    );
}
