"""DS-CNN for spoken words (Zhang et al., Hello Edge, arXiv:1711.07128, section 3.4).

A convolution over 10 frames and 4 bins with stride 2, then blocks of a 3x3 convolution of each
channel by itself and a 1x1 convolution across channels, each with BatchNorm and ReLU; the mean
over time and frequency goes to a linear classifier. Four blocks of 64 channels are the paper's
small network; its input has 10 cepstral coefficients a frame, this one 40 log-mel bins.

Before that come two steps that make speakers and microphones alike. What lies more than
`DYNAMIC_RANGE` below the loudest bin of the recording is cut off, so that neither loudness nor the
noise of the room counts; and each bin's mean over time is taken away (cepstral mean
normalisation, Atal 1974), which is what a microphone's response adds to a log spectrum.
Input: [N, 1, frames, bins] float32; output: [N, 10] logits.
"""

from __future__ import annotations

import torch
from torch import nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, BatchNorm and ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class SeparableBlock(nn.Sequential):
    """Depthwise and pointwise convolution; the shape stays."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            ConvNormAct(channels, channels, (3, 3), padding=(1, 1), groups=channels),
            ConvNormAct(channels, channels, (1, 1)),
        )


DYNAMIC_RANGE = 1.5
"""In units of the input: 9 in the natural logarithm of the power, or 39 dB, at a std of 6."""


class RelativeLevel(nn.Module):
    """Log powers relative to the loudest bin, cut off below, without each bin's mean over time."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps [N, 1, frames, bins] to the same shape."""
        loudest = features.amax(dim=(2, 3), keepdim=True)
        level = torch.relu(features - loudest + DYNAMIC_RANGE)
        return level - level.mean(dim=2, keepdim=True)


class KeywordDsCnn(nn.Module):
    """Relative levels, a strided convolution, separable blocks, mean and classifier."""

    def __init__(self, classes: int = 10, channels: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.level = RelativeLevel()
        self.stem = ConvNormAct(1, channels, (10, 4), stride=2, padding=(5, 1))
        self.blocks = nn.Sequential(*(SeparableBlock(channels) for _ in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps [N, 1, frames, bins] to logits [N, classes]."""
        x = self.pool(self.blocks(self.stem(self.level(features)))).flatten(1)
        logits: torch.Tensor = self.classifier(self.dropout(x))
        return logits


def keyword_dscnn() -> KeywordDsCnn:
    """The network for ten spoken digits."""
    return KeywordDsCnn()
