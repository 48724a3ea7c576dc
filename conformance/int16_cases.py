"""One-operator models with 16-bit activations, 8-bit weights and 64-bit biases, as TensorFlow's converter writes them.

Adds to the cases of `operator_cases.py`. Both sides compute the same integers but where a case says otherwise.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from operator_cases import BOOL, FLOAT, INT8, INT16, INT32, INT64, Tensor, add, constant, describe, options, or_constant

UNIT = 1 / 32768


def words(shape, scale=1e-4, **rest):
    return Tensor(shape, INT16, scale, **rest)


def layer(operator, in_shape, kernel, out_shape, opts, version, bias_type):
    """A layer with weights: the bias's type says how LiteRT rounds."""
    random = np.random.default_rng(sum(in_shape) + sum(kernel))
    depthwise = operator == "DEPTHWISE_CONV_2D"
    channels = kernel[-1] if depthwise else kernel[0]
    scales = random.uniform(0.001, 0.01, channels).astype(FLOAT)
    weights = constant(random.integers(-127, 128, kernel), INT8, scale=scales, axis=3 if depthwise else 0)
    inputs = [words(in_shape), weights]
    if bias_type:
        bias = random.integers(-2_000_000, 2_000_000, channels)
        inputs.append(constant(bias, bias_type, scale=FLOAT(1e-4) * scales))
    if hasattr(opts[1], "quantizedBiasType"):
        opts[1].quantizedBiasType = schema.TensorType.INT32 if bias_type is INT32 else schema.TensorType.INT64
    products = int(np.prod(kernel[1:3] if depthwise else kernel[1:]))
    out_scale = float(1e-4 * 0.0055 * 18_900 * 74 * np.sqrt(products) * 3 / 32767)
    name = bias_type.__name__ if bias_type else "no"
    add(f"{operator} {in_shape} kernel {kernel} {describe(opts)} int16 {name} bias", operator, inputs,
        words(out_shape, out_scale), options=opts, version=version)  # fmt: skip


def add_layers():
    for size, kernel, stride, padding, dilation, activation in [
        (9, 3, 1, 0, 1, 0), (9, 3, 2, 0, 1, 1), (8, 3, 2, 1, 1, 3), (7, 1, 1, 1, 1, 2), (12, 3, 1, 1, 2, 0),
    ]:  # fmt: skip
        reach = (kernel - 1) * dilation + 1
        out = -(-size // stride) if padding == 0 else (size - reach) // stride + 1
        common = dict(
            padding=padding, strideH=stride, strideW=stride, dilationHFactor=dilation, dilationWFactor=dilation,
            fusedActivationFunction=activation,
        )  # fmt: skip
        for channels, filters in ((3, 8), (16, 5), (70, 33)):
            for bias in (INT64, INT32):
                layer("CONV_2D", (2, size, size, channels), (filters, kernel, kernel, channels),
                      (2, out, out, filters), options("Conv2D", **common), 3, bias)  # fmt: skip
        for channels, multiplier in ((3, 1), (36, 1), (5, 3)):
            for bias in (INT64, None):
                layer("DEPTHWISE_CONV_2D", (2, size, size, channels), (1, kernel, kernel, channels * multiplier),
                      (2, out, out, channels * multiplier),
                      options("DepthwiseConv2D", depthMultiplier=multiplier, **common), 3, bias)  # fmt: skip
    for depth, units, activation in ((7, 3, 0), (64, 32, 1), (1500, 17, 3), (1, 1, 0)):
        for bias in (INT64, INT32, None):
            layer("FULLY_CONNECTED", (5, depth), (units, depth), (5, units),
                  options("FullyConnected", fusedActivationFunction=activation), 4, bias)  # fmt: skip
    random = np.random.default_rng(5)
    for stride, padding, out in ((2, 0, 10), (2, 1, 11), (1, 1, 7), (1, 0, 5)):
        scales = random.uniform(0.001, 0.01, 6).astype(FLOAT)
        add(f"TRANSPOSE_CONV stride {stride} {'VALID' if padding else 'SAME'} int16", "TRANSPOSE_CONV",
            [constant([2, out, out, 6], INT32),
             constant(random.integers(-127, 128, (6, 3, 3, 4)), INT8, scale=scales), words((2, 5, 5, 4)),
             constant(random.integers(-2_000_000, 2_000_000, 6), INT64, scale=FLOAT(1e-4) * scales)],
            words((2, out, out, 6), 1e-4), version=3,
            options=options("TransposeConv", padding=padding, strideH=stride, strideW=stride))  # fmt: skip
    for transposed in (False, True):
        for depth in (5, 700):
            right = (3, 6, depth) if transposed else (3, depth, 6)
            add(f"BATCH_MATMUL {depth} transposed {transposed} int16", "BATCH_MATMUL",
                [words((3, 4, depth)), words(right, 2e-4)], words((3, 4, 6), 3e-4 * depth), version=2,
                options=options("BatchMatMul", adjY=transposed))  # fmt: skip


def add_pairs():
    shapes = (((2, 5, 6, 7), (2, 5, 6, 7)), ((2, 5, 6, 7), (7,)), ((2, 1, 1, 7), (2, 5, 6, 7)), ((1,), (4, 9)))
    scales = ((1e-4, 1.3e-4, 2e-4), (3e-4, 1e-4, 2e-4), (1e-4, 3e-6, 1e-4), (1e-4, 1e-4, 1e-4))
    for operator, kind in (("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul")):
        for i, (a, b) in enumerate(shapes):
            for j, (sa, sb, out) in enumerate(scales):
                opts = options(kind, fusedActivationFunction=(i + j) % 4)
                if operator != "MUL":
                    opts[1].potScaleInt16 = False
                # Products fill the range of their output, and more.
                out = out if operator != "MUL" else sa * sb * 32768 / (1, 0.8, 2, 1)[j]
                first = words(a, sa)
                add(f"{operator} {a} {b} scales {j} activation {(i + j) % 4} int16", operator,
                    [first, or_constant(words(b, sb), first)], words(np.broadcast_shapes(a, b), out), options=opts,
                    version=2)  # fmt: skip
    for operator in ("MAXIMUM", "MINIMUM"):
        for a, b in shapes:
            add(f"{operator} {a} {b} int16", operator, [words(a), or_constant(words(b), words(a))], words(np.broadcast_shapes(a, b)),
                options=options("MaximumMinimum"), version=2)  # fmt: skip


def add_functions():
    shape = (3, 70, 160)
    for operator, opts, scales in (
        ("RELU", None, (1e-4, 1.3e-4)), ("RELU", None, (1e-4, 1e-4)), ("RELU6", None, (3e-4, 2e-4)),
        ("ABS", options("Abs"), (1e-4, 1.3e-4)),
        ("LEAKY_RELU", options("LeakyRelu", alpha=0.1), (1e-4, 1.3e-4)),
        ("LEAKY_RELU", options("LeakyRelu", alpha=0.3), (2e-4, 1.3e-4)),
        ("EXP", options("Exp"), (1e-4, 1e-3)), ("EXP", options("Exp"), (3e-4, 0.3)), ("LOG", None, (1e-4, 1e-3)),
        ("GELU", options("Gelu", approximate=False), (1e-4, 1e-4)),
        ("GELU", options("Gelu", approximate=True), (3e-4, 3e-4)),
        ("LOGISTIC", None, (1e-4, UNIT)), ("LOGISTIC", None, (1e-3, UNIT)), ("LOGISTIC", None, (2e-5, UNIT)),
        ("TANH", None, (1e-4, UNIT)), ("TANH", None, (1e-3, UNIT)), ("TANH", None, (UNIT, UNIT)),
        ("SOFTMAX", options("Softmax", beta=1.0), (1e-4, UNIT)), ("SOFTMAX", options("Softmax", beta=1.0), (1e-3, UNIT)),
        ("SOFTMAX", options("Softmax", beta=0.3), (3e-4, UNIT)),
    ):  # fmt: skip
        add(f"{operator} {scales[0]:g} to {scales[1]:g} int16", operator, [words(shape, scales[0])],
            words(shape, scales[1]), options=opts, version=2)  # fmt: skip
    add("RSQRT int16", "RSQRT", [words(shape, low=1, high=32767)], words(shape, 1e-2), version=2)
    for scale in (3 / 32767, 3.7e-4, UNIT):
        add(f"QUANTIZE {scale:g} int16", "QUANTIZE", [Tensor(shape, low=-3.3, high=3.3)], words(shape, scale),
            options=options("Quantize"))  # fmt: skip
        add(f"DEQUANTIZE {scale:g} int16", "DEQUANTIZE", [words(shape, scale)], Tensor(shape),
            options=options("Dequantize"), version=2)  # fmt: skip
        add(f"QUANTIZE int16 to int16 {scale:g}", "QUANTIZE", [words(shape)], words(shape, scale),
            options=options("Quantize"), version=2)  # fmt: skip
        add(f"QUANTIZE int8 to int16 {scale:g}", "QUANTIZE", [Tensor(shape, INT8, 0.02, -5)], words(shape, scale),
            options=options("Quantize"), version=2)  # fmt: skip
        add(f"QUANTIZE int16 {scale:g} to int8", "QUANTIZE", [words(shape, scale)], Tensor(shape, INT8, 0.03, 11),
            options=options("Quantize"), version=2)  # fmt: skip


def add_reductions():
    for operator in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        for size, window, stride, padding in ((9, 2, 2, 1), (9, 3, 2, 0), (8, 3, 1, 0), (7, 7, 1, 1)):
            out = -(-size // stride) if padding == 0 else (size - window) // stride + 1
            opts = options("Pool2D", filterHeight=window, filterWidth=window, strideH=stride, strideW=stride,
                           padding=padding, fusedActivationFunction=window % 2)  # fmt: skip
            add(f"{operator} {size} window {window} stride {stride} int16", operator, [words((2, size, size, 21))],
                words((2, out, out, 21)), options=opts, version=2)  # fmt: skip
    for operator in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        for axes in ([1, 2], [3], [1]):
            for out_scale in (1e-4, 3e-5, 3e-4):
                shape, keep = (2, 7, 5, 12), out_scale == 1e-4
                out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
                scale = out_scale * (300 if operator == "SUM" else 1)
                if operator.startswith("REDUCE") and scale != 1e-4:
                    continue
                add(f"{operator} {axes} to {scale:g} int16", operator, [words(shape), constant(axes, INT32)],
                    words(out, scale), options=options("Reducer", keepDims=keep), version=2)  # fmt: skip
    # LiteRT rounds after each factor.
    add("REDUCE_PROD int16", "REDUCE_PROD", [words((30, 2), 1e-4), constant([1], INT32)], words((30,), 2e-4),
        options=options("Reducer"), version=2, tolerance=1)  # fmt: skip
    for half, corners in ((True, False), (False, True), (False, False)):
        for kind in ("ResizeBilinear", "ResizeNearestNeighbor"):
            for out in ((12, 16), (9, 5), (6, 8)):
                name = "RESIZE_BILINEAR" if kind == "ResizeBilinear" else "RESIZE_NEAREST_NEIGHBOR"
                add(f"{name} {out} half {half} corners {corners} int16", name,
                    [words((2, 6, 8, 5)), constant(out, INT32)], words((2, *out, 5)), version=3,
                    options=options(kind, halfPixelCenters=half, alignCorners=corners))  # fmt: skip


def add_movement():
    def ints(*values):
        return constant(values, INT32)

    square = (2, 6, 8, 5)
    pads = constant([[0, 0], [1, 2], [3, 0], [0, 1]], INT32)
    for operator, inputs, outs, opts, version in (
        ("CONCATENATION", [words((2, 3, 8)), words((2, 3, 5))], [(2, 3, 13)], options("Concatenation", axis=-1), 2),
        ("PAD", [words(square), pads], [(2, 9, 11, 6)], options("Pad"), 2),
        ("PADV2", [words(square), pads, constant([-1234], INT16, scale=1e-4)], [(2, 9, 11, 6)], options("PadV2"), 2),
        ("MIRROR_PAD", [words(square), pads], [(2, 9, 11, 6)], options("MirrorPad", mode=0), 2),
        ("TRANSPOSE", [words(square), ints(0, 3, 1, 2)], [(2, 5, 6, 8)], options("Transpose"), 2),
        ("RESHAPE", [words(square), ints(2, -1)], [(2, 240)], options("Reshape", newShape=[2, -1]), 1),
        ("SLICE", [words(square), ints(1, 2, 0, 3), ints(1, 3, -1, 2)], [(1, 3, 8, 2)], options("Slice"), 2),
        ("STRIDED_SLICE", [words(square), ints(0, 1, 7, 0), ints(0, 5, -9, 0), ints(1, 2, -2, 1)], [(2, 2, 4, 5)],
         options("StridedSlice", beginMask=1, endMask=9), 2),
        ("SPLIT", [constant(2, INT32), words(square)], [(2, 6, 4, 5)] * 2, options("Split", numSplits=2), 2),
        ("SPLIT_V", [words(square), ints(1, 5), constant(1, INT32)], [(2, 1, 8, 5), (2, 5, 8, 5)],
         options("SplitV", numSplits=2), 2),
        ("PACK", [words((3, 4))] * 3, [(3, 3, 4)], options("Pack", valuesCount=3, axis=1), 2),
        ("UNPACK", [words((3, 2, 4))], [(3, 4)] * 2, options("Unpack", num=2, axis=1), 1),
        ("GATHER", [words((6, 5)), ints(3, 0, 5, 3)], [(4, 5)], options("Gather", axis=0), 2),
        ("TILE", [words((2, 3, 4)), ints(2, 1, 3)], [(4, 3, 12)], options("Tile"), 3),
        ("BROADCAST_TO", [words((1, 3, 1)), ints(2, 3, 4)], [(2, 3, 4)], options("BroadcastTo"), 3),
        ("REVERSE_V2", [words(square), ints(2)], [square], options("ReverseV2"), 3),
        ("SPACE_TO_BATCH_ND", [words(square), ints(2, 2), constant([[1, 1], [0, 2]], INT32)], [(8, 4, 5, 5)],
         options("SpaceToBatchND"), 2),
        ("BATCH_TO_SPACE_ND", [words((8, 4, 5, 5)), ints(2, 2), constant([[1, 1], [0, 2]], INT32)], [square],
         options("BatchToSpaceND"), 2),
        ("SELECT_V2", [Tensor((4, 9), BOOL), words((4, 9)), words((4, 9))], [(4, 9)], options("SelectV2"), 1),
    ):  # fmt: skip
        add(f"{operator} int16", operator, inputs, [words(out) for out in outs], options=opts, version=version)


add_layers()
add_pairs()
add_functions()
add_reductions()
add_movement()
