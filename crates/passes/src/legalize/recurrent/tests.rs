use litesmith_graph::{GraphId, Op, text};

use crate::{LegalizeError, Target, legalize};

fn check(before: &str, after: &str) {
    let mut model = text::parse(before).expect("the text before parses");
    legalize(&mut model, Target::Tflite).expect("the model can be legalized");
    litesmith_graph::validate(&model).expect("the model after is sound");
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&text::print(&model)).trim(), lines(after).trim());
}

#[test]
fn few_steps_become_copies_of_the_cell_and_the_first_has_no_product_with_zero() {
    check(
        r#"graph main(%x: f32[batch,2,1]) -> (%h) {
             %w: f32[1,2] = [7,8]
             %r: f32[2,2] = [1,2,3,4]
             %b: f32[2] = [5,6]
             %s: f32[batch,2,2], %h: f32[batch,2] = Recurrent(%x, %w, %r, %b) {"cell":"simple","backwards":true} # rnn
           }"#,
        r#"graph main(%x: f32[batch,2,1]) -> (%h) {
             %s/input/weights: f32[2,1] = [7,8]
             %b: f32[2] = [5,6]
             %s/input: f32[batch,2,2] = FullyConnected(%x, %s/input/weights, %b) {"keep_num_dims":true} # rnn
             %s/steps: f32[batch,2], %"s/steps:1": f32[batch,2] = Unpack(%s/input) {"axis":1,"parts":2} # rnn
             %s/step0/h: f32[batch,2] = Unary(%"s/steps:1") {"kind":"tanh"} # rnn
             %s/recurrent/weights: f32[2,2] = [1,3,2,4]
             %s/step1/sum/recurrent: f32[batch,2] = FullyConnected(%s/step0/h, %s/recurrent/weights, _) # rnn
             %s/step1/sum: f32[batch,2] = Binary(%s/steps, %s/step1/sum/recurrent) # rnn
             %h: f32[batch,2] = Unary(%s/step1/sum) {"kind":"tanh"} # rnn
           }"#,
    );
}

#[test]
fn many_steps_become_a_loop_whose_sizes_follow_the_input() {
    check(
        r#"graph main(%x: f32[batch,time,1]) -> (%s) {
             %w: f32[1,2] = [7,8]
             %r: f32[2,2] = [1,2,3,4]
             %s: f32[batch,time,2], %h: f32[batch,2] = Recurrent(%x, %w, %r) {"cell":"simple"} # rnn
           }"#,
        r#"graph main(%x: f32[batch,time,1]) -> (%s) {
             %s/input/weights: f32[2,1] = [7,8]
             %s/input: f32[batch,time,2] = FullyConnected(%x, %s/input/weights, _) {"keep_num_dims":true} # rnn
             %s/time: f32[time,batch,2] = Transpose(%s/input) {"permutation":[1,0,2]} # rnn
             %s/batch/shape: i32[3] = ShapeOf(%s/input) # rnn
             %s/batch: i32[] = StridedSlice(%s/batch/shape) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1} # rnn
             %s/units: i32[] = [2]
             %s/zeros/shape: i32[2] = Pack(%s/batch, %s/units) # rnn
             %s/zero: f32[] = [0]
             %s/zeros: f32[batch,2] = Fill(%s/zeros/shape, %s/zero) # rnn
             %s/first: i32[] = [0]
             %s/loop: i32[], %"s/loop:1": f32[time,batch,2], %h: f32[batch,2], %"s/loop:3": f32[time,batch,2] = While(%s/first, %s/time, %s/zeros, %s/time) {"condition":1,"body":2} # rnn
             %s: f32[batch,time,2] = Transpose(%"s/loop:3") {"permutation":[1,0,2]} # rnn
           }
           graph s/condition(%s/condition/step: i32[], %s/condition/products: f32[time,batch,2], %s/condition/h: f32[batch,2], %s/condition/sequence: f32[time,batch,2]) -> (%s/condition/more) {
             %s/condition/steps/shape: i32[3] = ShapeOf(%s/condition/products) # rnn
             %s/condition/steps: i32[] = StridedSlice(%s/condition/steps/shape) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1} # rnn
             %s/condition/more: bool[] = Compare(%s/condition/step, %s/condition/steps) {"kind":"less"} # rnn
           }
           graph s/step(%s/step/step: i32[], %s/step/products: f32[time,batch,2], %s/step/h: f32[batch,2], %s/step/sequence: f32[time,batch,2]) -> (%s/step/next, %s/step/products, %s/step/h.10, %s/step/outputs) {
             %s/step/one: i32[] = [1]
             %s/step/next: i32[] = Binary(%s/step/step, %s/step/one) # rnn
             %s/step/product: f32[batch,2] = Gather(%s/step/products, %s/step/step) # rnn
             %s/step/recurrent/weights: f32[2,2] = [1,3,2,4]
             %s/step/sum/recurrent: f32[batch,2] = FullyConnected(%s/step/h, %s/step/recurrent/weights, _) # rnn
             %s/step/sum: f32[batch,2] = Binary(%s/step/product, %s/step/sum/recurrent) # rnn
             %s/step/h.10: f32[batch,2] = Unary(%s/step/sum) {"kind":"tanh"} # rnn
             %s/step/row: f32[1,batch,2] = ExpandDims(%s/step/h.10) # rnn
             %s/step/zero: i32[] = [0]
             %s/step/place: i32[3] = Pack(%s/step/step, %s/step/zero, %s/step/zero) # rnn
             %s/step/outputs: f32[time,batch,2] = UpdateSlice(%s/step/sequence, %s/step/row, %s/step/place) # rnn
           }"#,
    );
}

/// The operators of the main graph of a layer over this many steps.
fn operators(time: &str, attributes: &str) -> Vec<&'static str> {
    let mut model = text::parse(&format!(
        r#"graph main(%x: f32[2,{time},1]) -> (%h) {{
             %w: f32[1,4] = random(1)
             %r: f32[1,4] = random(2)
             %s: f32[2,{time},1], %h: f32[2,1], %c: f32[2,1] = Recurrent(%x, %w, %r) {{{attributes}}}
           }}"#
    ))
    .unwrap();
    legalize(&mut model, Target::Tflite).unwrap();
    model.main().nodes.iter().map(|node| node.op.name()).collect()
}

#[test]
fn the_number_of_steps_decides() {
    for (time, attributes, looped) in [
        ("1", "", false),
        ("32", "", false),
        ("33", "", true),
        ("33", r#""unroll":true"#, false),
        ("1025", r#""unroll":true"#, true),
        ("time", r#""unroll":true"#, true),
    ] {
        let operators = operators(time, attributes);
        assert_eq!(operators.contains(&"While"), looped, "{time} steps, {attributes}: {operators:?}");
    }
}

#[test]
fn every_loop_has_graphs_of_its_own() {
    let mut model = text::parse(
        r#"graph main(%x: f32[batch,time,1]) -> (%h, %g) {
             %w: f32[1,1] = [1]
             %s: f32[batch,time,1], %h: f32[batch,1] = Recurrent(%x, %w, %w) {"cell":"simple"} # one
             %t: f32[batch,time,1], %g: f32[batch,1] = Recurrent(%x, %w, %w) {"cell":"simple"} # two
           }"#,
    )
    .unwrap();
    legalize(&mut model, Target::Tflite).unwrap();
    litesmith_graph::validate(&model).unwrap();
    let loops = model.main().nodes.iter().filter_map(|node| match &node.op {
        Op::While(op) => Some([op.condition, op.body]),
        _ => None,
    });
    let called: Vec<GraphId> = loops.flatten().collect();
    assert_eq!(called, [1, 2, 3, 4].map(GraphId));
    assert_eq!(model.graphs.len(), 5);
    assert_eq!(model.graphs[4].name, "t/step");
}

#[test]
fn computed_weights_are_refused() {
    let mut model = text::parse(
        r#"graph main(%x: f32[batch,2,1], %w: f32[1,1]) -> (%h) {
             %s: f32[batch,2,1], %h: f32[batch,1] = Recurrent(%x, %w, %w) {"cell":"simple"} # rnn
           }"#,
    )
    .unwrap();
    let Err(LegalizeError::Refused(refused)) = legalize(&mut model, Target::Tflite) else {
        panic!("it is not refused");
    };
    assert_eq!((refused[0].layer.as_str(), refused[0].operator.as_str()), ("rnn", "Recurrent"));
    assert!(refused[0].reason.contains("constant"), "{}", refused[0].reason);
}
