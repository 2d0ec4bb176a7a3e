"""Runs each layer on integer weights of a .tflite file on the QDQ graph's own activations.

A dynamic kernel rounds activations ``x`` to 8 bits over the range that it finds in them, so with
``step = (max(x, 0) - min(x, 0)) / 255`` and weights ``w`` a right layer differs from the graph by
no more than ``step * sum(|w|)`` over the weights of an output. A float kernel on restored weights
differs by the rounding of its sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.exactness import RoundedDifference
from edgekit.graph.reference import ReferenceSession
from edgekit.targets.tflite.exactness.fragment import Fragment
from edgekit.targets.tflite.exactness.stored_model import StoredModel, StoredTensor
from edgekit.targets.tflite.exactness.teacher_forcing import back_to_known, stored_array
from edgekit.targets.tflite.tensor_origin import TensorOrigin

type Array = npt.NDArray[Any]

_LAYERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_WEIGHTS = 1
_STEPS = 255
_FLOAT_SUMS = 1e-5
"""Error of float32 sums that is granted, as a share of ``max(|x|) * sum(|w|)``."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer cut out of the file.

    Attributes:
        operators: Indices, from the given activations to the output.
        input: Tensor of the given activations.
        output: Tensor of the result.
        weights: Sum of ``|w|`` over each output's weights, ``float64[outputs]``.
        dynamic: Whether the operator reads the integers itself.
    """

    operators: list[int]
    input: int
    output: int
    weights: npt.NDArray[np.float64]
    dynamic: bool


def rounded_differences(
    model: StoredModel,
    origins: Sequence[TensorOrigin],
    graph: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
) -> list[RoundedDifference]:
    """Largest difference of every layer whose input and output the graph has as well.

    Args:
        model: The .tflite file.
        origins: Which value each tensor holds.
        graph: The QDQ graph; not modified.
        feeds: Inputs of the graph, one mapping a sample.
    """
    by_name = {origin.tensor: origin for origin in origins}
    computed = {value.name for node in graph.graph for value in node.outputs}
    computed |= {value.name for value in graph.graph.inputs}
    known = {
        tensor.index: by_name[tensor.name]
        for tensor in model.tensors
        if tensor.data is None
        and tensor.dtype == "float32"
        and tensor.name in by_name
        and by_name[tensor.name].value in computed
    }
    layers = [layer for index in known if (layer := _layer(model, index, set(known)))]
    wanted = {known[index].value for item in layers for index in (item.input, item.output)}
    references = _reference_values(graph, wanted, feeds)
    found = [_run(model, layer, known, references) for layer in layers]
    return sorted(found, key=lambda item: -item.share)


def _layer(model: StoredModel, output: int, known: set[int]) -> _Layer | None:
    """The layer on integer weights that makes a tensor; None where that is not what makes it."""
    operators, inputs = back_to_known(model, output, known - {output})
    layers = [index for index in operators if model.operators[index][0] in _LAYERS]
    if len(layers) != 1 or len(inputs) != 1 or inputs[0] not in known:
        return None
    name, read, _ = model.operators[layers[0]]
    weights = model.tensors[read[_WEIGHTS]]
    dynamic = weights.data is not None
    if not dynamic:
        stored = _restored_from(model, read[_WEIGHTS])
        if stored is None:
            return None
        weights = stored
    if weights.dtype not in {"int4", "int8"} or weights.data is None:
        return None
    sizes = np.abs(_real(weights, name))
    # Outputs come first; those of a depthwise kernel last. Restored blocks are rows of an output.
    sums = sizes.reshape(-1, sizes.shape[-1]).sum(0) if name.startswith("DEPTH") else None
    if sums is None:
        units = model.tensors[read[_WEIGHTS]].shape[0]
        sums = sizes.reshape(units, -1).sum(1)
    return _Layer(operators, inputs[0], output, sums, dynamic)


def _restored_from(model: StoredModel, tensor: int) -> StoredTensor | None:
    """The constant that a DEQUANTIZE, perhaps with a RESHAPE behind, restores."""
    while (writer := model.writer_of(tensor)) is not None:
        name, read, _ = model.operators[writer]
        if name not in {"DEQUANTIZE", "RESHAPE"}:
            return None
        tensor = read[0]
    return model.tensors[tensor]


def _real(weights: StoredTensor, operator: str) -> npt.NDArray[np.float64]:
    """The numbers that stored integers stand for."""
    assert weights.data is not None
    integers = weights.data.astype(np.float64)
    scales = weights.scales.astype(np.float64)
    if weights.block_size:
        blocks = integers.reshape(scales.size, -1) * scales[:, None]
        return blocks.reshape(integers.shape)
    last = operator.startswith("DEPTH")
    shape = [1] * integers.ndim
    shape[-1 if last else 0] = -1
    points = weights.zero_points.astype(np.float64)
    return (integers - points.reshape(shape)) * scales.reshape(shape)


def _reference_values(
    graph: ir.Model, names: set[str], feeds: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """Values of the graph for each sample, computed node by node."""
    proto = ir.to_proto(graph)
    given = {item.name for item in proto.graph.input}
    declared = {item.name for item in proto.graph.output}
    proto.graph.output.extend(
        type(proto.graph.output[0])(name=name) for name in sorted(names - declared - given)
    )
    with ReferenceSession(proto, optimization="disabled") as session:
        return [{**sample, **session.run(sample)} for sample in feeds]


def _run(
    model: StoredModel,
    layer: _Layer,
    known: Mapping[int, TensorOrigin],
    references: Sequence[Mapping[str, Array]],
) -> RoundedDifference:
    fragment = Fragment(model.cut(layer.operators, [layer.input], layer.output))
    share = 0.0
    for reference in references:
        given, expected = (
            stored_array(reference, known[tensor], model.tensors[tensor].shape)
            for tensor in (layer.input, layer.output)
        )
        (made,) = fragment.run([given])
        difference = np.abs(made.astype(np.float64) - expected)
        share = max(share, float((difference / _explained(layer, given, expected)).max()))
    return RoundedDifference(
        tensor=model.tensors[layer.output].name,
        operators=tuple(model.operators[index][0] for index in layer.operators),
        dynamic=layer.dynamic,
        share=share,
    )


def _explained(layer: _Layer, given: Array, expected: Array) -> npt.NDArray[np.float64]:
    """The largest difference that rounding explains, for each output along the last axis."""
    span = float(max(given.max(), 0.0)) - float(min(given.min(), 0.0))
    largest = float(np.abs(given).max())
    step = span / _STEPS if layer.dynamic else 0.0
    outputs = layer.weights
    if expected.shape[-1:] != outputs.shape:
        outputs = np.asarray(outputs.max())
    floor = _FLOAT_SUMS * max(float(np.abs(expected).max()), 1.0e-6)
    return np.asarray(step * outputs + _FLOAT_SUMS * largest * outputs + floor)
