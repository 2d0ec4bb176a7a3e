"""Plans are checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.errors import ConfigError
from edgekit.pipeline.steps import ANY_SLOT, PublishedOutput, Source, Step, make_plan


class Options(StageConfig):
    factor: int = 1


class OtherOptions(StageConfig):
    pass


class FakeStage:
    """Does nothing; the subclasses differ in their slots."""

    name: ClassVar[str] = "fake"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {}
    tools: ClassVar[tuple[str, ...]] = ()

    @property
    def config_type(self) -> type[Options]:
        return Options

    def external_files(self, config: Options) -> tuple[Path, ...]:
        return ()

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: Options
    ) -> StageResult:
        raise AssertionError("nothing is run here")


class Train(FakeStage):
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"weights": ArtifactKind.WEIGHTS}


class Import(FakeStage):
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "weights": frozenset({ArtifactKind.WEIGHTS})
    }
    optional: ClassVar[frozenset[str]] = frozenset({"weights"})
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"model": ArtifactKind.ONNX}


class Prune(FakeStage):
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX, ArtifactKind.QDQ_ONNX})
    }
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"model": ArtifactKind.ONNX}


class Lower(Prune):
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"artifact": None}


class Report(FakeStage):
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {ANY_SLOT: frozenset(ArtifactKind)}
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"report": ArtifactKind.REPORT}


@dataclass
class Wiring:
    """Builds steps briefly: ``step("b", Prune(), model="a.model")``."""

    def __call__(self, step_id: str, stage: FakeStage, **inputs: str) -> Step:
        sources = {slot: Source(*text.split(".")) for slot, text in inputs.items()}
        return Step(step_id, stage, Options(), sources)


step = Wiring()


def test_steps_are_put_in_order_and_keep_the_given_order_where_free() -> None:
    steps = [
        step("report", Report(), a="prune-b.model", b="prune-a.model"),
        step("prune-b", Prune(), model="import.model"),
        step("prune-a", Prune(), model="import.model"),
        step("import", Import(), weights="train.weights"),
        step("train", Train()),
    ]
    plan = make_plan(steps)
    assert [s.id for s in plan.steps] == ["train", "import", "prune-b", "prune-a", "report"]


def test_all_wrong_connections_are_listed_at_once() -> None:
    steps = [
        step("train", Train()),
        step("import", Import(), weigths="train.weights"),
        step("prune-a", Prune(), model="train.weights"),
        step("prune-b", Prune()),
        step("prune-c", Prune(), model="imprt.model"),
        step("prune-d", Prune(), model="import.modl"),
        step("lower", Lower(), model="import.model"),
        step("train", Train()),
        Step("odd", Train(), OtherOptions()),
    ]
    outputs = [PublishedOutput("a.onnx", Source("prune-a", "artifact"))]
    with pytest.raises(ConfigError) as caught:
        make_plan(steps, outputs=outputs)
    lines = str(caught.value).splitlines()
    assert lines[0] == "The pipeline cannot be run as planned:"
    assert set(lines[1:]) == {
        "  - step 'train' is planned twice",
        "  - step 'import': there is no input slot 'weigths'; did you mean 'weights'?",
        (
            "  - step 'prune-a': slot 'model' accepts onnx, qdq-onnx, "
            "but train.weights is of kind weights"
        ),
        "  - step 'prune-b': input slot 'model' (accepts onnx, qdq-onnx) is not connected",
        "  - step 'prune-c': slot 'model' wants imprt.model, but there is no step 'imprt'",
        (
            "  - step 'prune-d': slot 'model' wants import.modl, but that step gives no 'modl'; "
            "did you mean 'model'?"
        ),
        (
            "  - step 'lower': the kind of output 'artifact' depends on a target, "
            "and the step has none"
        ),
        "  - step 'odd': stage 'fake' takes options of type Options, not OtherOptions",
        "  - output 'a.onnx' wants prune-a.artifact, which no step gives",
    }


def test_cycle_is_named() -> None:
    steps = [step("a", Prune(), model="b.model"), step("b", Prune(), model="a.model")]
    with pytest.raises(ConfigError, match=r"wait for each other: (a -> b -> a|b -> a -> b)"):
        make_plan(steps)


def test_two_outputs_of_one_name_are_refused() -> None:
    outputs = [PublishedOutput("w", Source("train", "weights"))] * 2
    with pytest.raises(ConfigError, match="output 'w' would be written by more than one step"):
        make_plan([step("train", Train())], outputs=outputs)


def test_optional_slot_may_stay_open() -> None:
    assert make_plan([step("import", Import())]).step("import").inputs == {}


def test_description_names_steps_sources_omissions_and_outputs(tmp_path: Path) -> None:
    plan = make_plan(
        [
            step("train", Train()),
            step("import", Import(), weights="train.weights"),
            step("report", Report(), a="import.model"),
        ],
        outputs=[PublishedOutput("m.onnx", Source("import", "model"))],
        output_folder=tmp_path,
        notes=[Note(where="evaluate", text="no data")],
    )
    assert plan.describe().splitlines() == [
        "  1. train",
        "  2. import  from train.weights",
        "  3. report  from all steps above",
        "     evaluate: no data",
        f"     -> {tmp_path}: m.onnx",
    ]


def test_a_source_is_read_back() -> None:
    source = Source("evaluate-tflite-int8", "metrics")
    assert Source.parsed(str(source)) == source
