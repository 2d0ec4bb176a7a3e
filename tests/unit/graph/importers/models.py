"""Modules that the importer tests build by factory, good ones and bad ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Small(nn.Module):
    """Convolution, BatchNorm, dropout, pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        print("noise on stdout")  # noqa: T201 - the importer must keep it off the terminal
        x = torch.relu(self.norm(self.conv(image)))
        out: torch.Tensor = self.linear(self.drop(x.mean((2, 3))))
        return out


class TwoInputs(nn.Module):
    """Tells its arguments apart."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return left - right, left * right


class NamedOutputs(nn.Module):
    """Returns a dict with a list and None in it."""

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        return {"boxes": x * 2, "scores": [x + 1, x + 2], "nothing": None}


class PassesThrough(nn.Module):
    """Returns its input and one value twice."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x + 1
        return x, y, y


class Embeds(nn.Module):
    """Takes indices."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.table(ids).sum(1)
        return out


class WritesIntoInput(nn.Module):
    """Changes its argument in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x += 1
        return x * 2


class Branches(nn.Module):
    """Decides by a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return x + 1


class HasNoOnnxForm(nn.Module):
    """Uses an operator that ONNX lacks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.linalg.svdvals(x)
        return out


class LeavesTorch(nn.Module):
    """Computes with NumPy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.sin(x.numpy()))


class ReturnsNumber(nn.Module):
    """Returns a tensor and a number."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return x + 1, 3


class Random(nn.Module):
    """Gives something else at every call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


class FixedBatch(nn.Module):
    """Works for batch 2 only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1) + torch.ones(2, 1)


class HoldsNan(nn.Module):
    """Has a broken weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, float("nan"), 2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def fails() -> nn.Module:
    raise KeyError("no such file")


def gives_number() -> int:
    return 3


def needs_argument(width: int) -> nn.Module:
    return nn.Linear(width, width)
