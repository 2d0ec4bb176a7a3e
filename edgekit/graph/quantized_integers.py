"""The integers of a QDQ graph while it runs: what every artifact of it is held to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array

_MOVED_BY = 128


def quantized_integers(
    model: ir.Model, feeds: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """Integers of every QuantizeLinear for each sample, by its output's and input's name.

    The input stands for the integers where nothing else reads it. uint8 integers are given as
    the int8 ones of the same real value. Nodes are computed one by one: fused kernels round
    unlike the Q/DQ nodes that define the result.

    Args:
        model: The QDQ graph; not modified.
        feeds: Inputs of the graph, one mapping a sample.
    """
    proto = ir.to_proto(model)
    nodes = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    reads = Counter(name for node in proto.graph.node for name in node.input)
    names = [node.output[0] for node in nodes]
    declared = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in declared
    )
    results = []
    with ReferenceSession(proto, optimization="disabled") as session:
        for sample in feeds:
            arrays = session.run(sample)
            found = {name: as_int8(arrays[name]) for name in names}
            for node in nodes:
                if reads[node.input[0]] == 1:
                    found[node.input[0]] = found[node.output[0]]
            results.append(found)
    return results


def as_int8(array: Array) -> Array:
    """uint8 integers as the int8 ones of the same real value; others as they are."""
    if array.dtype != np.uint8:
        return array
    return (array.astype(np.int16) - _MOVED_BY).astype(np.int8)


def as_type(array: Array, dtype: np.dtype[Any]) -> Array:
    """int8 integers as the uint8 ones of the same real value, where that type is asked for."""
    if array.dtype != np.int8 or dtype != np.uint8:
        return array
    return (array.astype(np.int16) + _MOVED_BY).astype(np.uint8)
