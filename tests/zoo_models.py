"""Models of the zoo that edgekit is tested and measured with.

Weights are random but seeded, and BatchNorm is calibrated on seeded data: with the default
statistics the outputs of a deep network are of the order of 1e-9, where every comparison
passes or fails by chance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgekit.core.metadata import ModelMetadata
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.importers import InputRequest
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.io import save_onnx, write_metadata

_SEED = 0
_CALIBRATION_BATCHES = 3
_CALIBRATION_BATCH = 4


class _Block(nn.Sequential):
    """Two 3x3 convolutions with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """Small U-Net: up by ConvTranspose, by bilinear and by nearest resizing, one each."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        widths = (16, 32, 64, 96)
        self.down = nn.ModuleList(
            _Block(before, after) for before, after in zip((3, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(96, 64, 2, stride=2)
        self.merge = nn.ModuleList([_Block(128, 64), _Block(96, 32), _Block(48, 16)])
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps [N, 3, H, W] to [N, classes, H, W]; H and W divisible by 8."""
        skips = []
        x = image
        for index, block in enumerate(self.down):
            x = block(self.pool(x) if index else x)
            skips.append(x)
        x = self.merge[0](torch.cat([self.up(x), skips[2]], dim=1))
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = self.merge[1](torch.cat([x, skips[1]], dim=1))
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.merge[2](torch.cat([x, skips[0]], dim=1))
        output: torch.Tensor = self.head(x)
        return output


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A module in evaluation mode with its input shape [1, C, H, W]."""

    module: nn.Module
    shape: tuple[int, int, int, int]


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        module: nn.Module = timm.create_model(name, pretrained=False)
        return module

    return build


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        options: dict[str, Any] = {"weights": None}
        module: nn.Module = torchvision.models.get_model(name, **options)
        return module

    return build


_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": _torchvision("mobilenet_v2"),
    "mobilenetv3_small_100": _timm("mobilenetv3_small_100"),
    "resnet18": _torchvision("resnet18"),
    "efficientnet_lite0": _timm("efficientnet_lite0"),
    "shufflenet_v2_x1_0": _torchvision("shufflenet_v2_x1_0"),
    "squeezenet1_1": _torchvision("squeezenet1_1"),
    "mnasnet1_0": _torchvision("mnasnet1_0"),
    "ghostnet_100": _timm("ghostnet_100"),
    "regnetx_002": _timm("regnetx_002"),
    "mobileone_s0": _timm("mobileone_s0"),
    "repvit_m0_9": _timm("repvit_m0_9"),
    "mobilenetv4_conv_small": _timm("mobilenetv4_conv_small"),
    "unet": UNet,
}
ZOO = tuple(_BUILDERS)
"""Names of all models."""
_SMALLER_BY_DEFAULT = {"unet": 128}


def zoo_model(name: str, image_size: int | None = None) -> ZooModel:
    """Builds a model with seeded weights and calibrated BatchNorm, in evaluation mode.

    Args:
        name: One of `ZOO`.
        image_size: Height and width in pixels; 224 by default, 128 for the U-Net.
    """
    size = image_size or _SMALLER_BY_DEFAULT.get(name, 224)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = _BUILDERS[name]()
        _calibrate(module, size)
    return ZooModel(module.eval(), (1, 3, size, size))


def _calibrate(module: nn.Module, size: int) -> None:
    """Replaces the statistics of every BatchNorm by the average over seeded batches."""
    module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
    with torch.no_grad():
        for _ in range(_CALIBRATION_BATCHES):
            module(torch.randn(_CALIBRATION_BATCH, 3, size, size))


def export_zoo_onnx(name: str, path: Path, image_size: int | None = None) -> ZooModel:
    """Writes the canonical graph of a model to ``path``.

    Returns:
        The model that was exported, for comparison.
    """
    zoo = zoo_model(name, image_size)
    request = InputRequest(name="image", shape=zoo.shape)
    graph = export_module(zoo.module, (request,), dynamic_batch=False, where=f"zoo:{name}")
    model = canonicalize(graph).model
    write_metadata(model, ModelMetadata(name=name, source=f"zoo:{name}"))
    save_onnx(model, path)
    return zoo


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for entry in sys.argv[2:] or ZOO:
        export_zoo_onnx(entry, folder / f"{entry}.onnx")
