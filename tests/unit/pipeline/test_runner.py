"""The runner does what has to be done, once."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.errors import (
    InputError,
    InternalError,
    UnsupportedGraphError,
    UnsupportedNode,
    UsageError,
)
from edgekit.pipeline.runner import Runner
from edgekit.pipeline.steps import ANY_SLOT, Plan, PublishedOutput, Source, Step, make_plan
from edgekit.store.store import Store

calls: list[str] = []
"""Names of the stages that ran, in order; emptied before each test."""


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


class Options(StageConfig):
    text: str = ""
    file: Path | None = None
    fail: str = ""


class WriteStage:
    """Writes its option and the content of a file."""

    name: ClassVar[str] = "write"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"model": ArtifactKind.ONNX}
    tools: ClassVar[tuple[str, ...]] = ("pydantic",)

    @property
    def config_type(self) -> type[Options]:
        return Options

    def external_files(self, config: Options) -> tuple[Path, ...]:
        return () if config.file is None else (config.file,)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: Options
    ) -> StageResult:
        calls.append(self.name)
        _fail(config.fail)
        path = context.workdir / "model.onnx"
        path.write_text(config.text + ("" if config.file is None else config.file.read_text()))
        return StageResult({"model": Artifact.of(ArtifactKind.ONNX, path)}, {"seed": context.seed})


class UpperStage(WriteStage):
    """Writes its input in upper case."""

    name: ClassVar[str] = "upper"
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX})
    }

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: Options
    ) -> StageResult:
        calls.append(self.name)
        _fail(config.fail)
        path = context.workdir / "model.onnx"
        path.write_text(inputs["model"].path.read_text().upper() + config.text)
        note = Note(text="made upper case")
        return StageResult({"model": Artifact.of(ArtifactKind.ONNX, path)}, notes=(note,))


class TellStage(WriteStage):
    """Writes a folder that tells of all steps."""

    name: ClassVar[str] = "tell"
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {ANY_SLOT: frozenset(ArtifactKind)}
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"report": ArtifactKind.REPORT}

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: Options
    ) -> StageResult:
        calls.append(self.name)
        folder = context.workdir / "report"
        folder.mkdir()
        lines = [f"{step.id} {[note.text for note in step.notes]}" for step in context.history]
        (folder / "report.md").write_text("\n".join(lines))
        return StageResult({"report": Artifact.of(ArtifactKind.REPORT, folder)})


class BrokenStage(WriteStage):
    """Breaks the contract in the way that its option names."""

    name: ClassVar[str] = "broken"

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: Options
    ) -> StageResult:
        path = context.workdir / "x"
        path.write_text("x")
        if config.text == "kind":
            return StageResult({"model": Artifact.of(ArtifactKind.TFLITE, path)})
        return StageResult({"modell": Artifact.of(ArtifactKind.ONNX, path)})


def _fail(how: str) -> None:
    if how == "type":
        raise TypeError("unexpected")
    if how == "graph":
        node = UnsupportedNode("n0", "Einsum", 17, "?", "?", "not known")
        raise UnsupportedGraphError("tflite", [node])
    if how == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/x")
    if how == "interrupt":
        raise KeyboardInterrupt


def plan(
    folder: Path | None = None,
    first: Options | None = None,
    second: Options | None = None,
    seed: int = 0,
) -> Plan:
    steps = [
        Step("write", WriteStage(), first or Options(text="abc")),
        Step("upper", UpperStage(), second or Options(), {"model": Source("write", "model")}),
        Step("tell", TellStage(), Options(), {"upper": Source("upper", "model")}),
    ]
    return make_plan(
        steps,
        seed=seed,
        output_folder=folder,
        outputs=[
            PublishedOutput("m.onnx", Source("upper", "model")),
            PublishedOutput("report", Source("tell", "report")),
        ],
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_first_run_does_all_and_second_run_nothing(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "out"
    first = Runner(store).run(plan(out))
    assert first.ran == ("write", "upper", "tell")
    assert first.describe() == "Ran all 3 steps."
    assert (out / "m.onnx").read_text() == "ABC"
    assert (out / "report" / "report.md").read_text() == "write []\nupper ['made upper case']"
    assert first.step("write").metrics == {"seed": 0}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    second = Runner(store).run(plan(out))
    assert second.ran == ()
    assert second.written == ()
    assert second.describe() == (
        "Nothing to do: all 3 steps were done before with the same inputs."
    )
    assert calls == ["write", "upper", "tell"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert second.outputs == (out / "m.onnx", out / "report")
    assert second.step("upper").notes == first.step("upper").notes
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_changed_option_reruns_the_step_and_what_follows(store: Store) -> None:
    Runner(store).run(plan())
    result = Runner(store).run(plan(second=Options(text="!")))
    assert result.ran == ("upper", "tell")
    assert result.reused == ("write",)
    assert result.describe() == "Ran 2 of 3 steps (upper, tell); reused the others."


def test_same_content_from_a_changed_option_stops_the_change(store: Store) -> None:
    Runner(store).run(plan())
    # Upper case of both is the same, but "upper" sees another input.
    assert Runner(store).run(plan(first=Options(text="aBc"))).ran == ("write", "upper", "tell")
    calls.clear()
    # The option differs and the content does not: "upper" is not done again.
    result = Runner(store).run(plan(first=Options(text="abc", fail="not")))
    assert calls == ["write", "tell"]
    assert result.reused == ("upper",)


def test_old_options_find_their_old_results(store: Store) -> None:
    Runner(store).run(plan())
    Runner(store).run(plan(second=Options(text="!")))
    assert Runner(store).run(plan()).ran == ()


def test_seed_reruns_everything(store: Store) -> None:
    Runner(store).run(plan())
    assert Runner(store).run(plan(seed=1)).ran == ("write", "upper", "tell")


def test_content_of_an_external_file_counts_and_its_time_does_not(
    tmp_path: Path, store: Store
) -> None:
    file = tmp_path / "data.txt"
    file.write_text("one")
    options = Options(file=file)
    Runner(store).run(plan(first=options))
    os.utime(file, (1, 1))
    assert Runner(store).run(plan(first=options)).ran == ()
    file.write_text("two")
    assert Runner(store).run(plan(first=options)).ran == ("write", "upper", "tell")
    file.unlink()
    with pytest.raises(InputError, match=r"Step 'write': .*data\.txt: there is no such file"):
        Runner(store).run(plan(first=options))


def test_tool_version_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    Runner(store).run(plan())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    assert Runner(store).run(plan()).ran == ("write", "upper", "tell")


def test_damaged_artifact_is_made_again_and_noted(store: Store) -> None:
    first = Runner(store).run(plan())
    damaged = first.step("upper").artifacts["model"].path
    damaged.chmod(0o644)
    damaged.write_text("ABX")
    result = Runner(store).run(plan())
    assert result.ran == ("upper",)
    assert damaged.read_text() == "ABC"
    assert "is damaged; the step is done again" in result.step("upper").notes[-1].text


def test_deleted_or_changed_output_is_written_again(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "out"
    Runner(store).run(plan(out))
    (out / "m.onnx").write_text("changed by hand")
    (out / "report" / "report.md").unlink()
    result = Runner(store).run(plan(out))
    assert result.ran == ()
    assert result.describe() == "All 3 steps were done before; m.onnx, report written again."
    assert (out / "m.onnx").read_text() == "ABC"
    assert (out / "report" / "report.md").exists()


def test_results_up_to_a_failure_are_kept(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "out"
    with pytest.raises(UnsupportedGraphError, match=r"(?s)^Step 'upper': Target .*Einsum") as info:
        Runner(store).run(plan(out, second=Options(fail="graph")))
    assert info.value.exit_code == 3
    assert info.value.nodes[0].node == "n0"
    assert list(out.iterdir()) == []
    assert Runner(store).run(plan(out)).reused == ("write",)


def test_unexpected_exception_is_an_internal_error_that_names_the_step(store: Store) -> None:
    with pytest.raises(InternalError, match="Step 'upper' failed with TypeError: unexpected"):
        Runner(store).run(plan(second=Options(fail="type")))


def test_full_disk_in_a_stage_is_named(store: Store) -> None:
    with pytest.raises(UsageError, match=r"Step 'upper': Cannot read or write /somewhere/x\. The"):
        Runner(store).run(plan(second=Options(fail="disk")))


def test_interrupt_leaves_nothing_half_done(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        Runner(store).run(plan(out, second=Options(fail="interrupt")))
    assert list(out.iterdir()) == []
    assert list((store.root / "scratch").iterdir()) == []
    assert list((store.root / "locks").iterdir()) == []
    assert len(list((store.root / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind", "gave an artifact of kind tflite for slot 'model', but declares onnx"),
        ("slot", r"gave outputs \['modell'\], but declares \['model'\]"),
    ],
)
def test_stage_is_held_to_its_contract(store: Store, text: str, message: str) -> None:
    broken = make_plan([Step("broken", BrokenStage(), Options(text=text))])
    with pytest.raises(InternalError, match=message):
        Runner(store).run(broken)


def test_output_folder_that_is_a_file_is_refused_before_any_work(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="Cannot write to the output folder"):
        Runner(store).run(plan(tmp_path / "out"))
    assert calls == []


def test_machine_bound_result_is_measured_again_on_another_processor(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = make_plan([Step("write", WriteStage(), Options(), machine_bound=True)])
    Runner(store).run(bound)
    assert Runner(store).run(bound).ran == ()
    monkeypatch.setattr("edgekit.pipeline.runner.device_name", lambda: "another (1 CPU)")
    assert Runner(store).run(bound).ran == ("write",)


class Watching:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, label: str, total: int | None) -> None:
        self.lines.append(f"{label} {total}")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.lines.append(note)

    def finish(self) -> None:
        self.lines.append("end")


def test_progress_tells_of_each_step(store: Store) -> None:
    Runner(store).run(plan())
    watching = Watching()
    Runner(store, watching).run(plan(second=Options(text="!")))
    assert watching.lines == [
        "Pipeline 3", "write: reused", "upper: done", "tell: done", "end",
    ]  # fmt: skip


SLOW = """
import sys, time
from pathlib import Path
from typing import ClassVar
from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.stage import StageConfig, StageResult
from edgekit.pipeline.runner import Runner
from edgekit.pipeline.steps import Step, make_plan
from edgekit.store.store import Store

class Slow:
    name, version, consumes, optional = "slow", 1, {}, frozenset()
    produces, tools, config_type = {"model": ArtifactKind.ONNX}, (), StageConfig
    def external_files(self, config): return ()
    def run(self, context, inputs, config):
        print("running", flush=True)
        time.sleep(1.0)
        path = context.workdir / "m"
        path.write_text("m")
        return StageResult({"model": Artifact.of(ArtifactKind.ONNX, path)})

result = Runner(Store(Path(sys.argv[1]))).run(make_plan([Step("slow", Slow(), StageConfig())]))
print("ran", result.ran, flush=True)
"""


def test_two_runs_at_once_do_a_step_once(store: Store) -> None:
    command: list[Any] = [sys.executable, "-c", SLOW, str(store.root)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "running\n"
    begin = time.perf_counter()
    second = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert second.stdout == "ran ()\n"
    assert first.communicate()[0] == "ran ('slow',)\n"
    assert time.perf_counter() - begin < 30
