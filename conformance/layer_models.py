"""Small models that use every ordinary Keras layer, built alike with Keras 3 and tf_keras.

Each function below takes the package (`keras` or `tf_keras`) and returns a model. A model is about one thing, so that a
failure says what is wrong.
"""

from dataclasses import dataclass

import numpy as np

SAMPLES = 5


@dataclass(frozen=True)
class Case:
    name: str
    build: object
    only_keras3: bool  # uses what tf_keras has not
    rare: bool  # a refusal is an acceptable answer


CASES = {}


def case(build=None, *, only_keras3=False, rare=False):
    """Registers a model under its function's name."""
    if build is None:
        return lambda function: case(function, only_keras3=only_keras3, rare=rare)
    CASES[build.__name__] = Case(build.__name__, build, only_keras3, rare)
    return build


def image(k, size=9, channels=4, name="image"):
    return k.Input((size, size + 1, channels), name=name)


# Convolutions


@case
def conv2d(k):
    x = a = image(k)
    x = k.layers.Conv2D(6, 3, padding="same", activation="relu", name="same")(x)
    x = k.layers.Conv2D(5, (5, 3), padding="valid", name="valid")(x)
    x = k.layers.Conv2D(8, 1, use_bias=False, name="pointwise")(x)
    x = k.layers.Conv2D(7, 3, strides=2, padding="same", name="stride")(x)
    return k.Model(a, k.layers.Conv2D(3, 2, strides=(2, 1), name="valid_stride")(x))


@case
def conv2d_even_kernel(k):
    x = a = image(k, 8)
    x = k.layers.Conv2D(6, 2, padding="same")(x)
    return k.Model(a, k.layers.Conv2D(6, 4, strides=3, padding="same")(x))


@case
def conv2d_dilated(k):
    x = a = image(k, 12)
    x = k.layers.Conv2D(6, 3, dilation_rate=2, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.Conv2D(5, 3, dilation_rate=(2, 3), padding="valid")(x))


@case(only_keras3=True)
def conv2d_grouped(k):
    x = a = image(k, channels=6)
    x = k.layers.Conv2D(12, 3, groups=3, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.Conv2D(4, 3, groups=2, strides=2)(x))


@case
def depthwise_conv2d(k):
    x = a = image(k)
    x = k.layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = k.layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, use_bias=False)(x)
    return k.Model(a, k.layers.DepthwiseConv2D((2, 3), padding="valid")(x))


@case
def depthwise_conv2d_dilated(k):
    a = image(k, 12)
    return k.Model(a, k.layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(a))


@case
def depthwise_conv2d_one_channel(k):
    a = image(k, channels=1)
    return k.Model(a, k.layers.DepthwiseConv2D(3, depth_multiplier=5)(a))


@case
def separable_conv2d(k):
    x = a = image(k)
    x = k.layers.SeparableConv2D(6, 3, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.SeparableConv2D(5, 3, strides=2, depth_multiplier=2, use_bias=False)(x))


@case
def conv2d_transpose(k):
    x = a = image(k, 5)
    x = k.layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu")(x)
    x = k.layers.Conv2DTranspose(5, 3, padding="valid", use_bias=False)(x)
    return k.Model(a, k.layers.Conv2DTranspose(3, 2, strides=2, padding="valid")(x))


@case
def conv2d_transpose_output_padding(k):
    a = image(k, 5)
    return k.Model(a, k.layers.Conv2DTranspose(6, 3, strides=2, padding="same", output_padding=1)(a))


@case
def conv1d(k):
    x = a = k.Input((20, 5), name="signal")
    x = k.layers.Conv1D(8, 3, padding="same", activation="relu")(x)
    x = k.layers.Conv1D(7, 4, padding="causal")(x)
    x = k.layers.Conv1D(6, 3, strides=2, padding="valid")(x)
    return k.Model(a, k.layers.Conv1D(6, 2, dilation_rate=2, padding="causal")(x))


@case
def separable_conv1d(k):
    a = k.Input((20, 5), name="signal")
    return k.Model(a, k.layers.SeparableConv1D(8, 3, padding="same")(a))


@case
def depthwise_conv1d(k):
    a = k.Input((20, 5), name="signal")
    return k.Model(a, k.layers.DepthwiseConv1D(3, padding="same")(a))


@case
def conv1d_transpose(k):
    a = k.Input((10, 5), name="signal")
    return k.Model(a, k.layers.Conv1DTranspose(4, 3, strides=2, padding="same")(a))


@case
def conv3d(k):
    x = a = k.Input((5, 6, 7, 3), name="volume")
    x = k.layers.Conv3D(4, 3, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.Conv3D(5, 2, strides=2)(x))


# Pooling, padding, shapes


@case
def pooling2d(k):
    x = a = image(k, 16)
    x = k.layers.MaxPooling2D(2)(x)
    y = k.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    z = k.layers.AveragePooling2D(3, strides=1, padding="same")(x)
    return k.Model(a, [y, k.layers.AveragePooling2D((2, 3))(z), k.layers.MaxPooling2D(3, strides=1)(z)])


@case
def pooling1d(k):
    a = k.Input((21, 5), name="signal")
    return k.Model(a, [k.layers.MaxPooling1D(2)(a), k.layers.AveragePooling1D(3, strides=2, padding="same")(a)])


@case(rare=True)
def pooling3d(k):
    a = k.Input((6, 6, 8, 3), name="volume")
    return k.Model(a, [k.layers.MaxPooling3D(2)(a), k.layers.AveragePooling3D(2, padding="same")(a)])


@case
def pooling_global(k):
    a = image(k)
    b = k.Input((11, 3), name="signal")
    return k.Model(
        [a, b],
        [
            k.layers.GlobalAveragePooling2D()(a),
            k.layers.GlobalMaxPooling2D()(a),
            k.layers.GlobalAveragePooling2D(keepdims=True)(a),
            k.layers.GlobalMaxPooling2D(keepdims=True)(a),
            k.layers.GlobalAveragePooling1D()(b),
            k.layers.GlobalMaxPooling1D()(b),
        ],
    )


@case
def padding2d(k):
    x = a = image(k)
    x = k.layers.ZeroPadding2D(((1, 2), (3, 0)))(x)
    x = k.layers.Conv2D(4, 3, padding="valid")(x)
    return k.Model(a, k.layers.ZeroPadding2D(1)(x))


@case
def padding_before_conv(k):
    """The paddings that equal SAME, and one that does not."""
    x = a = image(k, 12)
    x = k.layers.ZeroPadding2D(1)(x)
    x = k.layers.Conv2D(6, 3, padding="valid", use_bias=False)(x)
    x = k.layers.BatchNormalization()(x)
    x = k.layers.ReLU()(x)
    x = k.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = k.layers.DepthwiseConv2D(3, strides=2, padding="valid")(x)
    x = k.layers.ZeroPadding2D(3)(x)
    return k.Model(a, k.layers.Conv2D(5, 7, strides=2, padding="valid")(x))


@case
def padding_before_pool(k):
    x = a = image(k)
    x = k.layers.ZeroPadding2D(1)(x)
    return k.Model(a, k.layers.MaxPooling2D(3, strides=2)(x))


@case
def cropping(k):
    a = image(k)
    b = k.Input((11, 3), name="signal")
    return k.Model(
        [a, b],
        [
            k.layers.Cropping2D(((1, 2), (0, 3)))(a),
            k.layers.Cropping2D(2)(a),
            k.layers.Cropping1D((2, 1))(b),
            k.layers.ZeroPadding1D((1, 4))(b),
        ],
    )


@case
def upsampling(k):
    a = image(k, 4)
    b = k.Input((6, 3), name="signal")
    return k.Model(
        [a, b],
        [
            k.layers.UpSampling2D((2, 3))(a),
            k.layers.UpSampling2D(2, interpolation="bilinear")(a),
            k.layers.UpSampling1D(3)(b),
        ],
    )


@case
def resizing(k):
    a = image(k, 8)
    return k.Model(a, [k.layers.Resizing(12, 13)(a), k.layers.Resizing(5, 4, interpolation="nearest")(a)])


@case
def reshaping(k):
    a = image(k, 4, 6)
    x = k.layers.Reshape((8, 15))(a)
    y = k.layers.Permute((2, 1))(x)
    z = k.layers.Permute((3, 1, 2))(a)
    return k.Model(a, [y, z, k.layers.Reshape((-1, 5))(x), k.layers.Flatten()(z)])


@case
def repeat_vector(k):
    a = k.Input((6,), name="vector")
    return k.Model(a, k.layers.RepeatVector(4)(k.layers.Dense(5)(a)))


@case
def flatten_dense(k):
    x = a = image(k, 5)
    x = k.layers.Conv2D(3, 3, activation="relu")(x)
    x = k.layers.Flatten()(x)
    return k.Model(a, k.layers.Dense(7)(x))


# Dense


@case
def dense(k):
    x = a = k.Input((12,), name="vector")
    x = k.layers.Dense(16, activation="relu")(x)
    x = k.layers.Dense(9, use_bias=False)(x)
    x = k.layers.BatchNormalization()(x)
    return k.Model(a, k.layers.Dense(1, activation="sigmoid")(x))


@case
def dense_on_sequence(k):
    a = k.Input((5, 6), name="sequence")
    b = image(k, 3)
    return k.Model([a, b], [k.layers.Dense(7, activation="relu")(a), k.layers.Dense(3)(b)])


@case(only_keras3=True)
def einsum_dense(k):
    a = k.Input((5, 6), name="sequence")
    x = k.layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 4), bias_axes="de")(a)
    return k.Model(a, k.layers.EinsumDense("abde,dec->abc", output_shape=(None, 6), bias_axes="c")(x))


# Merging


@case
def merging(k):
    a, b, c = (k.Input((6, 5), name=name) for name in "abc")
    two = [a, b]
    return k.Model(
        [a, b, c],
        [
            k.layers.Add()([a, b, c]),
            k.layers.Subtract()(two),
            k.layers.Multiply()([a, b, c]),
            k.layers.Average()([a, b, c]),
            k.layers.Maximum()([a, b, c]),
            k.layers.Minimum()(two),
            k.layers.Concatenate()([a, b, c]),
            k.layers.Concatenate(axis=1)(two),
        ],
    )


@case
def dot(k):
    a, b = k.Input((6, 5), name="a"), k.Input((7, 5), name="b")
    c, d = k.Input((8,), name="c"), k.Input((8,), name="d")
    return k.Model(
        [a, b, c, d],
        [k.layers.Dot(axes=2)([a, b]), k.layers.Dot(axes=1)([c, d]), k.layers.Dot(axes=1, normalize=True)([c, d])],
    )


@case
def merging_broadcast(k):
    a = image(k)
    scale = k.layers.GlobalAveragePooling2D(keepdims=True)(a)
    return k.Model(a, [k.layers.Multiply()([a, scale]), k.layers.Add()([scale, a])])


@case
def merging_same_twice(k):
    a = image(k, 5)
    x = k.layers.Conv2D(4, 1)(a)
    return k.Model(a, [k.layers.Add()([x, x]), k.layers.Concatenate()([x, a, x])])


@case
def squeeze_excite(k):
    a = image(k, 8, 8)
    x = k.layers.Conv2D(8, 3, padding="same", activation="swish")(a)
    s = k.layers.GlobalAveragePooling2D()(x)
    s = k.layers.Reshape((1, 1, 8))(s)
    s = k.layers.Conv2D(2, 1, activation="swish")(s)
    s = k.layers.Conv2D(8, 1, activation="sigmoid")(s)
    return k.Model(a, k.layers.Multiply()([x, s]))


@case
def residual(k):
    a = image(k, 8, 8)
    x = k.layers.Conv2D(8, 3, padding="same", use_bias=False)(a)
    x = k.layers.BatchNormalization()(x)
    x = k.layers.Add()([x, a])
    x = y = k.layers.ReLU()(x)
    x = k.layers.DepthwiseConv2D(3, padding="same")(x)
    return k.Model(a, k.layers.Add()([y, x]))


# Normalization


@case
def batch_norm_folded(k):
    x = a = image(k, 8)
    x = k.layers.Conv2D(6, 3, padding="same")(x)
    x = k.layers.BatchNormalization(epsilon=1e-5)(x)
    x = k.layers.ReLU(6.0)(x)
    x = k.layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = k.layers.BatchNormalization(scale=False)(x)
    x = k.layers.Conv2DTranspose(4, 3, strides=2)(x)
    x = k.layers.BatchNormalization(center=False)(x)
    x = k.layers.SeparableConv2D(5, 3)(x)
    x = k.layers.BatchNormalization(center=False, scale=False)(x)
    return k.Model(a, x)


@case
def batch_norm_alone(k):
    """On the input, after a ReLU, after a concatenation, twice, before a convolution and a dense layer."""
    a = image(k, 6)
    x = k.layers.BatchNormalization()(a)
    y = k.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = k.layers.BatchNormalization()(y)
    z = k.layers.Concatenate()([x, y])
    z = k.layers.BatchNormalization()(k.layers.BatchNormalization()(z))
    z = k.layers.Activation("relu")(z)
    z = k.layers.Conv2D(4, 3, padding="same")(z)
    z = k.layers.BatchNormalization()(k.layers.Flatten()(z))
    return k.Model(a, k.layers.Dense(5)(z))


@case
def batch_norm_shared_conv(k):
    """The convolution's output is also used without the batch normalization, so it cannot be folded."""
    a = image(k, 6)
    x = k.layers.Conv2D(4, 3, padding="same")(a)
    return k.Model(a, k.layers.Add()([x, k.layers.BatchNormalization()(x)]))


@case
def batch_norm_axis(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, [k.layers.BatchNormalization(axis=1)(a), k.layers.BatchNormalization()(a)])


@case
def normalization(k):
    x = a = image(k, 6, 3)
    x = k.layers.Normalization(mean=[0.1, -0.4, 0.2], variance=[1.5, 0.5, 2.0])(x)
    return k.Model(a, k.layers.Conv2D(4, 3, padding="same")(x))


@case
def normalization_adapted(k):
    a = k.Input((7,), name="vector")
    layer = k.layers.Normalization()
    layer.adapt(np.random.default_rng(3).normal(2, 3, (50, 7)).astype(np.float32))
    return k.Model(a, k.layers.Dense(4)(layer(a)))


@case
def rescaling(k):
    x = a = image(k, 6, 3)
    x = k.layers.Rescaling(1 / 127.5, offset=-1)(x)
    y = k.layers.Conv2D(4, 3, padding="same")(x)
    z = k.layers.Conv2D(4, 3, padding="valid")(k.layers.Rescaling(2.0)(a))
    return k.Model(a, [y, z])


@case(only_keras3=True)
def rescaling_vector(k):
    a = image(k, 6, 3)
    return k.Model(a, k.layers.Rescaling([0.5, 0.25, 2.0], offset=[1.0, 0.0, -1.0])(a))


@case
def layer_normalization(k):
    a = k.Input((6, 5), name="sequence")
    b = image(k, 4)
    return k.Model(
        [a, b],
        [
            k.layers.LayerNormalization()(a),
            k.layers.LayerNormalization(epsilon=1e-6, center=False)(b),
            k.layers.LayerNormalization(axis=[1, 2, 3])(b),
        ],
    )


@case
def group_normalization(k):
    a = image(k, 4, 8)
    return k.Model(a, [k.layers.GroupNormalization(groups=4)(a), k.layers.GroupNormalization(groups=-1)(a)])


@case
def unit_normalization(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, k.layers.UnitNormalization()(a))


@case(only_keras3=True)
def rms_normalization(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, k.layers.RMSNormalization()(a))


@case
def identities(k):
    """Layers that do nothing in inference."""
    x = a = image(k, 6)
    x = k.layers.GaussianNoise(0.1)(x)
    x = k.layers.Conv2D(5, 3)(x)
    x = k.layers.SpatialDropout2D(0.3)(x)
    x = k.layers.ActivityRegularization(0.1)(x)
    x = k.layers.Activation("linear")(x)
    x = k.layers.GaussianDropout(0.2)(x)
    x = k.layers.Flatten()(x)
    x = k.layers.Dropout(0.5)(x)
    return k.Model(a, k.layers.Dense(3)(x))


# Activations


def register_activation(name, **flags):
    def build(k):
        x = a = image(k, 6)
        x = k.layers.Conv2D(5, 3, activation=name)(x)
        return k.Model(a, [k.layers.Activation(name)(x), k.layers.Activation(name)(a)])

    build.__name__ = f"activation_{name}"
    case(build, **flags)


for spelling in [
    "relu", "sigmoid", "tanh", "softmax", "softplus", "softsign", "elu", "selu", "gelu", "swish", "hard_sigmoid",
    "exponential", "linear", "mish",
]:  # fmt: skip
    register_activation(spelling)
for spelling in ["relu6", "silu", "hard_silu", "hard_swish", "leaky_relu", "log_softmax"]:
    register_activation(spelling, only_keras3=True)
for spelling in [
    "celu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "log_sigmoid", "squareplus", "sparse_plus",
    "sparsemax",
]:  # fmt: skip
    register_activation(spelling, only_keras3=True, rare=True)


@case
def relu_layers(k):
    a = image(k, 6)
    layers = [
        k.layers.ReLU(),
        k.layers.ReLU(6.0),
        k.layers.ReLU(max_value=1.5),
        k.layers.ReLU(negative_slope=0.1),
        k.layers.ReLU(threshold=0.5),
        k.layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.25),
    ]
    return k.Model(a, [layer(a) for layer in layers])


@case
def activation_layers(k):
    a = image(k, 6)
    layers = [
        k.layers.LeakyReLU(),
        k.layers.LeakyReLU(0.2),
        k.layers.ELU(),
        k.layers.ELU(alpha=0.7),
        k.layers.PReLU(),
        k.layers.PReLU(shared_axes=[1, 2]),
        k.layers.Softmax(),
        k.layers.Softmax(axis=1),
    ]
    return k.Model(a, [layer(a) for layer in layers])


@case
def activation_fused(k):
    """Activations after convolution, dense and addition, where they can be fused or must not be."""
    x = a = image(k, 8)
    x = k.layers.Conv2D(6, 3)(x)
    x = k.layers.LeakyReLU(0.3)(x)
    y = k.layers.Conv2D(6, 1)(x)
    z = k.layers.ReLU()(y)
    x = k.layers.Add()([y, z])
    x = k.layers.Activation("relu")(x)
    x = k.layers.Concatenate()([x, y])
    x = k.layers.ReLU(6.0)(x)
    x = k.layers.Flatten()(x)
    x = k.layers.Dense(7)(x)
    x = k.layers.PReLU()(x)
    return k.Model(a, k.layers.Dense(3, activation="softmax")(x))


@case(only_keras3=True)
def hard_swish_by_hand(k):
    """As MobileNetV3 writes it."""
    a = image(k, 6)
    x = k.layers.Conv2D(6, 1)(a)
    gate = k.layers.Rescaling(1 / 6)(k.layers.ReLU(6.0)(x + 3.0))
    return k.Model(a, k.layers.Multiply()([x, gate]))


# Structure


@case
def sequential(k):
    return k.Sequential(
        [k.Input((8, 9, 3), name="image"), k.layers.Conv2D(4, 3, activation="relu"), k.layers.MaxPooling2D(),
         k.layers.Flatten(), k.layers.Dense(5, activation="softmax")]
    )  # fmt: skip


@case
def sequential_nested(k):
    inner = k.Sequential([k.Input((8, 9, 3)), k.layers.Conv2D(4, 3), k.layers.BatchNormalization()], name="inner")
    return k.Sequential([k.Input((8, 9, 3), name="image"), inner, k.layers.ReLU(), k.layers.Conv2D(2, 1)])


@case
def functional_nested(k):
    b = k.Input((8, 9, 3))
    x = k.layers.Conv2D(4, 3, padding="same", name="conv")(b)
    innermost = k.Sequential([k.Input((8, 9, 4)), k.layers.Conv2D(4, 1, name="conv")], name="innermost")
    inner = k.Model(b, [innermost(x), x], name="inner")
    a = k.Input((8, 9, 3), name="image")
    y, z = inner(a)
    return k.Model(a, k.layers.Conv2D(4, 3, name="conv")(k.layers.Add()([y, z])))


@case
def shared_layer(k):
    a, b = image(k, 6, name="left"), image(k, 6, name="right")
    conv = k.layers.Conv2D(5, 3, activation="relu")
    return k.Model([a, b], k.layers.Subtract()([conv(a), conv(b)]))


@case
def shared_model(k):
    tower = k.Sequential([k.Input((6, 7, 4)), k.layers.Conv2D(5, 3), k.layers.BatchNormalization(),
                          k.layers.GlobalAveragePooling2D()], name="tower")  # fmt: skip
    a, b = image(k, 6, name="left"), image(k, 6, name="right")
    x, y = tower(a), tower(b)
    return k.Model([a, b], k.layers.Dense(2)(k.layers.Concatenate()([x, y])))


@case
def several_inputs_and_outputs(k):
    """Names whose order differs from the alphabet's, one output inside the graph, inputs of other ranks."""
    z, a = image(k, 6, name="zebra"), k.Input((5,), name="apple")
    x = k.layers.Conv2D(4, 3, activation="relu", name="features")(z)
    y = k.layers.Concatenate()([k.layers.GlobalAveragePooling2D()(x), a])
    return k.Model([z, a], [k.layers.Dense(3, name="second")(y), x, k.layers.Dense(2, name="another")(y)])


@case
def many_layers_of_a_kind(k):
    """More than ten layers of one class, whose files list them in another order than the model."""
    x = a = image(k, 6)
    for i in range(13):
        x = k.layers.Conv2D(4, 1, name=f"conv_{12 - i}")(x)
        x = k.layers.BatchNormalization(name=f"norm{i}")(x)
    return k.Model(a, x)


@case
def unusual_names(k):
    x = a = k.Input((6, 7, 3), name="Image.in-1")
    x = k.layers.Conv2D(4, 3, name="Layer.one-b>c")(x)
    return k.Model(a, k.layers.Conv2D(2, 1, name="ends_with_1")(x), name="net-1.0")


@case
def input_is_output(k):
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    return k.Model([a, b], [k.layers.Dense(3)(a), b])


@case(only_keras3=True)
def operators_as_layers(k):
    a = image(k, 6)
    x = k.layers.Conv2D(4, 1)(a)
    y = (x * 2.0 + a - 1.0) / 4.0
    y = k.ops.relu(y) + k.ops.sqrt(k.ops.abs(a)) - k.ops.square(x)
    return k.Model(a, [k.ops.concatenate([y, -a], axis=-1), k.ops.mean(y, axis=[1, 2]), k.ops.maximum(y, 0.1)])


@case(only_keras3=True)
def dictionary_outputs(k):
    a = k.Input((5,), name="a")
    return k.Model(a, {"zulu": k.layers.Dense(3)(a), "alpha": k.layers.Dense(2)(a)})


@case
def regularized(k):
    """Configuration that inference does not need: regularizers, constraints, initializers."""
    a = k.Input((5,), name="a")
    layer = k.layers.Dense(
        4, kernel_regularizer=k.regularizers.L2(0.01), bias_constraint=k.constraints.NonNeg(),
        kernel_initializer=k.initializers.VarianceScaling(2.0), bias_initializer="ones",
    )  # fmt: skip
    return k.Model(a, layer(a))


@case
def compiled(k):
    """With optimizer slots and training configuration in the file."""
    model = k.Sequential([k.Input((5,), name="a"), k.layers.Dense(4, activation="relu"), k.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((8, 5), np.float32), np.ones((8, 2), np.float32), verbose=0)
    return model


# Sequences


@case
def embedding(k):
    a = k.Input((7,), name="ids")
    x = k.layers.Embedding(20, 6)(a)
    return k.Model(a, k.layers.Dense(3)(k.layers.GlobalAveragePooling1D()(x)))


@case
def time_distributed(k):
    a = k.Input((5, 6, 7, 3), name="frames")
    x = k.layers.TimeDistributed(k.layers.Conv2D(4, 3, activation="relu"))(a)
    x = k.layers.TimeDistributed(k.layers.Flatten())(x)
    return k.Model(a, k.layers.TimeDistributed(k.layers.Dense(3))(x))


@case
def attention(k):
    a, b = k.Input((5, 6), name="query"), k.Input((7, 6), name="value")
    return k.Model([a, b], [k.layers.Attention()([a, b]), k.layers.AdditiveAttention()([a, b])])


@case
def multi_head_attention(k):
    a = k.Input((5, 8), name="sequence")
    x = k.layers.MultiHeadAttention(num_heads=2, key_dim=4)(a, a)
    return k.Model(a, k.layers.LayerNormalization()(k.layers.Add()([a, x])))


@case
def lstm(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, k.layers.LSTM(4)(k.layers.LSTM(7, return_sequences=True)(a)))


@case
def gru(k):
    a = k.Input((6, 5), name="sequence")
    x = k.layers.GRU(7, return_sequences=True)(a)
    return k.Model(a, k.layers.GRU(4, reset_after=False, go_backwards=True)(x))


@case
def simple_rnn(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, k.layers.SimpleRNN(4)(a))


@case
def bidirectional(k):
    a = k.Input((6, 5), name="sequence")
    x = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True))(a)
    return k.Model(a, k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum")(x))
