from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.hashing import digest_file
from edgekit.core.stage import Stage, StageContext
from edgekit.errors import InputError
from edgekit.graph.importers import ImportRequest, InputRequest
from edgekit.graph.importers.torch_module import build_module
from edgekit.graph.io import load_onnx, read_metadata, save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.stages.import_model import ImportConfig, ImportStage
from tests.unit.graph.onnx_text import assert_close, graph, random

MODELS = Path(__file__).parent / "graph" / "importers" / "models.py"


def _saved(path: Path, *, external: bool = False) -> Path:
    model = graph("(float[1,40] x) => (float[1,30] y) { y = MatMul (x, w) }", w=random(40, 30))
    save_onnx(model, path, external_above_bytes=0 if external else 1 << 30)
    return path


def test_the_stage_keeps_the_contract() -> None:
    stage: Stage[ImportConfig] = ImportStage()
    assert stage.name == "import_model"
    assert stage.optional <= stage.consumes.keys()
    assert set(ImportConfig.model_fields) == set(ImportRequest.model_fields)


def test_an_onnx_file_becomes_an_artifact(tmp_path: Path) -> None:
    source = _saved(tmp_path / "in.onnx")
    work = tmp_path / "work"
    work.mkdir()
    config = ImportConfig(source=str(source), labels=("a",), name="net")
    result = ImportStage().run(StageContext(workdir=work), {}, config)
    artifact = result.artifacts["model"]
    assert artifact.kind is ArtifactKind.ONNX
    assert artifact.path.parent == work
    assert artifact.digest == digest_file(artifact.path)
    model = load_onnx(artifact.path)
    assert artifact.signature == signature_of(model)
    assert artifact.metadata == read_metadata(model)
    assert artifact.metadata is not None
    assert artifact.metadata.labels == ("a",)
    assert list(work.iterdir()) == [artifact.path]


def test_weights_of_a_stage_before_are_loaded(tmp_path: Path) -> None:
    trained = build_module(f"{MODELS}:Small").eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(2).add_(0.1)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(trained.state_dict(), path)
    config = ImportConfig(
        source=f"{MODELS}:Small", inputs=(InputRequest(name="image", shape=(1, 3, 8, 8)),)
    )
    weights = Artifact.of(ArtifactKind.WEIGHTS, path)
    work = tmp_path / "work"
    work.mkdir()
    result = ImportStage().run(StageContext(workdir=work), {"weights": weights}, config)
    image = random(1, 3, 8, 8)
    with torch.no_grad():
        expected = trained(torch.from_numpy(image)).numpy()
    session = ReferenceSession(result.artifacts["model"].path)
    assert_close(session.run({"image": image})["output"], expected)


def test_files_that_the_result_depends_on(tmp_path: Path) -> None:
    stage = ImportStage()
    source = _saved(tmp_path / "in.onnx", external=True)
    assert stage.external_files(ImportConfig(source=str(source))) == (
        source,
        tmp_path / "in.onnx.data",
    )
    weights = tmp_path / "w.pth"
    weights.touch()
    config = ImportConfig(source=f"{MODELS}:Small", weights=weights)
    assert stage.external_files(config) == (MODELS, weights)
    assert stage.external_files(ImportConfig(source="timm:resnet18")) == ()
    assert stage.external_files(ImportConfig(source="package.module:factory")) == ()


@pytest.mark.parametrize("source", ["absent.onnx", "absent.pt2", "absent.py:factory"])
def test_missing_files_are_found_before_anything_runs(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No (Python )?file at .*absent"):
        ImportStage().external_files(ImportConfig(source=str(tmp_path / source)))
