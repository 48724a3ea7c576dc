//! A model whose images are kept channels first computes the same.

use std::collections::HashMap;

use litesmith_graph::ops::*;
use litesmith_graph::{DType, Dim, Facts, Graph, Inputs, Model, Op, Shape, Tensor, TensorId, text, validate};
use litesmith_passes::{Interface, Target, absorb_padding, channels_first, channels_last, legalize};
use litesmith_quantize::{Mode, Options as QuantizeOptions, Recipe, Statistics, calibrate, lower, quantize};
use litesmith_runtime::{Array, Interpreter, Options};

/// Sizes of the images that models take.
const SIZES: [usize; 4] = [2, 6, 6, 4];
/// Models that are tried.
const MODELS: u32 = 200;

struct Random(u32);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % limit
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// A graph that grows by operators that fit what is there.
struct Growing {
    graph: Graph,
    random: Random,
    /// What can be read.
    made: Vec<TensorId>,
    /// What is known of what nodes compute, values of sizes among it.
    known: HashMap<TensorId, Facts>,
}

impl Growing {
    /// With inputs of [`SIZES`], where the first `free` axes are free.
    fn new(seed: u32, free: usize) -> Growing {
        let mut graph = Graph::new("main");
        let names = ["batch", "height", "width"];
        let dim = |axis: usize| if axis < free { Dim::free(names[axis]) } else { SIZES[axis].into() };
        let image = Shape((0..4).map(dim).collect());
        let vector = Shape::from([dim(0), dim(3)]);
        let made = vec![
            graph.add_tensor(Tensor::input("x", DType::F32, image.clone())),
            graph.add_tensor(Tensor::input("y", DType::F32, image)),
            graph.add_tensor(Tensor::input("v", DType::F32, vector)),
        ];
        Growing { graph, known: HashMap::new(), random: Random(seed.wrapping_mul(2_654_435_761)), made }
    }

    fn constant(&mut self, shape: &[usize]) -> TensorId {
        let values = (0..shape.iter().product()).map(|_| (self.random.below(65) as f32 - 32.0) / 32.0);
        let tensor = Tensor::floats("constant", shape, values.collect());
        self.graph.add_tensor(tensor)
    }

    /// Adds the node if it fits.
    fn push(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> bool {
        let op = op.into();
        let stated = |id: &TensorId| Facts::new(self.graph[*id].dtype, self.graph[*id].shape.clone());
        let known = |id: &TensorId| self.known.get(id).cloned().unwrap_or_else(|| stated(id));
        let facts: Vec<Facts> = inputs.iter().map(known).collect();
        let given: Vec<Option<&Facts>> = facts.iter().map(Some).collect();
        let Ok(outputs) = op.infer(Inputs(&given)) else { return false };
        let small = |facts: &Facts| (1..6000).contains(&facts.shape.elements_per_sample());
        if !outputs.iter().all(small) {
            return false;
        }
        let name = format!("{}{}", op.name().to_lowercase(), self.graph.nodes.len());
        let ids: Vec<TensorId> = outputs
            .into_iter()
            .enumerate()
            .map(|(place, facts)| {
                let name = format!("{name}:{place}");
                let id = self.graph.add_tensor(Tensor::activation(&name, facts.dtype, facts.shape.clone()));
                self.known.insert(id, facts);
                id
            })
            .collect();
        self.graph.add_node(&name, op, inputs.iter().copied().map(Some).collect(), ids.clone());
        let real = ids.into_iter().filter(|id| self.graph[*id].dtype == DType::F32);
        self.made.extend(real.collect::<Vec<_>>());
        true
    }

    fn sizes(&self, id: TensorId) -> Vec<usize> {
        self.graph[id].shape.dims().iter().map(|dim| dim.fixed().unwrap_or(SIZES[0])).collect()
    }

    fn any(&mut self) -> TensorId {
        // The newest most often, so that graphs grow deep.
        let back = self.random.below(3).min(self.made.len() - 1);
        if self.random.below(4) == 0 {
            let made = self.made.clone();
            return self.random.one_of(&made);
        }
        self.made[self.made.len() - 1 - back]
    }

    /// One more node of some kind, if it fits.
    fn grow(&mut self, reductions: bool) {
        let x = self.any();
        let sizes = self.sizes(x);
        let (rank, last) = (sizes.len(), *sizes.last().unwrap_or(&1));
        if rank == 0 {
            return;
        }
        let axis = self.random.below(rank) as i32;
        match self.random.below(32) {
            0..=4 if rank == 4 => {
                let weights = self.constant(&[4, 3, 3, last]);
                self.push(Conv2D { padding: Padding::Same, ..Conv2D::default() }, &[x, weights]);
            }
            5 if rank == 4 => {
                let weights = self.constant(&[1, 2, 2, last]);
                self.push(DepthwiseConv2D { stride: [2, 1], ..DepthwiseConv2D::default() }, &[x, weights]);
            }
            6 => {
                let kind = self.random.one_of(&[PoolKind::Max, PoolKind::Average]);
                self.push(Pool2D { kind, kernel: [2, 2], padding: Padding::Same, ..Pool2D::default() }, &[x]);
            }
            7 => {
                self.push(Resize { size: [5, 3], half_pixel_centers: true, ..Resize::default() }, &[x]);
            }
            8 => {
                let op: Op = match self.random.below(2) {
                    0 => SpaceToDepth { block: 2 }.into(),
                    _ => DepthToSpace { block: 2 }.into(),
                };
                self.push(op, &[x]);
            }
            9 | 10 => {
                let kind = self.random.one_of(&[UnaryKind::Relu, UnaryKind::Abs, UnaryKind::Neg]);
                self.push(Unary::from(kind), &[x]);
            }
            11..=13 => {
                let other = self.any();
                self.push(Binary::from(BinaryKind::Add), &[x, other]);
            }
            14 => {
                let shape: &[usize] = match self.random.below(4) {
                    0 => &[last],
                    1 => &[],
                    2 => &sizes,
                    _ => sizes.get(1..).unwrap_or(&[]),
                };
                let constant = self.constant(shape);
                self.push(Binary::from(BinaryKind::Mul), &[constant, x]);
            }
            15 => {
                let other = self.any();
                self.push(Concat { axis, ..Concat::default() }, &[x, other]);
            }
            16 => {
                self.push(Split { axis, parts: 2, sizes: Vec::new() }, &[x]);
            }
            17 => {
                let mut amounts = vec![[0, 0]; rank];
                amounts[axis as usize] = [1, self.random.below(2)];
                self.push(Pad { amounts, mode: PadMode::Value(0.5) }, &[x]);
            }
            18 => {
                let mut slice = StridedSlice {
                    begin: vec![0; axis as usize + 1],
                    end: vec![i64::from(i32::MAX); axis as usize + 1],
                    strides: vec![1; axis as usize + 1],
                    ..StridedSlice::default()
                };
                slice.begin[axis as usize] = 1;
                if self.random.below(3) == 0 && rank > 3 {
                    slice.shrink_axis_mask = 1 << axis;
                }
                self.push(slice, &[x]);
            }
            19 => {
                self.push(Reverse { axes: vec![axis] }, &[x]);
            }
            20 => {
                let begin = vec![0; rank];
                let mut size = vec![-1; rank];
                size[axis as usize] = 1;
                self.push(Slice { begin, size }, &[x]);
            }
            21 if reductions => {
                let axes = self.random.one_of(&[&[1, 2][..], &[-1], &[1]]).to_vec();
                let keep_dims = self.random.below(2) == 0;
                self.push(Reduce { kind: ReduceKind::Mean, axes, keep_dims }, &[x]);
            }
            22 => {
                let keep_dims = self.random.below(2) == 0;
                self.push(Reduce { kind: ReduceKind::Max, axes: vec![axis], keep_dims }, &[x]);
            }
            23 => {
                self.push(Softmax::default(), &[x]);
            }
            24 => {
                let weights = self.constant(&[4, last]);
                self.push(FullyConnected { keep_num_dims: true, ..FullyConnected::default() }, &[x, weights]);
            }
            25 => {
                let permutation: &[usize] = match (rank, self.random.below(3)) {
                    (4, 0) => &[0, 3, 1, 2],
                    (4, 1) => &[0, 2, 3, 1],
                    (4, _) => &[0, 2, 1, 3],
                    (3, _) => &[0, 2, 1],
                    _ => &[1, 0],
                };
                self.push(Transpose::by(permutation), &[x]);
            }
            26 => {
                let shape: &[usize] = match self.random.below(4) {
                    0 => &[2, 36, 4],
                    1 => &[2, 144],
                    2 => &[2, 1, 1, 4],
                    _ => &[2, 6, 6, 4],
                };
                self.push(Reshape::to(shape.iter().map(|size| ReshapeDim::Fixed(*size)).collect()), &[x]);
            }
            27 => {
                self.push(ExpandDims { axis }, &[x]);
            }
            28 if rank == 5 => {
                let weights = self.constant(&[2, 1, 2, last, 4]);
                self.push(Conv3D { padding: Padding::Same, ..Conv3D::default() }, &[x, weights]);
            }
            29 => {
                if self.push(ShapeOf::default(), &[x]) {
                    let sizes = TensorId(self.graph.tensors.len() as u32 - 1);
                    let row = self.constant(&[last]);
                    self.push(BroadcastTo { shape: Vec::new() }, &[row, sizes]);
                }
            }
            30 => {
                let one = |axis: &i32| self.graph[x].shape.dims()[*axis as usize] == Dim::Fixed(1);
                let axes: Vec<i32> = (0..rank as i32).filter(one).collect();
                // An empty list would mean whatever turns out to be of size 1.
                if !axes.is_empty() {
                    self.push(Squeeze { axes }, &[x]);
                }
            }
            _ => {
                let indices = self.graph.add_tensor(Tensor::integers("indices", &[0, 0]));
                self.push(Gather { axis, batch_dims: 0 }, &[x, indices]);
            }
        }
    }

    fn finish(mut self) -> Model {
        let last = self.made[self.made.len() - 1];
        let other = self.any();
        self.graph.outputs = if last == other { vec![last] } else { vec![other, last] };
        self.graph.remove_dead();
        Model::new(self.graph)
    }
}

fn model(seed: u32, reductions: bool, free: usize) -> Model {
    let mut growing = Growing::new(seed, free);
    (0..25).for_each(|_| growing.grow(reductions));
    let model = growing.finish();
    validate(&model).expect("the generator makes sound models");
    model
}

/// Values that the model's inputs take, channels last.
fn inputs(model: &Model) -> Vec<Array> {
    let rank = |id: &TensorId| model.main()[*id].shape.rank();
    let shapes = model
        .main()
        .inputs
        .iter()
        .map(|id| if rank(id) == 2 { vec![SIZES[0], SIZES[3]] } else { SIZES.to_vec() });
    shapes.enumerate().map(|(place, shape)| noise(&shape, place)).collect()
}

fn noise(shape: &[usize], seed: usize) -> Array {
    let values = (0..shape.iter().product()).map(|i: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0);
    Array::from_f32(shape, &values.collect::<Vec<_>>())
}

fn run(model: &Model, inputs: &[Array]) -> Vec<Array> {
    let mut interpreter = Interpreter::new(model, &Options::default().with_threads(1)).unwrap();
    interpreter.run(inputs).unwrap_or_else(|error| panic!("{error}\n{}", text::print(model)))
}

/// An image or volume with its channels moved to the second axis; what is neither stays.
fn moved(array: &Array) -> Array {
    let (4..=5, [n, places @ .., c]) = (array.shape.len(), &array.shape[..]) else { return array.clone() };
    let values = array.floats();
    let size = places.iter().product::<usize>();
    let place = |i: usize| (i / (c * size) * size + i % size) * c + i / size % c;
    let shape = [&[*n, *c], places].concat();
    Array::from_f32(&shape, &(0..n * size * c).map(|i| values[place(i)]).collect::<Vec<_>>())
}

fn assert_same(before: &[Array], after: &[Array], exact: bool, what: &dyn Fn() -> String) {
    assert_eq!(before.len(), after.len(), "{}", what());
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.shape, after.shape, "{}", what());
        if exact {
            assert!(before.data == after.data, "{}", what());
        } else {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs().max(1.0) || a == b;
            assert!(before.floats().iter().zip(after.floats().iter()).all(near), "{}", what());
        }
    }
}

fn transpositions(model: &Model) -> usize {
    model.main().nodes.iter().filter(|node| matches!(node.op, Op::Transpose(_))).count()
}

#[test]
fn every_model_computes_the_same_in_both_orders() {
    let (mut bracketed, mut refused) = (0, 0);
    for seed in 0..MODELS {
        let reductions = seed % 3 == 0;
        let source = model(seed, reductions, seed as usize % 4);
        let given = inputs(&source);
        // Sizes that are not known when it is made may not fit.
        let made = Interpreter::new(&source, &Options::default());
        let Ok(expected) = made.and_then(|mut interpreter| interpreter.run(&given)) else {
            refused += 1;
            continue;
        };
        let arranged = |first: bool, model: &Model, interface| {
            let mut model = model.clone();
            let arrange = if first { channels_first } else { channels_last };
            arrange(&mut model, interface).unwrap();
            validate(&model).unwrap_or_else(|error| panic!("{seed}: {error}\n{}", text::print(&model)));
            model
        };
        let what = |model: &Model| format!("{seed}:\n{}\n{}", text::print(&source), text::print(model));
        let first = arranged(true, &source, Interface::Source);
        assert_same(&expected, &run(&first, &given), !reductions, &|| what(&first));
        let last = arranged(false, &first, Interface::Source);
        assert_same(&expected, &run(&last, &given), !reductions, &|| what(&last));
        assert!(transpositions(&last) <= transpositions(&source), "{}", what(&last));
        bracketed += usize::from(transpositions(&first) > transpositions(&source));
    }
    assert!(bracketed > MODELS as usize / 4, "{bracketed} models have convolutions");
    assert!(refused < MODELS / 2, "{refused} models do not run");
}

#[test]
fn inputs_and_outputs_can_be_channels_first() {
    let mut tried = 0;
    for seed in 0..MODELS / 2 {
        let source = model(seed, false, 0);
        // What it calls channels first already stays so.
        if transpositions(&source) > 0 {
            continue;
        }
        tried += 1;
        let given = inputs(&source);
        let expected: Vec<Array> = run(&source, &given).iter().map(moved).collect();
        let mut first = source.clone();
        channels_first(&mut first, Interface::ChannelsFirst).unwrap();
        let given: Vec<Array> = given.iter().map(moved).collect();
        let what = || format!("{seed}:\n{}\n{}", text::print(&source), text::print(&first));
        assert_same(&expected, &run(&first, &given), true, &what);
        let mut last = first.clone();
        channels_last(&mut last, Interface::ChannelsLast).unwrap();
        let (before, after) = (transpositions(&first), transpositions(&last));
        assert!(after <= before, "{seed}: {before} became {after}\n{}", text::print(&last));
    }
    assert!(tried > MODELS / 8, "{tried} models have no transposition");
}

#[test]
fn integers_are_the_same_in_both_orders() {
    let mut tried = 0;
    for seed in 0..MODELS / 2 {
        let mode = [Mode::Int8, Mode::Int16x8, Mode::Dynamic, Mode::Float16][seed as usize % 4];
        let mut source = model(seed, mode == Mode::Int8, 1);
        legalize(&mut source, Target::Onnx).unwrap();
        let given = inputs(&source);
        if matches!(mode, Mode::Int8 | Mode::Int16x8) {
            lower(&mut source, mode, &Recipe::default()).unwrap();
        }
        let mut statistics = Statistics::new();
        let Ok(mut interpreter) = Interpreter::new(&source, &Options::default()) else { continue };
        // Sizes that are not known when it is made may not fit.
        if calibrate(&mut interpreter, &source, &given, &mut statistics, None).is_err() {
            continue;
        }
        tried += 1;
        let integers = matches!(mode, Mode::Int8 | Mode::Int16x8);
        let statistics = integers.then_some(&statistics);
        quantize(&mut source, &QuantizeOptions::new(mode), &Recipe::default(), statistics, None).unwrap();
        let mut first = source.clone();
        channels_first(&mut first, Interface::Source).unwrap();
        validate(&first).unwrap();
        let what = || format!("{mode:?} {seed}:\n{}\n{}", text::print(&source), text::print(&first));
        assert_same(&run(&source, &given), &run(&first, &given), true, &what);
    }
    assert!(tried > MODELS / 8, "{tried} models run");
}

#[test]
fn absorbed_padding_gives_the_integers_of_an_operator_before() {
    let text = r#"graph main(%x: f32[2,6,6,2]) -> (%z) {
      %w: f32[3,3,3,2] = random(1)
      %d: f32[1,2,2,3] = random(2)
      %a: f32[2,7,4,3] = Conv2D(%x, %w) {"stride":[1,2],"padding":{"explicit":{"before":[2,1],"after":[1,3]}}} # conv
      %b: f32[2,7,5,3] = DepthwiseConv2D(%a, %d) {"padding":{"explicit":{"before":[0,1],"after":[1,1]}}} # depthwise
      %z: f32[2,7,5,3] = Pool2D(%b) {"kernel":[2,2],"padding":{"explicit":{"before":[1,0],"after":[0,1]}}} # pool
    }"#;
    for mode in [None, Some(Mode::Int8), Some(Mode::Int16x8)] {
        let mut model = text::parse(text).unwrap();
        legalize(&mut model, Target::Onnx).unwrap();
        let given = [noise(&[2, 6, 6, 2], 0)];
        if let Some(mode) = mode {
            let mut statistics = Statistics::new();
            let mut interpreter = Interpreter::new(&model, &Options::default()).unwrap();
            calibrate(&mut interpreter, &model, &given, &mut statistics, None).unwrap();
            let options = QuantizeOptions::new(mode);
            quantize(&mut model, &options, &Recipe::default(), Some(&statistics), None).unwrap();
        }
        let expected = run(&model, &given);
        assert_eq!(absorb_padding(&mut model).unwrap(), 3, "{}", text::print(&model));
        validate(&model).unwrap();
        assert_same(&expected, &run(&model, &given), true, &|| text::print(&model));
        channels_first(&mut model, Interface::Source).unwrap();
        assert_same(&expected, &run(&model, &given), true, &|| text::print(&model));
    }
}
