"""Choices of lowering are settled by the target, or all that is wrong with them is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from edgekit.api import ConvertOptions, conversion_project
from edgekit.core.artifact import ArtifactKind, file_stem, size_on_disk
from edgekit.core.lowering_choices import LoweringChoices
from edgekit.core.precision import QUANTIZED, WEIGHTS_ONLY, Precision
from edgekit.core.stage import StageConfig
from edgekit.core.target import LowerConfig, TargetInfo
from edgekit.errors import ConfigError
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import TargetSection
from edgekit.stages.lower import LowerStageConfig
from edgekit.targets.onnxruntime import INFO as ONNXRUNTIME
from edgekit.targets.tflite import INFO as TFLITE

RICH = TargetInfo(
    name="rich",
    title="Everything",
    extra="rich",
    artifact_kind=ArtifactKind.COREML,
    suffix=".package",
    precisions=get_args(Precision),
    engines=("own", "other"),
    weight_computes=("exact", "dynamic"),
    io_types=("float32", "int8", "uint8"),
    integer_only=True,
    computes=("float16", "float32"),
    deployment_targets=("iOS17", "iOS18"),
    image_input=True,
    batch_sizes=True,
    folder=True,
)


def config(**fields: Any) -> LowerConfig:
    return LowerConfig.model_validate(fields)


@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize("info", [RICH, TFLITE, ONNXRUNTIME], ids=lambda info: str(info.name))
def test_what_is_left_open_becomes_the_targets_own_way(info: TargetInfo, precision: str) -> None:
    if precision not in info.precisions:
        with pytest.raises(ConfigError, match=rf"precision: {precision} is not offered; accepted"):
            config(precision=precision).settled_for(info)
        return
    settled = config(precision=precision).settled_for(info)
    assert settled.engine == info.engines[0]
    weights = info.weight_computes[0] if precision in WEIGHTS_ONLY else None
    assert settled.weight_compute == weights
    assert settled.settled_for(info) == settled
    if info is RICH:
        # A float32 artifact computes in float32, whatever the target does by itself.
        assert settled.compute == ("float32" if precision == "float32" else "float16")
        assert settled.deployment_target == "iOS17"
    else:
        assert (settled.compute, settled.deployment_target) == (None, None)


def test_what_is_chosen_stays() -> None:
    chosen: dict[str, Any] = {
        "precision": "int8", "engine": "other", "io": "uint8", "integer_only": True,
        "compute": "float32", "deployment_target": "iOS18", "image_input": True,
        "batch_sizes": "1,4",
    }  # fmt: skip
    assert config(**chosen).settled_for(RICH).model_dump(exclude_none=True) == chosen


def test_everything_that_is_not_offered_is_told_at_once() -> None:
    asked = config(
        precision="int16x8", engine="toco", weight_compute="dynamic", compute="float16",
        deployment_target="iOS17", image_input=True, io="int8", integer_only=True,
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        asked.settled_for(ONNXRUNTIME)
    assert str(caught.value).splitlines() == [
        "Lowering to target 'onnxruntime' has 8 problems:",
        "  - engine: there is no engine 'toco'. Known: edgekit",
        "  - io: int8 is not offered; accepted: float32",
        "  - integer_only: the target does not promise to compute so",
        "  - weight_compute: dynamic is not offered; accepted: exact",
        "  - compute: float16 is not offered; the target leaves no choice here",
        "  - deployment_target: iOS17 is not offered; the target leaves no choice here",
        "  - image_input: the target takes tensors alone",
        f"  - precision: int16x8 is not offered; accepted: {', '.join(ONNXRUNTIME.precisions)}",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"compute": "float16"}, "compute: float16 belongs to .*in float32 computes in float32"),
        ({"precision": "float16", "io": "int8"}, "an artifact in float16 takes float32"),
        ({"precision": "float16", "integer_only": True}, "it belongs to int8 and int16x8, not"),
        (
            {"precision": "int8", "weight_compute": "exact"},
            "exact belongs to int8-weights and int4-weights, not int8",
        ),
        ({"deployment_target": "iOS3"}, "iOS3 is not offered; accepted: iOS17, iOS18"),
    ],
)
def test_what_contradicts_the_precision_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**fields).settled_for(RICH)


def test_a_choice_of_several_forms_reaches_those_it_means_something_to() -> None:
    section = TargetSection.model_validate(
        {
            "precision": ["float32", "int8", "int4-weights"],
            "io": "uint8", "integer_only": True, "weight_compute": "dynamic",
            "compute": "float16", "deployment_target": "iOS18",
        }
    )  # fmt: skip
    assert section.problems(RICH, section.precision) == ()
    always = {"deployment_target": "iOS18"}
    means = {
        "float32": always,
        "int8": {**always, "io": "uint8", "integer_only": True, "compute": "float16"},
        "int4-weights": {**always, "weight_compute": "dynamic", "compute": "float16"},
    }
    for precision in section.precision:
        expected = LoweringChoices.model_validate(means[precision])
        assert section.concerning(precision) == expected


def test_options_of_every_place_come_from_the_one_model() -> None:
    for model in (LowerConfig, LowerStageConfig, TargetSection, ConvertOptions):
        for name, field in LoweringChoices.model_fields.items():
            assert model.model_fields[name].description == field.description
            assert model.model_fields[name].default == field.default
    assert issubclass(LowerStageConfig, StageConfig)


def test_a_target_that_offers_float32_computes_in_it() -> None:
    facts = TFLITE.model_dump() | {"computes": ("float16",)}
    with pytest.raises(ValidationError, match="must offer to compute in it"):
        TargetInfo.model_validate(facts)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"compute": "float16"}, "compute: float16 is not offered; the target leaves no choice"),
        ({"deployment_target": "iOS17"}, "deployment_target: iOS17 is not offered"),
        ({"image_input": True}, "image_input: the target takes tensors alone"),
    ],
)
def test_a_conversion_refuses_what_one_of_its_targets_does_not_offer(
    tmp_path: Path, choice: dict[str, Any], message: str
) -> None:
    options = ConvertOptions.model_validate({"bench": None, **choice})
    project, _ = conversion_project(
        str(tmp_path / "net.onnx"), ["tflite"], ["float16"], tmp_path / "out", options
    )
    with pytest.raises(ConfigError, match=rf"targets\.tflite\.{message}"):
        build_plan(project)


def test_quantized_forms_are_all_forms_but_two() -> None:
    assert {*QUANTIZED, "float32", "float16"} == set(get_args(Precision))


@pytest.mark.parametrize(
    ("name", "stem"),
    [("five things", "five_things"), ("../x/y", "x_y"), ("Größe", "Gr__e"), ("...", "model")],
)
def test_file_names_are_safe(name: str, stem: str) -> None:
    assert file_stem(name) == stem


def test_size_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(b"4567")
    assert size_on_disk(tmp_path / "a") == 3
    assert size_on_disk(tmp_path) == 7
    with pytest.raises(FileNotFoundError):
        size_on_disk(tmp_path / "absent")
