"""How models are put together: nesting, sharing, names, inputs and outputs, training configuration."""

import numpy as np

from layer_models.registry import case, image


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
