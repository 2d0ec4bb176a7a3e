"""Stages and targets are found by name and loaded late."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import pytest

from edgekit.core.artifact import ArtifactKind
from edgekit.core.target import TargetInfo
from edgekit.errors import ConfigError, InternalError, MissingToolError
from edgekit.pipeline import registry


def test_every_stage_has_the_name_it_is_registered_under() -> None:
    for name in registry.stage_names():
        assert registry.get_stage(name).name == name


def test_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no stage 'lowr'\. Did you mean 'lower'\? Known: "):
        registry.get_stage("lowr")


def test_own_targets_are_found_with_their_facts() -> None:
    assert {"onnxruntime", "tflite"} <= set(registry.target_names())
    for name in ("onnxruntime", "tflite"):
        assert registry.target_info(name).name == name
        assert registry.get_target(name).info == registry.target_info(name)
    assert [target.info.name for target in registry.all_targets()] == list(registry.target_names())


def test_unknown_target_names_the_nearest_and_all() -> None:
    message = (
        r"no target 'tflit'\. Did you mean 'tflite'\? Known targets: coreml, onnxruntime, tflite"
    )
    with pytest.raises(ConfigError, match=message):
        registry.get_target("tflit")
    with pytest.raises(ConfigError, match=message):
        registry.target_info("tflit")


def test_facts_load_no_framework() -> None:
    script = (
        "import sys\n"
        "from edgekit.pipeline.registry import target_info, target_names\n"
        "[target_info(name) for name in target_names()]\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'ai_edge_litert', 'tensorflow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points of other distributions; a test appends to them."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    registry._foreign_targets.cache_clear()
    yield entries
    registry._foreign_targets.cache_clear()


def offer(entries: list[EntryPoint], name: str, value: str) -> None:
    entries.append(EntryPoint(name, value, registry.ENTRY_POINT_GROUP))


@pytest.fixture
def foreign_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    info = TargetInfo(
        name="ncnn",
        title="ncnn",
        extra="",
        artifact_kind=ArtifactKind.TFLITE,
        suffix=".param",
        precisions=("float32",),
    )
    module = ModuleType("edgekit_ncnn")
    module.create = lambda: SimpleNamespace(info=info)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgekit_ncnn", module)
    return module


def test_target_of_another_distribution_is_offered(
    offered: list[EntryPoint], foreign_module: ModuleType
) -> None:
    offer(offered, "ncnn", "edgekit_ncnn:create")
    assert "ncnn" in registry.target_names()
    assert registry.get_target("ncnn").info.suffix == ".param"
    assert registry.target_info("ncnn").name == "ncnn"


def test_target_that_calls_itself_differently_is_refused(
    offered: list[EntryPoint], foreign_module: ModuleType
) -> None:
    offer(offered, "mnn", "edgekit_ncnn:create")
    with pytest.raises(InternalError, match=r"as 'mnn' that calls itself 'ncnn'"):
        registry.get_target("mnn")


def test_target_that_cannot_be_loaded_is_named(offered: list[EntryPoint]) -> None:
    offer(offered, "ghost", "edgekit_no_such_module:create")
    with pytest.raises(MissingToolError, match=r"Target 'ghost' of .* cannot be loaded: No mod"):
        registry.get_target("ghost")


def test_name_that_is_taken_is_refused(offered: list[EntryPoint]) -> None:
    offer(offered, "tflite", "edgekit_other:create")
    with pytest.raises(ConfigError, match=r"offers a target 'tflite', but there is another"):
        registry.target_names()
