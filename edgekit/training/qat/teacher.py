"""The float model that quantization-aware training compares with."""

from __future__ import annotations

import onnx_ir as ir
from torch import Tensor

from edgekit.graph.torch_twin import build_twin
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin


class Unrounded(FakeQuantize):
    """Takes the place of a quantizer and lets everything pass."""

    def __init__(self, source: FakeQuantize) -> None:
        super().__init__(
            source.scale, source.zero_point, (source.low, source.high), axis=source.axis,
            block=source.block, fixed=source.fixed, role=source.role,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """``x`` itself."""
        return x


def teacher_twin(model: ir.Model) -> TorchTwin:
    """The torch form of the float model.

    Of a graph that is quantized already there is no float model; what comes closest computes
    with its rounded weights, but does not round activations.

    Args:
        model: Canonical graph, float or QDQ; not modified.

    Raises:
        UnsupportedGraphError: If torch has no form of some nodes; all of them are listed.
    """
    twin = build_twin(model)
    twin.replace_quantizers(
        lambda quantizer: quantizer if quantizer.role == "weight" else Unrounded(quantizer)
    )
    return twin
