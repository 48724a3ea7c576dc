"""What a case is: a small model about one class, built alike with Keras 3 and tf_keras."""

from dataclasses import dataclass

import numpy as np

# Inputs of this name are integers below IDS; those named `steps` end in zeros, which masks skip.
IDS = 11
# What an open size is at run time.
OPEN = 7


@dataclass(frozen=True)
class Case:
    """`build(package)` gives a Keras model; it raises an error where a package lacks what it needs."""

    build: object
    note: str = ""
    # Whether weights that start as zeros or ones get other values.
    seeded: bool = True


def layer(make, *shapes, note="", names="xyz", **call):
    """A model of one layer on inputs of these shapes (without the batch); `make(package)` gives the layer."""

    def build(k):
        inputs = [k.Input(shape, name=name) for shape, name in zip(shapes, names, strict=False)]
        return k.Model(inputs, make(k)(inputs[0] if len(inputs) == 1 else inputs, **call))

    return Case(build, note)


def looked_up(make, *shapes, note="", **call):
    """As `layer`, on integers."""
    return layer(make, *shapes, note=note, names=["ids", "ids2"], **call)


def steps(make, shape=(6, 4), note="masked"):
    """A layer behind Masking: `make(package)` takes the masked tensor and gives the output."""

    def build(k):
        x = k.Input(shape, name="steps")
        return k.Model(x, make(k)(k.layers.Masking()(x)))

    return Case(build, note)


def operation(compute, *shapes, note="", names="xyz"):
    """A model of one operator node: `compute(keras.ops, tensor, ...)` gives its output or outputs."""

    def build(k):
        inputs = [k.Input(shape, name=name) for shape, name in zip(shapes, names, strict=False)]
        outputs = compute(k.ops, *inputs)
        return k.Model(inputs, list(outputs) if isinstance(outputs, (list, tuple)) else outputs)

    return Case(build, note)


def random_inputs(model, count, seed):
    """Input name to array."""
    random = np.random.default_rng(seed)
    inputs = {}
    for tensor in model.inputs:
        name, shape = tensor.name.split(":")[0], (count, *(size or OPEN for size in tensor.shape[1:]))
        if name.startswith("ids"):
            value = random.integers(0, IDS, shape)
        elif name.startswith("flags"):
            value = random.integers(0, 2, shape)
        elif name.startswith("positive"):
            value = random.uniform(0.1, 2.0, shape)
        elif name.startswith("unit"):
            value = random.uniform(-0.9, 0.9, shape)
        elif name.startswith("image"):
            value = random.uniform(0, 255, shape)
        else:
            value = random.normal(0, 1, shape)
        if name == "steps":
            value[:, shape[1] // 2 :] *= random.integers(0, 2, (count, shape[1] - shape[1] // 2, 1))
        dtype = getattr(tensor.dtype, "name", tensor.dtype)
        inputs[name] = value.astype(dtype)
    return inputs
