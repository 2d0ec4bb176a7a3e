"""Depthwise-separable CNN for Fashion-MNIST.

Inverted residual blocks (Sandler et al., arXiv:1801.04381): a 1x1 convolution that widens,
a 3x3 depthwise convolution, and a linear 1x1 convolution that narrows; the input is added
where the shape stays. Input: [N, 1, 28, 28] float32; output: [N, 10] logits.
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


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, expansion: int = 3) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = ConvNormAct(inputs, width, 1)
        self.depthwise = ConvNormAct(width, width, 3, stride, groups=width)
        self.project = nn.Sequential(
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        out: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class FashionCnn(nn.Module):
    """A stem, seven inverted residual blocks at 28, 14 and 7 pixels, and a linear classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNormAct(1, 24, 3)
        self.blocks = nn.Sequential(
            InvertedResidual(24, 32, stride=2),
            InvertedResidual(32, 32),
            InvertedResidual(32, 32),
            InvertedResidual(32, 64, stride=2),
            InvertedResidual(64, 64),
            InvertedResidual(64, 64),
            InvertedResidual(64, 64),
        )
        self.head = ConvNormAct(64, 192, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(192, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 1, 28, 28] to logits [N, classes]."""
        x = self.pool(self.head(self.blocks(self.stem(image)))).flatten(1)
        logits: torch.Tensor = self.classifier(self.dropout(x))
        return logits


def fashion_cnn() -> FashionCnn:
    """The network for the ten classes of Fashion-MNIST."""
    return FashionCnn()
