"""Convolutions of all ranks and kinds."""

from layer_models.registry import case, image


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
def conv2d_transpose_batch_norm(k):
    a = image(k, 5)
    x = k.layers.Conv2DTranspose(4, 3, strides=2)(a)
    return k.Model(a, k.layers.ReLU()(k.layers.BatchNormalization()(x)))


@case
def conv2d_transpose_free_size(k):
    a = k.Input((None, None, 3), name="image")
    x = k.layers.Conv2DTranspose(6, 4, strides=2, padding="same", activation="relu")(a)
    x = k.layers.Conv2DTranspose(5, (3, 2), strides=(2, 1), padding="valid")(x)
    return k.Model(a, k.layers.Conv2DTranspose(4, 3, strides=2, padding="valid", output_padding=(1, 0))(x))


@case
def conv2d_transpose_kernel_below_stride(k):
    a = image(k, 5)
    x = k.layers.Conv2DTranspose(6, 2, strides=3, padding="same")(a)
    return k.Model(a, k.layers.Conv2DTranspose(4, (1, 2), strides=2, padding="valid", activation="relu6")(x))


@case
def conv2d_transpose_dilated(k):
    a = image(k, 6)
    return k.Model(a, k.layers.Conv2DTranspose(5, 3, dilation_rate=2, padding="same", activation="relu")(a))


@case
def conv2d_transpose_channels_first(k):
    a = k.Input((3, 5, 6), name="image")
    return k.Model(a, k.layers.Conv2DTranspose(5, 3, strides=2, data_format="channels_first")(a))


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
def conv1d_transpose_output_padding(k):
    x = a = k.Input((10, 5), name="signal")
    x = k.layers.Conv1DTranspose(4, 3, strides=2, padding="same", output_padding=1, activation="relu")(x)
    return k.Model(a, k.layers.Conv1DTranspose(4, 4, strides=3, use_bias=False)(x))


@case
def conv3d_grouped_dilated(k):
    x = a = k.Input((5, 6, 7, 4), name="volume")
    x = k.layers.Conv3D(6, 2, groups=2, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.Conv3D(4, 2, dilation_rate=(2, 1, 3))(x))


@case
def conv3d_channels_first(k):
    a = k.Input((3, 5, 6, 7), name="volume")
    return k.Model(a, k.layers.Conv3D(4, 2, strides=(1, 2, 1), data_format="channels_first")(a))


@case
def conv3d_batch_norm(k):
    a = k.Input((5, 6, 7, 3), name="volume")
    x = k.layers.Conv3D(4, 3, padding="same", use_bias=False)(a)
    return k.Model(a, k.layers.ReLU()(k.layers.BatchNormalization()(x)))


@case
def conv3d_transpose(k):
    x = a = k.Input((3, 4, 5, 3), name="volume")
    x = k.layers.Conv3DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.Conv3DTranspose(3, (2, 3, 1), strides=(2, 1, 1), padding="valid", use_bias=False)(x))


@case
def conv3d(k):
    x = a = k.Input((5, 6, 7, 3), name="volume")
    x = k.layers.Conv3D(4, 3, padding="same", activation="relu")(x)
    return k.Model(a, k.layers.Conv3D(5, 2, strides=2)(x))
