"""Encoder of the prototypical network for Omniglot.

Four blocks of a 3x3 convolution with 64 channels, BatchNorm, ReLU and 2x2 max pooling, then
flattened (Snell et al., arXiv:1703.05175, section 3.1; first used by Vinyals et al.,
arXiv:1606.04080). Input: [N, 1, 28, 28] float32, ink 1 on paper 0; output: [N, 64] embeddings.
"""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU and pooling to half the size, rounded down."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )


class Encoder(nn.Module):
    """Maps a character to a point; those of one class lie close together."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            Block(1, width), Block(width, width), Block(width, width), Block(width, width)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 1, 28, 28] to embeddings [N, width]; 28 pixels become 14, 7, 3 and 1."""
        embedding: torch.Tensor = self.blocks(image).flatten(1)
        return embedding


def omniglot_protonet() -> Encoder:
    """The encoder of 64 channels."""
    return Encoder()
