//! Files that the writer does not write: built field by field.

use std::sync::Arc;

use bytes::Bytes;
use litesmith_graph::ops::{Reshape, ReshapeDim, Select, Split, StridedSlice};
use litesmith_graph::{DType, Model, Op, TensorKind};

use super::read;
use crate::error::{FormatError, Unsupported};
use crate::tflite::flatbuffer::builder::{Table, assemble};
use crate::tflite::schema::{self, Builtin, buffer, options};

/// A tensor of a file under test.
struct Given {
    dtype: DType,
    shape: Vec<i32>,
    bytes: Vec<u8>,
    more: fn(Table) -> Table,
}

fn floats(shape: &[i32]) -> Given {
    Given { dtype: DType::F32, shape: shape.to_vec(), bytes: Vec::new(), more: |table| table }
}

fn integers(values: &[i32]) -> Given {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Given { dtype: DType::I32, shape: vec![values.len() as i32], bytes, more: |table| table }
}

impl Given {
    fn of(mut self, dtype: DType) -> Given {
        self.dtype = dtype;
        self
    }

    fn with(mut self, more: fn(Table) -> Table) -> Given {
        self.more = more;
        self
    }
}

/// An operator of a file under test.
struct Step {
    builtin: Builtin,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
    options: Option<(u8, Table)>,
}

fn step(builtin: Builtin, inputs: &[i32], outputs: &[i32], options: Option<(u8, Table)>) -> Step {
    Step { builtin, inputs: inputs.to_vec(), outputs: outputs.to_vec(), options }
}

/// A file of these tensors, the first of them the input, and operators; the last output of the last
/// operator is the output.
fn file(tensors: Vec<Given>, steps: Vec<Step>) -> Vec<u8> {
    let output = *steps.last().unwrap().outputs.last().unwrap();
    let mut regions = Vec::new();
    let mut buffers = Vec::new();
    let mut tables = Vec::new();
    for (index, given) in tensors.into_iter().enumerate() {
        buffers.push(match given.bytes.is_empty() {
            true => Table::default(),
            false => {
                regions.push(Bytes::from(given.bytes));
                Table::default().vector(buffer::DATA, regions.len() - 1)
            }
        });
        let table = Table::default()
            .numbers(schema::tensor::SHAPE, &given.shape)
            .scalar(schema::tensor::TYPE, schema::type_code(given.dtype), 0)
            .scalar(schema::tensor::BUFFER, index as u32, 0)
            .text(schema::tensor::NAME, &format!("t{index}"));
        tables.push((given.more)(table));
    }
    let mut codes = Vec::new();
    let mut operators = Vec::new();
    for (index, step) in steps.into_iter().enumerate() {
        use schema::operator as slot;
        // The old field alone, as files from before 2020 have it.
        let code = step.builtin.0 as i8;
        codes.push(Table::default().scalar(schema::operator_code::DEPRECATED_BUILTIN_CODE, code, 0));
        let mut table = Table::default()
            .scalar(slot::OPCODE_INDEX, index as u32, 0)
            .numbers(slot::INPUTS, &step.inputs)
            .numbers(slot::OUTPUTS, &step.outputs);
        if let Some((kind, options)) = step.options {
            table = table.scalar(slot::BUILTIN_OPTIONS_TYPE, kind, 0).table(slot::BUILTIN_OPTIONS, options);
        }
        operators.push(table);
    }
    let subgraph = Table::default()
        .tables(schema::subgraph::TENSORS, tables)
        .numbers(schema::subgraph::INPUTS, &[0])
        .numbers(schema::subgraph::OUTPUTS, &[output])
        .tables(schema::subgraph::OPERATORS, operators);
    let root = Table::default()
        .scalar(schema::model::VERSION, 3u32, 0)
        .tables(schema::model::OPERATOR_CODES, codes)
        .tables(schema::model::SUBGRAPHS, vec![subgraph])
        .tables(schema::model::BUFFERS, buffers);
    let mut bytes = Vec::new();
    assemble(root, schema::IDENTIFIER, &regions).unwrap().write_to(&mut bytes).unwrap();
    bytes
}

fn model(tensors: Vec<Given>, steps: Vec<Step>) -> Model {
    read(file(tensors, steps).into()).unwrap()
}

fn refused(tensors: Vec<Given>, steps: Vec<Step>) -> Vec<Unsupported> {
    match read(file(tensors, steps).into()) {
        Err(FormatError::Unsupported(list)) => list,
        other => panic!("{other:?}"),
    }
}

fn broken(tensors: Vec<Given>, steps: Vec<Step>) -> String {
    match read(file(tensors, steps).into()) {
        Err(error @ (FormatError::Broken { .. } | FormatError::Model(_))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The first operator, and the shape of the output.
fn first(model: &Model) -> (&Op, String) {
    let graph = model.main();
    (&graph.nodes[0].op, graph[graph.outputs[0]].shape.to_string())
}

#[test]
fn an_ellipsis_stands_for_whole_axes() {
    use options::strided_slice as slot;
    // x[1, ..., ::2]
    let masks = Table::default()
        .scalar(slot::ELLIPSIS_MASK, 2, 0)
        .scalar(slot::SHRINK_AXIS_MASK, 1, 0)
        .scalar(slot::BEGIN_MASK, 4, 0)
        .scalar(slot::END_MASK, 4, 0);
    let lists = [integers(&[1, 0, 0]), integers(&[2, 0, 0]), integers(&[1, 1, 2])];
    let mut tensors = vec![floats(&[2, 3, 4, 5])];
    tensors.extend(lists);
    tensors.push(floats(&[]));
    let model =
        model(tensors, vec![step(Builtin::STRIDED_SLICE, &[0, 1, 2, 3], &[4], Some((slot::KIND, masks)))]);
    let expected = StridedSlice {
        begin: vec![1, 0, 0, 0],
        end: vec![2, 0, 0, 0],
        strides: vec![1, 1, 1, 2],
        begin_mask: 0b1110,
        end_mask: 0b1110,
        shrink_axis_mask: 1,
    };
    assert_eq!(first(&model), (&expected.into(), "[3,4,3]".to_owned()));
}

#[test]
fn one_part_of_a_split_takes_what_is_left_over() {
    let tensors = || vec![floats(&[2, 7]), integers(&[2, -1]), integers(&[1]), floats(&[]), floats(&[])];
    let model = model(tensors(), vec![step(Builtin::SPLIT_V, &[0, 1, 2], &[3, 4], None)]);
    let expected = Split { axis: 1, parts: 2, sizes: vec![2, 5] };
    assert_eq!(first(&model), (&expected.into(), "[2,5]".to_owned()));
    let error = broken(tensors(), vec![step(Builtin::SPLIT_V, &[0, 1, 2], &[3], None)]);
    assert!(error.contains("1 outputs for 2 parts"), "{error}");
}

#[test]
fn a_new_shape_may_be_an_option() {
    let reshape = |shape: &[i32]| {
        let options = Table::default().numbers(options::reshape::NEW_SHAPE, shape);
        vec![step(Builtin::RESHAPE, &[0], &[1], Some((options::reshape::KIND, options)))]
    };
    let flat = model(vec![floats(&[2, 6]), floats(&[])], reshape(&[-1, 4]));
    let expected = Reshape::to(vec![ReshapeDim::Infer, ReshapeDim::Fixed(4)]);
    assert_eq!(first(&flat), (&expected.into(), "[3,4]".to_owned()));
    let scalar = model(vec![floats(&[1, 1]), floats(&[])], reshape(&[0]));
    assert_eq!(first(&scalar), (&Reshape::to(vec![]).into(), "[]".to_owned()));
}

#[test]
fn the_older_select_is_read_where_it_broadcasts() {
    let tensors = |condition: &[i32]| {
        let condition = floats(condition).of(DType::Bool);
        vec![condition, floats(&[4, 3]).with(constant), floats(&[4, 3]).with(constant), floats(&[])]
    };
    // The values' elements are those of a buffer of twelve floats.
    fn constant(table: Table) -> Table {
        table.scalar(schema::tensor::BUFFER, 4u32, 0)
    }
    let select = || vec![step(Builtin::SELECT, &[0, 1, 2], &[3], None)];
    let with_values = |condition: &[i32]| {
        let mut all = tensors(condition);
        all.push(Given { bytes: vec![0; 48], ..floats(&[12]) });
        all
    };
    assert_eq!(first(&model(with_values(&[4, 3]), select())), (&Select {}.into(), "[4,3]".to_owned()));
    assert_eq!(first(&model(with_values(&[]), select())), (&Select {}.into(), "[4,3]".to_owned()));
    let rows = model(with_values(&[4]), select());
    assert_eq!(operators(&rows), ["RESHAPE", "SELECT_V2"]);
    assert_eq!(rows.main()[rows.main().outputs[0]].shape.to_string(), "[4,3]");
}

/// The builtins of the main graph's nodes.
fn operators(model: &Model) -> Vec<&str> {
    model.main().nodes.iter().map(|node| node.op.builtin_name()).collect()
}

#[test]
fn some_builtins_are_several_operators() {
    let sum = vec![step(Builtin::ADD_N, &[0, 0, 0], &[1], None)];
    assert_eq!(operators(&model(vec![floats(&[2, 3]), floats(&[])], sum)), ["ADD", "ADD"]);

    use options::local_response_normalization as slot;
    let table = Table::default().scalar(slot::RADIUS, 1, 0).scalar(slot::BETA, 0.5f32, 0.0);
    let normalized = vec![step(
        Builtin::LOCAL_RESPONSE_NORMALIZATION,
        &[0],
        &[1],
        Some((slot::KIND, table.scalar(slot::ALPHA, 2.0f32, 0.0))),
    )];
    let read = model(vec![floats(&[1, 2, 2, 3]), floats(&[])], normalized);
    assert_eq!(operators(&read), ["SQUARE", "CONV_2D", "POW", "MUL"]);
    let weights = &read.main()[read.main().nodes[1].inputs[1].unwrap()];
    let band = read.data(weights).unwrap().floats(DType::F32).unwrap().into_owned();
    assert_eq!(band, [2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 0.0, 2.0, 2.0]);

    let zeros = vec![step(Builtin::ZEROS_LIKE, &[0], &[1], None)];
    assert_eq!(operators(&model(vec![floats(&[2, 3]), floats(&[])], zeros)), ["SHAPE", "FILL"]);
    let rank = vec![step(Builtin::RANK, &[0], &[1], None)];
    let read = model(vec![floats(&[2, 3]), floats(&[]).of(DType::I32)], rank);
    assert!(read.main().nodes.is_empty());
}

#[test]
fn a_sparse_constant_is_made_dense() {
    fn sparse(table: Table) -> Table {
        use schema::{dimension_metadata as slot, sparsity};
        let indices = |numbers: &[u8]| Table::default().numbers(0, numbers);
        let rows = Table::default().scalar(slot::DENSE_SIZE, 2, 0);
        let columns = Table::default()
            .scalar(slot::FORMAT, 1i8, 0)
            .scalar(slot::ARRAY_SEGMENTS_TYPE, 3u8, 0)
            .table(slot::ARRAY_SEGMENTS, indices(&[0, 1, 3]))
            .scalar(slot::ARRAY_INDICES_TYPE, 3u8, 0)
            .table(slot::ARRAY_INDICES, indices(&[2, 0, 1]));
        let sparse = Table::default()
            .numbers(sparsity::TRAVERSAL_ORDER, &[0, 1])
            .tables(sparsity::DIM_METADATA, vec![rows, columns]);
        table.table(schema::tensor::SPARSITY, sparse)
    }
    let stored =
        |count: u8| Given { dtype: DType::I8, bytes: (1..=count).collect(), more: sparse, shape: vec![2, 3] };
    let tensors = |count| vec![floats(&[]), stored(count), floats(&[2, 3]).of(DType::I8)];
    let steps = || vec![step(Builtin::DENSIFY, &[1], &[2], None)];
    let model = model(tensors(3), steps());
    assert!(model.main().nodes.is_empty());
    let TensorKind::Constant(data) = &model.main().tensors[2].kind else { panic!("it is no constant") };
    assert_eq!(data.bytes(), [0, 0, 1, 2, 3, 0]);
    assert!(broken(tensors(4), steps()).contains("4 bytes for 3 stored elements"));
}

#[test]
fn all_that_is_not_supported_is_listed() {
    let tensors = vec![floats(&[2, 3]), floats(&[2, 3]), floats(&[2, 3]), floats(&[2, 3])];
    let steps = vec![
        step(Builtin(10), &[0], &[1], None),
        step(Builtin::RELU, &[1], &[2], None),
        step(Builtin(99 + 21), &[2], &[3], None),
    ];
    let list = refused(tensors, steps);
    let names: Vec<_> = list.iter().map(|item| (&*item.layer, &*item.operator)).collect();
    assert_eq!(names, [("t1", "HASHTABLE_LOOKUP"), ("t3", "NON_MAX_SUPPRESSION_V4")]);
}

#[test]
fn attributes_may_follow_from_fixed_shapes_only() {
    let steps = || vec![step(Builtin::SHAPE, &[0], &[1], None), step(Builtin::TILE, &[0, 1], &[2], None)];
    let shape = || Given { bytes: Vec::new(), ..integers(&[0, 0]) };
    let fixed = model(vec![floats(&[2, 3]), shape(), floats(&[])], steps());
    assert_eq!(first(&fixed).1, "[4,9]");
    let free = model(vec![floats(&[-1, 3]), shape(), floats(&[])], steps());
    assert_eq!((free.main().nodes.len(), free.main().nodes[1].inputs.len()), (2, 2));
    assert_eq!(free.main()[free.main().outputs[0]].shape.to_string(), "[?,9]");
}

#[test]
fn types_of_results_are_held_against_the_file() {
    let steps = vec![step(Builtin::RELU, &[0], &[1], None)];
    let list = refused(vec![floats(&[2]), floats(&[2]).of(DType::I8)], steps);
    assert!(list[0].reason.contains("i8"), "{}", list[0].reason);
}

#[test]
fn quantization_is_held_to_the_rules_of_runtimes() {
    fn of(table: Table, scales: &[f32], points: &[i64], axis: i32) -> Table {
        use schema::quantization as slot;
        let quantization = Table::default()
            .numbers(slot::SCALE, scales)
            .numbers(slot::ZERO_POINT, points)
            .scalar(slot::QUANTIZED_DIMENSION, axis, 0);
        table.table(schema::tensor::QUANTIZATION, quantization)
    }
    let tensors = |dtype, more| vec![floats(&[2, 3]).of(dtype).with(more), floats(&[2, 3]).of(dtype)];
    let steps = || vec![step(Builtin::RELU, &[0], &[1], None)];
    let read = |dtype, more| model(tensors(dtype, more), steps()).main().tensors[0].quantization.clone();
    let per_channel = read(DType::I8, |t| of(t, &[0.5, 1.0, 2.0], &[0, 1, 2], 1)).unwrap();
    assert_eq!((per_channel.axis, &*per_channel.zero_points), (Some(1), &[0, 1, 2][..]));
    let zeros = |t| of(t, &[0.5, 1.0, 2.0], &[0, 0, 0], 1);
    let both = model([0, 1].map(|_| floats(&[2, 3]).of(DType::I8).with(zeros)).into(), steps());
    let [first, second] = [0, 1].map(|index| both.main().tensors[index].quantization.as_ref().unwrap());
    assert_eq!(first.zero_points[..], [0, 0, 0]);
    assert!(Arc::ptr_eq(&first.zero_points, &second.zero_points));
    assert_eq!(read(DType::I8, |t| of(t, &[0.5], &[3], 7)).unwrap().axis, None);
    assert_eq!(read(DType::I8, |t| of(t, &[0.0], &[0], 0)), None);
    assert_eq!(read(DType::F32, |t| of(t, &[0.5], &[], 0)), None);
    for more in [
        |t| of(t, &[0.5, 1.0], &[0], 0),
        |t| of(t, &[0.5], &[128], 0),
        |t| of(t, &[0.5], &[i64::MAX], 0),
        |t| of(t, &[f32::NAN], &[0], 0),
        |t| of(t, &[-1.0], &[0], 0),
        |t| of(t, &[0.5, 1.0], &[0, 0], 2),
        |t| of(t, &[0.5, 1.0], &[0, 0], -1),
        |t| of(t, &[0.5, 1.0, 1.5], &[0, 0, 0], 0),
    ] as [fn(Table) -> Table; 8]
    {
        broken(tensors(DType::I8, more), steps());
    }
}

#[test]
fn references_must_exist() {
    let two = || vec![floats(&[2]), floats(&[2])];
    for steps in [
        vec![step(Builtin::RELU, &[2], &[1], None)],
        vec![step(Builtin::RELU, &[-2], &[1], None)],
        vec![step(Builtin::RELU, &[-1], &[1], None)],
        vec![step(Builtin::RELU, &[1], &[1], None)],
        vec![step(Builtin::RELU, &[0], &[0], None)],
        vec![step(Builtin::RELU, &[0], &[1], None), step(Builtin::RELU, &[0], &[1], None)],
    ] {
        broken(two(), steps);
    }
    let relu = || vec![step(Builtin::RELU, &[0], &[1], None)];
    let buffer = |t: Table| t.scalar(schema::tensor::BUFFER, 9u32, 0);
    assert!(broken(vec![floats(&[2]).with(buffer), floats(&[2])], relu()).contains("buffer 9"));
    broken(vec![Given { bytes: vec![0; 8], ..floats(&[2]) }, floats(&[2])], relu());
    broken(vec![floats(&[-2]), floats(&[2])], relu());
    broken(vec![floats(&[1; 33]), floats(&[2])], relu());
}

#[test]
fn computed_shapes_do_not_grow_without_end() {
    // A tensor joined with itself forty times over: its size is told, its elements are not followed.
    let mut tensors = vec![floats(&[1]), integers(&[1])];
    let mut steps = Vec::new();
    for last in 1..=40 {
        tensors.push(Given { bytes: Vec::new(), ..integers(&[0]) });
        steps.push(step(Builtin::CONCATENATION, &[last, last], &[last + 1], None));
    }
    let model = model(tensors, steps);
    assert_eq!(first(&model).1, format!("[{}]", 1u64 << 40));
    assert!(matches!(crate::tflite::write(&model), Err(FormatError::Unsupported(_))));
}
