"""Runs a plan: every step whose result the store does not hold yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from edgekit.core.artifact import Artifact
from edgekit.core.hashing import digest_path
from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.run_summary import RunSummary
from edgekit.core.stage import FinishedStep, Note, StageContext, StageResult
from edgekit.errors import EdgekitError, InputError, InternalError
from edgekit.measure.device import device_name
from edgekit.pipeline.parallel import run_stage
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.publish import check_writable, publish
from edgekit.pipeline.run_result import RunResult, StepResult
from edgekit.pipeline.steps import Plan, Step
from edgekit.store.os_errors import explain_os_error
from edgekit.store.provenance import ExternalFile, Provenance, Record, Timing, tool_versions
from edgekit.store.store import Store


def run_project(project: ProjectConfig, progress: Progress | None = None) -> RunResult:
    """Plans a project and runs it on the project's own store.

    Raises:
        EdgekitError: See `edgekit.pipeline.plan.build_plan` and `Runner.run`.
    """
    plan = build_plan(project)
    return Runner(Store(project.store), progress).run(plan)


class Runner:
    """Executes plans on one store."""

    def __init__(self, store: Store, progress: Progress | None = None) -> None:
        """Uses ``store`` for results; ``progress`` is told of every step."""
        self._store = store
        self._progress = progress or SilentProgress()

    def run(self, plan: Plan) -> RunResult:
        """Runs every step that has to be, then copies the results to the output folder.

        A step is reused if the store holds a result for the same stage, options, inputs,
        files, tool versions and seed. A run that was killed goes on where it was.

        Raises:
            EdgekitError: Whatever a stage raises, with the step's name in front.
            InternalError: If a stage fails in a way it should not, or breaks its contract.
        """
        if plan.output_folder is not None:
            check_writable(plan.output_folder)
        self._store.collect_garbage()
        run = _Run(self._store, self._progress, plan)
        self._progress.start("Pipeline", len(plan.steps))
        for step in plan.steps:
            result = run.do(step)
            self._progress.advance(1, f"{step.id}: {'reused' if result.reused else 'done'}")
        self._progress.finish()
        return self._finish(plan, run)

    def _finish(self, plan: Plan, run: _Run) -> RunResult:
        outputs: tuple[Path, ...] = ()
        written: tuple[Path, ...] = ()
        if plan.output_folder is not None:
            artifacts = {
                output.name: run.results[output.source.step].artifacts[output.source.slot]
                for output in plan.outputs
            }
            outputs, written = publish(artifacts, plan.output_folder, self._store)
        summary = None
        if plan.summary is not None:
            artifact = run.results[plan.summary.step].artifacts[plan.summary.slot]
            summary = RunSummary.model_validate_json(artifact.path.read_bytes())
        return RunResult(tuple(run.results.values()), outputs, written, summary)


class _Run:
    """The state of one run of one plan."""

    def __init__(self, store: Store, progress: Progress, plan: Plan) -> None:
        self._store = store
        self._progress = progress
        self._plan = plan
        self._file_digests: dict[Path, str] = {}
        self._history: list[FinishedStep] = []
        self.results: dict[str, StepResult] = {}

    def do(self, step: Step) -> StepResult:
        """Reuses or does one step, whose sources have been done."""
        try:
            result, record = self._reuse_or_run(step)
        except EdgekitError as error:
            _name_step(error, step)
            raise
        except OSError as error:
            place = Path(error.filename or self._store.root)
            explained = explain_os_error(error, "read or write", place)
            _name_step(explained, step)
            raise explained from error
        except Exception as error:
            raise InternalError(
                f"Step {step.id!r} failed with {type(error).__name__}: {error}. "
                "This is a defect of the stage; please report it with --debug output."
            ) from error
        self.results[step.id] = result
        self._history.append(_finished(result, record))
        return result

    def _reuse_or_run(self, step: Step) -> tuple[StepResult, Record]:
        inputs = {
            slot: self.results[source.step].artifacts[source.slot]
            for slot, source in step.inputs.items()
        }
        provenance = self._provenance(step, inputs)
        key = provenance.key()
        lookup = self._store.get(key)
        if lookup.record is not None:
            return self._result(step, lookup.record, reused=True), lookup.record
        with self._store.lock(key, lambda: self._say_waiting(step)):
            # Another run may have made it while this one waited for the lock.
            again = self._store.get(key)
            if again.record is not None:
                return self._result(step, again.record, reused=True), again.record
            record = self._run_resumably(step, inputs, provenance)
        return self._result(step, record, reused=False, extra=lookup.notes), record

    def _run_resumably(
        self, step: Step, inputs: Mapping[str, Artifact], provenance: Provenance
    ) -> Record:
        """Runs the stage; what it goes on from is kept only if it is interrupted.

        So is what a training leaves that diverged, in which its last good weights are.
        """
        key = provenance.key()
        try:
            record = self._run_stage(step, inputs, provenance)
        except InputError:
            # The same would fail again, and what is changed to mend it changes the key.
            self._store.discard_checkpoints(key)
            raise
        self._store.discard_checkpoints(key)
        return record

    def _run_stage(
        self, step: Step, inputs: Mapping[str, Artifact], provenance: Provenance
    ) -> Record:
        with self._store.scratch() as workdir:
            context = StageContext(
                workdir=workdir,
                checkpoints=self._store.checkpoints(provenance.key()),
                seed=self._plan.seed,
                progress=self._progress,
                target=step.target,
                history=tuple(self._history) if step.takes_everything else (),
            )
            started = datetime.now(UTC).isoformat(timespec="seconds")
            begin = perf_counter()
            result = run_stage(step, context, inputs)
            timing = Timing(started=started, duration_s=round(perf_counter() - begin, 3))
            _check_result(step, result)
            return self._store.commit(provenance, result, workdir, timing)

    def _provenance(self, step: Step, inputs: Mapping[str, Artifact]) -> Provenance:
        stage, target = step.stage, step.target
        tools = stage.tools if target is None else (*stage.tools, *target.info.tools)
        scope = {"device": device_name()} if step.machine_bound else {}
        if step.takes_everything:
            # Such a stage tells of steps, not only of their artifacts.
            scope |= {f"step {done.id}": done.key for done in self._history}
        return Provenance(
            stage=stage.name,
            stage_version=stage.version,
            config=step.config.model_dump(mode="json"),
            inputs={slot: artifact.digest for slot, artifact in inputs.items()},
            external_files=tuple(
                ExternalFile(path=str(path), digest=self._digest(path))
                for path in stage.external_files(step.config)
            ),
            tools=dict(tool_versions(tools)),
            seed=self._plan.seed,
            target="" if target is None else f"{target.info.name} {target.info.version}",
            scope=scope,
        )

    def _digest(self, path: Path) -> str:
        if path not in self._file_digests:
            try:
                self._file_digests[path] = digest_path(path, follow_links=True)
            except FileNotFoundError:
                raise InputError(f"{path}: there is no such file or folder.") from None
        return self._file_digests[path]

    def _result(
        self, step: Step, record: Record, *, reused: bool, extra: tuple[Note, ...] = ()
    ) -> StepResult:
        return StepResult(
            id=step.id,
            key=record.key,
            reused=reused,
            duration_s=record.duration_s,
            artifacts={slot: self._store.artifact(item) for slot, item in record.outputs.items()},
            metrics=record.metrics,
            notes=(*record.notes, *extra),
        )

    def _say_waiting(self, step: Step) -> None:
        self._progress.start(f"{step.id}: waiting for another run that does the same", None)
        self._progress.finish()


def _check_result(step: Step, result: StageResult) -> None:
    """Holds the stage to what it declares to produce."""
    promised = set(step.stage.produces)
    given = set(result.artifacts)
    if given != promised:
        raise InternalError(
            f"Stage {step.stage.name!r} gave outputs {sorted(given)}, but declares "
            f"{sorted(promised)}. Stage developer: return one artifact for each slot of produces."
        )
    for slot, artifact in result.artifacts.items():
        if artifact.kind != step.gives(slot):
            raise InternalError(
                f"Stage {step.stage.name!r} gave an artifact of kind {artifact.kind} for slot "
                f"{slot!r}, but declares {step.gives(slot)}."
            )


def _finished(result: StepResult, record: Record) -> FinishedStep:
    provenance = record.provenance
    return FinishedStep(
        id=result.id,
        key=result.key,
        reused=result.reused,
        duration_s=result.duration_s,
        notes=result.notes,
        tools=provenance.tools,
        files=tuple((Path(item.path).name, item.digest) for item in provenance.external_files),
    )


def _name_step(error: EdgekitError, step: Step) -> None:
    """Puts the step's name in front of an error's message; class and exit code stay."""
    error.args = (f"Step {step.id!r}: {error}",)
