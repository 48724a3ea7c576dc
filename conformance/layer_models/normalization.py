"""Normalizations, rescaling, and layers that do nothing in inference."""

import numpy as np

from layer_models.registry import case, image


@case
def batch_norm_folded(k):
    x = a = image(k, 8)
    x = k.layers.Conv2D(6, 3, padding="same")(x)
    x = k.layers.BatchNormalization(epsilon=1e-5)(x)
    x = k.layers.ReLU(6.0)(x)
    x = k.layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = k.layers.BatchNormalization(scale=False)(x)
    x = k.layers.Conv2D(4, 3, use_bias=False)(x)
    x = k.layers.BatchNormalization(center=False)(x)
    x = k.layers.SeparableConv2D(5, 2)(x)
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
