"""Types of numbers that the layers of a .tflite file compute with."""

from __future__ import annotations

from pathlib import Path

from edgekit.targets.tflite.model_file import FileGraph, FileOperator, read_model_file
from edgekit.targets.tflite.operator_costs import CONVOLUTIONS

_LAYERS = CONVOLUTIONS | {"FULLY_CONNECTED", "BATCH_MATMUL"}


def arithmetic_of(path: Path) -> str:
    """For example ``"int8 x int8"``: activations and weights of the layers.

    Where layers differ, all kinds are named; without layers, the types of what operators read.

    Raises:
        InputError: If the file is missing, damaged or of another format.
    """
    graph = read_model_file(path).main
    layers = [op for op in graph.operators if op.name in _LAYERS]
    kinds = {_types(graph, op) for op in layers or graph.operators}
    return ", ".join(sorted(kinds)) or "none"


def _types(graph: FileGraph, op: FileOperator) -> str:
    tensors = [graph.tensors[index] for index in op.inputs if index >= 0]
    # Shapes and axes are integers whatever the layer computes with.
    numbers = [tensor for tensor in tensors if tensor.dtype not in {"int32", "int64"}]
    shown = sorted(numbers[:2], key=lambda tensor: tensor.constant)
    return " x ".join(tensor.dtype for tensor in shown) or "integers"
