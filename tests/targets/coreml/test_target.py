"""What the rest of edgekit sees of the target."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.core.hashing import digest_path
from edgekit.core.metadata import METADATA_KEY
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, UsageError
from edgekit.targets.coreml import native, toolchain
from edgekit.targets.coreml.embedded import decode
from edgekit.targets.coreml.native import NativeSession, native_missing
from edgekit.targets.coreml.session import MilSession
from edgekit.targets.coreml.target import CoreMLTarget
from tests.targets.coreml.lowering.graphs import lower_text
from tests.targets.coreml.lowering.test_interface import PIXELS, SCORES
from tests.targets.coreml.mil_packages import random
from tests.targets.coreml.quantized_packages import package_of, quantized


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        path = lower_text(SCORES, folder, PIXELS).artifact.path
        (folder / "graph.onnx").unlink()
        digests.add(digest_path(path))
    assert len(digests) == 1


def test_an_existing_package_is_replaced_whole(tmp_path: Path) -> None:
    path = lower_text(SCORES, tmp_path).artifact.path
    (path / "stray").write_text("left over")
    assert lower_text(SCORES, tmp_path).artifact.path == path
    assert not (path / "stray").exists()
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".")]


def test_inspection(tmp_path: Path) -> None:
    source = quantized(tmp_path)
    path = package_of(source, tmp_path).artifact.path
    found = CoreMLTarget().inspect(path)
    counts = {item.op: item.count for item in found.ops}
    assert counts["conv"] == 2
    assert counts["quantize"] == int(found.details["quantize_ops"])
    assert "const" not in counts
    assert found.macs == 6 * 6 * 8 * 27 + 6 * 6 * 8 * 9 + 8 * 4
    assert found.parameters >= 8 * 27 + 8 * 9 + 8 * 4
    assert found.float_ops == 0
    assert found.size_bytes == sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert found.details["opset"] == "CoreML8"
    assert "not the Neural Engine" in found.details["runs_here_in"]
    assert "Estimated, not measured" in found.details["latency_estimate"]
    with pytest.raises(InputError):
        CoreMLTarget().inspect(tmp_path / "missing.mlpackage")


def test_sessions(tmp_path: Path) -> None:
    path = lower_text(SCORES, tmp_path).artifact.path
    session = MilSession(path, RuntimeConfig())
    assert session.runtime == "edgekit MIL runtime, not the Neural Engine"
    x = random((1, 3, 4, 4))
    np.testing.assert_allclose(session.run({"image": x})["scores"], x.mean((2, 3)), rtol=1e-5)
    with pytest.raises(InputError, match="No value for input"):
        session.run({})
    with pytest.raises(InputError, match="expects"):
        session.run({"image": x.astype(np.float64)})
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"image": x})


def test_damaged_metadata_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="signature: Field required"):
        decode({METADATA_KEY: '{"metadata": {}, "features": {}}'}, "model.mlpackage")
    assert decode({}, "model.mlpackage") is None


class StandIn:
    """Answers as coremltools' MLModel would; keeps what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: dict[str, Any] = {}

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        self.asked = given
        return self.answers


def test_core_ml_itself_up_to_the_call(tmp_path: Path) -> None:
    path = lower_text(SCORES, tmp_path, PIXELS, image_input=True).artifact.path
    model = StandIn({"scores": np.array([[1.0, 2.0, 3.0]]), "classLabel": "cat"})
    session = NativeSession(path, model)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    mean, std = np.array((0.5, 0.4, 0.3)), np.array((0.2, 0.3, 0.4))
    values = ((pixels / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
    found = session.run({"image": values})
    assert found["scores"].dtype == np.float32
    np.testing.assert_array_equal(np.asarray(model.asked["image"]), pixels)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"image": values})


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is here")
def test_core_ml_is_not_here() -> None:
    assert "Apple's systems alone" in native_missing()
    found = CoreMLTarget().capabilities()
    assert found.convertible is None
    assert found.runnable is None
    assert found.measurable is not None


def test_the_compute_plan_up_to_core_ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What coremltools gives on a Mac, in stand-ins of its shapes."""
    path = lower_text(SCORES, tmp_path).artifact.path

    class MLNeuralEngineComputeDevice: ...

    class MLCPUComputeDevice: ...

    operations = [
        SimpleNamespace(operator_name="ios18.conv", outputs=[SimpleNamespace(name="a")]),
        SimpleNamespace(operator_name="ios18.gather", outputs=[SimpleNamespace(name="b")]),
        SimpleNamespace(operator_name="const", outputs=[SimpleNamespace(name="c")]),
    ]
    usages: list[Any] = [
        SimpleNamespace(preferred_compute_device=MLNeuralEngineComputeDevice()),
        SimpleNamespace(preferred_compute_device=MLCPUComputeDevice()),
        None,
    ]
    block = SimpleNamespace(operations=operations)
    program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=program),
        get_compute_device_usage_for_mlprogram_operation=(
            lambda operation: usages[operations.index(operation)]
        ),
    )
    asked: list[str] = []

    def compiled(source: str) -> str:
        asked.append(source)
        return "compiled"

    models = SimpleNamespace(
        utils=SimpleNamespace(compile_model=compiled),
        compute_plan=SimpleNamespace(
            MLComputePlan=SimpleNamespace(load_from_path=lambda compiled: plan)
        ),
    )
    monkeypatch.setattr(toolchain, "coremltools", SimpleNamespace(models=models))
    monkeypatch.setattr(native, "native_missing", lambda: "")
    told = CoreMLTarget().inspect(path).details["compute_plan"]
    assert told == (
        "1 on MLCPUComputeDevice, 1 on MLNeuralEngineComputeDevice; not on the Neural Engine: "
        "ios18.gather b"
    )
    assert asked == [str(path)]


def test_without_core_ml_the_plan_is_not_known(tmp_path: Path) -> None:
    path = lower_text(SCORES, tmp_path).artifact.path
    if native_missing():
        assert "not known" in CoreMLTarget().inspect(path).details["compute_plan"]
