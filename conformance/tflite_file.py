"""The structure of a TFLite file, and two files compared tensor by tensor."""

from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema

OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
}
# Two sets of float kernels sum in different orders, so the ranges that they observe differ by this much, relatively:
# LiteRT's own two sets are 2e-6 of the largest output apart on MobileNetV2.
SCALE_ERROR = 2e-5
COMMUTATIVE = {"ADD", "MUL", "MAXIMUM", "MINIMUM"}
# Operands that say how, not what: their values follow from shapes and need not be written the same way.
DATA_OPERANDS = {
    "RESHAPE": 1, "MEAN": 1, "SUM": 1, "REDUCE_MAX": 1, "PAD": 1, "MIRROR_PAD": 1, "TRANSPOSE": 1, "EXPAND_DIMS": 1,
    "SQUEEZE": 1, "STRIDED_SLICE": 1, "RESIZE_BILINEAR": 1, "RESIZE_NEAREST_NEIGHBOR": 1, "TILE": 1,
}  # fmt: skip


@dataclass
class Operator:
    name: str
    version: int
    inputs: list
    outputs: list


class TfliteFile:
    """The main subgraph."""

    def __init__(self, path):
        content = bytearray(path.read_bytes())
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph = self.model.subgraphs[0]
        self.operators = []
        for operator in self.graph.operators:
            code = self.model.operatorCodes[operator.opcodeIndex]
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            name = OPERATOR_NAMES.get(number, str(number))
            self.operators.append(Operator(name, code.version, list(operator.inputs), list(operator.outputs)))
        self.producers = {t: operator for operator in self.operators for t in operator.outputs}

    def outputs(self):
        """Tensor indices in the order of the names of the signature."""
        if not self.model.signatureDefs:
            return list(self.graph.outputs)
        return [t.tensorIndex for t in sorted(self.model.signatureDefs[0].outputs, key=lambda t: t.name)]

    def tensor(self, index):
        return self.graph.tensors[index]

    def name(self, index):
        return self.tensor(index).name.decode()

    def type(self, index):
        return TYPES.get(self.tensor(index).type)

    def scales(self, index):
        quantization = self.tensor(index).quantization
        values = None if quantization is None else quantization.scale
        return np.zeros(0, np.float32) if values is None else np.asarray(values, np.float32)

    def zero_points(self, index):
        quantization = self.tensor(index).quantization
        values = None if quantization is None else quantization.zeroPoint
        return np.zeros(0, np.int64) if values is None else np.asarray(values, np.int64)

    def constant(self, index):
        """The values of a constant tensor, or None for an activation."""
        content = self.model.buffers[self.tensor(index).buffer].data
        if content is None or len(content) == 0:
            return None
        return np.frombuffer(bytes(content), self.type(index))


@dataclass
class Comparison:
    """How the quantized tensors of two files differ. Scales differ relatively, integers in steps."""

    activations: int = 0
    activations_equal: int = 0  # scale to the last bit, and zero point
    activation_scale: float = 0.0  # the largest relative difference
    zero_points_differing: int = 0
    weight_scale: float = 0.0
    weights: int = 0
    weights_differing: int = 0
    weight_steps: int = 0  # the largest difference
    biases: int = 0
    biases_differing: int = 0
    bias_steps: float = 0.0  # the largest difference, less what SCALE_ERROR explains
    problems: list = field(default_factory=list)  # places where the graphs differ
    worst: str = ""  # the activation of the largest scale difference

    def add_activation(self, name, ours, theirs, our_zero, their_zero):
        self.activations += 1
        same_zero = np.array_equal(our_zero, their_zero)
        if np.array_equal(ours, theirs) and same_zero:
            self.activations_equal += 1
        if not same_zero:
            self.zero_points_differing += 1
        difference = relative(ours, theirs)
        if difference > self.activation_scale:
            self.activation_scale, self.worst = difference, name

    def add_weights(self, ours, theirs, our_scales, their_scales):
        self.weight_scale = max(self.weight_scale, relative(our_scales, their_scales))
        steps = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        self.weights += steps.size
        self.weights_differing += int((steps != 0).sum())
        self.weight_steps = max(self.weight_steps, int(steps.max(initial=0)))

    def add_bias(self, ours, theirs):
        self.biases += ours.size
        self.biases_differing += int((ours != theirs).sum())
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        steps = np.abs(ours - theirs) - SCALE_ERROR * np.abs(theirs)
        self.bias_steps = max(self.bias_steps, float(steps.max(initial=0)))


def relative(ours, theirs):
    """The largest relative difference of two arrays of scales, infinite when they are not alike in number."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) / theirs - 1).max(initial=0))


def compare(ours, theirs):
    """Walks both files from their outputs back and compares what stands at the same place."""
    comparison = Comparison()
    ahead = list(zip(ours.outputs(), theirs.outputs(), strict=False))
    if len(ours.outputs()) != len(theirs.outputs()):
        comparison.problems.append("another number of outputs")
    seen = set()
    while ahead:
        pair = ahead.pop()
        if pair in seen:
            continue
        seen.add(pair)
        compare_tensors(ours, theirs, *pair, comparison)
        our_operator, their_operator = ours.producers.get(pair[0]), theirs.producers.get(pair[1])
        if our_operator is None and their_operator is None:
            continue
        names = [operator.name if operator else "none" for operator in (our_operator, their_operator)]
        if names[0] != names[1]:
            # One side may move data by an operator more.
            if names[0] == "RESHAPE":
                ahead.append((our_operator.inputs[0], pair[1]))
            elif names[1] == "RESHAPE":
                ahead.append((pair[0], their_operator.inputs[0]))
            else:
                comparison.problems.append(f"{names[0]} instead of {names[1]} at {theirs.name(pair[1])}")
            continue
        ahead.extend(operands(ours, theirs, our_operator, their_operator, comparison))
    return comparison


def operands(ours, theirs, our_operator, their_operator, comparison):
    """The pairs of inputs of two operators of the same kind."""
    count = DATA_OPERANDS.get(our_operator.name)
    left = [t for t in our_operator.inputs[:count] if t >= 0]
    right = [t for t in their_operator.inputs[:count] if t >= 0]
    if len(left) != len(right):
        comparison.problems.append(f"{our_operator.name} has {len(left)} inputs instead of {len(right)}")
        return []
    if our_operator.name in COMMUTATIVE and kinds(ours, left) != kinds(theirs, right):
        left.reverse()
    return list(zip(left, right, strict=True))


def kinds(file, tensors):
    """What makes each tensor: the name of its operator, 'constant' or 'input'."""
    return [
        file.producers[t].name if t in file.producers else "input" if file.constant(t) is None else "constant"
        for t in tensors
    ]


def compare_tensors(ours, theirs, our_index, their_index, comparison):
    if ours.type(our_index) != theirs.type(their_index):
        comparison.problems.append(
            f"{ours.name(our_index)} is {ours.type(our_index).__name__} instead of {theirs.type(their_index).__name__}"
        )
        return
    our_scales, their_scales = ours.scales(our_index), theirs.scales(their_index)
    if not len(their_scales) and not len(our_scales):
        return
    our_values, their_values = ours.constant(our_index), theirs.constant(their_index)
    if (our_values is None) != (their_values is None):
        comparison.problems.append(f"{theirs.name(their_index)} is a constant in one file only")
    elif their_values is None:
        zeros = ours.zero_points(our_index), theirs.zero_points(their_index)
        comparison.add_activation(theirs.name(their_index), our_scales, their_scales, *zeros)
    elif our_values.shape != their_values.shape or our_scales.shape != their_scales.shape:
        comparison.problems.append(f"{theirs.name(their_index)} has another number of values or scales")
    elif theirs.type(their_index) in (np.int32, np.int64):
        comparison.add_bias(our_values, their_values)
    else:
        comparison.add_weights(our_values, their_values, our_scales, their_scales)
