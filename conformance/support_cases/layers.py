"""Small models for every layer class without state."""

from support_cases.registry import Case, layer, looked_up, steps

VECTOR, SEQUENCE, IMAGE, VOLUME = (8,), (6, 4), (9, 7, 3), (5, 6, 4, 3)


def same(name, *shapes, **settings):
    """One case: the layer of this name with these settings."""
    return layer(lambda k: getattr(k.layers, name)(**settings), *shapes)


def each(name, shape, *variants):
    """One case for each set of settings."""
    return [same(name, shape, **settings) for settings in variants]


def merged(name):
    def masked(k):
        a, b = k.Input(SEQUENCE, name="steps"), k.Input(SEQUENCE, name="steps2")
        masked = [k.layers.Masking()(a), k.layers.Masking()(b)]
        return k.Model([a, b], k.layers.GlobalAveragePooling1D()(getattr(k.layers, name)()(masked)))

    return [same(name, IMAGE, IMAGE), same(name, SEQUENCE, (1, 4)), Case(masked, "masked")]


def attention(make, **call):
    def build(k):
        q, v, key = (k.Input((n, 8), name=name) for n, name in zip((5, 6, 6), "qvk", strict=True))
        return k.Model([q, v, key], make(k)([q, v, key], **call))

    return Case(build)


def heads(make, masked=False, **call):
    def build(k):
        x = k.Input((6, 8), name="steps" if masked else "x")
        inner = k.layers.Masking()(x) if masked else x
        return k.Model(x, make(k)(inner, inner, **call))

    return Case(build, "masked" if masked else "")


def cross(make, *shapes, mask=None):
    def build(k):
        q, v = k.Input(shapes[0], name="q"), k.Input(shapes[1], name="v")
        if mask is None:
            return k.Model([q, v], make(k)(q, v))
        m = k.Input(mask, name="flags", dtype="bool")
        return k.Model([q, v, m], make(k)(q, v, attention_mask=m))

    return Case(build, "attention_mask" if mask else "cross")


def masked_attention(name, **call):
    def build(k):
        q, v = k.Input((5, 8), name="steps"), k.Input((6, 8), name="steps2")
        masked = [k.layers.Masking()(q), k.layers.Masking()(v)]
        return k.Model([q, v], getattr(k.layers, name)()(masked, **call))

    return Case(build, "masked")


def transformer(k):
    ids = k.Input((6,), name="ids")
    x = k.layers.Embedding(11, 8, mask_zero=True)(ids)
    attended = k.layers.MultiHeadAttention(2, 4)(x, x)
    x = k.layers.LayerNormalization()(k.layers.Add()([x, attended]))
    x = k.layers.Dense(8, activation="relu")(x)
    return k.Model(ids, k.layers.GlobalAveragePooling1D()(x))


def embedded(k):
    ids = k.Input((6,), name="ids")
    x = k.layers.Embedding(11, 8, mask_zero=True)(ids)
    return k.Model(ids, k.layers.GlobalAveragePooling1D()(k.layers.Dense(4)(x)))


def reversible(k):
    ids = k.Input((6,), name="ids")
    table = k.layers.ReversibleEmbedding(11, 8, tie_weights=True)
    return k.Model(ids, table(k.layers.Dense(8)(table(ids)), reverse=True))


def nested(k):
    return k.Sequential([k.Input((6, 5, 3)), k.layers.Conv2D(4, 3), k.layers.BatchNormalization(), k.layers.Flatten()])


def adapted(name, data, shape, **settings):
    import numpy as np

    def build(k):
        made = getattr(k.layers, name)(**settings)
        made.adapt(np.asarray(data))
        x = k.Input(
            shape,
            name="ids" if name == "IntegerLookup" else "x",
            dtype="int64" if name == "IntegerLookup" else "float32",
        )
        return k.Model(x, made(x))

    return Case(build)


CASES = {
    # Core
    "InputLayer": [Case(lambda k: k.Sequential([k.layers.InputLayer((4,)), k.layers.Dense(2)]))],
    "Dense": each("Dense", VECTOR, {"units": 4}, {"units": 4, "activation": "relu", "use_bias": False})
    + [same("Dense", SEQUENCE, units=5), steps(lambda k: k.layers.Dense(3))],
    "Activation": [
        *(
            same("Activation", SEQUENCE, activation=name)
            for name in (
                "celu,elu,exponential,gelu,glu,hard_shrink,hard_sigmoid,hard_silu,hard_tanh,leaky_relu,linear,"
                "log_sigmoid,log_softmax,mish,relu,relu6,selu,sigmoid,silu,soft_shrink,softmax,softplus,softsign,"
                "sparse_plus,sparse_sigmoid,sparsemax,squareplus,tanh,tanh_shrink,threshold"
            ).split(",")
            if name != "threshold"  # it takes more than a tensor
        ),
        layer(lambda k: k.layers.Activation("tanh"), (None, 4), note="open"),
    ],
    "Embedding": [
        looked_up(lambda k: k.layers.Embedding(11, 4), (6,)),
        Case(embedded, "mask_zero"),
    ],
    "ReversibleEmbedding": [
        looked_up(lambda k: k.layers.ReversibleEmbedding(11, 4), (6,)),
        Case(reversible, "reverse"),
    ],
    "EinsumDense": [
        layer(lambda k: k.layers.EinsumDense("ab,bc->ac", 5, bias_axes="c"), VECTOR),
        layer(lambda k: k.layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="relu"), SEQUENCE),
        layer(lambda k: k.layers.EinsumDense("abc,bd->adc", (5, 4), bias_axes="d"), SEQUENCE),
        layer(lambda k: k.layers.EinsumDense("...x,xy->...y", 5, bias_axes="y"), SEQUENCE),
        layer(lambda k: k.layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), SEQUENCE),
        layer(lambda k: k.layers.EinsumDense("abcd,bce->ade", (3, 5), bias_axes="e"), IMAGE),
        layer(lambda k: k.layers.EinsumDense("abc,bcd->abd", (6, 5), bias_axes="bd"), SEQUENCE, note="batched"),
    ],
    "Masking": [steps(lambda k: k.layers.Identity()), steps(lambda k: k.layers.GlobalAveragePooling1D())],
    "Identity": [same("Identity", SEQUENCE)],
    "Lambda": [layer(lambda k: k.layers.Lambda(lambda x: x * 2, output_shape=(8,)), VECTOR)],
    # Convolution
    "Conv1D": each(
        "Conv1D",
        SEQUENCE,
        {"filters": 5, "kernel_size": 3},
        {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu", "groups": 2},
        {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "padding": "causal"},
        {"filters": 4, "kernel_size": 3, "data_format": "channels_first"},
    ),
    "Conv2D": each(
        "Conv2D",
        IMAGE,
        {"filters": 4, "kernel_size": 3},
        {"filters": 6, "kernel_size": (3, 2), "strides": (2, 1), "padding": "same", "groups": 3, "activation": "relu"},
        {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "use_bias": False},
        {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "padding": "same"},
    ),
    "Conv3D": each(
        "Conv3D",
        VOLUME,
        {"filters": 4, "kernel_size": 2},
        {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2, "activation": "relu"},
        {"filters": 4, "kernel_size": 2, "dilation_rate": 2},
    ),
    "Conv1DTranspose": each(
        "Conv1DTranspose",
        SEQUENCE,
        {"filters": 3, "kernel_size": 3, "strides": 2},
        {"filters": 3, "kernel_size": 3, "padding": "same"},
    ),
    "Conv2DTranspose": each(
        "Conv2DTranspose",
        IMAGE,
        {"filters": 4, "kernel_size": 3, "strides": 2},
        {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"},
        {"filters": 4, "kernel_size": 3, "strides": 2, "output_padding": 1},
    ),
    "Conv3DTranspose": each(
        "Conv3DTranspose",
        VOLUME,
        {"filters": 2, "kernel_size": 2, "strides": 2},
        {"filters": 2, "kernel_size": 3, "padding": "same"},
    ),
    "DepthwiseConv1D": each(
        "DepthwiseConv1D", SEQUENCE, {"kernel_size": 3}, {"kernel_size": 3, "depth_multiplier": 2, "padding": "same"}
    ),
    "DepthwiseConv2D": each(
        "DepthwiseConv2D",
        IMAGE,
        {"kernel_size": 3},
        {"kernel_size": 3, "depth_multiplier": 2, "padding": "same", "strides": 2, "activation": "relu"},
        {"kernel_size": 3, "data_format": "channels_first", "padding": "same"},
    ),
    "SeparableConv1D": each("SeparableConv1D", SEQUENCE, {"filters": 5, "kernel_size": 3, "padding": "same"}),
    "SeparableConv2D": each(
        "SeparableConv2D",
        IMAGE,
        {"filters": 5, "kernel_size": 3},
        {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "strides": 2, "padding": "same"},
        {"filters": 5, "kernel_size": 3, "data_format": "channels_first", "padding": "same"},
    ),
    "LocallyConnected1D": each(
        "LocallyConnected1D", SEQUENCE, *({"filters": 3, "kernel_size": 2, "implementation": i} for i in (1, 2, 3))
    ),
    "LocallyConnected2D": each(
        "LocallyConnected2D",
        (5, 4, 2),
        *({"filters": 3, "kernel_size": 2, "strides": (2, 1), "implementation": i} for i in (1, 2, 3)),
    ),
    # Pooling
    **{
        f"{kind}Pooling{n}D": each(
            f"{kind}Pooling{n}D",
            shape,
            {"pool_size": 2},
            {"pool_size": 3, "strides": 2, "padding": "same"},
            {"pool_size": 2, "data_format": "channels_first"},
        )
        for kind in ("Average", "Max")
        for n, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"Global{kind}Pooling{n}D": each(
            f"Global{kind}Pooling{n}D", shape, {}, {"keepdims": True}, {"data_format": "channels_first"}
        )
        + ([steps(lambda k: k.layers.GlobalAveragePooling1D())] if (kind, n) == ("Average", 1) else [])
        for kind in ("Average", "Max")
        for n, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"Adaptive{kind}Pooling{n}D": [same(f"Adaptive{kind}Pooling{n}D", shape, output_size=size) for size in sizes]
        for kind in ("Average", "Max")
        for n, shape, sizes in ((1, SEQUENCE, (3, 4)), (2, IMAGE, (3, (4, 5))), (3, VOLUME, (2, (3, 4, 3))))
    },
    # Normalization
    "BatchNormalization": each(
        "BatchNormalization", IMAGE, {}, {"axis": 1}, {"axis": -2, "scale": False}, {"center": False}
    ),
    "LayerNormalization": each(
        "LayerNormalization",
        IMAGE,
        {},
        {"axis": [1, 2]},
        {"axis": [-2, -1], "center": False},
        {"axis": 1, "scale": False},
    )
    + [same("LayerNormalization", SEQUENCE, rms_scaling=True)],
    "GroupNormalization": each(
        "GroupNormalization",
        (6, 5, 4),
        {"groups": 2},
        {"groups": -1},
        {"groups": 3, "axis": 1},
        {"groups": 1, "scale": False},
    ),
    "UnitNormalization": each("UnitNormalization", SEQUENCE, {}, {"axis": 1}, {"axis": [1, 2]}),
    "RMSNormalization": each("RMSNormalization", SEQUENCE, {}, {"axis": [1, 2]}),
    "SpectralNormalization": [
        layer(lambda k: k.layers.SpectralNormalization(k.layers.Dense(4)), VECTOR),
        layer(lambda k: k.layers.SpectralNormalization(k.layers.Conv2D(4, 3, activation="relu")), IMAGE),
    ],
    # Regularization
    **{
        name: each(name, SEQUENCE, settings)
        for name, settings in (
            ("Dropout", {"rate": 0.3}),
            ("AlphaDropout", {"rate": 0.3}),
            ("GaussianDropout", {"rate": 0.3}),
            ("GaussianNoise", {"stddev": 0.3}),
            ("SpatialDropout1D", {"rate": 0.3}),
            ("ActivityRegularization", {"l1": 0.3}),
        )
    },
    "SpatialDropout2D": [same("SpatialDropout2D", IMAGE, rate=0.3)],
    "SpatialDropout3D": [same("SpatialDropout3D", VOLUME, rate=0.3)],
    # Activation layers
    "ReLU": each("ReLU", SEQUENCE, {}, {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.3}),
    "LeakyReLU": each("LeakyReLU", SEQUENCE, {}),
    "ELU": each("ELU", SEQUENCE, {"alpha": 0.7}),
    "PReLU": each("PReLU", IMAGE, {}, {"shared_axes": [1, 2]}),
    "Softmax": each("Softmax", SEQUENCE, {}, {"axis": 1}, {"axis": [1, 2]})
    + [steps(lambda k: lambda x: k.layers.Softmax()(k.layers.Dense(6)(x)), (6, 6))],
    "ThresholdedReLU": each("ThresholdedReLU", SEQUENCE, {"theta": 0.4}),
    # Merging
    **{name: merged(name) for name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")},
    "Concatenate": [
        same("Concatenate", IMAGE, IMAGE),
        same("Concatenate", SEQUENCE, (2, 4), axis=1),
        merged("Concatenate")[2],
    ],
    "Dot": [
        same("Dot", VECTOR, VECTOR, axes=1),
        same("Dot", SEQUENCE, SEQUENCE, axes=2),
        same("Dot", SEQUENCE, (6,), axes=1, normalize=True),
        same("Dot", SEQUENCE, (3, 6), axes=(1, 2)),
        same("Dot", (2, 3, 4), (2, 5, 4), axes=(3, 3)),
    ],
    # Attention
    "Attention": [
        attention(lambda k: k.layers.Attention(use_scale=True)),
        attention(lambda k: k.layers.Attention(score_mode="concat")),
        attention(lambda k: k.layers.Attention(), use_causal_mask=True),
        masked_attention("Attention"),
    ],
    "AdditiveAttention": [attention(lambda k: k.layers.AdditiveAttention()), masked_attention("AdditiveAttention")],
    "MultiHeadAttention": [
        heads(lambda k: k.layers.MultiHeadAttention(2, 4)),
        heads(lambda k: k.layers.MultiHeadAttention(2, 4), use_causal_mask=True),
        heads(lambda k: k.layers.MultiHeadAttention(2, 4), masked=True),
        heads(
            lambda k: k.layers.MultiHeadAttention(2, 4, dropout=0.1, use_bias=False), masked=True, use_causal_mask=True
        ),
        heads(lambda k: k.layers.MultiHeadAttention(2, 4, use_gate=True, sliding_window=2)),
        cross(lambda k: k.layers.MultiHeadAttention(2, 4, value_dim=3, output_shape=5), (5, 8), (6, 7)),
        cross(lambda k: k.layers.MultiHeadAttention(2, 4), (5, 8), (6, 8), mask=(5, 6)),
        cross(lambda k: k.layers.MultiHeadAttention(2, 4, attention_axes=(1, 2)), (3, 2, 8), (3, 4, 8)),
        cross(lambda k: k.layers.MultiHeadAttention(2, 4, attention_axes=2), (3, 5, 8), (3, 4, 8)),
        Case(transformer, "transformer"),
    ],
    "GroupQueryAttention": [
        heads(lambda k: k.layers.GroupQueryAttention(4, 4, 2)),
        heads(lambda k: k.layers.GroupQueryAttention(4, 4, 2, use_gate=True, use_bias=False), use_causal_mask=True),
        heads(lambda k: k.layers.GroupQueryAttention(4, 4, 1, sliding_window=2), masked=True),
    ],
    # Reshaping
    "Flatten": [same("Flatten", IMAGE), same("Flatten", IMAGE, data_format="channels_first")],
    "Reshape": [same("Reshape", IMAGE, target_shape=(-1, 7)), same("Reshape", VECTOR, target_shape=(2, 4))],
    "Permute": [same("Permute", IMAGE, dims=(3, 1, 2))],
    "RepeatVector": [same("RepeatVector", VECTOR, n=3)],
    "Cropping1D": each("Cropping1D", SEQUENCE, {"cropping": (1, 2)}, {"cropping": 1, "data_format": "channels_first"}),
    "Cropping2D": each(
        "Cropping2D", IMAGE, {"cropping": ((1, 2), (0, 3))}, {"cropping": (2, 1), "data_format": "channels_first"}
    ),
    "Cropping3D": each(
        "Cropping3D", VOLUME, {"cropping": ((1, 2), (0, 3), (1, 0))}, {"cropping": 1, "data_format": "channels_first"}
    ),
    "ZeroPadding1D": each(
        "ZeroPadding1D", SEQUENCE, {"padding": (1, 2)}, {"padding": 1, "data_format": "channels_first"}
    ),
    "ZeroPadding2D": each(
        "ZeroPadding2D", IMAGE, {"padding": ((1, 2), (0, 3))}, {"padding": 2, "data_format": "channels_first"}
    ),
    "ZeroPadding3D": each(
        "ZeroPadding3D", VOLUME, {"padding": ((1, 2), (0, 3), (1, 0))}, {"padding": 1, "data_format": "channels_first"}
    ),
    "UpSampling1D": each("UpSampling1D", SEQUENCE, {"size": 3}),
    "UpSampling2D": each(
        "UpSampling2D",
        IMAGE,
        {"size": (2, 3)},
        {"size": 2, "interpolation": "bilinear"},
        {"size": 2, "interpolation": "bicubic"},
        {"size": 2, "data_format": "channels_first"},
    )
    + [layer(lambda k: k.layers.UpSampling2D(2), (None, None, 3), note="open size")],
    "UpSampling3D": each("UpSampling3D", VOLUME, {"size": (2, 1, 3)}, {"data_format": "channels_first"}),
    # Wrappers
    "TimeDistributed": [
        layer(lambda k: k.layers.TimeDistributed(k.layers.Dense(5, activation="relu")), SEQUENCE),
        layer(lambda k: k.layers.TimeDistributed(k.layers.Conv2D(4, 3)), (4, 6, 5, 3)),
        layer(lambda k: k.layers.TimeDistributed(k.layers.MaxPooling2D()), (4, 6, 5, 3)),
        layer(lambda k: k.layers.TimeDistributed(nested(k)), (4, 6, 5, 3)),
        layer(lambda k: k.layers.TimeDistributed(k.layers.Dense(5)), (None, 4), note="open length"),
        steps(lambda k: lambda x: k.layers.GlobalAveragePooling1D()(k.layers.TimeDistributed(k.layers.Dense(3))(x))),
    ],
    # Preprocessing that stays in the model
    "Rescaling": [
        same("Rescaling", IMAGE, scale=1 / 127.5, offset=-1),
        same("Rescaling", IMAGE, scale=[0.1, 0.2, 0.3]),
    ],
    "Normalization": [
        same("Normalization", IMAGE, mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
        adapted("Normalization", [[1.0, 2.0], [3.0, 5.0], [2.0, 2.5]], (2,)),
        same("Normalization", VECTOR, mean=0.2, variance=2.0, invert=True, axis=None),
    ],
    "Resizing": each(
        "Resizing",
        IMAGE,
        {"height": 5, "width": 12},
        {"height": 5, "width": 12, "interpolation": "nearest"},
        {"height": 6, "width": 6, "crop_to_aspect_ratio": True},
        {"height": 6, "width": 10, "pad_to_aspect_ratio": True},
        {"height": 12, "width": 5, "interpolation": "bicubic"},
        {"height": 12, "width": 5, "interpolation": "lanczos3"},
        {"height": 5, "width": 5, "antialias": True},
        {"height": 5, "width": 5, "data_format": "channels_first"},
    ),
    "CenterCrop": each("CenterCrop", IMAGE, {"height": 5, "width": 4}, {"height": 4, "width": 12}),
    "Discretization": [
        same("Discretization", VECTOR, bin_boundaries=[-1.0, 0.0, 0.5]),
        same("Discretization", (1,), bin_boundaries=[-1.0, 0.0, 0.5], output_mode="one_hot"),
        same("Discretization", VECTOR, bin_boundaries=[-1.0, 0.0, 0.5], output_mode="multi_hot"),
    ],
    "CategoryEncoding": [
        looked_up(lambda k: k.layers.CategoryEncoding(11, output_mode="multi_hot"), (4,)),
        looked_up(lambda k: k.layers.CategoryEncoding(11, output_mode="one_hot"), (1,)),
        looked_up(lambda k: k.layers.CategoryEncoding(11, output_mode="count"), (4,)),
    ],
    "IntegerLookup": [
        adapted("IntegerLookup", [3, 5, 5, 7, 7, 7], (4,)),
        adapted("IntegerLookup", [3, 5, 5, 7, 7, 7], (4,), output_mode="multi_hot"),
    ],
    "MelSpectrogram": [
        same("MelSpectrogram", (1200,), fft_length=256, sequence_stride=128, num_mel_bins=16, sampling_rate=8000)
    ],
    "STFTSpectrogram": [
        same("STFTSpectrogram", (1200, 1), frame_length=200, frame_step=100, fft_length=256, window=None),
        same("STFTSpectrogram", (1200, 2), mode="psd", frame_length=256, frame_step=128, window=None),
    ],
    "AutoContrast": [same("AutoContrast", IMAGE)],
    "Equalization": [layer(lambda k: k.layers.Equalization(), IMAGE, names=["image"])],
    "ContrastLimitedAdaptiveHistogramEqualization": [
        layer(lambda k: k.layers.ContrastLimitedAdaptiveHistogramEqualization(), (16, 16, 3), names=["image"])
    ],
    "Pipeline": [layer(lambda k: k.layers.Pipeline([k.layers.Rescaling(0.5), k.layers.CenterCrop(4, 5)]), IMAGE)],
}

AUGMENTATIONS = {
    "AugMix": {}, "CutMix": {}, "MaxNumBoundingBoxes": {"max_number": 3}, "MixUp": {}, "RandAugment": {},
    "RandomBrightness": {"factor": 0.2}, "RandomColorDegeneration": {"factor": 0.2},
    "RandomColorJitter": {"brightness_factor": 0.2}, "RandomContrast": {"factor": 0.2},
    "RandomCrop": {"height": 5, "width": 4}, "RandomElasticTransform": {}, "RandomErasing": {}, "RandomFlip": {},
    "RandomGaussianBlur": {}, "RandomGrayscale": {}, "RandomHeight": {"factor": 0.2}, "RandomHue": {"factor": 0.2},
    "RandomInvert": {}, "RandomPerspective": {}, "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.2}, "RandomSaturation": {"factor": 0.2}, "RandomSharpness": {"factor": 0.2},
    "RandomShear": {}, "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomWidth": {"factor": 0.2}, "RandomZoom": {"height_factor": 0.2}, "Solarization": {},
}  # fmt: skip
CASES |= {name: [same(name, IMAGE, **settings)] for name, settings in AUGMENTATIONS.items()}

# Classes that stand for others, or have no model that could be saved.
NO_CASE = {
    "DenseFeatures": "feature columns need TensorFlow's Python code",
    "AbstractRNNCell": "an abstract class",
    "FlaxLayer": "a Python function of another framework",
    "Hashing": "hashes strings",
    "HashedCrossing": "hashes strings",
    "Layer": "an abstract class",
    "Wrapper": "an abstract class",
    "JaxLayer": "a Python function of another framework",
    "StringLookup": "looks strings up",
    "TFSMLayer": "a TensorFlow graph in another file",
    "TextVectorization": "cuts strings",
    "TorchModuleWrapper": "a Python module of another framework",
}
