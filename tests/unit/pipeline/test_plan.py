"""A project becomes a checked plan, or one error with all that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.parser
import pytest

from edgekit.core.metrics import Unavailable
from edgekit.errors import ConfigError, MissingToolError
from edgekit.pipeline import model_steps, quantization_steps, target_steps
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.registry import get_target
from edgekit.pipeline.runner import Runner, run_project
from edgekit.pipeline.steps import Source
from edgekit.pipeline.summarize import SummarizeConfig
from edgekit.stages.evaluate import EvaluateConfig
from edgekit.stages.lower import LowerStageConfig
from edgekit.stages.qat import QatStageConfig
from edgekit.stages.train import TrainStageConfig
from edgekit.store.store import Store

if TYPE_CHECKING:
    from tests.unit.pipeline.conftest import FakeTarget, MakeTarget


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, make_target: MakeTarget) -> dict[str, FakeTarget]:
    """Targets "fake" and "other" that the registry finds; a test may change them."""
    targets = {name: make_target(name=name) for name in ("fake", "other")}
    for place in (model_steps, quantization_steps, target_steps, "edgekit.pipeline.registry"):
        name = f"{getattr(place, '__name__', place)}.get_target"
        monkeypatch.setattr(name, lambda wanted: targets.get(wanted) or get_target(wanted))
    return targets


def project(folder: Path, **changes: Any) -> ProjectConfig:
    fields: dict[str, Any] = {
        "name": "net",
        "output": folder / "out",
        "store": folder / "store",
        "model": {"source": f"{folder}/model.py:create", "inputs": ["image:1x1x8x8"]},
        "data": {"set": "digits", "limit": 20},
        "targets": {"fake": {"precision": ["float32", "float16"]}},
    }
    return ProjectConfig.model_validate(fields | changes)


def test_every_target_and_precision_has_its_steps(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    plan = build_plan(project(tmp_path, stages=["train"], seed=4, benchmark={"runs": 3}))
    assert [step.id for step in plan.steps] == [
        "train",
        "import_model",
        "evaluate-reference",
        "lower-fake-float32",
        "evaluate-fake-float32",
        "benchmark-fake-float32",
        "lower-fake-float16",
        "evaluate-fake-float16",
        "benchmark-fake-float16",
        "predictions",
        "summarize",
        "report",
    ]
    assert plan.seed == 4
    assert plan.step("import_model").inputs == {"weights": Source("train", "weights")}
    assert plan.step("lower-fake-float16").target is fakes["fake"]
    assert [step.id for step in plan.steps if step.machine_bound] == [
        "benchmark-fake-float32", "benchmark-fake-float16", "summarize",
    ]  # fmt: skip
    assert [output.name for output in plan.outputs] == [
        "net.safetensors", "net.fake", "net.float16.fake", "net.onnx", "report",
    ]  # fmt: skip
    train = plan.step("train").config
    assert isinstance(train, TrainStageConfig)
    assert train.data.split == "train"
    assert train.input.shape == ("batch", 1, 8, 8)
    tolerances = [
        step.config.tolerance for step in plan.steps if isinstance(step.config, LowerStageConfig)
    ]
    assert tolerances == [1e-4, 2e-2]
    assert " 2. import_model            from train.weights" in plan.describe()


def test_without_data_nothing_is_evaluated_and_the_reason_is_kept(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    plan = build_plan(project(tmp_path, data=None))
    assert not [step.id for step in plan.steps if step.id.startswith("evaluate")]
    assert "evaluate: No data set is named" in plan.describe()
    config = plan.step("summarize").config
    assert isinstance(config, SummarizeConfig)
    reason = Unavailable(reason="No data set is named (section [data], option --data).")
    assert config.reference == config.targets[0].evaluate == reason


def test_what_cannot_be_run_here_is_left_out_with_its_reason(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    fakes["fake"].cannot = ("run", "measure")
    plan = build_plan(project(tmp_path))
    assert [step.id for step in plan.steps] == [
        "import_model", "evaluate-reference", "lower-fake-float32", "lower-fake-float16",
        "predictions", "summarize", "report",
    ]  # fmt: skip
    assert "Fakes cannot run here." in plan.describe()
    config = plan.step("summarize").config
    assert isinstance(config, SummarizeConfig)
    assert config.targets[0].benchmark == Unavailable(reason="Fakes cannot measure here.")


def test_switched_off_parts_are_not_planned(tmp_path: Path, fakes: dict[str, FakeTarget]) -> None:
    off = {"enabled": False}
    plan = build_plan(project(tmp_path, evaluate=off, benchmark=off, report=off))
    assert [step.id for step in plan.steps] == [
        "import_model", "lower-fake-float32", "lower-fake-float16", "summarize",
    ]  # fmt: skip
    assert plan.summary == Source("summarize", "summary")


def test_evaluation_may_take_another_part_of_the_data(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    plan = build_plan(project(tmp_path, evaluate={"split": "train", "limit": 7, "batch": 5}))
    config = plan.step("evaluate-fake-float32").config
    assert isinstance(config, EvaluateConfig)
    assert (config.data.split, config.data.limit, config.batch) == ("train", 7, 5)


def test_same_suffix_of_two_targets_gives_two_names(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    plan = build_plan(project(tmp_path, targets={"fake": {}, "other": {}}))
    assert [output.name for output in plan.outputs] == ["net.fake", "net.other.fake", "report"]


def test_everything_wrong_is_listed_at_once(tmp_path: Path, fakes: dict[str, FakeTarget]) -> None:
    fakes["other"].cannot = ("convert",)
    wrong = project(
        tmp_path,
        stages=["train"],
        data=None,
        model={"source": "timm:resnet18", "inputs": ["image:1xx8", "mask:1x8"]},
        targets={
            "tflit": {},
            "fake": {"engine": "cop"},
            "onnxruntime": {"engine": "onnx2tf"},
            "other": {},
        },
    )
    with pytest.raises(ConfigError) as caught:
        build_plan(wrong)
    lines = str(caught.value).splitlines()
    assert lines[0] == "The project cannot be run:"
    for expected in (
        "model.inputs.0: Input 'image:1xx8' cannot be read",
        "stages: 'train' needs a data set; add a section [data]",
        "targets.tflit: There is no target 'tflit'. Did you mean 'tflite'? Known targets: ",
        "targets.fake.engine: there is no engine 'cop'. Did you mean 'copy'? Known: copy, link",
        "targets.onnxruntime.engine: there is no engine 'onnx2tf'.",
        "targets.other: Fakes cannot convert here.",
    ):
        assert any(line.startswith(f"  - {expected}") for line in lines), expected
    assert len(lines) == 7


def test_training_takes_one_input(tmp_path: Path, fakes: dict[str, FakeTarget]) -> None:
    model = {"source": "model.py:create", "inputs": ["a:1x2", "b:1x2"]}
    with pytest.raises(ConfigError, match=r"needs exactly one input .* but there are 2"):
        build_plan(project(tmp_path, stages=["train"], model=model))


def test_a_missing_tool_alone_is_told_as_such(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    fakes["fake"].cannot = ("convert",)
    with pytest.raises(MissingToolError, match=r"targets\.fake: Fakes cannot convert here"):
        build_plan(project(tmp_path))


def test_output_over_the_model_it_is_read_from_is_refused(tmp_path: Path) -> None:
    model = {"source": str(tmp_path / "net.onnx")}
    targets: dict[str, Any] = {"onnxruntime": {}}
    with pytest.raises(ConfigError, match=r"net\.onnx would be written over, but the model is"):
        build_plan(project(tmp_path, model=model, targets=targets, output=tmp_path))


def test_fine_tuning_stands_between_quantization_and_targets(tmp_path: Path) -> None:
    given = project(
        tmp_path,
        targets={"tflite": {"precision": ["float32", "int8"]}},
        quantize={"qat": True, "schemes": ["int8", "int8-weights"]},
        qat={"epochs": 3, "lr": 1e-3},
        benchmark={"enabled": False},
    )
    plan = build_plan(given)
    ids = [step.id for step in plan.steps]
    for step in ("quantize", "evaluate-quantize", "qat", "evaluate-qat", "lower-tflite-int8"):
        assert step in ids
    assert plan.step("qat").inputs == {
        "model": Source("quantize", "model"), "float": Source("import_model", "model"),
    }  # fmt: skip
    assert plan.step("lower-tflite-int8").inputs == {"model": Source("qat", "model")}
    assert plan.step("lower-tflite-float32").inputs == {"model": Source("import_model", "model")}
    weights = Source("quantize-int8-weights", "model")
    assert "qat-int8-weights: int8-weights is not fine-tuned: it leaves" in plan.describe()
    config = plan.step("qat").config
    assert isinstance(config, QatStageConfig)
    assert (config.data.split, config.data.limit) == ("train", 20)
    assert (config.options.epochs, config.options.lr) == (3, 1e-3)
    graphs = {item.name: item.source for item in plan.outputs if item.name.endswith(".qdq.onnx")}
    assert graphs == {
        "net.qdq.onnx": Source("qat", "model"), "net.int8-weights.qdq.onnx": weights,
    }  # fmt: skip
    summarize = plan.step("summarize").config
    assert isinstance(summarize, SummarizeConfig)
    assert summarize.qat == ("qat.summary",)
    assert summarize.quantization == ("quantize.summary", "quantize-int8-weights.summary")
    assert [(entry.stage, entry.form) for entry in summarize.ledger] == [
        ("float", "float32"), ("PTQ", "int8"), ("QAT", "int8"), ("PTQ", "int8-weights"),
    ]  # fmt: skip


def test_graphs_can_be_made_without_targets(tmp_path: Path) -> None:
    given = project(tmp_path, targets={}, quantize={"schemes": "int16x8"})
    plan = build_plan(given)
    assert [step.id for step in plan.steps] == [
        "import_model", "evaluate-reference", "quantize-int16x8", "evaluate-quantize-int16x8",
        "predictions", "layer-errors-int16x8", "summarize", "report",
    ]  # fmt: skip
    assert [output.name for output in plan.outputs] == ["net.qdq.onnx", "report"]


def test_training_data_may_be_named_apart(tmp_path: Path) -> None:
    section = {"data": {"set": "mnist", "limit": 9}}
    quantize = {"schemes": ["int8"], "qat": True, "calibration": {"set": "digits"}}
    given = project(tmp_path, targets={}, quantize=quantize, qat=section, data=None)
    config = build_plan(given).step("qat").config
    assert isinstance(config, QatStageConfig)
    assert (config.data.set, config.data.split, config.data.limit) == ("mnist", "train", 9)
    given = project(tmp_path, targets={}, quantize=quantize, data=None)
    config = build_plan(given).step("qat").config
    assert isinstance(config, QatStageConfig)
    assert config.data.set == "digits"


def test_fine_tuning_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"quantize\.qat: no graph with integer activations"):
        build_plan(project(tmp_path, targets={"tflite": {}}, quantize={"qat": True}))
    model = {"source": f"{tmp_path}/net.onnx"}
    quantize = {"qat": True, "schemes": ["int8"]}
    with pytest.raises(ConfigError, match=r"needs data to train with; add a section \[data\]"):
        build_plan(project(tmp_path, data=None, model=model, targets={}, quantize=quantize))


GRAPH = """
    <ir_version: 10, opset_import: ["" : 20]>
    net (float[1, 1, 8, 8] image) => (float[1, 10] scores)
    <int64[2] shape = {1, 10}, int64[1] starts = {0}, int64[1] ends = {10}, int64[1] axes = {1},
     int64[2] flat = {1, 64}>
    {
        row = Reshape(image, flat)
        scores = Slice(row, starts, ends, axes)
    }
"""


def test_summary_tells_of_what_could_not_be_done(
    tmp_path: Path, fakes: dict[str, FakeTarget]
) -> None:
    onnx.save(onnx.parser.parse_model(GRAPH), tmp_path / "net.onnx")
    fakes["fake"].cannot = ("run",)
    given = project(
        tmp_path,
        model={"source": str(tmp_path / "net.onnx")},
        targets={"fake": {}, "other": {"precision": "float16"}},
    )
    result = Runner(Store(given.store)).run(build_plan(given))
    summary = result.summary
    assert summary is not None
    blind, seeing = summary.targets
    reason = Unavailable(reason="Fakes cannot run here.")
    assert blind.accuracy == blind.difference == reason
    assert not isinstance(blind.latency, Unavailable)
    assert not isinstance(seeing.accuracy, Unavailable)
    assert not isinstance(seeing.difference, Unavailable)
    assert seeing.accuracy.top1.n == 20
    assert seeing.agreement is not None
    assert seeing.agreement.value == 1.0
    assert blind.agreement is None
    assert not isinstance(seeing.artifact, Unavailable)
    assert seeing.artifact.file_name == "net.float16.fake"
    assert (given.output / "net.float16.fake").stat().st_size == seeing.artifact.size_bytes
    assert not isinstance(seeing.artifact.graph, Unavailable)
    assert seeing.artifact.graph.ops[0].op == "Copy"
    assert ("copied as float16", "lower-other-float16") in [
        (note.text, note.where) for note in seeing.notes
    ]
    assert [step.name for step in summary.steps] == [step.id for step in result.steps[:-2]]
    assert [source.name for source in summary.sources] == ["net.onnx"]
    assert summary.signature.inputs[0].shape == (1, 1, 8, 8)
    assert summary.training is None
    assert not isinstance(summary.source_graph, Unavailable)
    assert run_project(given).ran == ()


def test_integer_weights_need_no_data_and_are_computed_with_as_the_target_offers(
    tmp_path: Path,
) -> None:
    model = tmp_path / "model.py"
    model.write_text("")
    weights = {"precision": ["int8-weights", "int4-weights"]}
    plan = build_plan(
        project(
            tmp_path, data=None,
            targets={"tflite": weights, "onnxruntime": weights | {"weight_compute": "exact"}},
        )
    )  # fmt: skip
    lowered = {
        step.id.removeprefix("lower-"): (step.config.weight_compute, step.config.tolerance)
        for step in plan.steps
        if isinstance(step.config, LowerStageConfig)
    }
    assert lowered == {
        "tflite-int8-weights": ("dynamic", 0.25),
        "tflite-int4-weights": ("dynamic", 0.25),
        "onnxruntime-int8-weights": ("exact", 1e-4),
        "onnxruntime-int4-weights": ("exact", 1e-4),
    }
    names = [output.name for output in plan.outputs]
    assert names[:5] == [
        "net.qdq.onnx", "net.int8-weights.tflite",
        "net.int4-weights.qdq.onnx", "net.int4-weights.tflite", "net.int8-weights.onnx",
    ]  # fmt: skip


def test_a_way_of_computing_that_is_not_offered(tmp_path: Path) -> None:
    section = {"precision": "int8-weights", "weight_compute": "dynamic"}
    with pytest.raises(ConfigError, match=r"onnxruntime.weight_compute: dynamic is not offered; "):
        build_plan(project(tmp_path, targets={"onnxruntime": section}))


def test_integer_weights_have_no_integer_inputs(tmp_path: Path) -> None:
    section = {"precision": "int8-weights", "io": "int8"}
    with pytest.raises(ConfigError, match=r"int8 inputs and outputs belong to precision int8"):
        build_plan(project(tmp_path, targets={"tflite": section}))


@pytest.mark.parametrize(
    ("target", "precision", "message"),
    [
        ("onnxruntime", "int8", "the target does not promise to compute so"),
        ("tflite", "float32", "it belongs to int8 and int16x8, not float32"),
    ],
)
def test_computing_on_integers_alone(
    tmp_path: Path, target: str, precision: str, message: str
) -> None:
    section = {"precision": precision, "integer_only": True}
    with pytest.raises(ConfigError, match=rf"{target}.integer_only: {message}"):
        build_plan(project(tmp_path, targets={target: section}))
