//! Kernels against results that LiteRT gave.
//!
//! `litert.txt` was recorded with ai-edge-litert 2.3.0 (XNNPACK, its default) on models of one
//! `int8` operator each, with random scales, zero points and values, and some scales that make ties
//! frequent. A line holds the operator, its parameters, a bar, and the bytes of its inputs and of
//! its output in hexadecimal.

use litesmith_kernels::elementwise::{Affine, Binary, Broadcast, QuantizedBinary, Table, Unary};
use litesmith_kernels::pooling::{average_pool_quantized, max_pool};
use litesmith_kernels::reduce::{QuantizedSum, Reduction};
use litesmith_kernels::resize::{Coordinates, Resize, resize_bilinear_quantized, resize_nearest};
use litesmith_kernels::softmax::QuantizedSoftmax;
use litesmith_kernels::{Isa, ThreadPool, Window, convert, normalize};

struct Case {
    operator: String,
    parameters: Vec<f32>,
    inputs: Vec<Vec<u8>>,
    output: Vec<u8>,
}

impl Case {
    fn parse(line: &str) -> Case {
        let (head, bytes) = line.split_once(" | ").expect("a bar");
        let mut words = head.split(' ');
        let operator = words.next().expect("an operator").to_owned();
        let parameters = words.map(|word| word.parse().expect("a number")).collect();
        let mut inputs: Vec<Vec<u8>> = bytes.split(' ').map(from_hexadecimal).collect();
        let output = inputs.pop().expect("an output");
        Case { operator, parameters, inputs, output }
    }

    fn affine(&self, at: usize) -> Affine {
        Affine::from_int8(self.parameters[at], self.parameters[at + 1] as i8)
    }

    fn numbers<const N: usize>(&self, at: usize) -> [usize; N] {
        std::array::from_fn(|i| self.parameters[at + i] as usize)
    }

    /// The operator's result in the `int8` view, by our kernels.
    fn run(&self, isa: Isa) -> Vec<u8> {
        let pool = ThreadPool::new(2);
        let inputs: Vec<Vec<u8>> = self.inputs.iter().map(|input| flipped(input)).collect();
        let input = &inputs[0];
        let mut output = vec![0; self.output.len()];
        let table = |operator| Table::unary(operator, self.affine(0), self.affine(2));
        match self.operator.as_str() {
            "ADD" => self.binary(isa, &pool, Binary::Add, &inputs, &mut output),
            "SUB" => self.binary(isa, &pool, Binary::Sub, &inputs, &mut output),
            "MUL" => self.binary(isa, &pool, Binary::Mul, &inputs, &mut output),
            "LOGISTIC" => table(Unary::Logistic).apply(isa, &pool, input, &mut output),
            "TANH" => table(Unary::Tanh).apply(isa, &pool, input, &mut output),
            "GELU" => table(Unary::Gelu).apply(isa, &pool, input, &mut output),
            "RELU" => table(Unary::Relu).apply(isa, &pool, input, &mut output),
            "RELU6" => table(Unary::Relu6).apply(isa, &pool, input, &mut output),
            "ABS" => table(Unary::Abs).apply(isa, &pool, input, &mut output),
            "LEAKY_RELU" => {
                let slope = Unary::LeakyRelu { alpha: f64::from(0.1f32) };
                table(slope).apply(isa, &pool, input, &mut output);
            }
            "QUANTIZE" => {
                Table::requantize(self.affine(0), self.affine(2)).apply(isa, &pool, input, &mut output);
            }
            "QUANTIZE_FLOAT" => {
                let floats: Vec<f32> = self.inputs[0]
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect();
                convert::quantize(isa, &pool, &floats, self.affine(0), &mut output);
            }
            "MEAN" | "SUM" => {
                let [shape @ .., axes] = self.numbers::<5>(4);
                let axes: Vec<usize> = (0..axes).map(|i| self.parameters[9 + i] as usize).collect();
                let plan = Reduction::new(&shape, &axes);
                let make = if self.operator == "MEAN" { QuantizedSum::mean } else { QuantizedSum::sum };
                make(&plan, self.affine(0), self.affine(2)).apply(isa, &pool, &plan, input, &mut output);
            }
            "AVERAGE_POOL_2D" => {
                let (window, shape) = self.window();
                average_pool_quantized(isa, &pool, &window, shape, input, [0, 255], &mut output);
            }
            "MAX_POOL_2D" => {
                let (window, shape) = self.window();
                max_pool(isa, &pool, &window, shape, input, [0, 255], &mut output);
            }
            "SOFTMAX" => {
                let [rows, classes] = self.numbers(1);
                let softmax = QuantizedSoftmax::new(self.parameters[0], 1.0);
                softmax.apply(isa, &pool, [rows, classes, 1], input, &mut output);
            }
            "LOG_SOFTMAX" => {
                let [rows, classes] = self.numbers(1);
                let softmax = QuantizedSoftmax::new(self.parameters[0], 1.0);
                let affine = Affine::from_int8(1.0 / 16.0, 127);
                softmax.apply_log(isa, &pool, [rows, classes, 1], affine, input, &mut output);
            }
            "RESIZE_BILINEAR" => resize_bilinear_quantized(isa, &pool, &self.resize(), input, &mut output),
            "RESIZE_NEAREST_NEIGHBOR" => resize_nearest(&pool, &self.resize(), input, &mut output),
            "L2_NORMALIZATION" => {
                let (zero_point, axis) = (self.parameters[0] as i16 + 128, self.parameters[2] as usize);
                let affine = Affine::from_int8(1.0 / 128.0, 0);
                normalize::l2_normalization_quantized(
                    &pool,
                    axis,
                    zero_point as u8,
                    affine,
                    input,
                    &mut output,
                );
            }
            other => panic!("no kernel for {other}"),
        }
        flipped(&output)
    }

    fn binary(&self, isa: Isa, pool: &ThreadPool, operator: Binary, inputs: &[Vec<u8>], output: &mut [u8]) {
        let len = [output.len()];
        let plan = Broadcast::new([&len, &len]).expect("equal shapes");
        QuantizedBinary::new(operator, self.affine(0), self.affine(2), self.affine(4), [0, 255]).apply(
            isa,
            pool,
            &plan,
            [&inputs[0], &inputs[1]],
            output,
        );
    }

    fn window(&self) -> (Window, [usize; 4]) {
        let [kernel, stride, before, after] = self.numbers(0);
        let window = Window {
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad_before: [before; 2],
            pad_after: [after; 2],
        };
        (window, self.numbers(4))
    }

    fn resize(&self) -> Resize {
        let coordinates = match self.numbers(0) {
            [1, _] => Coordinates::AlignCorners,
            [_, 1] => Coordinates::HalfPixelCenters,
            [_, _] => Coordinates::Corners,
        };
        Resize { input: self.numbers(2), output: self.numbers(6), coordinates }
    }
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x80).collect()
}

#[test]
fn every_value_equals_litert() {
    let cases: Vec<Case> = include_str!("litert.txt").lines().map(Case::parse).collect();
    assert_eq!(cases.len(), 82);
    for (line, case) in cases.iter().enumerate() {
        for isa in Isa::available_levels() {
            let output = case.run(isa);
            let wrong = output.iter().zip(&case.output).filter(|(a, b)| a != b).count();
            assert_eq!(
                wrong,
                0,
                "line {} ({}) on {isa}, of {} values",
                line + 1,
                case.operator,
                output.len()
            );
        }
    }
}
