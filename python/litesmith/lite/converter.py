"""``tf.lite.TFLiteConverter``: models to TFLite."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import _litesmith
from ..dtypes import DType, float32, name_of
from ..errors import LitesmithWarning
from ..progress import Progress
from .calibration import gather
from .target import OpsSet, Optimize, TargetSpec

_INT8_OPS = OpsSet.TFLITE_BUILTINS_INT8
_INT16_OPS = OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8

# TensorFlow's attributes that change nothing here, with the value that nobody need be told of.
_WITHOUT_EFFECT: dict[str, Any] = {
    "allow_custom_ops": False,
    "exclude_conversion_metadata": False,
    "experimental_new_converter": True,
    "experimental_new_quantizer": None,
    "experimental_enable_resource_variables": None,
    "experimental_lower_to_saved_model": True,
    "_experimental_lower_tensor_list_ops": None,
    "_experimental_default_to_single_batch_in_tensor_list_ops": False,
    "_experimental_new_quantizer": None,
    "_experimental_full_integer_quantization_bias_type": None,
    "unfold_batchmatmul": False,
    "legalize_custom_tensor_list_ops": False,
}


class TFLiteConverter:
    """Converts a model to TFLite, as TensorFlow's class of this name.

    Attributes:
        optimizations: ``[Optimize.DEFAULT]`` quantizes; ``Optimize.EXPERIMENTAL_SPARSITY`` leaves zeros out.
        representative_dataset: A function that gives samples: lists of arrays in the order of the inputs, or
            dicts by their names, each with a batch axis. With it, activations become integers too.
        target_spec: Operators and types; see `TargetSpec`.
        inference_input_type: ``int8`` or ``uint8`` (``int16`` for 16x8) instead of ``float32``.
        inference_output_type: The same for outputs.
        report: What the last conversion did, as the command line's ``convert --json`` tells it.
    """

    optimizations: Iterable[Optimize]
    representative_dataset: Callable[[], Iterable[Any]] | None
    target_spec: TargetSpec
    inference_input_type: DType
    inference_output_type: DType
    report: dict[str, Any] | None

    def __init__(self, source: Callable[[Path], Path], signature: str | None, tags: Sequence[str]) -> None:
        self._source, self._signature, self._tags = source, signature, list(tags)
        self.optimizations = []
        self.representative_dataset = None
        self.target_spec = TargetSpec()
        self.inference_input_type = float32
        self.inference_output_type = float32
        self.report = None
        self._experimental_disable_per_channel = False

    @classmethod
    def from_saved_model(
        cls,
        saved_model_dir: str | os.PathLike[str],
        signature_keys: Sequence[str] | None = None,
        tags: Iterable[str] | None = None,
    ) -> TFLiteConverter:
        """A converter of a SavedModel folder, or of any file that litesmith reads.

        Raises:
            ValueError: If more than one signature is named.
        """
        if signature_keys is not None and len(signature_keys) > 1:
            raise ValueError("Only support a single signature key.")
        path = Path(saved_model_dir)
        return cls(lambda _: path, signature_keys[0] if signature_keys else None, sorted(tags or []))

    @classmethod
    def from_keras_model(cls, model: Any) -> TFLiteConverter:
        """A converter of a model: of `litesmith.keras`, or a live one of Keras 3 or tf_keras."""
        from ..keras.live import held

        held_model = held(model)

        def write(folder: Path) -> Path:
            path = folder / "model.keras"
            path.write_bytes(held_model.to_bytes())
            return path

        return cls(write, None, [])

    @classmethod
    def from_concrete_functions(cls, funcs: Any, trackable_obj: Any = None) -> TFLiteConverter:
        """Not supported: functions live in TensorFlow."""
        raise NotImplementedError(
            "TensorFlow's functions cannot be read without it; save the model with model.export(folder) or "
            "tf.saved_model.save and use from_saved_model"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _WITHOUT_EFFECT and value != _WITHOUT_EFFECT[name]:
            text = f"{name} = {value!r} has no effect"
            warnings.warn(text, LitesmithWarning, stacklevel=2)
        elif not name.startswith("_") and name not in _WITHOUT_EFFECT and name not in type(self).__annotations__:
            warnings.warn(f"the converter has no attribute {name}", LitesmithWarning, stacklevel=2)
        super().__setattr__(name, value)

    def convert(self) -> bytes:
        """The bytes of the TFLite file.

        Raises:
            ValueError: If options contradict each other, or samples do not fit the model.
            NotImplementedError: If layers are not supported; all of them are listed.
            RuntimeError: If the result does not compute what its source does.
        """
        with tempfile.TemporaryDirectory(prefix="litesmith-") as name:
            folder = Path(name)
            source, output = self._source(folder), folder / "converted.tflite"
            options = self._options(source)
            calibration = None
            if self.representative_dataset is not None and options["quantize"] not in ("none", "float16"):
                calibration = gather(self.representative_dataset, source)
            progress = Progress()
            try:
                result = _litesmith.convert(source, output, json.dumps(options), calibration, progress)
            finally:
                progress.clear()
            self.report = json.loads(result)
            return output.read_bytes()

    def _options(self, source: Path) -> dict[str, Any]:
        mode = self._mode(source)
        options: dict[str, Any] = {
            "quantize": mode,
            "signature": self._signature,
            "tags": self._tags,
            "sparse": Optimize.EXPERIMENTAL_SPARSITY in self.optimizations,
        }
        types = [name_of(self.inference_input_type), name_of(self.inference_output_type)]
        integers = {"int8": ["int8", "uint8"], "int8-only": ["int8", "uint8"], "int16x8": ["int16"]}
        allowed = ["float32", *integers.get(mode, [])]
        if any(given not in allowed for given in types):
            names = [f"tf.{name}" for name in allowed]
            text = f"be in {names}" if len(names) > 1 else "be tf.float32"
            raise ValueError(f"The inference_input_type and inference_output_type must {text}.")
        if mode in integers:
            options["input_type"], options["output_type"] = types
        if self._experimental_disable_per_channel:
            options["recipe"] = {"rule": [{"granularity": "per-tensor"}]}
        return options

    def _mode(self, source: Path) -> str:
        """The mode of quantization that TensorFlow's rules make of the attributes."""
        spec = self.target_spec
        operators = set(spec.supported_ops)
        types = {name_of(dtype) for dtype in spec.supported_types}
        for ignored in (OpsSet.SELECT_TF_OPS, OpsSet.EXPERIMENTAL_STABLEHLO_OPS) if operators else ():
            if ignored in operators:
                text = f"{ignored} has no effect: models become TFLite's own operators"
                warnings.warn(text, LitesmithWarning, stacklevel=4)
        if unknown := types - {"float16", "float32", "int8"}:
            raise ValueError(f"The supported_types {sorted(map(str, unknown))} are not among float16 and int8.")
        required = operators == {_INT8_OPS} or types == {"int8"} or operators == {_INT16_OPS}
        if required and types - {"int8"}:
            raise ValueError(
                "As full integer quantization has been enabled by setting `target_spec.supported_ops`, thus "
                "`target_spec.supported_types` should be left uninitizalized or set to tf.int8."
            )
        quantizes = any(option is not Optimize.EXPERIMENTAL_SPARSITY for option in self.optimizations)
        sampled = self.representative_dataset is not None
        if not quantizes:
            if sampled or required or types:
                text = "without optimizations = [Optimize.DEFAULT] nothing is quantized"
                warnings.warn(text, LitesmithWarning, stacklevel=4)
            return "none"
        if "float16" in types:
            return "float16"
        # What was trained to be quantized needs no samples.
        if not sampled and not json.loads(_litesmith.inspect(source))["quantization_aware"]:
            if required:
                raise ValueError(
                    "representative_dataset is required when specifying TFLITE_BUILTINS_INT8 or INT8 supported types."
                )
            return "dynamic"
        if _INT16_OPS in operators:
            return "int16x8"
        return "int8-only" if operators == {_INT8_OPS} else "int8"
