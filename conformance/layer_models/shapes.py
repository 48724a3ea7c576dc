"""Pooling, padding, cropping, resizing and reshaping."""

from layer_models.registry import case, image


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
