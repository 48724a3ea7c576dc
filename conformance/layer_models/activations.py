"""Activations in every spelling."""

from layer_models.registry import case, image


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
