"""Small vision transformer for 28x28 images, with attention written out.

Pre-norm transformer blocks (Dosovitskiy et al., arXiv:2010.11929; Vaswani et al.,
arXiv:1706.03762): ``softmax(Q K^T / sqrt(d)) V`` by plain matmul and softmax.
Input: [N, 1, 28, 28] float32; output: [N, 10] logits.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention over [N, tokens, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, tokens, width] to the same shape."""
        query = self._split(self.query(x))
        key = self._split(self.key(x))
        value = self._split(self.value(x))
        scores = torch.matmul(query, key.transpose(-2, -1)) * self.head_width**-0.5
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        merged = mixed.transpose(1, 2).flatten(2)
        out: torch.Tensor = self.project(merged)
        return out

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """[N, tokens, width] to [N, heads, tokens, head_width]."""
        # The batch is the size that is left over, so that no node has to compute it.
        return x.reshape(-1, x.shape[1], self.heads, self.head_width).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each after a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, width * expansion), nn.GELU(), nn.Linear(width * expansion, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, tokens, width] to the same shape."""
        x = x + self.attention(self.norm1(x))
        out: torch.Tensor = x + self.perceptron(self.norm2(x))
        return out


class TinyVit(nn.Module):
    """Patches of 4x4 pixels, a class token, and ``depth`` transformer blocks."""

    def __init__(self, classes: int = 10, width: int = 64, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 50, width) * 0.02)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, expansion=2) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 1, 28, 28] to logits [N, classes]."""
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        # The class token goes where a row of zeros is put in front: the same sum as with a token
        # that is repeated for each image, but without a node that has to know the batch.
        class_token = functional.pad(self.token, (0, 0, 0, tokens.shape[1]))
        x = functional.pad(tokens, (0, 0, 1, 0)) + (class_token + self.position)
        x = self.norm(self.blocks(x))
        logits: torch.Tensor = self.classifier(x[:, 0])
        return logits


def tiny_vit() -> TinyVit:
    """The network for the ten classes of MNIST or Fashion-MNIST."""
    return TinyVit()
