"""Small float graphs for the tests, with seeded weights and inferred shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgekit.graph.passes.infer_shapes import InferShapes


class GraphBuilder:
    """Adds nodes one by one; a node's first output is called after the node."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def input(self, name: str, *shape: int | str) -> str:
        kind = onnx.TensorProto.FLOAT
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, name: str, array: npt.ArrayLike) -> str:
        values = np.asarray(array)
        stored = values.astype(np.float32) if values.dtype == np.float64 else values
        self._initializers.append(numpy_helper.from_array(stored, name))
        return name

    def random(self, name: str, *shape: int, scale: float = 1.0) -> str:
        return self.constant(name, self._random.standard_normal(shape) * scale)

    def node(
        self, op_type: str, name: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        results = list(outputs) or [name]
        made = helper.make_node(op_type, list(inputs), results, name=name, **attributes)
        self._nodes.append(made)
        return results[0]

    def conv(
        self, name: str, source: str, before: int, after: int, size: int = 3, **attributes: Any
    ) -> str:
        group = attributes.get("group", 1)
        fan = before // group * size * size
        weight = self.random(f"{name}.weight", after, before // group, size, size, scale=fan**-0.5)
        bias = self.random(f"{name}.bias", after, scale=0.1)
        attributes.setdefault("pads", [size // 2] * 4)
        return self.node("Conv", name, source, weight, bias, **attributes)

    def relu(self, name: str, source: str) -> str:
        return self.node("Relu", name, source)

    def relu6(self, name: str, source: str) -> str:
        low, high = self.constant(f"{name}.low", 0.0), self.constant(f"{name}.high", 6.0)
        return self.node("Clip", name, source, low, high)

    def build(self, *outputs: str) -> ir.Model:
        results = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
        ]
        graph = helper.make_graph(self._nodes, "test", self._inputs, results, self._initializers)
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        )
        model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
        InferShapes()(model)
        return model
