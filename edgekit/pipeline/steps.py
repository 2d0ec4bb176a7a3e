"""Steps and their connections, type-checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from edgekit.core.artifact import ArtifactKind
from edgekit.core.stage import Note, Stage, StageConfig
from edgekit.core.target import Target
from edgekit.errors import ConfigError

ANY_SLOT = "*"
"""Key of `Stage.consumes` under which a stage takes any number of inputs, freely named. Such
a stage tells of the whole run, so its key covers the keys of all steps before it."""


@dataclass(frozen=True, slots=True)
class Source:
    """An output slot of another step."""

    step: str
    slot: str

    def __str__(self) -> str:
        """``import_model.model``, for messages."""
        return f"{self.step}.{self.slot}"

    @classmethod
    def parsed(cls, text: str) -> Source:
        """The slot that ``str`` wrote."""
        step, _, slot = text.partition(".")
        return cls(step, slot)


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a stage.

    Attributes:
        id: Name within the plan, for example ``"lower-tflite-float16"``.
        stage: What is run.
        config: Its options.
        inputs: What each input slot is connected to.
        target: The target it works for, where it has one.
        machine_bound: True when the result holds for this processor only, as a latency does;
            the processor is then part of the key.
    """

    id: str
    stage: Stage[Any]
    config: StageConfig
    inputs: Mapping[str, Source] = field(default_factory=dict)
    target: Target | None = None
    machine_bound: bool = False

    @property
    def takes_everything(self) -> bool:
        """True for a stage that tells of the whole run."""
        return ANY_SLOT in self.stage.consumes

    def gives(self, slot: str) -> ArtifactKind | None:
        """Kind of an output slot; None when it depends on a target that the step lacks.

        Raises:
            KeyError: If there is no such slot.
        """
        kind = self.stage.produces[slot]
        if kind is None and self.target is not None:
            return self.target.info.artifact_kind
        return kind


@dataclass(frozen=True, slots=True)
class PublishedOutput:
    """An artifact that is copied to the output folder when all steps are done."""

    name: str
    source: Source


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which they can run, checked by `make_plan`.

    Attributes:
        steps: In topological order.
        seed: Seed of everything random.
        outputs: What is copied to ``output_folder`` at the end.
        output_folder: Where to; None leaves everything in the store.
        notes: What was left out and why.
        summary: Slot that holds the `RunSummary`; None when the plan has none.
    """

    steps: tuple[Step, ...]
    seed: int = 0
    outputs: tuple[PublishedOutput, ...] = ()
    output_folder: Path | None = None
    notes: tuple[Note, ...] = ()
    summary: Source | None = None

    def step(self, step_id: str) -> Step:
        """The step of that id; raises KeyError when there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def describe(self) -> str:
        """The plan as text: one line a step with what it takes, then what was left out."""
        width = max((len(step.id) for step in self.steps), default=0)
        lines = []
        for number, step in enumerate(self.steps, 1):
            if step.takes_everything:
                takes = "from all steps above"
            elif step.inputs:
                takes = "from " + ", ".join(str(source) for source in step.inputs.values())
            else:
                takes = ""
            lines.append(f"{number:3}. {step.id:<{width}}  {takes}".rstrip())
        lines += [f"     {note.where}: {note.text}" for note in self.notes]
        if self.output_folder is not None and self.outputs:
            names = ", ".join(output.name for output in self.outputs)
            lines.append(f"     -> {self.output_folder}: {names}")
        return "\n".join(lines)


def make_plan(
    steps: Sequence[Step],
    *,
    seed: int = 0,
    outputs: Iterable[PublishedOutput] = (),
    output_folder: Path | None = None,
    notes: Iterable[Note] = (),
    summary: Source | None = None,
) -> Plan:
    """Checks how the steps are connected and puts them in order.

    Raises:
        ConfigError: If a slot is missing, unknown or of the wrong kind, or if steps wait for
            each other; all problems are listed.
    """
    outputs = tuple(outputs)
    problems = connection_problems(steps)
    problems += _output_problems(steps, outputs, summary)
    if problems:
        raise ConfigError(
            "\n".join(["The pipeline cannot be run as planned:", *(f"  - {p}" for p in problems)])
        )
    return Plan(
        steps=_in_order(steps),
        seed=seed,
        outputs=outputs,
        output_folder=output_folder,
        notes=tuple(notes),
        summary=summary,
    )


def connection_problems(steps: Sequence[Step]) -> list[str]:
    """All that is wrong with how the steps are connected; empty when nothing is."""
    by_id: dict[str, Step] = {}
    problems = []
    for step in steps:
        if step.id in by_id:
            problems.append(f"step {step.id!r} is planned twice")
        by_id[step.id] = step
    for step in steps:
        problems += _step_problems(step)
        for slot, source in step.inputs.items():
            if problem := _input_problem(step, slot, source, by_id):
                problems.append(f"step {step.id!r}: {problem}")
    return problems or _cycle_problems(steps)


def _step_problems(step: Step) -> list[str]:
    problems = []
    stage = step.stage
    if not isinstance(step.config, stage.config_type):
        problems.append(
            f"step {step.id!r}: stage {stage.name!r} takes options of type "
            f"{stage.config_type.__name__}, not {type(step.config).__name__}"
        )
    for slot, kinds in stage.consumes.items():
        if slot not in (ANY_SLOT, *stage.optional, *step.inputs):
            problems.append(
                f"step {step.id!r}: input slot {slot!r} (accepts {_listed(kinds)}) "
                "is not connected"
            )
    problems += [
        f"step {step.id!r}: the kind of output {slot!r} depends on a target, and the step has none"
        for slot in stage.produces
        if step.gives(slot) is None
    ]
    return problems


def _input_problem(step: Step, slot: str, source: Source, by_id: Mapping[str, Step]) -> str:
    accepted = step.stage.consumes.get(slot, step.stage.consumes.get(ANY_SLOT))
    if accepted is None:
        return f"there is no input slot {slot!r}; {_choices(slot, step.stage.consumes)}"
    giver = by_id.get(source.step)
    if giver is None:
        return f"slot {slot!r} wants {source}, but there is no step {source.step!r}"
    if source.slot not in giver.stage.produces:
        choices = _choices(source.slot, giver.stage.produces)
        return f"slot {slot!r} wants {source}, but that step gives no {source.slot!r}; {choices}"
    kind = giver.gives(source.slot)
    if kind is not None and kind not in accepted:
        return f"slot {slot!r} accepts {_listed(accepted)}, but {source} is of kind {kind}"
    return ""


def _output_problems(
    steps: Sequence[Step], outputs: Sequence[PublishedOutput], summary: Source | None
) -> list[str]:
    slots = {Source(step.id, slot) for step in steps for slot in step.stage.produces}
    problems = [
        f"output {output.name!r} wants {output.source}, which no step gives"
        for output in outputs
        if output.source not in slots
    ]
    if summary is not None and summary not in slots:
        problems.append(f"the summary wants {summary}, which no step gives")
    names = [output.name for output in outputs]
    problems += [
        f"output {name!r} would be written by more than one step"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    return problems


def _cycle_problems(steps: Sequence[Step]) -> list[str]:
    try:
        TopologicalSorter(_dependencies(steps)).prepare()
    except CycleError as error:
        return [f"these steps wait for each other: {' -> '.join(error.args[1])}"]
    return []


def _in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Topological order that keeps the given order where both are possible."""
    position = {step.id: index for index, step in enumerate(steps)}
    sorter = TopologicalSorter(_dependencies(steps))
    sorter.prepare()
    ready = sorted(sorter.get_ready(), key=position.__getitem__)
    ordered = []
    while ready:
        first = ready.pop(0)
        ordered.append(steps[position[first]])
        sorter.done(first)
        ready = sorted([*ready, *sorter.get_ready()], key=position.__getitem__)
    return tuple(ordered)


def _dependencies(steps: Sequence[Step]) -> dict[str, list[str]]:
    return {step.id: [source.step for source in step.inputs.values()] for step in steps}


def _listed(kinds: Iterable[ArtifactKind]) -> str:
    return ", ".join(sorted(kinds))


def _choices(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        return f"did you mean {close[0]!r}?"
    return f"it has {', '.join(names) or 'none'}"
