"""Which tensors of a .tflite file a comparison sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.observation import ObservedTensor, Steps
from edgekit.core.signature import ModelSignature
from edgekit.graph.canonical_names import float_value_of
from edgekit.targets.tflite.exactness.stored_model import StoredModel, StoredTensor
from edgekit.targets.tflite.exactness.teacher_forcing import (
    back_to_known,
    canonical_array,
    stored_array,
)
from edgekit.targets.tflite.lowering.flatbuffer import QUANTIZERS
from edgekit.targets.tflite.metadata import embedded_in
from edgekit.targets.tflite.model_file import ModelFile
from edgekit.targets.tflite.tensor_origin import TensorOrigin

type Array = npt.NDArray[Any]

_FLOATS = frozenset({"float32", "float16"})
_PRESCRIBED = frozenset({"SOFTMAX", "LOGISTIC", "TANH", "LOG_SOFTMAX", "L2_NORMALIZATION"})
"""Operators whose kernels demand a scale for their output."""


@dataclass(frozen=True, slots=True)
class Point:
    """A tensor that is seen.

    Attributes:
        tensor: What it stands for.
        index: Its place in the file.
        origin: Its value and the order in which it is stored.
        rank: Axes that it has in the file.
    """

    tensor: ObservedTensor
    index: int
    origin: TensorOrigin
    rank: int

    def restored(self, array: Array) -> Array:
        """The stored array as real numbers in the canonical order."""
        values = canonical_array(array, self.origin)
        steps = self.tensor.steps
        return values.astype(np.float32) if steps is None else steps.dequantize(values)

    def stored(self, values: Array) -> Array:
        """Real numbers in the canonical order as the file stores them."""
        steps = self.tensor.steps
        array = values.astype(self.tensor.dtype) if steps is None else steps.quantize(values)
        return stored_array({self.origin.value: array}, self.origin, (1,) * self.rank)


def observed_points(
    model: StoredModel, file: ModelFile, signature: ModelSignature
) -> tuple[dict[str, Point], dict[str, str]]:
    """The tensors that are seen by their keys, and why others are not by their names.

    Where the file says which values its tensors hold, those that hold one are seen; of another
    tool's file all are, by their own names.
    """
    embedded = embedded_in(file)
    origins = {origin.tensor: origin for origin in embedded.tensors} if embedded else {}
    finder = _Finder(model, file, signature, origins)
    for operator, inputs, outputs in model.operators:
        if finder.computes(inputs):
            for index in outputs:
                finder.add(operator, inputs, index)
    return _with_operators(model, finder.points), finder.hidden


class _Finder:
    """Goes through the operators in order."""

    def __init__(
        self,
        model: StoredModel,
        file: ModelFile,
        signature: ModelSignature,
        origins: Mapping[str, TensorOrigin],
    ) -> None:
        self._model = model
        self._origins = origins
        self._public = {index: name for name, index in file.named_outputs()}
        self._outputs = {spec.name for spec in signature.outputs}
        self._written = {index for _, _, outputs in model.operators for index in outputs}
        self._computed: set[int] = set()
        self._readers: dict[int, list[tuple[str, int]]] = {}
        for operator, inputs, outputs in model.operators:
            for index in inputs:
                self._readers.setdefault(index, []).append((operator, outputs[0]))
        self.points: dict[str, Point] = {}
        self.hidden: dict[str, str] = {}

    def computes(self, inputs: tuple[int, ...]) -> bool:
        """Whether an operator reads anything that is not made of constants alone."""
        return any(
            index >= 0
            and self._model.tensors[index].data is None
            and (index in self._computed or index not in self._written)
            for index in inputs
        )

    def add(self, operator: str, inputs: tuple[int, ...], index: int) -> None:
        """Takes in a tensor that an operator makes."""
        self._computed.add(index)
        tensor = self._model.tensors[index]
        origin = self._origin(index)
        if reason := _no_real_numbers(tensor):
            self.hidden[tensor.name] = reason
        elif origin is None:
            self.hidden[tensor.name] = "it lies within one operator of the canonical graph"
        elif not self._is_copy(operator, inputs, index):
            point = Point(self._tensor(tensor, origin, operator), index, origin, len(tensor.shape))
            self.points[point.tensor.name] = point

    def _origin(self, index: int) -> TensorOrigin | None:
        tensor = self._model.tensors[index]
        if self._origins:
            return self._origins.get(tensor.name)
        # In another tool's file a tensor is its own value, in its own order.
        axes = tuple(range(len(tensor.shape)))
        name = self._public.get(index, tensor.name)
        return TensorOrigin(tensor=tensor.name, value=name, stored_axes=axes)

    def _value(self, index: int) -> str | None:
        """Value of the float graph that a tensor holds; None where the file does not say."""
        origin = self._origins.get(self._model.tensors[index].name)
        return None if origin is None else float_value_of(origin.value)

    def _is_copy(self, operator: str, inputs: tuple[int, ...], index: int) -> bool:
        """Whether a tensor is one that is seen: restored from it, or yet to be rounded to it."""
        mine = self._value(index)
        if mine is None:
            return False
        if operator == "DEQUANTIZE" and inputs[0] in self._written:
            return self._value(inputs[0]) == mine
        reading = self._readers.get(index, [])
        return (
            bool(reading)
            and self._model.tensors[index].dtype in _FLOATS
            and all(name in QUANTIZERS and self._value(out) == mine for name, out in reading)
        )

    def _tensor(self, tensor: StoredTensor, origin: TensorOrigin, operator: str) -> ObservedTensor:
        steps = None
        if tensor.dtype not in _FLOATS:
            steps = Steps(
                scale=float(tensor.scales[0]),
                zero_point=int(tensor.zero_points[0]),
                dtype=tensor.dtype,
                prescribed=operator in _PRESCRIBED,
            )
        named = bool(self._origins)
        canonical = float_value_of(origin.value) if named else origin.value
        return ObservedTensor(
            # Other tools give a name to several tensors.
            name=tensor.name if named else f"{tensor.name}#{tensor.index}",
            canonical=canonical,
            stored=tensor.name,
            aliases=(origin.value,),
            operators=(operator,),
            dtype=tensor.dtype,
            steps=steps,
            is_output=canonical in self._outputs or tensor.index in self._public,
            named=named,
        )


def _no_real_numbers(tensor: StoredTensor) -> str:
    """Why a tensor holds no real numbers; empty where it does."""
    if tensor.dtype in _FLOATS or (tensor.scales.size == 1 and tensor.zero_points.size == 1):
        return ""
    return f"it holds {tensor.dtype} without a scale"


def _with_operators(model: StoredModel, points: dict[str, Point]) -> dict[str, Point]:
    """The points with what lies between them: types of operators, and tensors read."""
    seen = {point.index: point.tensor.canonical for point in points.values()}
    names = {point.index: name for name, point in points.items()}
    found = {}
    for name, point in points.items():
        known = {index for index, value in seen.items() if value != point.tensor.canonical}
        operators, inputs = back_to_known(model, point.index, known)
        types = tuple(model.operators[index][0] for index in operators)
        reads = tuple(names[index] for index in inputs if index in names)
        tensor = replace(point.tensor, operators=types, reads=reads)
        found[name] = replace(point, tensor=tensor)
    return found
