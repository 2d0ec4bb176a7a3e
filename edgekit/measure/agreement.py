"""How often an artifact and its graph give the same answer, end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.target import Session
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import constant_array

type Array = npt.NDArray[Any]

_SCORES_RANK = 2
_ROUNDING = 1.001


def share_of_equal_answers(
    session: Session, graph: ir.Model, feeds: Sequence[Mapping[str, Array]]
) -> float:
    """Share of samples with the same best class, or without classes equal within one step.

    Where an output is not quantized, a step is 1/255 of its range in that sample.

    Args:
        session: The artifact.
        graph: The QDQ graph; computed node by node, since fused integer kernels round unlike
            the Q/DQ nodes that define the result.
        feeds: Inputs, one mapping a sample.
    """
    steps = _output_steps(graph.graph)
    equal = 0
    with ReferenceSession(graph, optimization="disabled") as reference:
        for sample in feeds:
            expected, actual = reference.run(sample), session.run(sample)
            equal += all(_same(expected[name], actual[name], steps.get(name)) for name in expected)
    return equal / len(feeds)


def gives_scores(graph: ir.Graph) -> bool:
    """Whether every output is a score for each class."""
    return all(len(value.shape or ()) == _SCORES_RANK for value in graph.outputs)


def _same(expected: Array, actual: Array, step: float | None) -> bool:
    if expected.ndim == _SCORES_RANK:
        return bool((expected.argmax(1) == actual.argmax(1)).all())
    if step is None:
        # Computed in float from quantized values: as fine as 8 bits over its range would be.
        step = float(np.ptp(expected)) / 255
    return bool(np.abs(expected - actual).max() <= step * _ROUNDING)


def _output_steps(graph: ir.Graph) -> dict[str, float]:
    """Scale of each output that a DequantizeLinear makes."""
    steps = {}
    for value in graph.outputs:
        producer = value.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            continue
        scale = constant_array(producer.inputs[1])
        if scale is not None:
            steps[str(value.name)] = float(scale.reshape(-1)[0])
    return steps
