"""``tf.lite.Interpreter``: runs TFLite models."""

from __future__ import annotations

import enum
import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from .. import _litesmith
from ..errors import BrokenError, FailedError, LitesmithWarning, UsageError


class OpResolverType(enum.Enum):
    """Which kernels run a model; here there is one set of them."""

    AUTO = 0
    BUILTIN = 1
    BUILTIN_REF = 2
    BUILTIN_WITHOUT_DEFAULT_DELEGATES = 3


class Interpreter(_litesmith.Interpreter):
    """Runs a TFLite model: the class, dictionaries and exceptions of LiteRT.

    >>> interpreter = Interpreter("model.tflite")
    >>> interpreter.allocate_tensors()
    >>> interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)  # [batch, ...]
    >>> interpreter.invoke()
    >>> interpreter.get_tensor(interpreter.get_output_details()[0]["index"])  # [batch, ...]

    Where the model leaves the batch free, an array of any number of samples is taken: ``resize_tensor_input`` is
    not needed. Long calls do not hold Python's lock; two threads can run two interpreters at a time.

    Args:
        model_path: The file: TFLite, or any other that litesmith reads.
        model_content: Or the bytes of one.
        num_threads: Number of threads; one for each core where left out.
        experimental_preserve_all_tensors: Whether ``get_tensor`` knows every tensor after ``invoke``.

    Raises:
        ValueError: If there is no model, or it is broken.
        NotImplementedError: If it has operators that are not supported; all of them are listed.
    """

    _views: dict[int, np.ndarray[Any, Any]]

    def __new__(
        cls,
        model_path: str | os.PathLike[str] | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Sequence[Any] | None = None,
        num_threads: int | None = None,
        experimental_op_resolver_type: OpResolverType = OpResolverType.AUTO,
        experimental_preserve_all_tensors: bool = False,
        experimental_disable_delegate_clustering: bool = False,
        experimental_default_delegate_latest_features: bool = False,
    ) -> Interpreter:
        if num_threads is not None:
            if not isinstance(num_threads, int):
                raise ValueError("type of num_threads should be int")
            if num_threads < 1:
                raise ValueError("num_threads should >= 1")
        if not model_path and not model_content:
            raise ValueError("`model_path` or `model_content` must be specified.")
        if model_path and model_content:
            raise ValueError("Can't both provide `model_path` and `model_content`")
        if experimental_delegates:
            text = "delegates have no effect: models run on litesmith's own kernels"
            warnings.warn(text, LitesmithWarning, stacklevel=2)
        if experimental_op_resolver_type is OpResolverType.BUILTIN_REF:
            text = "BUILTIN_REF has no effect: there is one set of kernels, whose integers are XNNPACK's"
            warnings.warn(text, LitesmithWarning, stacklevel=2)
        content = None if model_content is None else bytes(model_content)
        path = os.fspath(model_path) if model_path else None
        try:
            made = super().__new__(cls, path, content, num_threads, experimental_preserve_all_tensors)
        except (UsageError, FailedError) as error:
            if path is None or os.path.exists(path):
                raise
            raise ValueError(f"Could not open '{path}'.") from error
        except BrokenError as error:
            if content is None:
                raise
            raise ValueError(f"The model is not a valid Flatbuffer buffer: {error}") from error
        self = cast(Interpreter, made)
        self._views = {}
        return self

    def allocate_tensors(self) -> None:
        """Plans for the shapes of the inputs and packs weights."""
        self._views.clear()
        super().allocate_tensors()

    def invoke(self) -> None:
        """Computes the outputs.

        Raises:
            RuntimeError: If ``allocate_tensors`` was not called.
        """
        if not self._views:
            return super().invoke()
        inputs, _ = self.interface()
        for index, view in self._views.items():
            if index in inputs:
                super().set_tensor(index, view)
        super().invoke()
        for index, view in self._views.items():
            if index not in inputs:
                np.copyto(view, self.get_tensor(index))
        return None

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copies an array into an input: of its type, and of its shape but for sizes that the model leaves free.

        Raises:
            ValueError: If the tensor is no input, or the array does not fit it.
        """
        super().set_tensor(tensor_index, value)
        if tensor_index in self._views:
            view = self._views[tensor_index]
            if view.shape == np.shape(value):
                np.copyto(view, value)
            else:
                self._views[tensor_index] = np.array(value)

    def tensor(self, tensor_index: int) -> Callable[[], np.ndarray[Any, Any]]:
        """A function that gives an array which ``invoke`` reads from (an input) or writes to (others)."""
        self.get_tensor(tensor_index)

        def view() -> np.ndarray[Any, Any]:
            if tensor_index not in self._views:
                self._views[tensor_index] = self.get_tensor(tensor_index)
            return self._views[tensor_index]

        return view

    def resize_tensor_input(
        self, input_index: int, tensor_size: Sequence[int] | np.ndarray[Any, Any], strict: bool = False
    ) -> None:
        """Gives an input another shape; ``allocate_tensors`` must follow.

        Sizes that the file fixes can change, too, if the model computes for several samples what it computes for
        each. ``strict`` changes only those that it leaves free.
        """
        self.resize(input_index, [int(size) for size in tensor_size], strict)

    def get_input_details(self) -> list[dict[str, Any]]:
        """A dictionary for each input.

        ``name``, ``index``, ``shape`` (as it stands), ``shape_signature`` (-1 for free sizes), ``dtype``,
        ``quantization`` (scale and zero point), ``quantization_parameters`` (``scales``, ``zero_points``,
        ``quantized_dimension``, ``block_size``) and ``sparsity_parameters``.
        """
        return [self._details(index) for index in self.interface()[0]]

    def get_output_details(self) -> list[dict[str, Any]]:
        """A dictionary for each output, as `get_input_details` describes it."""
        return [self._details(index) for index in self.interface()[1]]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """A dictionary for each tensor, as `get_input_details` describes it."""
        return [self._details(index) for index in range(self.tensor_count())]

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Names of inputs and outputs of each signature, by its key."""
        return {
            key: {"inputs": sorted(dict(inputs)), "outputs": sorted(dict(outputs))}
            for key, inputs, outputs in self.entry_points()
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """A function of a signature's inputs, by name, that gives its outputs, by name.

        Raises:
            ValueError: If there is no such signature, or several and none is named.
        """
        points = {key: (dict(inputs), dict(outputs)) for key, inputs, outputs in self.entry_points()}
        if signature_key is None:
            if len(points) != 1:
                raise ValueError(
                    f"SignatureDef signature_key is None and model has {len(points)} Signatures. "
                    "None is only allowed when the model has 1 SignatureDef"
                )
            signature_key = next(iter(points))
        if signature_key not in points:
            raise ValueError(f'Invalid signature_key provided: "{signature_key}".')
        return SignatureRunner(self, *points[signature_key])

    def _details(self, index: int) -> dict[str, Any]:
        found = self.details(index)
        if found is None:
            raise ValueError(f"Invalid tensor index {index} exceeds max tensor index {self.tensor_count()}")
        name, index, shape, signature, dtype, quantization, (scales, zero_points, axis), sparsity = found
        return {
            "name": name,
            "index": index,
            "shape": np.array(shape, np.int32),
            "shape_signature": np.array(signature, np.int32),
            "dtype": _numpy_type(dtype),
            "quantization": quantization,
            "quantization_parameters": {
                "scales": np.array(scales, np.float32),
                "zero_points": np.array(zero_points, np.int32),
                "quantized_dimension": axis,
                "block_size": 0,
            },
            "sparsity_parameters": _with_arrays(json.loads(sparsity)),
        }


def _with_arrays(parameters: dict[str, Any]) -> dict[str, Any]:
    """Lists of numbers become arrays."""
    for name, value in parameters.items():
        if name == "dim_metadata":
            parameters[name] = [_with_arrays(dimension) for dimension in value]
        elif isinstance(value, list):
            parameters[name] = np.array(value, np.int32)
    return parameters


def _numpy_type(name: str) -> Any:
    # LiteRT calls texts bytes, and packed integers of 4 bits by the type that they are unpacked to.
    known = {"string": np.bytes_, "int4": np.int8, "resource": np.void}
    return known[name] if name in known else np.dtype(name).type


class SignatureRunner:
    """Calls a model by the names of its signature: ``runner(image=images)`` gives ``{"logits": array}``."""

    def __init__(self, interpreter: Interpreter, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        self._interpreter = interpreter
        self._inputs = inputs
        self._outputs = outputs
        self._ready = False

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Computes the outputs for these inputs, of any batch."""
        if len(inputs) != len(self._inputs):
            raise ValueError(
                "Invalid number of inputs provided for running a SignatureDef, "
                f"expected {len(self._inputs)} vs provided {len(inputs)}"
            )
        for name in inputs:
            if name not in self._inputs:
                raise ValueError(f"Invalid Input name ({name}) for SignatureDef")
        interpreter = self._interpreter
        arrays = {self._inputs[name]: np.asarray(value) for name, value in inputs.items()}
        for index, array in arrays.items():
            if list(array.shape) != interpreter._details(index)["shape"].tolist():
                interpreter.resize_tensor_input(index, array.shape)
                self._ready = False
        if not self._ready:
            interpreter.allocate_tensors()
            self._ready = True
        for index, array in arrays.items():
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """The dictionary of each input, by name."""
        return {name: self._interpreter._details(index) for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """The dictionary of each output, by name."""
        return {name: self._interpreter._details(index) for name, index in self._outputs.items()}
