"""Graphs for tests, written in ONNX's text syntax."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgekit.graph.equivalence import EquivalenceCheck
from edgekit.graph.passes.convert_opset import CANONICAL_OPSET
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.lift_constants import LiftConstants


def proto(text: str, **weights: npt.NDArray[Any]) -> onnx.ModelProto:
    """The graph at the canonical opset."""
    return proto_at(CANONICAL_OPSET, text, **weights)


def proto_at(opset: int, text: str, **weights: npt.NDArray[Any]) -> onnx.ModelProto:
    """Parses ``(float[1,2] x) => (float[1,2] y) { y = Relu(x) }`` with initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> main {text}')
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in weights.items()
    )
    return model


def graph(text: str, **weights: npt.NDArray[Any]) -> ir.Model:
    """The same as an onnx_ir model, with constants lifted and shapes inferred."""
    model = ir.from_proto(proto(text, **weights))
    LiftConstants()(model)
    InferShapes()(model)
    return model


def ops(model: ir.Model) -> dict[str, int]:
    """Number of nodes by op type."""
    return dict(Counter(node.op_type for node in model.graph))


def node(model: ir.Model, op_type: str) -> ir.Node:
    """The only node of a type."""
    (found,) = [item for item in model.graph if item.op_type == op_type]
    return found


def apply(model: ir.Model, graph_pass: GraphPass) -> bool:
    """Runs a pass; the outputs in ONNX Runtime, names and shapes must stay.

    Returns:
        Whether the pass says that it modified the graph.
    """
    before = ir.to_proto(model)
    check = EquivalenceCheck(model)
    modified = graph_pass(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    for difference in check.compare(model):
        assert difference.relative < 1e-5, difference
    after = ir.to_proto(model)
    assert [item.name for item in after.graph.input] == [item.name for item in before.graph.input]
    assert [item.name for item in after.graph.output] == [
        item.name for item in before.graph.output
    ]
    if not modified:
        assert [item.op_type for item in after.graph.node] == [
            item.op_type for item in before.graph.node
        ]
    return modified


def random(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Seeded normal floats."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Seeded floats of 0.5 to 1.5."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)


def assert_close(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    """Equal up to what the order of float32 additions changes."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
