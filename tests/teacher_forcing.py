"""Compares every quantized value of a twin with ONNX Runtime, each from the runtime's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin
from edgekit.graph.torch_twin.twin import VALUE
from edgekit.graph.values import Array, constant_array, is_op


def forced_differences(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Largest difference of each quantized value in whole steps of its scale.

    Before a difference can spread, the twin's value is replaced by the runtime's, so each
    figure is that of one op with its quantization.
    """
    watched = ir.from_proto(ir.to_proto(model))
    present = {value.name for value in watched.graph.outputs}
    scales: dict[str, float] = {}
    for node in watched.graph:
        value = node.outputs[0]
        if not is_op(node, "DequantizeLinear") or constant_array(node.inputs[0]) is not None:
            continue
        scale = constant_array(node.inputs[1])
        assert scale is not None
        scales[value.name or ""] = float(scale)
        if value.name not in present:
            watched.graph.outputs.append(value)
    with ReferenceSession(watched, optimization="disabled") as session:
        expected = session.run(feeds)
    twin = build_twin(model)
    forced = _Forced(twin.graph_module, expected, scales)
    with torch.no_grad():
        forced.run(*(torch.from_numpy(feeds[spec.name]) for spec in twin.signature.inputs))
    assert forced.differences.keys() == scales.keys()
    return forced.differences


class _Forced(fx.Interpreter):
    def __init__(
        self, module: fx.GraphModule, expected: Mapping[str, Array], scales: Mapping[str, float]
    ) -> None:
        super().__init__(module)
        self._expected = expected
        self._scales = scales
        self.differences: dict[str, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        for name in n.meta.get(VALUE, ()):
            if name in self._scales:
                steps = np.abs(result.numpy() - self._expected[name]) / self._scales[name]
                self.differences[name] = int(np.rint(steps.max()))
                result = torch.from_numpy(self._expected[name])
        return result
