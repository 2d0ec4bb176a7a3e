"""A .tflite file whose tensors can be seen and replaced.

To be seen, tensors are made outputs of the file; XNNPACK then runs it as before. To be replaced,
the operators before each tensor are cut out and run alone, as for `edgekit verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from edgekit.core.observation import Computed, ObservedTensor
from edgekit.core.signature import ModelSignature, StoredIntegers, TensorSpec
from edgekit.core.target import RuntimeConfig
from edgekit.errors import UnsupportedError, UsageError
from edgekit.targets.tflite.exactness.fragment import Fragment
from edgekit.targets.tflite.exactness.stored_model import (
    StoredModel,
    StoredTensor,
    read_stored_model,
)
from edgekit.targets.tflite.exactness.teacher_forcing import back_to_known
from edgekit.targets.tflite.feeds import check_feeds, to_stored
from edgekit.targets.tflite.metadata import canonical_signature
from edgekit.targets.tflite.model_file import ModelFile, read_model_file
from edgekit.targets.tflite.observed_points import observed_points
from edgekit.targets.tflite.runtime import LiteRTSession

type Array = npt.NDArray[Any]


class ObservedFile:
    """Implements `edgekit.core.observation.ObservableSession`."""

    def __init__(self, path: Path) -> None:
        """Reads the file and has LiteRT load it once.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If LiteRT refuses it.
        """
        with closing(LiteRTSession(path, RuntimeConfig())) as session:
            self._runtime = session.runtime
        file = read_model_file(path)
        self._path = path
        self._model: StoredModel | None = read_stored_model(path)
        self._signature = _with_integers(canonical_signature(file), file, self._model)
        self._inputs = [index for _, index in file.named_inputs()]
        self._points, self._hidden = observed_points(self._model, file, self._signature)
        self._watched: Fragment | None = None
        self._cuts: dict[tuple[str, frozenset[str]], tuple[Fragment, list[int]] | str] = {}

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's axis order."""
        return self._signature

    @property
    def runtime(self) -> str:
        """For example ``"LiteRT 2.1.2 (XNNPACK)"``."""
        return self._runtime

    @property
    def tensors(self) -> tuple[ObservedTensor, ...]:
        """Activations that hold a value of the canonical graph; all in another tool's file."""
        return tuple(point.tensor for point in self._points.values())

    @property
    def hidden(self) -> Mapping[str, str]:
        """The other activations."""
        return self._hidden

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `ObservableSession.observe`."""
        model = self._open()
        stored = list(self._stored_feeds(feeds).values())
        try:
            if self._watched is None:
                self._watched = Fragment(
                    model.watched([point.index for point in self._points.values()])
                )
            arrays = self._watched.run(stored)
        except (ValueError, RuntimeError) as error:
            raise UnsupportedError(
                f"LiteRT cannot run {self._path.name} with its inner tensors as outputs: "
                f"{_one_line(error)}"
            ) from error
        return {
            name: point.restored(array)
            for (name, point), array in zip(self._points.items(), arrays, strict=True)
        }

    def represent(self, name: str, values: Array) -> Array:
        """See `ObservableSession.represent`."""
        tensor = self._points[name].tensor
        if tensor.steps is not None:
            return tensor.steps.nearest(values)
        return values.astype(tensor.dtype).astype(np.float32)

    def compute(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        """See `ObservableSession.compute`."""
        stored = self._stored_feeds(feeds)
        points = [(self._points[name], values) for name, values in given.items()]
        known = {point.index: point.stored(values) for point, values in points}
        arrays = {**stored, **known}
        keys = frozenset(given)
        found, refused = {}, {}
        for name in given:
            cut = self._cut(name, keys)
            if isinstance(cut, str):
                refused[name] = cut
                continue
            fragment, inputs = cut
            try:
                (made,) = fragment.run([arrays[index] for index in inputs])
            except (ValueError, RuntimeError) as error:
                refused[name] = f"LiteRT cannot run its operators: {_one_line(error)}"
                continue
            found[name] = self._points[name].restored(made)
        return Computed(found, refused)

    def close(self) -> None:
        """Frees all interpreters; the session cannot be used afterwards."""
        self._watched = self._model = None
        self._cuts.clear()

    def _open(self) -> StoredModel:
        if self._model is None:
            raise UsageError(f"The session of {self._path.name} is closed; load it again.")
        return self._model

    def _stored_feeds(self, feeds: Mapping[str, Array]) -> dict[int, Array]:
        model = self._open()
        check_feeds(self._signature, feeds)
        return {
            index: to_stored(spec, feeds[spec.name], np.dtype(model.tensors[index].dtype))
            for spec, index in zip(self._signature.inputs, self._inputs, strict=True)
        }

    def _cut(self, name: str, given: frozenset[str]) -> tuple[Fragment, list[int]] | str:
        """The operators of a tensor, loaded alone, with the tensors they read; or why not."""
        key = (name, given)
        if key not in self._cuts:
            self._cuts[key] = self._load_cut(name, given)
        return self._cuts[key]

    def _load_cut(self, name: str, given: frozenset[str]) -> tuple[Fragment, list[int]] | str:
        model = self._open()
        point = self._points[name]
        # Another form of the same value is no boundary: its error is the operator's as well.
        known = {
            self._points[other].index
            for other in given
            if self._points[other].tensor.canonical != point.tensor.canonical
        }
        operators, inputs = back_to_known(model, point.index, known)
        missing = [index for index in inputs if index not in known and index not in self._inputs]
        if missing:
            return f"it reads {model.tensors[missing[0]].name!r}, which no operator makes"
        try:
            return Fragment(model.cut(operators, inputs, point.index)), inputs
        except (ValueError, RuntimeError) as error:
            return f"LiteRT refuses its operators: {_one_line(error)}"


def _with_integers(
    signature: ModelSignature, file: ModelFile, model: StoredModel
) -> ModelSignature:
    """Another tool's file with integer inputs takes real numbers here, like all others."""
    inputs = []
    for spec, (_, index) in zip(signature.inputs, file.named_inputs(), strict=True):
        tensor = model.tensors[index]
        integers = tensor.dtype in {"int8", "uint8"} and tensor.scales.size == 1
        inputs.append(_as_real(spec, tensor) if integers and spec.dtype != "float32" else spec)
    return signature.model_copy(update={"inputs": tuple(inputs)})


def _as_real(spec: TensorSpec, tensor: StoredTensor) -> TensorSpec:
    stored = StoredIntegers(
        dtype=cast("Literal['int8', 'uint8']", tensor.dtype),
        scale=float(tensor.scales[0]),
        zero_point=int(tensor.zero_points[0]),
    )
    return spec.model_copy(update={"dtype": "float32", "stored_integers": stored})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
