"""ResNet-20/32/56 for CIFAR-10 (He et al., arXiv:1512.03385, section 4.2).

State-dict keys agree with the public checkpoints of github.com/akamaster/
pytorch_resnet_cifar10. Input: [N, 3, 32, 32] float32, normalised with the ImageNet mean and
standard deviation for those checkpoints; output: [N, 10] logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class OptionAShortcut(nn.Module):
    """Shortcut without parameters: every second pixel, and zeros for the new channels.

    Half of the zero channels come before the old ones and half after, as in the checkpoints.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.padding = (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, C, H, W] to [N, C + 2 * padding, H / 2, W / 2]."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = OptionAShortcut(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNetCifar(nn.Module):
    """Three groups of ``blocks`` residual blocks with 16, 32 and 64 channels.

    Attributes:
        blocks: Blocks in a group; the network has ``6 * blocks + 2`` layers.
    """

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _group(16, 16, blocks, stride=1)
        self.layer2 = _group(16, 32, blocks, stride=2)
        self.layer3 = _group(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 3, 32, 32] to logits [N, classes]."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: torch.Tensor = self.linear(x)
        return logits


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride),
        *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)),
    )


def resnet20() -> ResNetCifar:
    """20 layers, 269,722 parameters."""
    return ResNetCifar(3)


def resnet32() -> ResNetCifar:
    """32 layers."""
    return ResNetCifar(5)


def resnet56() -> ResNetCifar:
    """56 layers."""
    return ResNetCifar(9)
