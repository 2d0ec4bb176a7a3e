"""The zoo through edgekit's own importer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.graph.io import load_onnx
from edgekit.graph.reference import ReferenceSession
from tests.unit.graph.onnx_text import ops, random
from tests.zoo_models import ZOO, export_zoo_onnx

pytest.importorskip("timm")
pytest.importorskip("torchvision")


def _check(name: str, path: Path, image_size: int) -> None:
    zoo = export_zoo_onnx(name, path, image_size)
    assert "BatchNormalization" not in ops(load_onnx(path))
    image = random(*zoo.shape, seed=2)
    with torch.no_grad():
        expected = zoo.module.double()(torch.from_numpy(image).double()).numpy()
    result = ReferenceSession(path).run({"image": image})["output"]
    spread = float(np.ptp(expected))
    assert spread > 1e-2, "BatchNorm is not calibrated: the outputs say nothing"
    assert float(np.abs(result - expected).max()) <= 3e-5 * spread


def test_the_unet_is_exported_and_computes_the_same(tmp_path: Path) -> None:
    _check("unet", tmp_path / "unet.onnx", 32)
    assert ops(load_onnx(tmp_path / "unet.onnx")) == {
        "Conv": 15, "Relu": 14, "MaxPool": 3, "Concat": 3, "Resize": 2, "ConvTranspose": 1,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_computes_the_same(name: str, tmp_path: Path) -> None:
    _check(name, tmp_path / f"{name}.onnx", 96)


@pytest.mark.slow
def test_parallel_branches_are_merged(tmp_path: Path) -> None:
    export_zoo_onnx("mobileone_s0", tmp_path / "a.onnx", 96)
    counts = ops(load_onnx(tmp_path / "a.onnx"))
    assert counts == {"Conv": 43, "Relu": 43, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1}
