"""Stages that change the float graph: in any order, each with its parent and its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import ProjectConfig, load_project
from edgekit.pipeline.steps import Plan, Source
from edgekit.stages.distill import DistillStageConfig
from edgekit.stages.import_model import ImportConfig
from edgekit.stages.prune import PruneStageConfig
from edgekit.stages.sparsify import SparsifyStageConfig


def project(folder: Path, **changes: Any) -> ProjectConfig:
    fields: dict[str, Any] = {
        "name": "net",
        "output": folder / "out",
        "store": folder / "store",
        "model": {"source": f"{folder}/model.py:create", "inputs": ["image:1x1x8x8"]},
        "data": {"set": "digits", "limit": 20, "split": "test"},
        "targets": {"tflite": {"precision": ["float32", "int8"]}},
    }
    return ProjectConfig.model_validate(fields | changes)


def ledger(plan: Plan) -> list[tuple[str, str, str, str]]:
    entries = plan.step("summarize").config.ledger  # type: ignore[attr-defined]
    return [(item.stage, item.form, item.model, item.parent) for item in entries]


def test_train_prune_distill_quantize(tmp_path: Path) -> None:
    stages = ["train", "prune", "distill", "quantize"]
    plan = build_plan(project(tmp_path, stages=stages, quantize={"qat": True}))
    assert plan.step("prune").inputs == {"model": Source("import_model", "model")}
    # The float parent teaches by default.
    assert plan.step("distill").inputs == {
        "model": Source("prune", "model"), "teacher": Source("import_model", "model"),
    }  # fmt: skip
    assert plan.step("quantize").inputs == {"model": Source("distill", "model")}
    assert plan.step("qat").inputs["float"] == Source("distill", "model")
    assert plan.step("lower-tflite-float32").inputs == {"model": Source("distill", "model")}
    pruning = plan.step("prune").config
    assert isinstance(pruning, PruneStageConfig)
    assert pruning.data is not None
    # Never the samples that accuracy is measured on.
    assert (pruning.data.split, pruning.data.limit) == ("train", None)
    assert ledger(plan) == [
        ("trained", "float32", "import_model.model", ""),
        ("pruned", "float32", "prune.model", "import_model.model"),
        ("distilled", "float32", "distill.model", "prune.model"),
        ("PTQ", "int8", "quantize.model", "distill.model"),
        ("QAT", "int8", "qat.model", "quantize.model"),
    ]
    ids = [step.id for step in plan.steps]
    assert len(ids) == len(set(ids))
    # The last float graph and the last QDQ graph are lowered once, for target and ledger.
    for step in ("lower-tflite-import_model", "lower-tflite-prune", "lower-tflite-quantize"):
        assert step in ids
    for step in ("lower-tflite-distill", "lower-tflite-qat", "evaluate-distill"):
        assert step not in ids
    assert {"net.safetensors", "net.onnx", "net.tflite"} <= {item.name for item in plan.outputs}


def test_stages_stand_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    stages = ["prune", "distill", "prune", "distill"]
    plan = build_plan(project(tmp_path, stages=stages))
    assert plan.step("prune-2").inputs == {"model": Source("distill", "model")}
    assert plan.step("distill-2").inputs == {
        "model": Source("prune-2", "model"), "teacher": Source("import_model", "model"),
    }  # fmt: skip
    config = plan.step("distill-2").config
    assert isinstance(config, DistillStageConfig)
    assert config.step == "distill-2"


def test_what_was_before_sparsify_teaches_the_distillation(tmp_path: Path) -> None:
    given = project(
        tmp_path, stages=["sparsify", "distill"], sparsify={"pattern": "2:4", "keep": ["stem*"]}
    )
    plan = build_plan(given)
    assert plan.step("sparsify").inputs == {"model": Source("import_model", "model")}
    config = plan.step("sparsify").config
    assert isinstance(config, SparsifyStageConfig)
    assert (config.options.pattern, config.options.keep) == ("2:4", ("stem*",))
    assert config.data is not None
    # Never the samples that accuracy is measured on.
    assert (config.data.split, config.data.limit) == ("train", None)
    assert plan.step("distill").inputs == {
        "model": Source("sparsify", "model"), "teacher": Source("import_model", "model"),
    }  # fmt: skip
    assert ledger(plan)[:3] == [
        ("float", "float32", "import_model.model", ""),
        ("sparsified", "float32", "sparsify.model", "import_model.model"),
        ("distilled", "float32", "distill.model", "sparsify.model"),
    ]
    assert plan.step("summarize").config.sparsifying == (  # type: ignore[attr-defined]
        "sparsify.summary",
    )


def test_an_onnx_model_is_trained_further(tmp_path: Path) -> None:
    model = {"source": f"{tmp_path}/net.onnx"}
    given = project(
        tmp_path, model=model, stages=["prune", "train"], train={"epochs": 7, "lr": 0.25}
    )
    plan = build_plan(given)
    config = plan.step("fine-tune").config
    assert isinstance(config, DistillStageConfig)
    assert config.labels_alone
    assert (config.options.epochs, config.options.lr) == (7, 0.25)
    assert plan.step("fine-tune").inputs == {"model": Source("prune", "model")}
    assert [row[0] for row in ledger(plan)[:3]] == ["float", "pruned", "fine-tuned"]


def test_other_teachers_are_imported_or_run(tmp_path: Path) -> None:
    given = project(
        tmp_path, stages=["distill"],
        distill={"teacher": f"{tmp_path}/big.py:create", "teacher_weights": tmp_path / "big.pt"},
    )  # fmt: skip
    plan = build_plan(given)
    teacher = plan.step("import_teacher").config
    assert isinstance(teacher, ImportConfig)
    assert teacher.source.endswith("big.py:create")
    assert teacher.weights == tmp_path / "big.pt"
    assert teacher.inputs[0].name == "image"
    assert plan.step("distill").inputs["teacher"] == Source("import_teacher", "model")
    plan = build_plan(
        project(tmp_path, stages=["distill"], distill={"teacher": f"{tmp_path}/big.tflite"})
    )
    config = plan.step("distill").config
    assert isinstance(config, DistillStageConfig)
    assert config.teacher_artifact == tmp_path / "big.tflite"
    target = plan.step("distill").target
    assert target is not None
    assert target.info.name == "tflite"
    assert "teacher" not in plan.step("distill").inputs


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "images.npz").write_bytes(b"")
    (tmp_path / "edgekit.toml").write_text(
        'name = "net"\nstages = ["prune", "sparsify", "distill"]\n[model]\nsource = "net.onnx"\n'
        '[prune]\ndata = {set = "npz:images.npz"}\n'
        '[sparsify]\ndata = {set = "npz:images.npz"}\n'
        '[distill]\nteacher = "big.onnx"\ndata = {set = "npz:images.npz"}\n'
    )
    found = load_project(tmp_path / "edgekit.toml")
    assert found.distill.teacher == str(tmp_path / "big.onnx")
    assert found.distill.data is not None
    assert found.distill.data.set == f"npz:{tmp_path / 'images.npz'}"
    assert found.prune.data is not None
    assert found.prune.data.set == f"npz:{tmp_path / 'images.npz'}"
    assert found.sparsify.data is not None
    assert found.sparsify.data.set == f"npz:{tmp_path / 'images.npz'}"


def test_quantize_alone_makes_an_int8_graph(tmp_path: Path) -> None:
    plan = build_plan(project(tmp_path, stages=["quantize"], targets={}))
    assert {"net.qdq.onnx", "net.onnx"} <= {item.name for item in plan.outputs}
    asked = project(tmp_path, stages=["quantize"], targets={"tflite": {"precision": "int16x8"}})
    assert asked.schemes() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ["distill"]}, r"'distill' has no teacher: the graph is its own parent"),
        ({"stages": ["prune", "distill"], "data": None}, "'distill' needs data to train with"),
        ({"stages": ["train"], "data": None}, r"'train' needs a data set; add a section \[data\]"),
        (
            {"stages": ["prune"], "data": None, "prune": {"importance": "taylor"}},
            r"prune\.importance: taylor needs a labelled data set",
        ),
        (
            {
                "stages": ["prune"], "targets": {},
                "prune": {"allocation": "latency", "latency_ratio": 0.5},
            },
            r"prune\.allocation: latency is measured on a target, and no target",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    targets = {"targets": {"tflite": {"precision": "float32"}}}
    with pytest.raises(ConfigError, match=message):
        build_plan(project(tmp_path, **(targets | changes)))
