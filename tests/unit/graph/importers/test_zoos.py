"""Importers of timm and torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgekit.core.metadata import Preprocessing
from edgekit.errors import InputError, MissingToolError, UsageError
from edgekit.graph.importers import ImportRequest, import_model, parse_input
from edgekit.graph.importers.timm_model import import_timm_model
from edgekit.graph.importers.torchvision_model import import_torchvision_model
from edgekit.graph.io import read_metadata, signature_of
from edgekit.graph.reference import ReferenceSession
from tests.unit.graph.onnx_text import assert_close, random

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")


def test_a_timm_model_brings_its_preprocessing(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = timm.create_model("lcnet_035").eval()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    imported = import_model(
        ImportRequest(
            source="timm:lcnet_035",
            weights=tmp_path / "w.pth",
            inputs=(parse_input("image:1x3x64x64"),),
        )
    )
    metadata = read_metadata(imported.model)
    preprocessing = metadata.preprocessing
    assert metadata.name == "lcnet_035"
    assert isinstance(preprocessing, Preprocessing)
    assert preprocessing.mean == (0.485, 0.456, 0.406)
    assert preprocessing.size == (64, 64)
    assert preprocessing.resize == "crop"
    assert preprocessing.crop_fraction == 0.875
    assert preprocessing.interpolation == "bilinear"
    image = random(1, 3, 64, 64)
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    assert_close(ReferenceSession(imported.model).run({"image": image})["output"], expected)


def test_a_torchvision_model_brings_its_preprocessing() -> None:
    imported = import_model(
        ImportRequest(source="torchvision:squeezenet1_1", inputs=(parse_input("image:1x3x64x64"),))
    )
    assert str(signature_of(imported.model).outputs[0]) == "output: float32[1, 1000]"
    metadata = read_metadata(imported.model)
    preprocessing = metadata.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    assert preprocessing.size == (64, 64)
    assert preprocessing.crop_fraction == 0.875
    assert preprocessing.std == (0.229, 0.224, 0.225)
    assert metadata.labels == ()


@pytest.mark.parametrize("prefix", ["timm", "torchvision"])
def test_unknown_names_suggest_similar_ones(prefix: str) -> None:
    with pytest.raises(InputError, match=rf"{prefix} has no model 'mobilenet_v9'; similar: mobil"):
        import_model(ImportRequest(source=f"{prefix}:mobilenet_v9"))


@pytest.mark.parametrize("source", ["timm:resnet18@pretrained", "torchvision:resnet18@pretrained"])
def test_two_sources_of_weights_contradict_each_other(source: str) -> None:
    with pytest.raises(UsageError, match="--weights is given too"):
        import_model(ImportRequest(source=source, weights=Path("w.pth")))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(MissingToolError, match=r"timm is not installed.*'edgekit\[zoo\]'"):
        import_timm_model(ImportRequest(source="timm:resnet18"))
    with pytest.raises(MissingToolError, match=r"torchvision is not installed.*'edgekit\[zoo\]'"):
        import_torchvision_model(ImportRequest(source="torchvision:resnet18"))
