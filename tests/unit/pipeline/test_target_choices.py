"""What targets choose reaches the steps, and what they compute in the scales of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgekit.errors import ConfigError
from edgekit.pipeline import quantization_steps, target_steps
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.registry import get_target
from edgekit.pipeline.steps import Plan
from edgekit.pipeline.summarize import SummarizeConfig
from edgekit.stages.lower import LowerStageConfig
from edgekit.stages.qat import QatStageConfig
from edgekit.stages.quantize import QuantizeConfig

if TYPE_CHECKING:
    from tests.unit.pipeline.conftest import MakeTarget

HALF = {
    "precisions": ("float32", "float16", "int8", "int16x8"),
    "computes": ("float16", "float32"),
    "deployment_targets": ("iOS17", "iOS18"),
    "image_input": True,
}


@pytest.fixture(autouse=True)
def half(monkeypatch: pytest.MonkeyPatch, make_target: MakeTarget) -> None:
    """The target "half", which computes in float16 unless told otherwise."""
    made = make_target(name="half", facts=HALF)
    for place in (quantization_steps, target_steps):
        monkeypatch.setattr(
            place, "get_target", lambda name: made if name == "half" else get_target(name)
        )


def plan(folder: Path, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "name": "net",
        "output": folder / "out",
        "model": {"source": f"{folder}/model.py:create", "inputs": ["image:1x1x8x8"]},
        "data": {"set": "digits"},
        "evaluate": {"enabled": False},
        "benchmark": {"enabled": False},
    }
    return build_plan(ProjectConfig.model_validate(fields | changes))


def lowered(found: Plan, step: str) -> dict[str, Any]:
    config = found.step(f"lower-{step}").config
    assert isinstance(config, LowerStageConfig)
    return config.choices().model_dump()


def scale_format(found: Plan, step: str = "quantize") -> str | None:
    config = found.step(step).config
    assert isinstance(config, QuantizeConfig | QatStageConfig)
    return config.options.scale_format


def test_each_step_of_lowering_knows_everything_that_is_chosen(tmp_path: Path) -> None:
    section = {
        "precision": ["float32", "int8"], "engine": "link", "compute": "float16",
        "deployment_target": "iOS18", "image_input": True,
    }  # fmt: skip
    found = plan(tmp_path, targets={"half": section, "tflite": {"precision": "int8"}})
    same = {"engine": "link", "deployment_target": "iOS18", "image_input": True}
    own = {
        "io": "float32", "integer_only": False, "weight_compute": None, "batch_sizes": None,
    }  # fmt: skip
    assert lowered(found, "half-float32") == {**own, **same, "compute": "float32"}
    assert lowered(found, "half-int8") == {**own, **same, "compute": "float16"}
    summarize = found.step("summarize").config
    assert isinstance(summarize, SummarizeConfig)
    assert [(item.compute, item.deployment_target) for item in summarize.targets] == [
        ("float32", "iOS18"), ("float16", "iOS18"), ("", ""),
    ]  # fmt: skip
    plain = {"engine": "edgekit", "deployment_target": None, "image_input": False}
    assert lowered(found, "tflite-int8") == {**own, **plain, "compute": None}


def test_left_open_the_target_decides(tmp_path: Path) -> None:
    found = plan(tmp_path, targets={"half": {"precision": "float16"}})
    choices = lowered(found, "half-float16")
    assert (choices["engine"], choices["compute"]) == ("copy", "float16")
    assert choices["deployment_target"] == "iOS17"


def test_a_choice_that_is_not_offered_is_told_with_all_others(tmp_path: Path) -> None:
    wrong = {"deployment_target": "iOS9", "integer_only": True}
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, targets={"half": wrong, "tflite": {"compute": "float32"}}, data=None)
    assert str(caught.value).splitlines()[1:] == [
        "  - targets.half.integer_only: the target does not promise to compute so",
        "  - targets.half.deployment_target: iOS9 is not offered; accepted: iOS17, iOS18",
        "  - targets.tflite.compute: float32 is not offered; the target leaves no choice here",
    ]


@pytest.mark.parametrize(
    ("asked", "tflite", "expected"),
    [
        ({"precision": "int8"}, "int8", "float16"),
        ({"precision": "int8", "compute": "float16"}, "float32", "float16"),
        ({"precision": "int8", "compute": "float32"}, "int8", "float32"),
        ({"precision": "float16"}, "int8", "float32"),
        ({"precision": ["float32", "int8"], "compute": "float16"}, "int8", "float16"),
    ],
)
def test_scales_suit_whoever_computes_in_float16(
    tmp_path: Path, asked: dict[str, Any], tflite: str, expected: str
) -> None:
    targets = {"tflite": {"precision": tflite}, "half": asked}
    found = plan(tmp_path, targets=targets, quantize={"qat": True})
    assert scale_format(found) == scale_format(found, "qat") == expected
    told = "numbers that float16 represents, since half computes in float16"
    assert (told in found.describe()) is (expected == "float16")


def test_each_graph_suits_its_own_targets(tmp_path: Path) -> None:
    targets = {"tflite": {"precision": ["int8", "int16x8"]}, "half": {"precision": "int16x8"}}
    found = plan(tmp_path, targets=targets)
    assert scale_format(found) == "float32"
    assert scale_format(found, "quantize-int16x8") == "float16"


def test_what_the_project_says_of_scales_holds(tmp_path: Path) -> None:
    targets = {"half": {"precision": "int8"}}
    found = plan(tmp_path, targets=targets, quantize={"scale_format": "float32"})
    assert scale_format(found) == "float32"
    assert "half computes in float16, which does not represent all of them" in found.describe()
    found = plan(tmp_path, targets={}, quantize={"schemes": "int8", "scale_format": "bfloat16"})
    assert scale_format(found) == "bfloat16"
    assert "scales" not in found.describe()
    given = {
        "quantize": {"qat": True, "scale_format": "float16"},
        "qat": {"scale_format": "float32"},
    }
    found = plan(tmp_path, targets={"tflite": {"precision": "int8"}}, **given)
    assert (scale_format(found), scale_format(found, "qat")) == ("float16", "float32")


def test_without_targets_scales_are_float32(tmp_path: Path) -> None:
    assert scale_format(plan(tmp_path, targets={}, quantize={"schemes": "int8"})) == "float32"
