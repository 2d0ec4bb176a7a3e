"""edgekit's own lowering from the canonical ONNX graph to TFLite."""

from edgekit.targets.tflite.lowering.graph import (
    LoweredGraph,
    LoweringOptions,
    check_graph,
    lower_graph,
)

__all__ = ["LoweredGraph", "LoweringOptions", "check_graph", "lower_graph"]
