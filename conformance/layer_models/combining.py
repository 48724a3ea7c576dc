"""Dense layers, and layers that combine several tensors."""

from layer_models.registry import case, image

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
