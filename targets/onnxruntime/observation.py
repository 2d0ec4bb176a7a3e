"""An ONNX file in ONNX Runtime whose tensors can be seen and replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime

from edgekit.errors import UnsupportedError
from edgekit.graph.io import load_onnx
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.targets.onnxruntime.runtime import one_line, start_quietly


def observe_file(path: Path) -> ObservedGraph:
    """The file with all of ONNX Runtime's optimizations, so with its integer kernels.

    Raises:
        InputError: If it is missing or damaged.
        UnsupportedError: If ONNX Runtime refuses it.
    """
    return ObservedGraph(load_onnx(path), f"ONNX Runtime {onnxruntime.__version__} (CPU)", _start)


def _start(model: ir.Model) -> Any:
    try:
        return start_quietly(ir.to_proto(model).SerializeToString(), 1)
    except Exception as error:
        # ONNX Runtime's exceptions have no common base but Exception.
        raise UnsupportedError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {one_line(error)}"
        ) from error
