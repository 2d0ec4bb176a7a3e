"""Layers whose weights and bias are rounded to what the graph stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from edgekit.graph.torch_twin.fake_quantize import BiasQuantize, FakeQuantize


class QuantizedLayer(nn.Module):
    """What the quantized layers have in common.

    The parameters stay floating-point numbers; they are rounded whenever they are used.

    Attributes:
        weight_quantizer: Rounds the weights; None leaves them as they are.
        bias_quantizer: Rounds the bias; None leaves it as it is.
    """

    weight: Any
    bias: Any
    weight_quantizer: FakeQuantize | None
    bias_quantizer: BiasQuantize | FakeQuantize | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weight_quantizer = None
        self.bias_quantizer = None

    def rounded_weight(self) -> Tensor:
        """The weights that the graph's integers stand for."""
        weight: Tensor = self.weight
        if self.weight_quantizer is not None:
            weight = self.weight_quantizer(weight)
        return weight

    def rounded_bias(self) -> Tensor | None:
        """The bias that the graph's integers stand for."""
        bias: Tensor | None = self.bias
        if bias is not None and self.bias_quantizer is not None:
            bias = self.bias_quantizer(bias)
        return bias


class _Convolution(QuantizedLayer):
    _conv_forward: Any

    def forward(self, input: Tensor) -> Tensor:
        """Like the layer it derives from."""
        result: Tensor = self._conv_forward(input, self.rounded_weight(), self.rounded_bias())
        return result


class QuantizedConv1d(_Convolution, nn.Conv1d):
    """`nn.Conv1d` with rounded parameters."""


class QuantizedConv2d(_Convolution, nn.Conv2d):
    """`nn.Conv2d` with rounded parameters."""


class QuantizedConv3d(_Convolution, nn.Conv3d):
    """`nn.Conv3d` with rounded parameters."""


class QuantizedLinear(QuantizedLayer, nn.Linear):
    """`nn.Linear` with rounded parameters."""

    def forward(self, input: Tensor) -> Tensor:
        """Like `nn.Linear`."""
        return functional.linear(input, self.rounded_weight(), self.rounded_bias())


_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class _TransposedConvolution(QuantizedLayer):
    stride: Any
    padding: Any
    output_padding: Any
    dilation: Any
    groups: Any

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """Like the layer it derives from; ``output_size`` follows from the attributes."""
        return _TRANSPOSED[len(self.stride)](
            input, self.rounded_weight(), self.rounded_bias(), self.stride, self.padding,
            self.output_padding, self.groups, self.dilation,
        )  # fmt: skip


class QuantizedConvTranspose1d(_TransposedConvolution, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with rounded parameters."""


class QuantizedConvTranspose2d(_TransposedConvolution, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with rounded parameters."""


class QuantizedConvTranspose3d(_TransposedConvolution, nn.ConvTranspose3d):
    """`nn.ConvTranspose3d` with rounded parameters."""


QUANTIZED: dict[type[nn.Module], type[QuantizedLayer]] = {
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
    nn.Conv3d: QuantizedConv3d,
    nn.Linear: QuantizedLinear,
    nn.ConvTranspose1d: QuantizedConvTranspose1d,
    nn.ConvTranspose2d: QuantizedConvTranspose2d,
    nn.ConvTranspose3d: QuantizedConvTranspose3d,
}
"""The rounding form of each layer."""
