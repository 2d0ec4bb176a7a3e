"""Editing a graph keeps the shapes of what it adds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.graph.values import add_initializer


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_an_added_initializer_has_the_shape_of_its_array(shape: tuple[int, ...]) -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 20})
    value = add_initializer(graph, "constant", np.ones(shape, np.float32))
    assert value.const_value is not None
    assert tuple(value.const_value.shape) == shape
    assert value.shape is not None
    assert tuple(value.shape) == shape
