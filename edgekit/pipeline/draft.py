"""A plan that is being put together, with everything that is wrong with it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.metrics import Unavailable
from edgekit.core.stage import Note, StageConfig
from edgekit.core.target import Precision, Target, TargetInfo
from edgekit.errors import ConfigError, MissingToolError, UsageError
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.registry import get_stage
from edgekit.pipeline.steps import PublishedOutput, Source, Step
from edgekit.pipeline.summarize import TargetEntry

if TYPE_CHECKING:
    from edgekit.data.datasets import DataSpec
    from edgekit.graph.importers import InputRequest

_NO_DATA = "No data set is named (section [data], option --data)."


@dataclass(frozen=True, slots=True)
class LedgerGraph:
    """A graph whose place in the ledger is planned when all else is.

    Attributes:
        form: Numeric form.
        stage: What made it, as `LedgerRow.stage` names it.
        graph: Where it comes from.
        parent: The graph that it was made from; None for the first.
    """

    form: Precision
    stage: str
    graph: Source
    parent: Source | None


@dataclass(frozen=True, slots=True)
class LoweredStep:
    """Steps that lower a graph and measure what comes out."""

    lower: str
    benchmark: str | Unavailable


@dataclass
class Draft:
    """What is planned so far.

    Attributes:
        project: What is planned for.
        steps: In the order in which they were added.
        outputs: What is copied to the output folder.
        entries: Targets and precisions for the summary.
        notes: What was left out and why.
        problems: What is wrong with the project.
        missing: What this machine lacks.
        labels: Class names.
        training: The curve of the training from scratch.
        quantized: The QDQ graph of each numeric form.
        summaries: Slots that tell how each QDQ graph came about.
        trainings: Slots that tell how graphs were fine-tuned.
        prunings: Slots that tell what was pruned.
        sparsifyings: Slots that tell which single weights were made 0.
        courses: Slots that tell how float graphs were trained on.
        predictions: Slot that tells what was predicted; empty for none.
        layer_errors: Slots that tell the errors of layers of each QDQ graph.
        history: Every graph from the first float one on.
        evaluations: Step that evaluates a graph, by the graph's step.
        lowered: Steps that lower a graph, by the graph's step, target and form.
        reference: Accuracy of the last float graph.
        reference_reason: Why there is none.
    """

    project: ProjectConfig
    steps: list[Step] = field(default_factory=list)
    outputs: list[PublishedOutput] = field(default_factory=list)
    entries: list[TargetEntry] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    training: Source | None = None
    quantized: dict[str, Source] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)
    trainings: list[str] = field(default_factory=list)
    prunings: list[str] = field(default_factory=list)
    sparsifyings: list[str] = field(default_factory=list)
    courses: list[str] = field(default_factory=list)
    predictions: str = ""
    layer_errors: list[str] = field(default_factory=list)
    history: list[LedgerGraph] = field(default_factory=list)
    evaluations: dict[Source, str] = field(default_factory=dict)
    lowered: dict[tuple[Source, str, Precision], LoweredStep] = field(default_factory=dict)
    reference: Source | None = None
    reference_reason: str = ""

    def new_id(self, name: str) -> str:
        """The name for a step, numbered from the second of that name on."""
        taken = {step.id for step in self.steps}
        number = 1
        while (found := name if number == 1 else f"{name}-{number}") in taken:
            number += 1
        return found

    def add(
        self,
        step_id: str,
        stage: str,
        config: StageConfig,
        *,
        target: Target | None = None,
        machine_bound: bool = False,
        **inputs: Source,
    ) -> None:
        """Appends a step of the registered stage."""
        self.steps.append(
            Step(step_id, get_stage(stage), config, inputs, target, machine_bound=machine_bound)
        )

    def read_labels(self) -> None:
        """Takes the class names of the model."""
        try:
            self.labels = self.project.model.class_names()
        except ConfigError as error:
            self.problems.append(str(error))

    def parsed_inputs(self) -> tuple[InputRequest, ...]:
        """The model's inputs as the importers take them."""
        from edgekit.graph.importers import parse_input

        parsed = []
        for index, text in enumerate(self.project.model.inputs):
            try:
                parsed.append(parse_input(text))
            except UsageError as error:
                self.problems.append(f"model.inputs.{index}: {error}")
        return tuple(parsed)

    def add_evaluation(
        self, step_id: str, data: DataSpec, target: Target | None, model: Source
    ) -> None:
        """Evaluates what a step gave, on the target's runtime or in ONNX Runtime."""
        from edgekit.stages.evaluate import EvaluateConfig

        section = self.project.evaluate
        config = EvaluateConfig(
            data=data, batch=section.batch, threads=section.threads, required=section.required
        )
        self.add(step_id, "evaluate", config, target=target, model=model)

    def evaluation_data(self) -> DataSpec | Unavailable:
        """What accuracy is measured on, or why it is not."""
        section, data = self.project.evaluate, self.project.data
        if not section.enabled:
            return Unavailable(reason="Evaluation is switched off (evaluate.enabled).")
        if data is None:
            return Unavailable(reason=_NO_DATA)
        return data.model_copy(
            update={"split": section.split or data.split, "limit": section.limit or data.limit}
        )

    def add_benchmark(
        self, suffix: str, target: Target, model: Source, *, memory: bool | None = None
    ) -> str | Unavailable:
        """Measures an artifact; gives the step, or why it is not measured."""
        from edgekit.stages.benchmark import BenchmarkConfig

        section = self.project.benchmark
        if not section.enabled:
            return Unavailable(reason="Measuring is switched off (benchmark.enabled, --no-bench).")
        if (reason := target.capabilities().measurable) is not None:
            self.notes.append(Note(where=f"benchmark-{suffix}", text=reason.reason))
            return reason
        step_id = f"benchmark-{suffix}"
        bench = section.bench_config()
        if memory is not None:
            bench = bench.model_copy(update={"memory": memory})
        config = BenchmarkConfig(bench=bench)
        self.add(step_id, "benchmark", config, target=target, machine_bound=True, model=model)
        return step_id

    def file_name(self, info: TargetInfo, precision: Precision) -> str:
        """Name of an artifact in the output folder, which no other has."""
        middle = "" if precision == "float32" else f".{precision}"
        name = f"{self.project.name}{middle}{info.suffix}"
        if any(output.name == name for output in self.outputs):
            return f"{self.project.name}.{info.name}{middle}{info.suffix}"
        return name

    def check_outputs(self) -> None:
        """Nothing that is read may be written over."""
        model = self.project.model
        file = model.source.rpartition(":")[0] or model.source
        read = {Path(file).resolve()}
        if model.weights is not None:
            read.add(model.weights.resolve())
        for output in self.outputs:
            if (self.project.output / output.name).resolve() in read:
                self.problems.append(
                    f"output: {self.project.output / output.name} would be written over, but the "
                    "model is read from it. Choose another output folder or project name"
                )

    def raise_problems(self) -> None:
        """Raises one error for everything found so far."""
        if not self.problems and not self.missing:
            return
        lines = [*self.problems, *self.missing]
        text = "\n".join(["The project cannot be run:", *(f"  - {line}" for line in lines)])
        raise ConfigError(text) if self.problems else MissingToolError(text)
