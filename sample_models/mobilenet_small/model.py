"""A small MobileNetV2 for images of 32x32 pixels (Sandler et al., arXiv:1801.04381).

Inverted residuals: a 1x1 convolution widens, a 3x3 convolution works on each channel by itself, a
1x1 convolution without activation narrows, and the input is added where the shape stays. As the
images are small, strides are fewer than for ImageNet. A width multiplier scales all channels.
Input: [N, 3, 32, 32] float32; output: [N, 10] logits.
"""

from __future__ import annotations

import torch
from torch import nn

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 1), (6, 64, 3, 2), (6, 96, 2, 1))
"""Widening, channels, blocks and stride of the first of them, at width 1."""

_STEM = 32
_HEAD = 512


class ConvNormAct(nn.Sequential):
    """Convolution without bias, BatchNorm and ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """Widen, filter, narrow; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, widening: int) -> None:
        super().__init__()
        hidden = inputs * widening
        self.widen = ConvNormAct(inputs, hidden, 1) if widening > 1 else nn.Identity()
        self.depthwise = ConvNormAct(hidden, hidden, 3, stride, groups=hidden)
        self.narrow = nn.Sequential(
            nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        out: torch.Tensor = self.narrow(self.depthwise(self.widen(x)))
        return x + out if self.residual else out


class MobileNetSmall(nn.Module):
    """Stem at 32 pixels, inverted residuals at 32, 16 and 8 pixels, a linear classifier.

    Attributes:
        width: Factor on all channels, which are rounded to multiples of 8.
    """

    def __init__(self, width: float, classes: int = 10) -> None:
        super().__init__()
        channels = rounded(_STEM * width)
        self.stem = ConvNormAct(3, channels, 3)
        blocks = []
        for widening, base, count, stride in STAGES:
            outputs = rounded(base * width)
            for number in range(count):
                first = stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, first, widening))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        head = rounded(_HEAD * width)
        self.head = ConvNormAct(channels, head, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(head, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 3, 32, 32] to logits [N, classes]."""
        x = self.pool(self.head(self.blocks(self.stem(image)))).flatten(1)
        logits: torch.Tensor = self.classifier(self.dropout(x))
        return logits


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and never below nine tenths of ``channels``."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def mobilenet_small() -> MobileNetSmall:
    """The network for CIFAR-10, half as wide as the table."""
    return MobileNetSmall(0.5)
