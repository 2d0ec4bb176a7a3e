"""Graphs that several tests quantize."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array, constant_array
from tests.unit.quantization.graph_builder import GraphBuilder


@dataclass(frozen=True)
class Scored:
    """A metric that a function gives."""

    measure: Callable[[ir.Model], float]
    standard_error: float = 0.0

    def __call__(self, model: ir.Model) -> float:
        return self.measure(model)

    def noise(self, value: float) -> float:
        return self.standard_error


def residual_net(seed: int = 0) -> ir.Model:
    """Conv-Relu, a residual block with a fused Relu behind the Add, pooling, Gemm."""
    b = GraphBuilder(seed)
    x = b.input("image", "batch", 3, 8, 8)
    first = b.relu("relu1", b.conv("conv1", x, 3, 8))
    second = b.conv("conv3", b.relu("relu2", b.conv("conv2", first, 8, 8)), 8, 8)
    joined = b.relu("relu3", b.node("Add", "add", second, first))
    pooled = b.node("GlobalAveragePool", "pool", joined)
    flat = b.node("Flatten", "flat", pooled)
    weight, bias = b.random("fc.weight", 5, 8, scale=0.4), b.random("fc.bias", 5)
    b.node("Gemm", "fc", flat, weight, bias, transB=1)
    return b.build("fc")


def batches(count: int = 4, size: int = 8, seed: int = 0) -> Iterator[dict[str, Array]]:
    """Inputs for `residual_net`."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield {"image": random.standard_normal((size, 3, 8, 8)).astype(np.float32)}


def run(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, npt.NDArray[Any]]:
    """Outputs of a graph, computed node by node as it is written."""
    with ReferenceSession(model, optimization="disabled") as session:
        return dict(session.run(feeds))


def constant(model: ir.Model, name: str) -> npt.NDArray[Any]:
    """An initializer."""
    array = constant_array(model.graph.initializers[name])
    assert array is not None
    return array
