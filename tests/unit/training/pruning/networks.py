"""Small networks that pruning is tried on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Small(nn.Module):
    """Two plain convolutions, a depthwise one, a grouped one, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.grouped = nn.Conv2d(32, 48, 3, padding=1, groups=2)
        self.classifier = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x))
        x = torch.relu(self.depthwise(x))
        x = torch.relu(self.grouped(x)).mean((2, 3))
        result: Tensor = self.classifier(x)
        return result


def small(seed: int = 0) -> Small:
    """With seeded weights and statistics that are not those of a new BatchNorm."""
    torch.manual_seed(seed)
    network = Small().eval()
    with torch.no_grad():
        network.norm.weight.uniform_(0.5, 1.5)
        network.norm.bias.normal_()
        network.norm.running_mean = torch.randn(16)
        network.norm.running_var = torch.rand(16) + 0.5
    return network


class Encoder(nn.Module):
    """Two layers of a transformer, which torch makes as copies of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classifier = nn.Linear(32, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.encoder(self.embed(tokens)).mean(1))
        return result


def encoder() -> Encoder:
    """With seeded weights, for tokens ``[N, 10, 12]``."""
    torch.manual_seed(0)
    return Encoder().eval()


def images(count: int = 2, channels: int = 3, size: int = 8) -> Tensor:
    """Seeded normal images."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, channels, size, size, generator=generator)
