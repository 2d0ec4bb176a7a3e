"""The hook that names a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from edgekit.core.layer_error import (
    ArtifactErrors,
    Culprit,
    LayerComparison,
    LayerError,
    Remedy,
)
from edgekit.core.metrics import Unavailable
from edgekit.data.contract import DataSpec
from edgekit.errors import InputError
from edgekit.gate import culprit
from edgekit.gate.culprit import CulpritRequest, find_culprit, first_culprit, references_of
from edgekit.measure.remedies import suggest
from tests.unit.measure.layer_errors import quantized

LAYER = Culprit(
    tensor="relu_2", layer="conv_2", operators=("CONV_2D",), cause="coarse-step",
    text="Its step is twice what its values need.",
)  # fmt: skip
REMEDY = Remedy(
    kind="keep-float", layer="conv_2", text="Keep conv_2 in float.",
    options=("--keep-float", "conv_2"),
)  # fmt: skip


def comparison(*culprits: Culprit, remedies: tuple[Remedy, ...] = ()) -> LayerComparison:
    errors = ArtifactErrors(
        name="net.int8.tflite", runtime="r", format="tflite", layers=(), culprits=culprits,
        remedies=remedies, verdict="All is well.",
    )  # fmt: skip
    return LayerComparison(
        reference="net.onnx", reference_runtime="r", dataset="d", samples=8, artifacts=(errors,)
    )


@pytest.fixture
def request_(tmp_path: Path) -> CulpritRequest:
    return CulpritRequest(
        artifact=tmp_path / "net.int8.tflite",
        references=(tmp_path / "net.onnx", tmp_path / "old.tflite"),
        data=DataSpec(set="digits"),
    )


def test_the_first_culprit_with_its_remedy() -> None:
    found = first_culprit(comparison(LAYER, remedies=(REMEDY,)))
    assert found.culprit == LAYER
    assert found.remedy == "Keep conv_2 in float (--keep-float conv_2)."
    assert first_culprit(comparison(LAYER)).remedy == ""


def test_no_culprit_says_so() -> None:
    found = first_culprit(comparison()).culprit
    assert found == Unavailable(reason="no layer is out of line. All is well.")


def test_a_version_without_comparison(
    monkeypatch: pytest.MonkeyPatch, request_: CulpritRequest
) -> None:
    monkeypatch.setattr(culprit, "COMPARISON", "edgekit.nowhere:compare")
    found = find_culprit(request_).culprit
    assert found == Unavailable(reason="this version has no layer comparison")


def test_the_comparison_is_called_by_name(
    monkeypatch: pytest.MonkeyPatch, request_: CulpritRequest
) -> None:
    asked: list[tuple[Sequence[str], DataSpec]] = []

    def compare(sources: Sequence[str], data: DataSpec) -> LayerComparison:
        asked.append((sources, data))
        if len(asked) > 2:
            raise RuntimeError("broken")
        if len(asked) > 1:
            raise InputError("no tensors in common")
        return comparison(LAYER)

    module = ModuleType("comparison_of_test")
    monkeypatch.setattr(module, "compare", compare, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "comparison_of_test", module)
    monkeypatch.setattr(culprit, "COMPARISON", "comparison_of_test:compare")
    assert find_culprit(request_).culprit == LAYER
    (sources, data) = asked[0]
    assert [Path(item).name for item in sources] == ["net.onnx", "net.int8.tflite"]
    assert data == request_.data
    assert find_culprit(request_).culprit == Unavailable(
        reason="the layers could not be compared: no tensors in common"
    )
    assert find_culprit(request_).culprit == Unavailable(
        reason="comparing the layers failed by a defect, RuntimeError: broken"
    )


def test_the_next_reference_is_tried(
    monkeypatch: pytest.MonkeyPatch, request_: CulpritRequest, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def compare(sources: Sequence[str], data: DataSpec) -> LayerComparison:
        asked.append(tuple(Path(item).name for item in sources))
        if "net.onnx" in asked[-1]:
            raise InputError("no tensors in common")
        return comparison(LAYER)

    module = ModuleType("comparison_of_test")
    monkeypatch.setattr(module, "compare", compare, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "comparison_of_test", module)
    monkeypatch.setattr(culprit, "COMPARISON", "comparison_of_test:compare")
    request = replace(request_, before=tmp_path / "old.tflite")
    assert find_culprit(request).culprit == LAYER
    assert asked == [
        ("net.onnx", "net.int8.tflite", "old.tflite"),
        ("net.onnx", "net.int8.tflite"),
        ("old.tflite", "net.int8.tflite"),
    ]


def out_of_line(tensor: str, excess_db: float) -> LayerError:
    return quantized(tensor, 20.0).model_copy(
        update={"out_of_line": excess_db > 0, "excess_db": excess_db}
    )


def errors_with(excess: dict[str, float]) -> ArtifactErrors:
    layers = tuple(out_of_line(tensor, value) for tensor, value in excess.items())
    culprits = tuple(
        Culprit(tensor=item.tensor, layer=item.layer, operators=(), cause="clipping", text="x")
        for item in layers
        if item.out_of_line
    )
    made = ArtifactErrors(
        name="net.int8.tflite", runtime="r", format="tflite", layers=layers, culprits=culprits,
        verdict="Two layers are.",
    )  # fmt: skip
    return made.model_copy(update={"remedies": suggest(made)})


@pytest.mark.parametrize(
    ("before", "layer"),
    [
        ({"a": -3.0, "b": -3.0}, "node_a"),
        # The first culprit was one before, so the loss does not come from it.
        ({"a": 9.0, "b": -3.0}, "node_b"),
        ({"a": 4.0, "b": 5.0}, "node_a"),
        ({"a": 9.0, "b": 5.0}, None),
    ],
)
def test_a_layer_that_was_no_better_before_is_not_blamed(
    before: dict[str, float], layer: str | None
) -> None:
    result = comparison().model_copy(
        update={"artifacts": (errors_with({"a": 9.0, "b": 5.0}), errors_with(before))}
    )
    found = first_culprit(result)
    if layer is None:
        assert isinstance(found.culprit, Unavailable)
        assert "no layer is further out of line than in the baseline" in found.culprit.reason
        return
    assert isinstance(found.culprit, Culprit)
    assert found.culprit.layer == layer
    assert found.remedy


def test_nothing_to_compare_with(request_: CulpritRequest) -> None:
    found = find_culprit(replace(request_, references=())).culprit
    assert isinstance(found, Unavailable)
    assert "neither a float graph nor a float artifact" in found.reason


def test_references_of_an_artifact(tmp_path: Path) -> None:
    artifact, before = tmp_path / "net.int8.tflite", tmp_path / "ab.tflite"
    assert references_of(None, artifact, None) == ()
    assert references_of(None, artifact, before) == (before,)
    for name in ("net.tflite", "net.qdq.onnx", "net.onnx"):
        (tmp_path / name).touch()
    wanted = (tmp_path / "net.onnx", tmp_path / "net.tflite", before)
    assert references_of(tmp_path, artifact, before) == wanted
    # A float artifact is no reference of its own.
    assert references_of(tmp_path, tmp_path / "net.onnx", None) == ()
    assert references_of(None, tmp_path / "net.int8.onnx", None) == (tmp_path / "net.onnx",)
