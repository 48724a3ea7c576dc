"""The nodes of a quantized ONNX file, each by itself: ONNX Runtime against our runtime on the TFLite file.

Integer tensors have the same names in both files. Our runtime computes all of the TFLite file; the ONNX graph is cut at
each of them: what comes before a cut is an output, what comes after it takes our runtime's integers.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

import command
import tflite_file
from onnx_operators import STEPS, onnx_runtime

CHANNELS_FIRST = (0, 3, 1, 2)
# Real numbers that are so near to the middle between two integers, in steps, may be rounded either way: 32-bit floats
# differ in their last bits by the order of operations.
TIE = 1e-3
LAST_BIT = 2.0**-23
# A node of ONNX may take these in: paddings become part of a convolution.
MOVES = {"PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"}


def fingerprint(values, scales):
    """What is left of a quantized constant when its layout is forgotten."""
    return values.dtype.str, np.sort(values, axis=None).tobytes(), np.sort(scales, axis=None).tobytes()


def quantized_constants(model):
    """The fingerprints of the initializers that are dequantized, and how often each is there."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    found = Counter()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in initializers:
            values, scales = (numpy_helper.to_array(initializers[name]) for name in node.input[:2])
            found[fingerprint(values, scales)] += 1
    return found


@dataclass
class Kind:
    """How the results of one operator differ."""

    operator: str
    allowed: int
    values: int = 0
    ties: int = 0  # values that differ where the real result lies between two integers
    differing: int = 0  # other values that differ
    steps: int = 0  # the largest difference of those
    worst: str = ""

    def add(self, name, ours, theirs, real, noise):
        """`real` are the results before rounding, and `noise` what they may be wrong by, in steps."""
        distance = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        real = np.clip(real, -128, 127)
        tie = (distance != 0) & (np.abs(ours - real) <= 0.5 + noise) & (np.abs(theirs - real) <= 0.5 + noise)
        distance[tie] = 0
        self.values += distance.size
        self.ties += int(tie.sum())
        self.differing += int((distance != 0).sum())
        if distance.max(initial=0) > self.steps:
            self.steps, self.worst = int(distance.max()), name

    def __str__(self):
        share = f" ({100 * self.differing / self.values:.2g} %)" if self.steps else ""
        ties = f", ties {100 * self.ties / self.values:.2g} %" if self.ties else ""
        where = f" at {self.worst}" if self.steps > self.allowed else ""
        return f"{self.operator} {self.steps}{share}{ties}{where}"


@dataclass
class Found:
    """The operators by name, with ONNX Runtime's optimizations and without."""

    compared: int = 0
    left_out: list = field(default_factory=list)  # what other operators than MOVES make, and ONNX does not have
    optimized: dict = field(default_factory=dict)
    plain: dict = field(default_factory=dict)


def all_tensors(path, image):
    """(what each operator of a TFLite file computes in our runtime, the operators, the steps by which 32-bit floats may
    be wrong), all by the tensors' names.

    Every tensor is made an output; those of the signature go by its names. Names that occur again are told apart as in
    our ONNX files.
    """
    file = tflite_file.TfliteFile(path)
    signature = file.model.signatureDefs[0]
    outputs = {output.tensorIndex: output.name.decode() for output in signature.outputs}
    names, occurrences = {}, Counter()
    for index in file.producers:
        if file.type(index) is np.int8:
            name = outputs.get(index, file.name(index))
            names[index] = f"{name}_{occurrences[name]}" if occurrences[name] else name
            occurrences[name] += 1
    file.graph.outputs, signature.outputs = list(names), []
    for number, index in enumerate(names):
        output = schema.TensorMapT()
        output.name, output.tensorIndex = f"{number:05}", index
        signature.outputs.append(output)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(file.model.Pack(builder), b"TFL3")
    with tempfile.TemporaryDirectory() as folder:
        opened = Path(folder) / "all.tflite"
        opened.write_bytes(builder.Output())
        arrays = command.infer(opened, {signature.inputs[0].name.decode(): image})
    operators = {name: file.producers[index].name for index, name in names.items()}
    noise = {name: TIE + LAST_BIT * 255 * ratio_of_scales(file, index) for index, name in names.items()}
    return dict(zip(names.values(), arrays, strict=True)), operators, noise


def ratio_of_scales(file, index):
    """The largest scale that goes into what makes a tensor, divided by the tensor's own."""
    inputs = [i for i in file.producers[index].inputs if i >= 0 and file.constant(i) is None and len(file.scales(i))]
    return max((float(file.scales(i)[0]) for i in inputs), default=0.0) / float(file.scales(index)[0])


def with_outputs(path, names, type):
    """The model with more outputs."""
    model = onnx.load(str(path))
    present = {output.name for output in model.graph.output}
    more = [helper.make_tensor_value_info(name, type, None) for name in names if name not in present]
    model.graph.output.extend(more)
    return model


def cut(path, names):
    """(the model, its new inputs, how each of `names` is rounded).

    What is read of `names` becomes an input, and what is computed for them the outputs `NAME/computed`; a rounding is the
    real tensor, the scale and the zero point.
    """
    model = onnx.load(str(path))
    graph = model.graph
    del graph.output[:], graph.value_info[:]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    roundings = {name: first_rounding(producers, name, names).input for name in names}
    rounding = {n: (real, *(values[i].astype(np.float64) for i in more)) for n, (real, *more) in roundings.items()}
    for node in graph.node:
        if node.output[0] in names:
            node.output[0] = f"{node.output[0]}/computed"
            graph.output.append(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT8, None))
    read = {name for node in graph.node for name in node.input}
    integers = [name for name in names if name in read]
    graph.input.extend(helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None) for name in integers)
    return model, integers, rounding


def first_rounding(producers, name, names):
    """The QuantizeLinear that decides what `name` is: the one before an activation that takes integers."""
    rounding = producers[name]
    activation = producers.get(rounding.input[0])
    if activation is None or activation.op_type not in ("Relu", "Clip"):
        return rounding
    real = producers.get(activation.input[0])
    if real is None or real.op_type != "DequantizeLinear" or real.input[0] in names:
        return rounding
    return producers.get(real.input[0], rounding)


def run(model, inputs, optimized):
    """Outputs by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        return dict(zip([o.name for o in model.graph.output], onnx_runtime(path, inputs, optimized), strict=True))


def in_layout_of(other, value):
    """`value` with channels first, where that is the shape of `other`, or nearer to it."""
    orders = [value] if value.ndim != 4 else [value, value.transpose(CHANNELS_FIRST)]
    fitting = [order for order in orders if order.shape == other.shape]
    return np.ascontiguousarray(min(fitting, key=lambda order: np.abs(order.astype(np.int64) - other).sum()))


def compare(tflite, path, image):
    """Every integer tensor of the TFLite file; `image` is one sample for both files, in integers."""
    expected, operators, noise = all_tensors(tflite, image)
    model = onnx.load(str(path))
    made = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    names = [name for name in expected if name in made]
    given = {model.graph.input[0].name: image}
    # What the uncut graph computes shows the order of axes.
    whole = run(with_outputs(path, names, onnx.TensorProto.INT8), given, True)
    expected = {name: in_layout_of(whole[name], expected[name]) for name in names}
    left_out = [name for name in operators if name not in made and operators[name] not in MOVES]
    found = Found(len(names), left_out)

    model, integers, rounding = cut(path, names)
    given |= {name: expected[name] for name in integers}
    computed = {True: run(model, given, True)}
    reals = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name, *_ in rounding.values()]
    model.graph.output.extend({output.name: output for output in reals}.values())
    computed[False] = run(model, given, False)
    for optimized, kinds in ((True, found.optimized), (False, found.plain)):
        for name in names:
            real, scale, zero_point = rounding[name]
            steps = computed[False][real].astype(np.float64) / scale + zero_point
            operator = operators[name]
            kind = kinds.setdefault(operator, Kind(operator, STEPS.get((operator, np.int8), 0)))
            kind.add(name, computed[optimized][f"{name}/computed"], expected[name], steps, noise[name])
    return found
