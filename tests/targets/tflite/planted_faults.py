"""Faults put into .tflite files, as a converter with a defect would leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.packing import pack_model
from edgekit.targets.tflite.repacking import unpack_model

NONE, RELU, RELU6 = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
)
_BIAS = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D,
         schema.BuiltinOperator.FULLY_CONNECTED}  # fmt: skip


def planted(source: Path, path: Path, change: Callable[[Any, Any], None]) -> Path:
    """A copy of a file with a change of its unpacked model and main graph."""
    model = unpack_model(source.read_bytes())
    change(model, model.subgraphs[0])
    path.write_bytes(pack_model(model))
    return path


def rescale(source: Path, path: Path, tensor: str, factor: float, *, alone: bool = False) -> Path:
    """Another scale for an activation; biases that are counted in its steps follow.

    Args:
        source: The sound file.
        path: Where the faulty one goes.
        tensor: Name in the file.
        factor: The scale is multiplied by it.
        alone: Leaves the biases of readers as they are, so that these compute wrongly, too.
    """

    def change(model: Any, graph: Any) -> None:
        index = _tensor(graph, tensor)
        scale = np.array(graph.tensors[index].quantization.scale, np.float32)
        graph.tensors[index].quantization.scale = scale * np.float32(factor)
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if alone or code not in _BIAS or operator.inputs[0] != index:
                continue
            bias = graph.tensors[operator.inputs[2]]
            stored = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32)
            made = np.rint(stored / factor).astype(np.int32)
            model.buffers[bias.buffer].data = np.frombuffer(made.tobytes(), np.uint8)
            scales = np.array(bias.quantization.scale, np.float32)
            bias.quantization.scale = scales * np.float32(factor)

    return planted(source, path, change)


def swap_channels(source: Path, path: Path, tensor: str) -> Path:
    """The output channels of the layer that makes a tensor, in reverse order."""

    def change(model: Any, graph: Any) -> None:
        weights = graph.tensors[_maker(graph, tensor).inputs[1]]
        data = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.uint8)
        rows = data.reshape(int(weights.shape[0]), -1)[::-1]
        model.buffers[weights.buffer].data = np.ascontiguousarray(rows).ravel()

    return planted(source, path, change)


def activate(source: Path, path: Path, tensor: str, activation: int) -> Path:
    """Another fused activation in the operator that makes a tensor."""

    def change(model: Any, graph: Any) -> None:
        del model
        _maker(graph, tensor).builtinOptions.fusedActivationFunction = activation

    return planted(source, path, change)


def _tensor(graph: Any, name: str) -> int:
    return [tensor.name.decode() for tensor in graph.tensors].index(name)


def _maker(graph: Any, name: str) -> Any:
    index = _tensor(graph, name)
    (operator,) = [item for item in graph.operators if index in item.outputs]
    return operator
