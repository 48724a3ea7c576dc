//! What flows come of whole folders and graphs.

use std::fmt::Write;

use proptest::prelude::*;
use tempfile::TempDir;

use super::flow::Value;
use super::made::*;
use super::proto::*;
use super::*;

/// A flow as text, a node a line.
fn text(flow: &Flow, variables: &[Variable]) -> String {
    let name = |value: &Value| match value {
        Value::Input(number) => format!("in{number}"),
        Value::Node { node, output: 0 } => format!("%{node}"),
        Value::Node { node, output } => format!("%{node}.{output}"),
        Value::Variable(number) => format!("@{}", variables[*number].name),
    };
    let mut lines = String::new();
    for input in &flow.inputs {
        writeln!(lines, "input {}", input.name).unwrap();
    }
    for (place, node) in flow.nodes.iter().enumerate() {
        let inputs = node.inputs.iter().map(name).collect::<Vec<_>>().join(", ");
        writeln!(lines, "%{place} {} {}({inputs})", node.name, node.op).unwrap();
        for branch in &node.branches {
            for line in text(branch, variables).lines() {
                writeln!(lines, "  {line}").unwrap();
            }
        }
    }
    for output in &flow.outputs {
        writeln!(lines, "output {} {}", output.name, name(&output.value)).unwrap();
    }
    lines
}

fn variables() -> (Vec<u8>, Vec<u8>) {
    let kernel = Made { key: "variables/0", shape: vec![3, 2], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    let bias = Made { key: "bias", shape: vec![2], values: vec![7.0, 8.0] };
    bundle(&[kernel, bias], &[(2, "dense/kernel", "variables/0")])
}

fn saved(model: &SavedModel) -> TempDir {
    let (index, shard) = variables();
    folder(&model.encode_to_vec(), &index, &shard)
}

fn flow_of(model: &SavedModel) -> Result<String, FormatError> {
    let (flow, variables, _) = flow_of_folder(saved(model).path(), &ReadOptions::default())?;
    Ok(text(&flow, &variables))
}

/// The reason why a model is broken.
fn broken(model: &SavedModel) -> String {
    match flow_of(model) {
        Err(FormatError::Broken { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The layer and the operator that a model is refused for.
fn refused(model: &SavedModel) -> (String, String) {
    match flow_of(model) {
        Err(FormatError::Unsupported(items)) => (items[0].layer.clone(), items[0].operator.clone()),
        other => panic!("{other:?}"),
    }
}

/// A wrapper that calls the model's function, as TensorFlow writes it: the kernel is known by its
/// object, the bias by its name.
fn dense() -> SavedModel {
    let inner = function(
        "inner",
        &[("x", FLOAT), ("kernel", RESOURCE), ("bias", RESOURCE)],
        vec![
            node("dense/MatMul/ReadVariableOp", "ReadVariableOp", &["kernel"], &[]),
            node("dense/MatMul", "MatMul", &["x", "dense/MatMul/ReadVariableOp:value:0"], &[]),
            node("dense/ReadVariableOp", "ReadVariableOp", &["bias"], &[]),
            node("dense/Add", "AddV2", &["dense/MatMul:product:0", "dense/ReadVariableOp:value:0"], &[]),
            node("unused", "Exp", &["x"], &[]),
            node("Identity", "Identity", &["dense/Add:z:0", "^NoOp"], &[]),
            node("NoOp", "NoOp", &["^dense/MatMul/ReadVariableOp"], &[]),
        ],
        &[("identity", "Identity:output:0")],
    );
    let wrapper = function(
        "wrapper",
        &[("x", FLOAT), ("unknown", RESOURCE), ("unknown_0", RESOURCE)],
        vec![
            call("StatefulPartitionedCall", "inner", &["x", "unknown", "unknown_0"]),
            node("Identity", "Identity", &["StatefulPartitionedCall:output:0"], &[]),
        ],
        &[("identity", "Identity:output:0")],
    );
    let nodes = vec![
        handle("kernel_1"),
        handle("bias"),
        call("StatefulPartitionedCall_1", "wrapper", &["x", "kernel_1", "bias"]),
    ];
    let mut model = model(&["x"], &[("y", "StatefulPartitionedCall_1:0")], nodes, vec![inner, wrapper]);
    let mut objects =
        SavedObjectGraph { nodes: vec![SavedObject::default(); 3], ..SavedObjectGraph::default() };
    objects.nodes[2].variable = Some(SavedVariable { trainable: false, name: String::new() });
    objects.functions.insert("wrapper".to_owned(), ConcreteFunction { bound_inputs: vec![2, 1] });
    model.meta_graphs[0].objects = Some(objects);
    model
}

#[test]
fn calls_are_inlined_and_variables_frozen() {
    let folder = saved(&dense());
    let (flow, variables, producer) = flow_of_folder(folder.path(), &ReadOptions::default()).unwrap();
    let expected =
        "input x\n%0 dense/MatMul MatMul(in0, @dense/kernel)\n%1 dense/Add AddV2(%0, @bias)\noutput y %1\n";
    assert_eq!(text(&flow, &variables), expected);
    assert_eq!((flow.name.as_str(), producer.as_str()), ("serving_default", "TensorFlow"));
    assert_eq!(flow.inputs[0].shape, Some(vec![None, Some(3)]));
    let [kernel, bias] = variables.as_slice() else { panic!("{variables:?}") };
    assert_eq!((kernel.shape.as_slice(), kernel.trainable), (&[3, 2][..], false));
    assert_eq!(*kernel.data.elements::<f32>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!((*bias.data.elements::<f32>() == [7.0, 8.0], bias.trainable), (true, true));
}

#[test]
fn names_say_the_scopes_of_calls_once() {
    let inner =
        function("inner", &[("x", FLOAT)], vec![node("Exp", "Exp", &["x"], &[])], &[("y", "Exp:y:0")]);
    let outer = function(
        "outer",
        &[("x", FLOAT)],
        vec![
            call("block/first/StatefulPartitionedCall", "inner", &["x"]),
            call("block/second/named", "inner", &["block/first/StatefulPartitionedCall:output:0"]),
        ],
        &[("y", "block/second/named:output:0")],
    );
    let graph = model(
        &["x"],
        &[("y", "block/PartitionedCall_12:0")],
        vec![call("block/PartitionedCall_12", "outer", &["x"])],
        vec![inner, outer],
    );
    let expected = "input x\n%0 block/first/Exp Exp(in0)\n%1 block/second/named/Exp Exp(%0)\noutput y %1\n";
    assert_eq!(flow_of(&graph).unwrap(), expected);
}

#[test]
fn inputs_and_outputs_keep_the_order_of_the_function_that_is_wrapped() {
    let inner = function(
        "inner",
        &[("b", FLOAT), ("a", FLOAT)],
        vec![node("Exp", "Exp", &["b"], &[]), node("Neg", "Neg", &["a"], &[])],
        &[("z", "Exp:y:0"), ("y", "Neg:y:0")],
    );
    let wrapper = function(
        "wrapper",
        &[("a", FLOAT), ("b", FLOAT)],
        vec![
            call("StatefulPartitionedCall", "inner", &["b", "a"]),
            node("Identity", "Identity", &["StatefulPartitionedCall:output:1"], &[]),
            node("Identity_1", "Identity", &["StatefulPartitionedCall:output:0"], &[]),
        ],
        &[("y", "Identity:output:0"), ("z", "Identity_1:output:0")],
    );
    let nodes = vec![call("StatefulPartitionedCall", "wrapper", &["a", "b"])];
    let outputs = [("y", "StatefulPartitionedCall:0"), ("z", "StatefulPartitionedCall:1")];
    let graph = model(&["a", "b"], &outputs, nodes, vec![inner, wrapper]);
    let flow = flow_of(&graph).unwrap();
    assert_eq!(flow, "input b\ninput a\n%0 Exp Exp(in0)\n%1 Neg Neg(in1)\noutput z %0\noutput y %1\n");
}

/// A loop that doubles `x` as long as a counter that starts at `from` is below `limit`, which stays.
fn counting(from: i32, limit: i32) -> SavedModel {
    let arguments = [("i", INT), ("x", FLOAT), ("limit", INT), ("scale", RESOURCE)];
    let condition = function(
        "condition",
        &arguments,
        vec![node("while/Less", "Less", &["i", "limit"], &[])],
        &[("holds", "while/Less:z:0")],
    );
    let body = function(
        "body",
        &arguments,
        vec![
            constant("while/one", INT, 1),
            node("while/next", "AddV2", &["i", "while/one:output:0"], &[]),
            node("while/read", "ReadVariableOp", &["scale"], &[]),
            node("while/scaled", "Mul", &["x", "while/read:value:0"], &[]),
            node("while/same", "Identity", &["limit"], &[]),
        ],
        &[("a", "while/next:z:0"), ("b", "while/scaled:z:0"), ("c", "while/same:output:0"), ("d", "scale")],
    );
    let attributes = [("cond", function_attribute("condition")), ("body", function_attribute("body"))];
    let nodes = vec![
        constant("from", INT, from),
        constant("limit", INT, limit),
        handle("bias"),
        node("while", "While", &["from", "x", "limit", "bias"], &attributes),
        node("y", "Neg", &["while:1"], &[]),
    ];
    model(&["x"], &[("y", "y:0"), ("z", "while:2")], nodes, vec![condition, body])
}

#[test]
fn loops_carry_what_changes() {
    let expected = "input x\n\
        %0 from Const()\n\
        %1 limit Const()\n\
        %2 while While(%0, in0)\n  \
          input i\n  input x\n  %0 limit Const()\n  %1 while/Less Less(in0, %0)\n  output output_0 %1\n  \
          input i\n  input x\n  %0 while/one Const()\n  %1 while/next AddV2(in0, %0)\n  \
          %2 while/scaled Mul(in1, @bias)\n  output output_0 %1\n  output output_1 %2\n\
        %3 y Neg(%2.1)\n\
        output y %3\n\
        output z %1\n";
    assert_eq!(flow_of(&counting(0, 3)).unwrap(), expected);
}

#[test]
fn loops_that_never_run_go() {
    let flow = flow_of(&counting(5, 3)).unwrap();
    assert_eq!(flow, "input x\n%0 limit Const()\n%1 y Neg(in0)\noutput y %1\noutput z %0\n");
}

fn conditional(predicate: NodeDef) -> SavedModel {
    let branch = |name: &str, op: &str| {
        function(name, &[("x", FLOAT)], vec![node("run", op, &["x"], &[])], &[("y", "run:y:0")])
    };
    let attributes =
        [("then_branch", function_attribute("then")), ("else_branch", function_attribute("else"))];
    let nodes = vec![predicate, node("if", "If", &["predicate", "x"], &attributes)];
    model(&["x"], &[("y", "if:0")], nodes, vec![branch("then", "Exp"), branch("else", "Neg")])
}

#[test]
fn conditionals_keep_the_branch_that_runs() {
    let run = |value| flow_of(&conditional(constant("predicate", BOOL, value))).unwrap();
    assert_eq!(run(1), "input x\n%0 if/run Exp(in0)\noutput y %0\n");
    assert_eq!(run(0), "input x\n%0 if/run Neg(in0)\noutput y %0\n");
    let both = "input x\n%0 predicate Any(in0)\n%1 if If(%0, in0)\n  \
        input x\n  %0 if/run Exp(in0)\n  output output_0 %0\n  \
        input x\n  %0 if/run Neg(in0)\n  output output_0 %0\noutput y %1\n";
    assert_eq!(flow_of(&conditional(node("predicate", "Any", &["x"], &[]))).unwrap(), both);
}

fn switched(predicate: NodeDef) -> SavedModel {
    let nodes = vec![
        predicate,
        constant("default", BOOL, 0),
        node("gate", "Switch", &["predicate", "predicate"], &[]),
        node("on", "Identity", &["gate:1"], &[]),
        node("off", "Identity", &["gate"], &[]),
        node("noise", "RandomUniform", &["^on"], &[]),
        node("data", "Switch", &["x", "predicate"], &[]),
        node("sum", "AddV2", &["data:1", "noise"], &[]),
        node("plain", "Identity", &["data:0", "^off"], &[]),
        node("either", "Merge", &["plain", "sum"], &[]),
    ];
    model(&["x"], &[("y", "either:0")], nodes, Vec::new())
}

#[test]
fn switches_are_decided_by_their_default() {
    let fixed = node("predicate", "PlaceholderWithDefault", &["default"], &[]);
    assert_eq!(flow_of(&switched(fixed)).unwrap(), "input x\noutput y in0\n");
    let open = node("predicate", "Any", &["x"], &[]);
    assert_eq!(refused(&switched(open)), ("y".to_owned(), "output".to_owned()));
}

#[test]
fn results_are_found_by_name() {
    let body = function(
        "f",
        &[("x", FLOAT)],
        vec![
            node("norm", "FusedBatchNormV3", &["x", "x", "x", "x", "x"], &[]),
            node("split", "Split", &["x", "x"], &[("num_split", Attribute::Int(2))]),
            node("odd", "Odd", &["x"], &[("N", Attribute::Int(3))]),
        ],
        &[("a", "norm:batch_variance:0"), ("b", "split:output:1"), ("c", "odd:second:1")],
    );
    let outputs = [("a", "call:0"), ("b", "call:1"), ("c", "call:2")];
    let mut graph = model(&["x"], &outputs, vec![call("call", "f", &["x"])], vec![body]);
    let result = |name: &str, number: &str| ArgDef {
        name: name.to_owned(),
        number_attribute: number.to_owned(),
        ..ArgDef::default()
    };
    let operation = OpDef {
        name: "Odd".to_owned(),
        inputs: vec![],
        outputs: vec![result("first", "N"), result("second", "")],
    };
    graph.meta_graphs[0].info.as_mut().unwrap().operations = Some(OpList { operations: vec![operation] });
    let flow = flow_of(&graph).unwrap();
    assert!(flow.ends_with("output a %0.2\noutput b %1.1\noutput c %2.4\n"), "{flow}");
    let function = graph.meta_graphs[0].graph.as_mut().unwrap().library.as_mut().unwrap();
    function.functions[0].results.insert("a".to_owned(), "norm:mean:0".to_owned());
    assert_eq!(broken(&graph), "'FusedBatchNormV3' has no result 'mean'");
}

#[test]
fn variables_that_change_are_refused() {
    let body = function(
        "f",
        &[("x", FLOAT), ("state", RESOURCE)],
        vec![
            node("read", "ReadVariableOp", &["state"], &[]),
            node("sum", "AddV2", &["x", "read:value:0"], &[]),
            node("write", "AssignVariableOp", &["state", "sum:z:0"], &[]),
        ],
        &[("y", "sum:z:0")],
    );
    let outer = function(
        "outer",
        &[("x", FLOAT), ("state", RESOURCE)],
        vec![call("inner", "f", &["x", "state"])],
        &[("y", "inner:output:0")],
    );
    let nodes = vec![handle("bias"), call("call", "outer", &["x", "bias"])];
    let graph = model(&["x"], &[("y", "call:0")], nodes, vec![body, outer]);
    assert_eq!(refused(&graph), ("bias".to_owned(), "AssignVariableOp".to_owned()));
}

#[test]
fn variables_that_are_masked_do_not_change() {
    let masking = |by: &str| {
        let body = function(
            "f",
            &[("x", FLOAT), ("weight", RESOURCE), ("mask", RESOURCE)],
            vec![
                node("read", "ReadVariableOp", &["weight"], &[]),
                node("factor", "ReadVariableOp", &[by], &[]),
                node("product", "Mul", &["read:value:0", "factor:value:0"], &[]),
                node("write", "AssignVariableOp", &["weight", "product:z:0"], &[]),
                node("masked", "ReadVariableOp", &["weight", "^write"], &[]),
                node("sum", "AddV2", &["x", "masked:value:0"], &[]),
            ],
            &[("y", "sum:z:0")],
        );
        let nodes = vec![handle("bias"), handle("mask"), call("call", "f", &["x", "bias", "mask"])];
        model(&["x"], &[("y", "call:0")], nodes, vec![body])
    };
    // This test has no mask: it is looked for.
    assert_eq!(broken(&masking("mask")), "the variables' index does not have it");
    assert_eq!(refused(&masking("weight")), ("bias".to_owned(), "AssignVariableOp".to_owned()));
}

/// Functions `f0` to `f{count}`, each of which calls the next so many times.
fn chain(count: usize, times: usize) -> SavedModel {
    let functions = (0..=count).map(|number| {
        let mut nodes = vec![node("start", "Identity", &["x"], &[])];
        for time in 0..if number == count { 0 } else { times } {
            let before =
                if time == 0 { "start:output:0".to_owned() } else { format!("call{}:output:0", time - 1) };
            nodes.push(call(&format!("call{time}"), &format!("f{}", number + 1), &[&before]));
        }
        let last =
            if number == count { "start:output:0".to_owned() } else { format!("call{}:output:0", times - 1) };
        function(&format!("f{number}"), &[("x", FLOAT)], nodes, &[("y", &last)])
    });
    model(&["x"], &[("y", "call:0")], vec![call("call", "f0", &["x"])], functions.collect())
}

#[test]
fn circles_and_bombs_of_functions_are_broken() {
    assert_eq!(flow_of(&chain(40, 1)).unwrap(), "input x\noutput y in0\n");
    let too_deep = broken(&chain(100, 1));
    assert!(too_deep.contains("calls lead to it"), "{too_deep}");
    assert_eq!(broken(&chain(50, 2)), "they call each other too many times");
    let mut circle = chain(3, 1);
    let library = circle.meta_graphs[0].graph.as_mut().unwrap().library.as_mut().unwrap();
    library.functions[3].nodes.push(call("again", "f1", &["x"]));
    library.functions[3].results.insert("y".to_owned(), "again:output:0".to_owned());
    assert_eq!(broken(&circle), "it calls itself");
}

#[test]
fn circles_of_nodes_are_broken_and_old_loops_refused() {
    let nodes = |op| vec![node("a", op, &["x", "b"], &[]), node("b", "Neg", &["a"], &[])];
    assert_eq!(
        broken(&model(&["x"], &[("y", "b:0")], nodes("AddV2"), Vec::new())),
        "a node depends on itself"
    );
    let loops = model(&["x"], &[("y", "b:0")], nodes("Merge"), Vec::new());
    assert_eq!(refused(&loops), ("a".to_owned(), "Merge".to_owned()));
}

#[test]
fn what_is_missing_is_named() {
    let graph = |outputs: &[(&str, &str)], nodes| model(&["x"], outputs, nodes, Vec::new());
    assert_eq!(broken(&graph(&[("y", "none:0")], Vec::new())), "there is no such node");
    assert_eq!(
        broken(&graph(&[("y", "a:0")], vec![node("a", "Neg", &["none"], &[])])),
        "there is no such node"
    );
    assert_eq!(
        broken(&graph(&[("y", "a:0")], vec![call("a", "none", &["x"])])),
        "there is no function 'none'"
    );
    assert_eq!(
        broken(&graph(&[("y", "a:70000")], vec![node("a", "Neg", &["x"], &[])])),
        "its output 70000 is nothing"
    );
    let lost = vec![handle("lost"), node("a", "ReadVariableOp", &["lost"], &[])];
    assert_eq!(broken(&graph(&[("y", "a:0")], lost)), "the variables' index does not have it");
    let twice = vec![node("a", "Neg", &["x"], &[]), node("a", "Exp", &["x"], &[])];
    assert_eq!(broken(&graph(&[("y", "a:0")], twice)), "it is there twice");
    let folder = saved(&dense());
    std::fs::remove_file(folder.path().join("variables/variables.data-00000-of-00001")).unwrap();
    let error = flow_of_folder(folder.path(), &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("variables.data-00000-of-00001: it is missing"), "{error}");
    std::fs::remove_file(folder.path().join("variables/variables.index")).unwrap();
    let error = flow_of_folder(folder.path(), &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("variables.index: it is missing"), "{error}");
}

#[test]
fn signatures_and_tags_are_chosen_by_name() {
    let mut graph = dense();
    let signature = graph.meta_graphs[0].signatures.remove("serving_default").unwrap();
    for name in ["first", "second", "__saved_model_init_op"] {
        graph.meta_graphs[0].signatures.insert(name.to_owned(), signature.clone());
    }
    let folder = saved(&graph);
    let with = |signature: Option<&str>, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let options = ReadOptions { signature: signature.map(str::to_owned), tags };
        flow_of_folder(folder.path(), &options).map(|(flow, ..)| flow.name).map_err(|error| error.to_string())
    };
    assert_eq!(with(Some("second"), &[]).unwrap(), "second");
    assert_eq!(with(Some("first"), &["serve"]).unwrap(), "first");
    assert!(with(None, &[]).unwrap_err().contains("first, second; name one"));
    assert!(with(Some("third"), &[]).unwrap_err().contains("it has first, second"));
    assert!(with(Some("first"), &["train"]).unwrap_err().contains("it has [serve]"));
}

#[test]
fn graphs_run_from_placeholders_to_what_nothing_reads() {
    let nodes = vec![
        node(
            "input",
            "Placeholder",
            &[],
            &[("dtype", Attribute::Type(FLOAT)), ("shape", Attribute::Shape(shape(&[-1, 3])))],
        ),
        node("unused", "Placeholder", &[], &[("dtype", Attribute::Type(FLOAT))]),
        constant("two", FLOAT, 2),
        node("w/read", "Identity", &["two"], &[]),
        node("probabilities", "Mul", &["input", "w/read"], &[]),
        node("check", "Assert", &["probabilities"], &[]),
        node("done", "NoOp", &["^check"], &[]),
        node("second", "Neg", &["input"], &[]),
    ];
    let graph = GraphDef { nodes, library: None };
    let (flow, variables) = flow_of_graph_def(graph.encode_to_vec().into()).unwrap();
    // What is checked has a reader, and so is no output.
    assert_eq!(text(&flow, &variables), "input input\n%0 second Neg(in0)\noutput second %0\n");
    assert_eq!(flow.inputs[0].shape, Some(vec![None, Some(3)]));
    let graph =
        GraphDef { nodes: vec![handle("w"), node("read", "ReadVariableOp", &["w"], &[])], library: None };
    assert!(matches!(flow_of_graph_def(graph.encode_to_vec().into()), Err(FormatError::Broken { .. })));
}

#[test]
fn files_of_countless_messages_are_broken() {
    let bytes = [0x0A, 0x00].repeat(7 << 20);
    let error = flow_of_graph_def(bytes.into()).unwrap_err().to_string();
    assert!(error.contains("messages"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_and_no_more(file in 0usize..3, place in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
        let (index, shard) = variables();
        let mut files = [counting(0, 3).encode_to_vec(), index, shard];
        let damaged = &mut files[file];
        let place = place.index(damaged.len());
        if cut {
            damaged.truncate(place);
        } else {
            damaged[place] ^= flip;
        }
        let folder = folder(&files[0], &files[1], &files[2]);
        // Only what is broken may come of it; what is still sound is sound.
        let result = flow_of_folder(folder.path(), &ReadOptions::default());
        if let Err(error) = result {
            prop_assert!(matches!(error, FormatError::Broken { .. } | FormatError::Unsupported(_)), "{error}");
        }
    }

    #[test]
    fn damaged_graphs_are_an_error_and_no_more(place in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
        let mut bytes = counting(0, 3).meta_graphs[0].graph.clone().unwrap().encode_to_vec();
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= flip;
        }
        if let Err(error) = flow_of_graph_def(bytes.into()) {
            prop_assert!(matches!(error, FormatError::Broken { .. } | FormatError::Unsupported(_)), "{error}");
        }
    }
}
