//! The layers that the networks are made of: settings as Keras writes them, weights, shapes, products.

use serde_json::{Map, Value, json};

use crate::initializer::Initializer;
use crate::network::{Call, Layer, Name, Network, New, Tensor, Variable};

/// How the border of an image is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    Same,
    Valid,
}

impl Padding {
    fn name(self) -> &'static str {
        match self {
            Padding::Same => "same",
            Padding::Valid => "valid",
        }
    }

    fn output(self, size: usize, window: usize, stride: usize) -> usize {
        match self {
            Padding::Same => size.div_ceil(stride),
            Padding::Valid => (size + 1).saturating_sub(window).div_ceil(stride),
        }
    }
}

/// Settings of `Conv2D`, and of the other convolutions as far as they have them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub filters: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: Padding,
    pub bias: bool,
    pub groups: usize,
    pub activation: &'static str,
    pub initializer: Initializer,
}

impl Conv {
    /// Square windows at a stride of 1, with a bias, without padding: Keras' own defaults.
    pub fn new(filters: usize, kernel: usize) -> Conv {
        Conv {
            filters,
            kernel: [kernel, kernel],
            stride: 1,
            padding: Padding::Valid,
            bias: true,
            groups: 1,
            activation: "linear",
            initializer: Initializer::GlorotUniform,
        }
    }

    /// A depthwise convolution, which has as many filters as channels.
    pub fn depthwise(kernel: usize) -> Conv {
        Conv::new(0, kernel)
    }

    pub fn same(self) -> Conv {
        Conv { padding: Padding::Same, ..self }
    }

    pub fn stride(self, stride: usize) -> Conv {
        Conv { stride, ..self }
    }

    pub fn no_bias(self) -> Conv {
        Conv { bias: false, ..self }
    }

    pub fn groups(self, groups: usize) -> Conv {
        Conv { groups, ..self }
    }

    pub fn activation(self, activation: &'static str) -> Conv {
        Conv { activation, ..self }
    }

    pub fn initializer(self, initializer: Initializer) -> Conv {
        Conv { initializer, ..self }
    }

    fn settings(&self, own: Value) -> Value {
        merged(
            json!({
                "kernel_size": self.kernel,
                "strides": [self.stride, self.stride],
                "padding": self.padding.name(),
                "data_format": "channels_last",
                "dilation_rate": [1, 1],
                "activation": self.activation,
                "use_bias": self.bias,
            }),
            own,
        )
    }

    fn output(&self, input: &[usize]) -> [usize; 2] {
        [0, 1].map(|axis| self.padding.output(input[axis], self.kernel[axis], self.stride))
    }

    fn with_bias(&self, mut variables: Vec<Variable>, channels: usize) -> Vec<Variable> {
        if self.bias {
            variables.push(Variable::new("bias", &[channels], Initializer::Zeros));
        }
        variables
    }
}

/// Settings of `BatchNormalization`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchNorm {
    pub momentum: f64,
    pub epsilon: f64,
    pub scale: bool,
    /// The channels, counted from the front (3) or from the back (-1).
    pub axis: i64,
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm { momentum: 0.99, epsilon: 1e-3, scale: true, axis: -1 }
    }
}

/// The two that pool windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    Max,
    Average,
}

impl Network {
    /// Images of `size` pixels in square, in `channels` colours.
    pub(crate) fn image(&mut self, size: usize, channels: usize) -> Tensor {
        let settings = json!({ "batch_shape": [null, size, size, channels], "dtype": "float32", "sparse": false, "ragged": false });
        let new = New::plain("InputLayer", settings, vec![size, size, channels]);
        self.push(Name::Counted, new, Call::None)
    }

    /// `Conv2D`.
    pub(crate) fn conv(&mut self, x: Tensor, name: impl Into<Name>, conv: Conv) -> Tensor {
        let new = conv_2d(self.shape(x), conv);
        self.push(name, new, Call::One(x))
    }

    /// `DepthwiseConv2D`, one filter for each channel.
    pub(crate) fn depthwise(&mut self, x: Tensor, name: impl Into<Name>, conv: Conv) -> Tensor {
        let (shape, channels) = (self.shape(x), self.channels(x));
        let [rows, columns] = conv.output(shape);
        let [height, width] = conv.kernel;
        let settings = conv.settings(json!({
            "depth_multiplier": 1,
            "depthwise_initializer": conv.initializer.configuration(),
            "bias_initializer": Initializer::Zeros.configuration(),
        }));
        let kernel = Variable::new("kernel", &[height, width, channels, 1], conv.initializer);
        let new = New {
            variables: conv.with_bias(vec![kernel], channels),
            macs: product(&[rows, columns, height, width, channels]),
            ..New::plain("DepthwiseConv2D", settings, vec![rows, columns, channels])
        };
        self.push(name, new, Call::One(x))
    }

    /// `SeparableConv2D`.
    pub(crate) fn separable(&mut self, x: Tensor, name: impl Into<Name>, conv: Conv) -> Tensor {
        let (shape, channels) = (self.shape(x), self.channels(x));
        let [rows, columns] = conv.output(shape);
        let [height, width] = conv.kernel;
        let settings = conv.settings(json!({
            "filters": conv.filters,
            "depth_multiplier": 1,
            "depthwise_initializer": conv.initializer.configuration(),
            "pointwise_initializer": conv.initializer.configuration(),
            "bias_initializer": Initializer::Zeros.configuration(),
        }));
        let depthwise = Variable::new("depthwise_kernel", &[height, width, channels, 1], conv.initializer);
        let pointwise = Variable::new("pointwise_kernel", &[1, 1, channels, conv.filters], conv.initializer);
        let new = New {
            variables: conv.with_bias(vec![depthwise, pointwise], conv.filters),
            macs: product(&[rows, columns, channels, height * width + conv.filters]),
            ..New::plain("SeparableConv2D", settings, vec![rows, columns, conv.filters])
        };
        self.push(name, new, Call::One(x))
    }

    /// `Dense` with a bias of zeros, over the last axis.
    pub(crate) fn dense(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        units: usize,
        activation: &'static str,
        initializer: Initializer,
    ) -> Tensor {
        self.dense_with_bias(x, name, units, activation, (initializer, Initializer::Zeros))
    }

    /// `Dense`; `initializers` are those of the kernel and of the bias.
    pub(crate) fn dense_with_bias(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        units: usize,
        activation: &'static str,
        initializers: (Initializer, Initializer),
    ) -> Tensor {
        let (mut shape, inputs) = (self.shape(x).to_vec(), self.channels(x));
        let outer = shape.len() - 1;
        shape[outer] = units;
        let settings = json!({
            "units": units,
            "activation": activation,
            "use_bias": true,
            "kernel_initializer": initializers.0.configuration(),
            "bias_initializer": initializers.1.configuration(),
        });
        let new = New {
            variables: vec![
                Variable::new("kernel", &[inputs, units], initializers.0),
                Variable::new("bias", &[units], initializers.1),
            ],
            macs: product(&shape) * inputs as u64,
            ..New::plain("Dense", settings, shape)
        };
        self.push(name, new, Call::One(x))
    }

    /// `BatchNormalization` over the channels.
    pub(crate) fn batch_norm(&mut self, x: Tensor, name: impl Into<Name>, norm: BatchNorm) -> Tensor {
        let channels = [self.channels(x)];
        let settings = json!({
            "axis": norm.axis,
            "momentum": norm.momentum,
            "epsilon": norm.epsilon,
            "center": true,
            "scale": norm.scale,
        });
        let gamma = norm.scale.then(|| Variable::new("gamma", &channels, Initializer::Ones));
        let others = [
            Variable::new("beta", &channels, Initializer::Zeros),
            Variable::new("moving_mean", &channels, Initializer::Zeros),
            Variable::new("moving_variance", &channels, Initializer::Ones),
        ];
        let new = New {
            variables: gamma.into_iter().chain(others).collect(),
            ..New::plain("BatchNormalization", settings, self.shape(x).to_vec())
        };
        self.push(name, new, Call::One(x))
    }

    /// `LayerNormalization` over the channels.
    pub(crate) fn layer_norm(&mut self, x: Tensor, name: impl Into<Name>, epsilon: f64) -> Tensor {
        let new = layer_normalization(self.shape(x), epsilon);
        self.push(name, new, Call::One(x))
    }

    /// `Sequential` of these layers, each a name and a layer for what the one before gives.
    pub(crate) fn sequential<const N: usize>(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        layers: [(String, Inner); N],
    ) -> Tensor {
        let mut inside = Network::new("");
        let input = New::plain("InputLayer", Value::Null, self.shape(x).to_vec());
        let mut last = inside.push("input_layer", input, Call::None);
        for (name, inner) in layers {
            last = match inner {
                Inner::Conv(conv) => inside.conv(last, name, conv),
                Inner::LayerNorm { epsilon } => inside.layer_norm(last, name, epsilon),
            };
        }
        let shape = inside.shape(last).to_vec();
        let inner: Vec<Layer> = inside.layers()[1..].to_vec();
        let new = New { module: "keras", inner, ..New::plain("Sequential", json!({}), shape) };
        self.push(name, new, Call::One(x))
    }

    /// `Activation` of this name.
    pub(crate) fn activation(&mut self, x: Tensor, name: impl Into<Name>, function: &str) -> Tensor {
        self.same_shape(x, name, "Activation", json!({ "activation": function }))
    }

    /// `ReLU`, cut at a largest value if one is given.
    pub(crate) fn relu(&mut self, x: Tensor, name: impl Into<Name>, max_value: Option<f64>) -> Tensor {
        let settings = json!({ "max_value": max_value, "negative_slope": 0.0, "threshold": 0.0 });
        self.same_shape(x, name, "ReLU", settings)
    }

    /// `Dropout`; the whole sample at once where `whole` is set.
    pub(crate) fn dropout(&mut self, x: Tensor, name: impl Into<Name>, rate: f64, whole: bool) -> Tensor {
        let noise = if whole { json!([null, 1, 1, 1]) } else { Value::Null };
        self.same_shape(x, name, "Dropout", json!({ "rate": rate, "seed": null, "noise_shape": noise }))
    }

    /// `Rescaling`: `x * scale + offset`; `scale` is a number, or one for each channel.
    pub(crate) fn rescaling(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        scale: impl Into<Value>,
        offset: f64,
    ) -> Tensor {
        self.same_shape(x, name, "Rescaling", json!({ "scale": scale.into(), "offset": offset }))
    }

    /// `Normalization` of the channels by stated means and variances; `axis` as Keras writes it, 3 or -1.
    pub(crate) fn normalization(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        axis: i64,
        [mean, variance]: [[f64; 3]; 2],
    ) -> Tensor {
        let settings = json!({ "axis": [axis], "invert": false, "mean": mean, "variance": variance });
        self.same_shape(x, name, "Normalization", settings)
    }

    /// `Normalization` of the channels by means and variances that it learns from data.
    pub(crate) fn learnt_normalization(&mut self, x: Tensor, name: impl Into<Name>) -> Tensor {
        let channels = [self.channels(x)];
        let settings = json!({ "axis": [3], "invert": false, "mean": null, "variance": null });
        let new = New {
            variables: vec![
                Variable::new("mean", &channels, Initializer::Zeros),
                Variable::new("variance", &channels, Initializer::Ones),
                Variable::new("count", &[], Initializer::Zeros),
            ],
            ..New::plain("Normalization", settings, self.shape(x).to_vec())
        };
        self.push(name, new, Call::One(x))
    }

    /// `LayerScale` of ConvNeXt: a factor for each channel.
    pub(crate) fn layer_scale(&mut self, x: Tensor, name: impl Into<Name>, initial: f64) -> Tensor {
        let channels = self.channels(x);
        let settings = json!({ "init_values": initial, "projection_dim": channels });
        let new = New {
            module: "keras.src.applications.convnext",
            variables: vec![Variable::new("gamma", &[channels], Initializer::Constant(initial))],
            ..New::plain("LayerScale", settings, self.shape(x).to_vec())
        };
        self.push(name, new, Call::One(x))
    }

    /// `CustomScaleLayer` of Inception-ResNet: `x + scale * y`.
    pub(crate) fn scaled_sum(&mut self, [x, y]: [Tensor; 2], name: impl Into<Name>, scale: f64) -> Tensor {
        let new = New {
            module: "keras.src.applications.inception_resnet_v2",
            ..New::plain("CustomScaleLayer", json!({ "scale": scale }), self.shape(x).to_vec())
        };
        self.push(name, new, Call::List(vec![x, y]))
    }

    /// `MaxPooling2D` or `AveragePooling2D`.
    pub(crate) fn pool(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        kind: Pool,
        [window, stride]: [usize; 2],
        padding: Padding,
    ) -> Tensor {
        let shape = self.shape(x);
        let [rows, columns] = [0, 1].map(|axis| padding.output(shape[axis], window, stride));
        let shape = vec![rows, columns, self.channels(x)];
        let settings = json!({
            "pool_size": [window, window],
            "strides": [stride, stride],
            "padding": padding.name(),
            "data_format": "channels_last",
        });
        let class = match kind {
            Pool::Max => "MaxPooling2D",
            Pool::Average => "AveragePooling2D",
        };
        self.push(name, New::plain(class, settings, shape), Call::One(x))
    }

    /// `GlobalAveragePooling2D`; height and width stay as 1 where `keep` is set.
    pub(crate) fn global_average(&mut self, x: Tensor, name: impl Into<Name>, keep: bool) -> Tensor {
        let channels = self.channels(x);
        let shape = if keep { vec![1, 1, channels] } else { vec![channels] };
        let settings = json!({ "data_format": "channels_last", "keepdims": keep });
        self.push(name, New::plain("GlobalAveragePooling2D", settings, shape), Call::One(x))
    }

    /// `ZeroPadding2D`: so many rows and columns before and behind.
    pub(crate) fn zero_pad(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        rows: [usize; 2],
        columns: [usize; 2],
    ) -> Tensor {
        let shape = self.shape(x);
        let padded = vec![shape[0] + rows[0] + rows[1], shape[1] + columns[0] + columns[1], shape[2]];
        let settings = json!({ "padding": [rows, columns], "data_format": "channels_last" });
        self.push(name, New::plain("ZeroPadding2D", settings, padded), Call::One(x))
    }

    /// `ZeroPadding2D` for an unpadded `kernel` at a stride of 2, which then starts where it does in the training
    /// code: half a kernel before and behind an odd height or width, one less before an even one.
    pub(crate) fn pad_for_stride(&mut self, x: Tensor, name: impl Into<Name>, kernel: usize) -> Tensor {
        let half = kernel / 2;
        let [rows, columns] = [0, 1].map(|axis| [half - (1 - self.shape(x)[axis] % 2), half]);
        self.zero_pad(x, name, rows, columns)
    }

    /// `Cropping2D`: so many rows and columns less before and behind.
    pub(crate) fn crop(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        rows: [usize; 2],
        columns: [usize; 2],
    ) -> Tensor {
        let shape = self.shape(x);
        let cropped = vec![shape[0] - rows[0] - rows[1], shape[1] - columns[0] - columns[1], shape[2]];
        let settings = json!({ "cropping": [rows, columns], "data_format": "channels_last" });
        self.push(name, New::plain("Cropping2D", settings, cropped), Call::One(x))
    }

    /// `Reshape` of all but the batch.
    pub(crate) fn reshape(&mut self, x: Tensor, name: impl Into<Name>, shape: &[usize]) -> Tensor {
        let new = New::plain("Reshape", json!({ "target_shape": shape }), shape.to_vec());
        self.push(name, new, Call::One(x))
    }

    /// `Flatten`.
    pub(crate) fn flatten(&mut self, x: Tensor, name: impl Into<Name>) -> Tensor {
        let shape = vec![self.shape(x).iter().product()];
        self.push(name, New::plain("Flatten", json!({ "data_format": "channels_last" }), shape), Call::One(x))
    }

    /// `Add`, the layer.
    pub(crate) fn add(&mut self, tensors: &[Tensor], name: impl Into<Name>) -> Tensor {
        let new = New::plain("Add", json!({}), self.shape(tensors[0]).to_vec());
        self.push(name, new, Call::List(tensors.to_vec()))
    }

    /// `Multiply`, the layer; a second factor of height and width 1 counts everywhere.
    pub(crate) fn multiply(&mut self, tensors: &[Tensor], name: impl Into<Name>) -> Tensor {
        let new = New::plain("Multiply", json!({}), self.shape(tensors[0]).to_vec());
        self.push(name, new, Call::List(tensors.to_vec()))
    }

    /// `Concatenate` of channels; `axis` as Keras writes it, 3 or -1.
    pub(crate) fn concatenate(&mut self, tensors: &[Tensor], name: impl Into<Name>, axis: i64) -> Tensor {
        let mut shape = self.shape(tensors[0]).to_vec();
        let last = shape.len() - 1;
        shape[last] = tensors.iter().map(|tensor| self.channels(*tensor)).sum();
        let new = New::plain("Concatenate", json!({ "axis": axis }), shape);
        self.push(name, new, Call::List(tensors.to_vec()))
    }

    /// `x + number`, as an operation.
    pub(crate) fn plus(&mut self, x: Tensor, number: f64) -> Tensor {
        self.operation("Add", Call::WithNumber(x, number), x)
    }

    /// `x * number`, as an operation.
    pub(crate) fn times(&mut self, x: Tensor, number: f64) -> Tensor {
        self.operation("Multiply", Call::WithNumber(x, number), x)
    }

    /// `x + y`, as an operation.
    pub(crate) fn sum(&mut self, x: Tensor, y: Tensor) -> Tensor {
        self.operation("Add", Call::Two(x, y), x)
    }

    fn operation(&mut self, class: &'static str, call: Call, like: Tensor) -> Tensor {
        let shape = self.shape(like).to_vec();
        let new = New { module: "keras.src.ops.numpy", ..New::plain(class, json!({}), shape) };
        self.push(Name::Counted, new, call)
    }

    fn same_shape(
        &mut self,
        x: Tensor,
        name: impl Into<Name>,
        class: &'static str,
        settings: Value,
    ) -> Tensor {
        let new = New::plain(class, settings, self.shape(x).to_vec());
        self.push(name, new, Call::One(x))
    }
}

/// A layer inside `Sequential`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inner {
    Conv(Conv),
    LayerNorm { epsilon: f64 },
}

fn conv_2d(input: &[usize], conv: Conv) -> New {
    let channels = input[2] / conv.groups;
    let [rows, columns] = conv.output(input);
    let [height, width] = conv.kernel;
    let settings = conv.settings(json!({
        "filters": conv.filters,
        "groups": conv.groups,
        "kernel_initializer": conv.initializer.configuration(),
        "bias_initializer": Initializer::Zeros.configuration(),
    }));
    let kernel = Variable::new("kernel", &[height, width, channels, conv.filters], conv.initializer);
    New {
        variables: conv.with_bias(vec![kernel], conv.filters),
        macs: product(&[rows, columns, height, width, channels, conv.filters]),
        ..New::plain("Conv2D", settings, vec![rows, columns, conv.filters])
    }
}

fn layer_normalization(input: &[usize], epsilon: f64) -> New {
    let channels = [input.last().copied().unwrap_or(1)];
    let settings = json!({ "axis": [-1], "epsilon": epsilon, "center": true, "scale": true });
    New {
        variables: vec![
            Variable::new("gamma", &channels, Initializer::Ones),
            Variable::new("beta", &channels, Initializer::Zeros),
        ],
        ..New::plain("LayerNormalization", settings, input.to_vec())
    }
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().map(|size| *size as u64).product()
}

/// One object with the settings of both.
fn merged(first: Value, second: Value) -> Value {
    let mut all = Map::new();
    for settings in [first, second] {
        if let Value::Object(settings) = settings {
            all.extend(settings);
        }
    }
    Value::Object(all)
}
