"""One-operator TFLite models, written as data.

A case names an operator, its options, its inputs, its constants and its output; `model_bytes` makes the TFLite file.
Quantization parameters are chosen so that outputs use their range and some values saturate.
"""

from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FLOAT, INT8, INT16, INT32, INT64, BOOL = np.float32, np.int8, np.int16, np.int32, np.int64, np.bool_
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


@dataclass
class Tensor:
    """A tensor of a case; with `data` it is a constant. `low` and `high` bound what is fed to a float input."""

    shape: tuple
    type: type = FLOAT
    scale: object = None  # number, or one per slice of `axis`
    zero_point: int = 0
    axis: int = 0
    data: object = None
    low: float = -3.0
    high: float = 3.0

    def values(self, random):
        """Something to feed."""
        if self.type is FLOAT:
            return random.uniform(self.low, self.high, self.shape).astype(FLOAT)
        if self.type is BOOL:
            return random.random(self.shape) < 0.5
        if self.type in (INT8, INT16) and self.low == Tensor.low:
            limits = np.iinfo(self.type)
            return random.integers(limits.min, limits.max, self.shape, self.type, endpoint=True)
        return random.integers(int(self.low), int(self.high), self.shape).astype(self.type)


@dataclass
class Case:
    name: str
    operator: str
    inputs: list
    outputs: list
    options: object = None
    version: int = 1
    tolerance: float = 0  # steps for integers, share of the largest output for floats


CASES = []


def constant(values, type=None, **quantization):
    values = np.asarray(values, type)
    return Tensor(values.shape, values.dtype.type, data=values, **quantization)


def options(kind, **fields):
    """The options table `kind`Options with fields in the schema's camelCase."""
    table = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        assert hasattr(table, name), f"{kind}Options has no {name}"
        setattr(table, name, value)
    return f"{kind}Options", table


def add(name, operator, inputs, outputs, **rest):
    outputs = outputs if isinstance(outputs, list) else [outputs]
    CASES.append(Case(name, operator, inputs, outputs, **rest))


def or_constant(tensor, first):
    """The tensor; or, where it has not as many samples as the first input, a constant of its shape."""
    if tensor.shape[0] == first.shape[0]:
        return tensor
    random = np.random.default_rng(len(CASES))
    return constant(tensor.values(random), scale=tensor.scale, zero_point=tensor.zero_point)


def add_both(name, operator, shapes, out_shape, make_options=None, tolerance=(1e-6, 1), out_scale=0.027, version=2):
    """The case in float32 and in int8 with unequal scales, where `shapes` are those of the activations."""
    opts = make_options() if make_options else None
    inputs = [Tensor(s) for s in shapes]
    inputs = [or_constant(tensor, inputs[0]) for tensor in inputs]
    add(f"{name} float32", operator, inputs, Tensor(out_shape), options=opts, tolerance=tolerance[0])
    scales = [(0.023, 3), (0.031, -11), (0.017, 40)]
    inputs = [Tensor(s, INT8, *scales[i % 3]) for i, s in enumerate(shapes)]
    inputs = [or_constant(tensor, inputs[0]) for tensor in inputs]
    add(f"{name} int8", operator, inputs, Tensor(out_shape, INT8, out_scale, -5), options=opts, version=version,
        tolerance=tolerance[1])  # fmt: skip


def same_scale(
    name, operator, shape, out_shapes, make_options=None, constants=(), before=(), version=2, float_version=1, **rest
):
    """Data movement: float32 and int8 with one scale throughout, to be equal to the last bit."""
    out_shapes = out_shapes if isinstance(out_shapes, list) else [out_shapes]
    shapes = shape if isinstance(shape, list) else [shape]
    opts = make_options() if make_options else None
    for type, extra in ((FLOAT, {}), (INT8, {"scale": 0.02, "zero_point": 7})):
        inputs = [Tensor(s, type, **extra) for s in shapes]
        add(f"{name} {type.__name__}", operator,
            [*before, *(or_constant(tensor, inputs[0]) for tensor in inputs), *constants],
            [Tensor(s, type, **extra) for s in out_shapes], options=opts,
            version=float_version if type is FLOAT else version, **rest)  # fmt: skip


# Convolutions: equal to LiteRT in int8


def convolution(operator, in_shape, kernel, out_shape, opts, version, activation=0):
    random = np.random.default_rng(len(CASES))
    depthwise = operator == "DEPTHWISE_CONV_2D"
    channels = kernel[-1] if depthwise else kernel[0]
    opts[1].fusedActivationFunction = activation
    weights = random.normal(0, 0.3, kernel).astype(FLOAT)
    bias = random.normal(0, 0.5, channels).astype(FLOAT)
    label = f"{operator} {in_shape} kernel {kernel} {describe(opts)}"
    add(f"{label} float32", operator, [Tensor(in_shape), constant(weights), constant(bias)], Tensor(out_shape),
        options=opts, tolerance=1e-5)  # fmt: skip
    scales = random.uniform(0.001, 0.01, channels).astype(FLOAT)
    axis = 3 if depthwise else 0
    integers = constant(random.integers(-127, 128, kernel), INT8, scale=scales, axis=axis)
    bias = constant(random.integers(-2000, 2000, channels), INT32, scale=(FLOAT(0.0235) * scales))
    taps = int(np.prod(kernel[1:3] if depthwise else kernel[1:]))
    out_scale = float(0.0235 * 0.0055 * 74 * 74 * np.sqrt(taps) * 4 / 256)
    add(f"{label} int8", operator, [Tensor(in_shape, INT8, 0.0235, -19), integers, bias],
        Tensor(out_shape, INT8, out_scale, 13), options=opts, version=version)  # fmt: skip


def describe(opts):
    fields = {k: v for k, v in vars(opts[1]).items() if isinstance(v, int) and not isinstance(v, bool)}
    short = {"strideH": "stride", "dilationHFactor": "dilation", "fusedActivationFunction": "activation"}
    parts = [f"{short[k]} {v}" for k, v in fields.items() if k in short and v not in (0, 1)]
    if "padding" in fields:
        parts.append("VALID" if fields["padding"] else "SAME")
    return " ".join(parts)


def add_convolutions():
    for size, kernel, stride, padding, dilation, activation in [
        (9, 3, 1, 0, 1, 0), (9, 3, 2, 0, 1, 1), (8, 3, 2, 0, 1, 3), (9, 3, 1, 1, 1, 0), (7, 1, 1, 1, 1, 1),
        (11, 5, 2, 1, 1, 0), (12, 3, 1, 1, 2, 0), (9, 2, 1, 0, 1, 2), (9, 7, 4, 0, 1, 0), (6, 1, 2, 1, 1, 0),
    ]:  # fmt: skip
        reach = (kernel - 1) * dilation + 1
        out = -(-size // stride) if padding == 0 else (size - reach) // stride + 1
        common = dict(
            padding=padding, strideH=stride, strideW=stride, dilationHFactor=dilation, dilationWFactor=dilation
        )
        for channels, filters in ((3, 8), (16, 5), (33, 17)):
            convolution("CONV_2D", (2, size, size, channels), (filters, kernel, kernel, channels),
                        (2, out, out, filters), options("Conv2D", **common), 3, activation)  # fmt: skip
        for channels, multiplier in ((3, 1), (16, 1), (5, 3), (36, 1)):
            convolution("DEPTHWISE_CONV_2D", (2, size, size, channels), (1, kernel, kernel, channels * multiplier),
                        (2, out, out, channels * multiplier),
                        options("DepthwiseConv2D", depthMultiplier=multiplier, **common), 3, activation)  # fmt: skip
    for depth, units, activation in ((7, 3, 0), (64, 32, 1), (129, 17, 3), (1, 1, 0)):
        random = np.random.default_rng(depth)
        opts = options("FullyConnected", fusedActivationFunction=activation)
        weights = random.normal(0, 0.3, (units, depth)).astype(FLOAT)
        add(f"FULLY_CONNECTED {depth} to {units} float32", "FULLY_CONNECTED",
            [Tensor((5, depth)), constant(weights), constant(random.normal(0, 1, units), FLOAT)],
            Tensor((5, units)), options=opts, tolerance=1e-5)  # fmt: skip
        scales = random.uniform(0.001, 0.01, units).astype(FLOAT)
        for label, weight_scales, version in (("per channel", scales, 12), ("per tensor", scales[:1], 4)):
            bias_scales = FLOAT(0.0235) * weight_scales
            add(f"FULLY_CONNECTED {depth} to {units} int8 {label}", "FULLY_CONNECTED",
                [Tensor((5, depth), INT8, 0.0235, -19),
                 constant(random.integers(-127, 128, (units, depth)), INT8, scale=weight_scales),
                 constant(random.integers(-2000, 2000, units), INT32, scale=bias_scales)],
                Tensor((5, units), INT8, float(0.0235 * 0.0055 * 74 * 74 * np.sqrt(depth) * 4 / 256), 13),
                options=opts, version=version)  # fmt: skip


def add_transposed():
    """In int8 equal to LiteRT, which takes plain kernels where some outputs see no place of the kernel."""
    random = np.random.default_rng(5)
    for size, kernel, stride, valid, out, activation in (
        (5, (3, 3), (2, 2), 0, (10, 10), 0), (5, (3, 3), (2, 2), 0, (9, 10), 1), (5, (3, 3), (2, 2), 1, (11, 12), 3),
        (5, (3, 3), (1, 1), 1, (7, 7), 0), (5, (3, 3), (1, 1), 0, (5, 5), 1), (6, (4, 4), (2, 2), 0, (12, 12), 0),
        (6, (2, 2), (2, 2), 1, (12, 12), 2), (4, (5, 2), (3, 1), 0, (12, 4), 0), (4, (1, 2), (2, 3), 1, (7, 11), 0),
        (4, (1, 1), (2, 2), 0, (8, 8), 1), (1, (4, 4), (1, 1), 1, (4, 4), 0),
    ):  # fmt: skip
        for channels, filters, biased in ((4, 6, True), (17, 33, True), (16, 3, False)):
            opts = options("TransposeConv", padding=valid, strideH=stride[0], strideW=stride[1],
                           fusedActivationFunction=activation)  # fmt: skip
            shape = constant([2, *out, filters], INT32)
            weights = (filters, *kernel, channels)
            label = f"TRANSPOSE_CONV {(2, size, size, channels)} kernel {weights} stride {stride} to {out}"
            label += f" activation {activation}" + ("" if biased else " without bias")
            version = 4 if activation else 3 if biased else 1
            bias = [constant(random.normal(0, 1, filters), FLOAT)] if biased else []
            add(f"{label} float32", "TRANSPOSE_CONV",
                [shape, constant(random.normal(0, 0.3, weights), FLOAT), Tensor((2, size, size, channels)), *bias],
                Tensor((2, *out, filters)), options=opts, version=version, tolerance=1e-5)  # fmt: skip
            scales = random.uniform(0.001, 0.01, filters).astype(FLOAT)
            bias = constant(random.integers(-2000, 2000, filters), INT32, scale=FLOAT(0.0235) * scales)
            taps = channels * np.prod(kernel) / np.prod(stride)
            add(f"{label} int8", "TRANSPOSE_CONV",
                [shape, constant(random.integers(-127, 128, weights), INT8, scale=scales),
                 Tensor((2, size, size, channels), INT8, 0.0235, -19), *([bias] if biased else [])],
                Tensor((2, *out, filters), INT8, float(0.0235 * 0.0055 * 74 * 74 * np.sqrt(taps) * 4 / 256), 13),
                options=opts, version=max(version, 2), tolerance=1 if kernel < stride else 0)  # fmt: skip


def add_volumes():
    random = np.random.default_rng(6)
    for kernel, stride, dilation, valid, out, activation in (
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), 0, (4, 5, 6), 1), ((2, 3, 1), (2, 1, 2), (1, 1, 1), 0, (2, 5, 3), 0),
        ((1, 2, 3), (1, 2, 1), (1, 1, 1), 1, (4, 2, 4), 3), ((2, 2, 3), (1, 1, 1), (2, 1, 2), 1, (2, 4, 2), 0),
    ):  # fmt: skip
        opts = options("Conv3D", padding=valid, strideD=stride[0], strideH=stride[1], strideW=stride[2],
                       dilationDFactor=dilation[0], dilationHFactor=dilation[1], dilationWFactor=dilation[2],
                       fusedActivationFunction=activation)  # fmt: skip
        for bias in ([], [constant(random.normal(0, 1, 7), FLOAT)]):
            weights = constant(random.normal(0, 0.3, (*kernel, 3, 7)), FLOAT)
            label = f"CONV_3D kernel {kernel} stride {stride} dilation {dilation} bias {len(bias)}"
            add(f"{label} activation {activation} float32", "CONV_3D", [Tensor((2, 4, 5, 6, 3)), weights, *bias],
                Tensor((2, *out, 7)), options=opts, tolerance=1e-5)  # fmt: skip
    for kernel, stride, valid, out, activation in (
        ((3, 3, 3), (2, 2, 2), 0, (8, 10, 12), 1), ((2, 3, 1), (2, 1, 2), 1, (8, 7, 12), 0),
        ((1, 3, 2), (1, 1, 1), 0, (4, 5, 6), 0),
    ):  # fmt: skip
        opts = options("Conv3D", padding=valid, strideD=stride[0], strideH=stride[1], strideW=stride[2],
                       fusedActivationFunction=activation)  # fmt: skip
        for bias in ([], [constant(random.normal(0, 1, 7), FLOAT)]):
            weights = constant(random.normal(0, 0.3, (*kernel, 7, 3)), FLOAT)
            add(f"CONV_3D_TRANSPOSE kernel {kernel} stride {stride} activation {activation} bias {len(bias)} float32",
                "CONV_3D_TRANSPOSE", [constant([2, *out, 7], INT32), weights, Tensor((2, 4, 5, 6, 3)), *bias],
                Tensor((2, *out, 7)), options=opts, tolerance=1e-5)  # fmt: skip


def add_choices():
    same_scale("GATHER_ND", "GATHER_ND", (4, 5, 6), (3, 6), lambda: options("GatherNd"),
               [constant([[0, 4], [3, 0], [1, 1]], INT32)], version=1)  # fmt: skip
    for type, extra, version in ((FLOAT, {}, 1), (INT8, {"scale": 0.02, "zero_point": 7}, 2)):
        add(f"TOPK_V2 {type.__name__}", "TOPK_V2", [Tensor((3, 40), type, **extra), constant(5, INT32)],
            [Tensor((3, 5), type, **extra), Tensor((3, 5), INT32)], options=options("TopKV2"),
            version=version)  # fmt: skip
    for axis, out in ((-1, (3, 4, 6)), (0, (6, 3, 4)), (1, (3, 6, 4))):
        add(f"ONE_HOT axis {axis}", "ONE_HOT",
            [Tensor((3, 4), INT32, low=-2, high=8), constant(6, INT32), constant(2.5, FLOAT), constant(-1, FLOAT)],
            Tensor(out), options=options("OneHot", axis=axis))  # fmt: skip
    for axis in (0, 1, -1):
        for exclusive in (False, True):
            for reverse in (False, True):
                opts = options("Cumsum", exclusive=exclusive, reverse=reverse)
                add(f"CUMSUM axis {axis} exclusive {exclusive} reverse {reverse}", "CUMSUM",
                    [Tensor((3, 4, 5)), constant(axis, INT32)], Tensor((3, 4, 5)), options=opts,
                    tolerance=1e-6)  # fmt: skip
    for operator in ("REDUCE_ANY", "REDUCE_ALL"):
        for axis, out in ((1, (3, 5)), (-1, (3, 4))):
            add(f"{operator} axis {axis}", operator, [Tensor((3, 4, 5), BOOL), constant([axis], INT32)],
                Tensor(out, BOOL), options=options("Reducer"))  # fmt: skip
    for count in (2, 5):
        add(f"ADD_N {count}", "ADD_N", [Tensor((3, 4))] * count, Tensor((3, 4)), options=options("AddN"),
            tolerance=1e-6)  # fmt: skip
    for radius, bias, alpha, beta in ((2, 1.0, 0.1, 0.75), (5, 0.5, 1.0, 0.5)):
        opts = options("LocalResponseNormalization", radius=radius, bias=bias, alpha=alpha, beta=beta)
        add(f"LOCAL_RESPONSE_NORMALIZATION radius {radius}", "LOCAL_RESPONSE_NORMALIZATION",
            [Tensor((2, 3, 4, 17))], Tensor((2, 3, 4, 17)), options=opts, tolerance=2e-6)  # fmt: skip
    for padding, activation, out in ((0, 0, 4), (1, 3, 3)):
        opts = options("Pool2D", filterHeight=3, filterWidth=3, strideH=2, strideW=2, padding=padding,
                       fusedActivationFunction=activation)  # fmt: skip
        add(f"L2_POOL_2D padding {padding}", "L2_POOL_2D", [Tensor((2, 7, 7, 5))], Tensor((2, out, out, 5)),
            options=opts, tolerance=1e-6)  # fmt: skip
    add("ZEROS_LIKE", "ZEROS_LIKE", [Tensor((3, 4))], Tensor((3, 4)), options=options("ZerosLike"))
    add("SELECT rows", "SELECT", [Tensor((3,), BOOL), Tensor((3, 4, 2)), Tensor((3, 4, 2))], Tensor((3, 4, 2)),
        options=options("Select"))  # fmt: skip
    add("EMBEDDING_LOOKUP", "EMBEDDING_LOOKUP",
        [Tensor((4,), INT32, low=0, high=6), constant(np.arange(18).reshape(6, 3), FLOAT)], Tensor((4, 3)))  # fmt: skip
    same_scale("SPACE_TO_BATCH_ND rank 3", "SPACE_TO_BATCH_ND", (2, 6, 5), (4, 4, 5),
               lambda: options("SpaceToBatchND"), [constant([2], INT32), constant([[1, 1]], INT32)],
               version=3, float_version=3)  # fmt: skip
    same_scale("REVERSE_V2 last", "REVERSE_V2", (2, 6, 5), (2, 6, 5), lambda: options("ReverseV2"),
               [constant([-1], INT32)], version=3)  # fmt: skip


def add_arithmetic():
    for operator, kind in (("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul")):
        for activation in (0, 1, 3):
            for a, b in (
                ((2, 5, 6, 7), (2, 5, 6, 7)),
                ((2, 5, 6, 7), (7,)),
                ((2, 1, 1, 7), (2, 5, 6, 7)),
                ((1,), (4, 9)),
            ):
                out = tuple(np.broadcast_shapes(a, b))
                add_both(f"{operator} {a} {b} activation {activation}", operator, [a, b], out,
                         lambda kind=kind, activation=activation: options(kind, fusedActivationFunction=activation),
                         tolerance=(1e-6, 0))  # fmt: skip
    add("DIV float32", "DIV", [Tensor((4, 9)), Tensor((4, 9), low=0.5)], Tensor((4, 9)), options=options("Div"),
        tolerance=1e-6)  # fmt: skip
    for operator in ("MAXIMUM", "MINIMUM"):
        same_scale(operator, operator, [(2, 5, 7), (2, 5, 7)], (2, 5, 7), lambda: options("MaximumMinimum"))
        same_scale(f"{operator} broadcast", operator, [(2, 5, 7), (7,)], (2, 5, 7), lambda: options("MaximumMinimum"))
    add_both("SQUARED_DIFFERENCE", "SQUARED_DIFFERENCE", [(3, 8), (3, 8)], (3, 8),
             lambda: options("SquaredDifference"), out_scale=0.2)  # fmt: skip
    add("POW float32", "POW", [Tensor((4, 9), low=0.1), Tensor((4, 9))], Tensor((4, 9)), options=options("Pow"),
        tolerance=1e-5)  # fmt: skip
    add("FLOOR_DIV float32", "FLOOR_DIV", [Tensor((4, 9)), Tensor((4, 9), low=0.5)], Tensor((4, 9)),
        options=options("FloorDiv"))  # fmt: skip
    for transposed in (False, True):
        opts = options("BatchMatMul", adjY=transposed)
        right = (3, 6, 5) if transposed else (3, 5, 6)
        add(f"BATCH_MATMUL transposed {transposed} float32", "BATCH_MATMUL", [Tensor((3, 4, 5)), Tensor(right)],
            Tensor((3, 4, 6)), options=opts, tolerance=1e-5)  # fmt: skip
        add(f"BATCH_MATMUL transposed {transposed} int8", "BATCH_MATMUL",
            [Tensor((3, 4, 5), INT8, 0.02, 3), Tensor(right, INT8, 0.03, -7)], Tensor((3, 4, 6), INT8, 0.11, 5),
            options=opts, version=2, tolerance=1)  # fmt: skip


def add_unary():
    shape = (3, 7, 16)
    for operator, steps in (("RELU", 0), ("RELU6", 0), ("RELU_N1_TO_1", 1), ("HARD_SWISH", 1), ("ABS", 1)):
        opts = {"HARD_SWISH": options("HardSwish"), "ABS": options("Abs")}.get(operator)
        version = 1 if operator in ("HARD_SWISH", "RELU_N1_TO_1") else 2
        add_both(operator, operator, [shape], shape, lambda opts=opts: opts, tolerance=(1e-6, steps), version=version)
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "SOFTMAX": (1 / 256, -128)}
    for operator, (scale, zero) in fixed.items():
        opts = options("Softmax", beta=1.0) if operator == "SOFTMAX" else None
        add(f"{operator} float32", operator, [Tensor(shape)], Tensor(shape), options=opts, tolerance=1e-6)
        for in_scale in (0.01, 0.05, 0.12):
            add(f"{operator} int8 scale {in_scale}", operator, [Tensor(shape, INT8, in_scale, 9)],
                Tensor(shape, INT8, scale, zero), options=opts, version=2)  # fmt: skip
    add("LOG_SOFTMAX float32", "LOG_SOFTMAX", [Tensor(shape)], Tensor(shape), options=options("LogSoftmax"),
        tolerance=1e-6)  # fmt: skip
    add("LOG_SOFTMAX int8", "LOG_SOFTMAX", [Tensor(shape, INT8, 0.05, 9)], Tensor(shape, INT8, 16 / 256, 127),
        options=options("LogSoftmax"), version=2, tolerance=1)  # fmt: skip
    add("L2_NORMALIZATION float32", "L2_NORMALIZATION", [Tensor(shape)], Tensor(shape), options=options("L2Norm"),
        tolerance=1e-6)  # fmt: skip
    add("L2_NORMALIZATION int8", "L2_NORMALIZATION", [Tensor(shape, INT8, 0.05, 9)], Tensor(shape, INT8, 1 / 128, 0),
        options=options("L2Norm"), version=2, tolerance=1)  # fmt: skip
    for approximate in (False, True):
        add_both(f"GELU approximate {approximate}", "GELU", [shape], shape,
                 lambda approximate=approximate: options("Gelu", approximate=approximate),
                 tolerance=(2e-6, 0))  # fmt: skip
    for alpha in (0.1, 0.3):
        add_both(f"LEAKY_RELU {alpha}", "LEAKY_RELU", [shape], shape,
                 lambda alpha=alpha: options("LeakyRelu", alpha=alpha), tolerance=(1e-6, 1))  # fmt: skip
    alpha = np.random.default_rng(1).uniform(-0.2, 0.5, (1, 1, 16)).astype(FLOAT)
    add("PRELU float32", "PRELU", [Tensor((2, 5, 4, 16)), constant(alpha)], Tensor((2, 5, 4, 16)), tolerance=1e-6)
    add("PRELU int8", "PRELU",
        [Tensor((2, 5, 4, 16), INT8, 0.023, 3), constant(np.rint(alpha / 0.004), INT8, scale=0.004)],
        Tensor((2, 5, 4, 16), INT8, 0.027, -5), tolerance=1)  # fmt: skip
    for operator, low in (("ELU", -3), ("EXP", -3), ("LOG", 0.05), ("SQRT", 0.05), ("RSQRT", 0.05), ("SQUARE", -3),
                          ("NEG", -3), ("SIN", -3), ("COS", -3), ("FLOOR", -3), ("CEIL", -3),
                          ("ROUND", -3)):  # fmt: skip
        kind = {"EXP": "Exp", "SQUARE": "Square", "NEG": "Neg", "COS": "Cos"}.get(operator)
        add(f"{operator} float32", operator, [Tensor(shape, low=low)], Tensor(shape),
            options=options(kind) if kind else None, tolerance=2e-6)  # fmt: skip
    add("RSQRT int8", "RSQRT", [Tensor(shape, INT8, 0.02, -128)], Tensor(shape, INT8, 0.03, -128), version=2,
        tolerance=1)  # fmt: skip
    for name, scale, zero in (("wide", 0.03, -3), ("narrow", 0.004, 100), ("positive", 0.02, -128)):
        add(f"QUANTIZE {name}", "QUANTIZE", [Tensor(shape)], Tensor(shape, INT8, scale, zero),
            options=options("Quantize"))  # fmt: skip
        add(f"DEQUANTIZE {name}", "DEQUANTIZE", [Tensor(shape, INT8, scale, zero)], Tensor(shape),
            options=options("Dequantize"), version=2)  # fmt: skip
        add(f"QUANTIZE again {name}", "QUANTIZE", [Tensor(shape, INT8, 0.017, 5)], Tensor(shape, INT8, scale, zero),
            options=options("Quantize"), tolerance=1)  # fmt: skip
    add("CAST float32 to int32", "CAST", [Tensor(shape, low=-100, high=100)], Tensor(shape, INT32),
        options=options("Cast", inDataType=schema.TensorType.FLOAT32, outDataType=schema.TensorType.INT32))  # fmt: skip


def add_reductions():
    for operator, kind in (("MAX_POOL_2D", 0), ("AVERAGE_POOL_2D", 1)):
        for size, window, stride, padding in ((9, 2, 2, 1), (9, 3, 2, 0), (8, 3, 1, 0), (7, 7, 1, 1)):
            out = -(-size // stride) if padding == 0 else (size - window) // stride + 1
            for channels in (5, 32):
                same_scale(
                    f"{operator} {size} window {window} stride {stride} padding {padding} channels {channels}",
                    operator, (2, size, size, channels), (2, out, out, channels),
                    lambda window=window, stride=stride, padding=padding: options(
                        "Pool2D", filterHeight=window, filterWidth=window, strideH=stride, strideW=stride,
                        padding=padding),
                    tolerance=kind)  # fmt: skip
    for operator in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        for axes in ([1, 2], [3], [1]):
            for keep in (False, True):
                shape = (2, 7, 5, 12)
                out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
                opts = options("Reducer", keepDims=keep)
                name = f"{operator} {axes} keep {keep}"
                again = operator.startswith("REDUCE")
                quantized = {"scale": 0.02, "zero_point": 7}
                other = quantized if again else {"scale": 0.013 if operator == "MEAN" else 0.1, "zero_point": -9}
                add(f"{name} float32", operator, [Tensor(shape), constant(axes, INT32)], Tensor(out), options=opts,
                    tolerance=1e-6)  # fmt: skip
                add(f"{name} int8", operator, [Tensor(shape, INT8, **quantized), constant(axes, INT32)],
                    Tensor(out, INT8, **other), options=opts, version=2,
                    tolerance=1 if operator == "SUM" else 0)  # fmt: skip
    add("ARG_MAX float32", "ARG_MAX", [Tensor((3, 9)), constant(1, INT32)], Tensor((3,), np.int64),
        options=options("ArgMax", outputType=schema.TensorType.INT64))  # fmt: skip


def add_movement():
    def ints(*values):
        return constant(values, INT32)

    square = (2, 6, 8, 5)
    for axis, shapes, out in (
        (-1, [(2, 3, 3, 8), (2, 3, 3, 5), (2, 3, 3, 1)], (2, 3, 3, 14)),
        (1, [(2, 3, 4, 6), (2, 5, 4, 6)], (2, 8, 4, 6)),
    ):
        same_scale(f"CONCATENATION axis {axis}", "CONCATENATION", shapes, out,
                   lambda axis=axis: options("Concatenation", axis=axis))  # fmt: skip
    pads = constant([[0, 0], [1, 2], [3, 0], [0, 1]], INT32)
    same_scale("PAD", "PAD", square, (2, 9, 11, 6), lambda: options("Pad"), [pads])
    for mode in (0, 1):
        same_scale(f"MIRROR_PAD mode {mode}", "MIRROR_PAD", square, (2, 9, 11, 6),
                   lambda mode=mode: options("MirrorPad", mode=mode), [pads])  # fmt: skip
    same_scale("TRANSPOSE", "TRANSPOSE", square, (2, 5, 6, 8), lambda: options("Transpose"), [ints(0, 3, 1, 2)])
    same_scale("TRANSPOSE all", "TRANSPOSE", square, (5, 8, 6, 2), lambda: options("Transpose"), [ints(3, 2, 1, 0)])
    same_scale("RESHAPE", "RESHAPE", square, (4, 120), lambda: options("Reshape", newShape=[4, 120]), [ints(4, 120)],
               version=1)  # fmt: skip
    same_scale("RESHAPE -1", "RESHAPE", square, (2, 240), lambda: options("Reshape", newShape=[2, -1]), [ints(2, -1)],
               version=1)  # fmt: skip
    same_scale("EXPAND_DIMS", "EXPAND_DIMS", (3, 4), (3, 1, 4), lambda: options("ExpandDims"), [constant(1, INT32)],
               version=1)  # fmt: skip
    same_scale("SQUEEZE", "SQUEEZE", (3, 1, 4, 1), (3, 4), lambda: options("Squeeze", squeezeDims=[1, 3]), version=1)
    same_scale("SLICE", "SLICE", square, (1, 3, 8, 2), lambda: options("Slice"), [ints(1, 2, 0, 3), ints(1, 3, -1, 2)])
    same_scale("STRIDED_SLICE", "STRIDED_SLICE", square, (2, 2, 4, 5),
               lambda: options("StridedSlice", beginMask=1, endMask=9),
               [ints(0, 1, 7, 0), ints(0, 5, -9, 0), ints(1, 2, -2, 1)])  # fmt: skip
    same_scale("STRIDED_SLICE shrink", "STRIDED_SLICE", square, (6, 8, 5),
               lambda: options("StridedSlice", beginMask=14, endMask=14, shrinkAxisMask=1),
               [ints(1, 0, 0, 0), ints(2, 0, 0, 0), ints(1, 1, 1, 1)])  # fmt: skip
    same_scale("SPLIT", "SPLIT", square, [(2, 6, 4, 5)] * 2, lambda: options("Split", numSplits=2),
               before=[constant(2, INT32)])  # fmt: skip
    same_scale("SPLIT_V", "SPLIT_V", square, [(2, 1, 8, 5), (2, 5, 8, 5)], lambda: options("SplitV", numSplits=2),
               [ints(1, 5), constant(1, INT32)])  # fmt: skip
    same_scale("PACK", "PACK", [(3, 4)] * 3, (3, 3, 4), lambda: options("Pack", valuesCount=3, axis=1))
    same_scale("UNPACK", "UNPACK", (3, 2, 4), [(3, 4)] * 2, lambda: options("Unpack", num=2, axis=1))
    same_scale("GATHER", "GATHER", (6, 5), (4, 5), lambda: options("Gather", axis=0), [ints(3, 0, 5, 3)])
    same_scale("TILE", "TILE", (2, 3, 4), (4, 3, 12), lambda: options("Tile"), [ints(2, 1, 3)], version=3)
    same_scale("BROADCAST_TO", "BROADCAST_TO", (1, 3, 1), (2, 3, 4), lambda: options("BroadcastTo"), [ints(2, 3, 4)],
               version=3, float_version=2)  # fmt: skip
    same_scale("REVERSE_V2", "REVERSE_V2", square, square, lambda: options("ReverseV2"), [ints(2)], version=3)
    same_scale("SPACE_TO_DEPTH", "SPACE_TO_DEPTH", square, (2, 3, 4, 20), lambda: options("SpaceToDepth", blockSize=2))
    same_scale("DEPTH_TO_SPACE", "DEPTH_TO_SPACE", (2, 3, 4, 20), square, lambda: options("DepthToSpace", blockSize=2))
    same_scale("SPACE_TO_BATCH_ND", "SPACE_TO_BATCH_ND", square, (8, 4, 5, 5), lambda: options("SpaceToBatchND"),
               [ints(2, 2), constant([[1, 1], [0, 2]], INT32)])  # fmt: skip
    same_scale("BATCH_TO_SPACE_ND", "BATCH_TO_SPACE_ND", (8, 4, 5, 5), square, lambda: options("BatchToSpaceND"),
               [ints(2, 2), constant([[1, 1], [0, 2]], INT32)])  # fmt: skip
    for half, corners in ((True, False), (False, True), (False, False)):
        for operator, kind in (
            ("RESIZE_BILINEAR", "ResizeBilinear"),
            ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor"),
        ):
            for out in ((12, 16), (9, 5)):
                same_scale(
                    f"{operator} {out} half {half} corners {corners}", operator, square, (2, *out, 5),
                    lambda kind=kind, half=half, corners=corners: options(
                        kind, halfPixelCenters=half, alignCorners=corners),
                    [ints(*out)], version=3, tolerance=1 if operator == "RESIZE_BILINEAR" else 0)  # fmt: skip
    for operator in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
        kind = operator.title().replace("_", "")
        add(
            f"{operator} float32",
            operator,
            [Tensor((4, 9)), Tensor((4, 9))],
            Tensor((4, 9), BOOL),
            options=options(kind),
        )
    for operator in ("LOGICAL_AND", "LOGICAL_OR"):
        kind = operator.title().replace("_", "")
        add(operator, operator, [Tensor((4, 9), BOOL)] * 2, Tensor((4, 9), BOOL), options=options(kind))
    add("LOGICAL_NOT", "LOGICAL_NOT", [Tensor((4, 9), BOOL)], Tensor((4, 9), BOOL), options=options("LogicalNot"))
    same_scale("SELECT_V2", "SELECT_V2", [(4, 9), (4, 9)], (4, 9), lambda: options("SelectV2"),
               before=[Tensor((4, 9), BOOL)], version=1)  # fmt: skip


def add_integers():
    """Arithmetic on plain integers, which tell sizes and places."""
    for operator, kind in (
        ("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul"), ("DIV", "Div"), ("FLOOR_DIV", "FloorDiv"),
        ("FLOOR_MOD", "FloorMod"), ("MAXIMUM", "MaximumMinimum"), ("MINIMUM", "MaximumMinimum"), ("POW", "Pow"),
        ("SQUARED_DIFFERENCE", "SquaredDifference"),
    ):  # fmt: skip
        positive = operator == "POW"
        right = constant(np.resize([1, 2, 5] if positive else [-4, 3, 1, -1, 7], (4, 9)), INT32)
        add(f"{operator} int32", operator, [Tensor((4, 9), INT32, low=-9, high=10), right], Tensor((4, 9), INT32),
            options=options(kind), version=2 if kind == "MaximumMinimum" else 1)  # fmt: skip
    add("FLOOR_MOD float32", "FLOOR_MOD", [Tensor((4, 9)), constant(np.resize([-2, 0.7, 1.5], (4, 9)), FLOAT)],
        Tensor((4, 9)), options=options("FloorMod"), tolerance=1e-6)  # fmt: skip
    for operator in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
        add(f"{operator} int32", operator, [Tensor((4, 9), INT32, low=-3, high=3)] * 2, Tensor((4, 9), BOOL),
            options=options(operator.title().replace("_", "")))  # fmt: skip
    for operator in ("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
        add(f"{operator} int32", operator, [Tensor((4, 9), INT32, low=-3, high=4), constant([1], INT32)],
            Tensor((4,), INT32), options=options("Reducer"))  # fmt: skip


def add_computed():
    """Sizes and places that are known only when the model runs."""

    def given(number, count):
        return Tensor((count,), INT32, low=number, high=number + 1)

    cube = Tensor((3, 5, 6))
    add("SLICE computed", "SLICE", [cube, given(1, 3), given(2, 3)], Tensor((2, 2, 2)), options=options("Slice"))
    add("SLICE computed, the rest", "SLICE", [cube, given(2, 3), given(-1, 3)], Tensor((1, 3, 4)),
        options=options("Slice"))  # fmt: skip
    for masks, steps, out in (
        ({}, 2, (1, 1, 1)), ({"beginMask": 1, "endMask": 6}, 1, (3, 4, 5)),
        ({"beginMask": 6, "endMask": 3, "shrinkAxisMask": 1}, 1, (3, 3)),
    ):  # fmt: skip
        add(f"STRIDED_SLICE computed {masks}", "STRIDED_SLICE", [cube, given(1, 3), given(3, 3), given(steps, 3)],
            Tensor(out), options=options("StridedSlice", **masks))  # fmt: skip
    add("STRIDED_SLICE computed, backwards", "STRIDED_SLICE", [cube, given(2, 3), given(0, 3), given(-1, 3)],
        Tensor((2, 2, 5)), options=options("StridedSlice", beginMask=4))  # fmt: skip
    add("RESHAPE computed", "RESHAPE", [Tensor((4, 4)), given(2, 4)], Tensor((2, 2, 2, 2)), options=options("Reshape"))
    add("TILE computed", "TILE", [Tensor((2, 3)), given(2, 2)], Tensor((4, 6)), options=options("Tile"))
    add("BROADCAST_TO computed", "BROADCAST_TO", [Tensor((2, 1)), given(2, 2)], Tensor((2, 2)), version=2,
        options=options("BroadcastTo"))  # fmt: skip
    add("FILL computed", "FILL", [given(3, 2), constant(2.5, FLOAT)], Tensor((3, 3)), options=options("Fill"))
    pads = Tensor((3, 2), INT32, low=2, high=3)
    add("PAD computed", "PAD", [cube, pads], Tensor((7, 9, 10)), options=options("Pad"))
    add("MIRROR_PAD computed", "MIRROR_PAD", [cube, pads], Tensor((7, 9, 10)), options=options("MirrorPad", mode=0))
    add("DYNAMIC_UPDATE_SLICE", "DYNAMIC_UPDATE_SLICE", [cube, Tensor((3, 2, 3)), given(2, 3)], cube)
    add("DYNAMIC_UPDATE_SLICE beyond the end", "DYNAMIC_UPDATE_SLICE", [cube, Tensor((3, 1, 6)), given(9, 3)], cube)
    add("SHAPE", "SHAPE", [cube], Tensor((3,), INT32), options=options("Shape", outType=schema.TensorType.INT32))
    for axis, indices, out in ((1, (3, 2), (3, 2, 6)), (2, (3,), (3, 5)), (2, (3, 4), (3, 5, 4))):
        add(f"GATHER in batches, axis {axis}, indices {indices}", "GATHER",
            [Tensor((3, 5, 6)), Tensor(indices, INT32, low=0, high=5)], Tensor(out), version=5,
            options=options("Gather", axis=axis, batchDims=1))  # fmt: skip


# Writing the file


def model_bytes(case):
    """The TFLite file of a case, with the signature `serving_default`: inputs x0, x1, ..., outputs y0, ..."""
    model = schema.ModelT()
    model.version, model.description = 3, "one operator"
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, case.operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = case.version
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.name, graph.tensors = "main", []
    inputs = [add_tensor(model, graph, tensor) for tensor in case.inputs]
    graph.outputs = [add_tensor(model, graph, tensor) for tensor in case.outputs]
    graph.inputs = [i for i, tensor in zip(inputs, case.inputs, strict=True) if tensor.data is None]
    for letter, tensors in (("x", graph.inputs), ("y", graph.outputs)):
        for i, index in enumerate(tensors):
            graph.tensors[index].name = f"{letter}{i}"
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = inputs, graph.outputs
    if case.options:
        kind, operator.builtinOptions = case.options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    graph.operators = [operator]
    model.subgraphs = [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = [tensor_map(f"x{i}", t) for i, t in enumerate(graph.inputs)]
    signature.outputs = [tensor_map(f"y{i}", t) for i, t in enumerate(graph.outputs)]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensor_map(name, index):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def add_tensor(model, graph, tensor):
    table = schema.TensorT()
    table.name = f"t{len(graph.tensors)}"
    table.shape = list(tensor.shape)
    table.type = TYPES[np.dtype(tensor.type)]
    table.hasRank = True
    table.buffer = len(model.buffers)
    buffer = schema.BufferT()
    if tensor.data is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
    model.buffers.append(buffer)
    if tensor.scale is not None:
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
        quantization.zeroPoint = np.full(len(quantization.scale), tensor.zero_point, np.int64)
        quantization.quantizedDimension = tensor.axis if len(quantization.scale) > 1 else 0
        table.quantization = quantization
    graph.tensors.append(table)
    return len(graph.tensors) - 1


add_convolutions()
add_transposed()
add_volumes()
add_choices()
add_arithmetic()
add_unary()
add_reductions()
add_movement()
add_integers()
add_computed()
