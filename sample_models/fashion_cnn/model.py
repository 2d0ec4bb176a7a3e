"""Depthwise-separable CNN for Fashion-MNIST.

Blocks of MobileNet (Howard et al., arXiv:1704.04861): a 3x3 convolution of each channel by
itself, then a 1x1 convolution across channels, each with BatchNorm and ReLU6; the input is
added where the shape stays. Input: [N, 1, 28, 28] float32; output: [N, 10] logits.
"""

from __future__ import annotations

import torch
from torch import nn


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


class SeparableBlock(nn.Module):
    """Depthwise and pointwise convolution, with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = ConvNormAct(inputs, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        out: torch.Tensor = self.pointwise(self.depthwise(x))
        return x + out if self.residual else out


class FashionCnn(nn.Module):
    """A stem at 28 pixels, six separable blocks at 14 and 7 pixels, a linear classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNormAct(1, 16, 3)
        self.blocks = nn.Sequential(
            SeparableBlock(16, 48, stride=2),
            SeparableBlock(48, 96),
            SeparableBlock(96, 96),
            SeparableBlock(96, 160, stride=2),
            SeparableBlock(160, 160),
            SeparableBlock(160, 160),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(160, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 1, 28, 28] to logits [N, classes]."""
        x = self.pool(self.blocks(self.stem(image))).flatten(1)
        logits: torch.Tensor = self.classifier(self.dropout(x))
        return logits


def fashion_cnn() -> FashionCnn:
    """The network for the ten classes of Fashion-MNIST."""
    return FashionCnn()
