"""Runs each operator of an integer .tflite file on the QDQ graph's own integers.

End to end, one different rounding early on changes everything after it. Given the same
integers as inputs, an operator that is right differs by one step of its output at most: the
kernels multiply by fixed-point numbers where ONNX Runtime computes in float. With 16 bits a step
is 256 times finer, and some kernels interpolate in tables: there a few steps are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.exactness import ForcedDifference, accepted_lsb
from edgekit.targets.tflite.exactness.fragment import Fragment
from edgekit.targets.tflite.exactness.stored_model import StoredModel
from edgekit.targets.tflite.tensor_origin import TensorOrigin

type Array = npt.NDArray[Any]


def forced_differences(
    model: StoredModel,
    origins: Sequence[TensorOrigin],
    references: Sequence[Mapping[str, Array]],
) -> list[ForcedDifference]:
    """Largest difference of every integer tensor whose inputs are forced.

    Args:
        model: The .tflite file.
        origins: Which value each tensor holds.
        references: From `edgekit.graph.quantized_integers`.
    """
    known = _known_tensors(model, origins, references[0])
    found = []
    for index in known:
        writer = model.writer_of(index)
        if writer is None:
            continue
        operators, inputs = back_to_known(model, index, set(known) - {index})
        if any(tensor not in known for tensor in inputs):
            continue
        found.append(_run_cut(model, (operators, inputs, index), known, references))
    return sorted(found, key=lambda item: (-item.lsb / accepted_lsb(item.bits), -item.share))


def _known_tensors(
    model: StoredModel, origins: Sequence[TensorOrigin], reference: Mapping[str, Array]
) -> dict[int, TensorOrigin]:
    by_name = {origin.tensor: origin for origin in origins}
    return {
        tensor.index: by_name[tensor.name]
        for tensor in model.integer_activations()
        if tensor.name in by_name
        and by_name[tensor.name].value in reference
        and reference[by_name[tensor.name].value].dtype.name == tensor.dtype
    }


def back_to_known(model: StoredModel, output: int, known: set[int]) -> tuple[list[int], list[int]]:
    """Operators between known tensors and ``output``, and the tensors that feed them."""
    operators: set[int] = set()
    inputs: list[int] = []
    pending = [output]
    while pending:
        tensor = pending.pop()
        if tensor < 0 or model.tensors[tensor].data is not None:
            continue
        writer = model.writer_of(tensor)
        if tensor in known or writer is None:
            if tensor not in inputs:
                inputs.append(tensor)
            continue
        if writer not in operators:
            operators.add(writer)
            pending += model.operators[writer][1]
    return sorted(operators), inputs


def _run_cut(
    model: StoredModel,
    cut: tuple[list[int], list[int], int],
    known: Mapping[int, TensorOrigin],
    references: Sequence[Mapping[str, Array]],
) -> ForcedDifference:
    operators, inputs, output = cut
    fragment = Fragment(model.cut(*cut))
    worst, wrong, total = 0, 0, 0
    for reference in references:
        arrays = [stored_array(reference, known[t], model.tensors[t].shape) for t in inputs]
        (made,) = fragment.run(arrays)
        expected = stored_array(reference, known[output], model.tensors[output].shape)
        steps = np.abs(made.astype(np.int64) - expected.astype(np.int64))
        worst = max(worst, int(steps.max(initial=0)))
        wrong += int((steps > 0).sum())
        total += steps.size
    return ForcedDifference(
        tensor=model.tensors[output].name,
        bits=8 * np.dtype(model.tensors[output].dtype).itemsize,
        operators=tuple(model.operators[index][0] for index in operators),
        lsb=worst,
        share=wrong / max(total, 1),
    )


def stored_array(
    reference: Mapping[str, Array], origin: TensorOrigin, shape: tuple[int, ...]
) -> Array:
    """A value in the order of the file; a line ``[N, C, L]`` may be an image there."""
    array = reference[origin.value].transpose(origin.stored_axes)
    if len(shape) > array.ndim:
        array = np.expand_dims(array, origin.stored_axes.index(array.ndim - 1))
    return np.ascontiguousarray(array)


def canonical_array(array: Array, origin: TensorOrigin) -> Array:
    """The reverse of `stored_array`."""
    if array.ndim > len(origin.stored_axes):
        array = np.squeeze(array, origin.stored_axes.index(len(origin.stored_axes) - 1))
    return np.ascontiguousarray(array.transpose(np.argsort(origin.stored_axes)))
