"""A differentiable torch form of a canonical graph, and the way back into the graph."""

from edgekit.graph.torch_twin.builder import build_twin
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.graph.torch_twin.write_back import write_back

__all__ = ["FakeQuantize", "TorchTwin", "build_twin", "write_back"]
