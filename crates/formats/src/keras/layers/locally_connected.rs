//! Convolutions whose kernel is another at each place (Keras 2).

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, ExpandDims, FullyConnected, Reshape, ReshapeDim, Squeeze, Transpose,
};

use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, Numbers, unsupported};
use crate::keras::layers::operations::images::window_pixels;
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

pub(super) fn variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = vec![Variable::trained("kernel", "kernel_regularizer")];
    if config.flag("use_bias", true)? {
        variables.push(Variable::trained("bias", "bias_regularizer"));
    }
    Ok(variables)
}

/// Sizes of a layer over an image; over time, of height 1.
struct Sizes {
    input: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    output: [usize; 2],
    filters: usize,
    /// Whether the axis of height stands in the file.
    two_dimensional: bool,
}

impl Sizes {
    fn of(
        scope: &Scope<'_>,
        image: TensorId,
        kernel: [usize; 2],
        stride: [usize; 2],
        two: bool,
    ) -> Built<Sizes> {
        let config = scope.config();
        if config.text("padding")?.is_some_and(|padding| padding != "valid") {
            unsupported!("padding is not supported here; use ZeroPadding before it");
        }
        let input = [scope.size(image, 1)?, scope.size(image, 2)?];
        let mut output = [0; 2];
        for axis in [0, 1] {
            match input[axis].checked_sub(kernel[axis]) {
                Some(room) => output[axis] = room / stride[axis] + 1,
                None => return Err(config.broken("its kernel is larger than its input").into()),
            }
        }
        let channels = scope.channels(image)?;
        scope.affordable(&output)?;
        Ok(Sizes {
            input,
            channels,
            kernel,
            stride,
            output,
            filters: config.count("filters")?,
            two_dimensional: two,
        })
    }

    fn places(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Axes of an image without the height that is not in the file.
    fn image(&self, [height, width]: [usize; 2], last: usize) -> Vec<usize> {
        if self.two_dimensional { vec![height, width, last] } else { vec![width, last] }
    }
}

pub(super) fn one_dimensional(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.ranked(3)?;
    let ([kernel], [stride]) =
        (scope.config().counts("kernel_size")?, scope.config().counts_or("strides", [1])?);
    let image = scope.emit(ExpandDims { axis: 1 }, &[input])?;
    let sizes = Sizes::of(scope, image, [1, kernel], [1, stride], false)?;
    let connected = connected(scope, image, &sizes)?;
    let squeezed = scope.emit(Squeeze { axes: vec![1] }, &[connected])?;
    let biased = biased(scope, squeezed, &sizes)?;
    activations::of_layer(scope, biased)
}

pub(super) fn two_dimensional(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let (kernel, stride) =
        (scope.config().counts("kernel_size")?, scope.config().counts_or("strides", [1, 1])?);
    let sizes = Sizes::of(scope, image, kernel, stride, true)?;
    let connected = connected(scope, image, &sizes)?;
    let biased = biased(scope, connected, &sizes)?;
    activations::of_layer(scope, biased)
}

fn biased(scope: &mut Scope<'_>, x: TensorId, sizes: &Sizes) -> Built<TensorId> {
    if !scope.config().flag("use_bias", true)? {
        return Ok(x);
    }
    let bias = scope.weight("bias", &sizes.image(sizes.output, sizes.filters))?;
    scope.binary(BinaryKind::Add, x, bias)
}

/// The products, as an image.
fn connected(scope: &mut Scope<'_>, image: TensorId, sizes: &Sizes) -> Built<TensorId> {
    let flat = match scope.config().integer("implementation", 1)? {
        1 => by_place(scope, image, sizes)?,
        2 => as_one_matrix(scope, image, sizes)?,
        other => {
            unsupported!("implementation={other} is not supported; build the layer with implementation=1")
        }
    };
    let [height, width] = sizes.output;
    let shape = [height, width, sizes.filters].map(ReshapeDim::Fixed);
    let shape = [ReshapeDim::Copy(0)].into_iter().chain(shape).collect();
    scope.emit(Reshape::to(shape), &[flat])
}

/// Kernel `[places, pixels of a window, filters]`: a matrix product for each place.
fn by_place(scope: &mut Scope<'_>, image: TensorId, sizes: &Sizes) -> Built<TensorId> {
    let pixels = sizes.kernel.iter().try_fold(sizes.channels, |product, size| product.checked_mul(*size));
    let Some(pixels) = pixels else { return Err(scope.config().broken("its kernel is too large").into()) };
    let windows = window_pixels(scope, image, sizes.kernel, sizes.stride)?;
    let rows = vec![ReshapeDim::Copy(0), ReshapeDim::Fixed(sizes.places()), ReshapeDim::Fixed(pixels)];
    let rows = scope.emit(Reshape::to(rows), &[windows])?;
    let rows = scope.emit(Transpose::by(&[1, 0, 2]), &[rows])?;
    let kernel = scope.weight("kernel", &[sizes.places(), pixels, sizes.filters])?;
    let product = scope.emit(BatchMatMul::default(), &[rows, kernel])?;
    scope.emit(Transpose::by(&[1, 0, 2]), &[product])
}

/// Kernel from every element of the input to every element of the output, of which those beyond the
/// window do not count.
fn as_one_matrix(scope: &mut Scope<'_>, image: TensorId, sizes: &Sizes) -> Built<TensorId> {
    let inputs = sizes.image(sizes.input, sizes.channels);
    let outputs = sizes.image(sizes.output, sizes.filters);
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let (Some(rows), Some(columns)) = (product(&inputs), product(&outputs)) else {
        return Err(scope.config().broken("its kernel is too large").into());
    };
    let kernel = scope.weight("kernel", &[inputs, outputs].concat())?;
    let matrix = scope.laid_out(kernel, Reshape::to([rows, columns].map(ReshapeDim::Fixed).to_vec()))?;
    scope.affordable(&[rows, columns])?;
    let mask = window_mask(sizes, rows, columns);
    let mask = scope.constant("window", Numbers { shape: vec![rows, columns], values: mask })?;
    let matrix = scope.binary(BinaryKind::Mul, matrix, mask)?;
    let matrix = scope.emit(Transpose::by(&[1, 0]), &[matrix])?;
    let flat = scope.emit(Reshape::to(vec![ReshapeDim::Copy(0), ReshapeDim::Fixed(rows)]), &[image])?;
    scope.emit_some(FullyConnected::default(), vec![Some(flat), Some(matrix), None])
}

/// 1 where an element of the input stands in the window of an element of the output.
fn window_mask(sizes: &Sizes, rows: usize, columns: usize) -> Vec<f32> {
    let mut mask = vec![0.0; rows.saturating_mul(columns)];
    let within = |axis: usize, input: usize, output: usize| {
        input.checked_sub(output * sizes.stride[axis]).is_some_and(|place| place < sizes.kernel[axis])
    };
    for (row, values) in mask.chunks_exact_mut(columns).enumerate() {
        let pixel = row / sizes.channels;
        let (input_y, input_x) = (pixel / sizes.input[1], pixel % sizes.input[1]);
        for (column, value) in values.iter_mut().enumerate() {
            let place = column / sizes.filters;
            let (output_y, output_x) = (place / sizes.output[1], place % sizes.output[1]);
            *value = f32::from(u8::from(within(0, input_y, output_y) && within(1, input_x, output_x)));
        }
    }
    mask
}
