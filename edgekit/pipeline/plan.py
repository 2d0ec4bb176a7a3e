"""From a project to its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.metrics import Unavailable
from edgekit.core.quant import ScaleFormat
from edgekit.core.signature import TensorSpec
from edgekit.core.stage import Note, StageConfig
from edgekit.core.target import (
    INTEGER_ACTIVATIONS,
    QUANTIZED,
    Precision,
    Target,
    TargetInfo,
)
from edgekit.errors import ConfigError, MissingToolError, UsageError
from edgekit.pipeline.project import ProjectConfig, TargetSection
from edgekit.pipeline.registry import get_stage, get_target
from edgekit.pipeline.steps import Plan, PublishedOutput, Source, Step, make_plan
from edgekit.pipeline.summarize import LedgerEntry, SummarizeConfig, TargetEntry
from edgekit.pipeline.target_choices import lowering_config, settled_scale_format

if TYPE_CHECKING:
    from edgekit.data.datasets import DataSpec
    from edgekit.graph.importers import InputRequest

__all__ = ["Plan", "build_plan"]

_NO_DATA = "No data set is named (section [data], option --data)."
_NO_MODULE = (".onnx", ".pt2")
_ZOOS = ("timm:", "torchvision:")


def build_plan(project: ProjectConfig) -> Plan:
    """Plans all steps of a project and checks them; nothing is run.

    What cannot be run or measured on this machine is left out, with its reason in the plan
    and in the report.

    Raises:
        ConfigError: If targets, precisions, engines or stages do not exist or do not go
            together; all problems are listed.
        MissingToolError: If the only problem is that targets cannot be made on this machine.
    """
    draft = _Draft(project)
    draft.read_labels()
    inputs = draft.parsed_inputs()
    weights: Source | None = None
    if "train" in project.stages:
        weights = draft.add_training(inputs)
    model = draft.add_import(inputs, weights)
    for name in project.stages:
        if name in _GRAPH_STAGES:
            model = _GRAPH_STAGES[name](draft, model)
    draft.add_reference(model)
    for scheme in project.quantize.schemes:
        draft.quantized_graph(model, scheme)
    for name, section in project.targets.items():
        draft.add_target(name, section, model)
    draft.check_training()
    draft.check_outputs()
    draft.raise_problems()
    return draft.finish(model)


@dataclass
class _Draft:
    """A plan that is being put together, with everything that is wrong with it so far."""

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
    ledger: list[LedgerEntry] = field(default_factory=list)
    reference: Source | None = None
    reference_reason: str = ""

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

    def add_training(self, inputs: tuple[InputRequest, ...]) -> Source | None:
        """Trains the torch module; gives its weights."""
        from edgekit.stages.train import TrainStageConfig

        model, data = self.project.model, self.project.data
        before = len(self.problems)
        if model.source.endswith(_NO_MODULE) or model.source.startswith(_ZOOS):
            self.problems.append(
                f"stages: 'train' needs a torch module, file.py:factory or "
                f"package.module:factory, but model.source is {model.source!r}"
            )
        if data is None:
            self.problems.append("stages: 'train' needs a data set; add a section [data]")
        if len(inputs) != 1 and len(inputs) == len(model.inputs):
            self.problems.append(
                f"stages: 'train' needs exactly one input in model.inputs, such as "
                f'"image:1x3x32x32", but there are {len(inputs)}'
            )
        if data is None or len(inputs) != 1 or len(self.problems) > before:
            return None
        spec = TensorSpec(
            name=inputs[0].name, shape=("batch", *inputs[0].shape[1:]), dtype=inputs[0].dtype
        )
        config = TrainStageConfig(
            source=model.source,
            weights=model.weights,
            input=spec,
            preprocessing=model.preprocessing,
            labels=self.labels,
            data=data.model_copy(update={"split": "train"}),
            options=self.project.train,
        )
        self.add("train", "train", config)
        self.training = Source("train", "curve")
        weights = Source("train", "weights")
        self.outputs.append(PublishedOutput(f"{self.project.name}.safetensors", weights))
        return weights

    def add_import(self, inputs: tuple[InputRequest, ...], weights: Source | None) -> Source:
        """Imports the model; gives the canonical graph."""
        from edgekit.stages.import_model import ImportConfig

        model = self.project.model
        config = ImportConfig(
            source=model.source,
            # Training starts from them; what it gives takes their place.
            weights=None if weights is not None else model.weights,
            inputs=inputs,
            dynamic_batch=model.dynamic_batch,
            preprocessing=model.preprocessing,
            labels=self.labels,
            name=model.name or self.project.name,
        )
        if weights is None:
            self.add("import_model", "import_model", config)
        else:
            self.add("import_model", "import_model", config, weights=weights)
        return Source("import_model", "model")

    def add_reference(self, model: Source) -> None:
        """Evaluates the canonical graph itself, to which targets are compared."""
        data = self._evaluation_data()
        if isinstance(data, Unavailable):
            self.reference_reason = data.reason
            self.notes.append(Note(where="evaluate", text=data.reason))
            return
        self._add_evaluation("evaluate-reference", data, None, model)
        self.reference = Source("evaluate-reference", "metrics")

    def add_target(self, name: str, section: TargetSection, model: Source) -> None:
        """Lowers to one target, evaluates and measures, for each precision."""
        try:
            target = get_target(name)
        except MissingToolError as error:
            self.missing.append(f"targets.{name}: {error}")
            return
        except ConfigError as error:
            self.problems.append(f"targets.{name}: {error}")
            return
        capabilities = target.capabilities()
        if capabilities.convertible is not None:
            self.missing.append(f"targets.{name}: {capabilities.convertible.reason}")
        problems = section.problems(target.info, section.precision)
        self.problems += [f"targets.{name}.{item.choice}: {item.text}" for item in problems]
        for precision in section.precision:
            if precision not in target.info.precisions:
                self.problems.append(
                    f"targets.{name}.precision: {precision} is not offered; "
                    f"accepted: {', '.join(target.info.precisions)}"
                )
                continue
            source = self.quantized_graph(model, precision) if precision in QUANTIZED else model
            if source is not None and not problems:
                self._add_artifact(target, precision, section, source)

    def quantized_graph(self, model: Source, scheme: Precision) -> Source | None:
        """The QDQ graph that all targets of a numeric form are lowered from; planned once."""
        if scheme in self.quantized:
            return self.quantized[scheme]
        section = self.project.quantize
        data = section.calibration or self.project.data
        # Only an ONNX file can be quantized already, and then needs no data.
        needs_data = scheme in INTEGER_ACTIVATIONS and not _is_onnx(self.project.model.source)
        if data is None and (needs_data or section.max_drop is not None):
            self.problems.append(
                f"targets: {scheme} needs data to calibrate with; add a section [data] or "
                "[quantize.calibration] (--calibrate)"
            )
            return None
        from edgekit.stages.quantize import QuantizeConfig

        if data is not None and section.calibration is None:
            # Never the samples that accuracy is measured on.
            data = data.model_copy(update={"split": "train", "limit": None})
        step = "quantize" if scheme == "int8" else f"quantize-{scheme}"
        scale_format = self._scale_format(scheme, step)
        options = section.quantize_options().model_copy(update={"scale_format": scale_format})
        config = QuantizeConfig(scheme=scheme, calibration=data, options=options)
        self.add(step, "quantize", config, model=model)
        self.summaries.append(f"{step}.summary")
        source = self._trained(model, scheme, Source(step, "model"), scale_format)
        # The first, mostly the only one, has the short name.
        middle = f".{scheme}" if self.quantized else ""
        self.outputs.append(PublishedOutput(f"{self.project.name}{middle}.qdq.onnx", source))
        self.quantized[scheme] = source
        return source

    def _scale_format(self, scheme: Precision, step: str) -> ScaleFormat:
        """The number format of the scales of a graph, with a note of what decided."""
        infos = {}
        for name in self.project.targets:
            # What cannot be found is told of by `add_target`.
            with suppress(ConfigError, MissingToolError):
                infos[name] = get_target(name).info
        given = self.project.quantize.scale_format
        chosen, reason = settled_scale_format(given, scheme, self.project.targets, infos)
        if reason:
            self.notes.append(Note(where=step, text=reason))
        return chosen

    def _trained(
        self, model: Source, scheme: Precision, quantized: Source, scale_format: ScaleFormat
    ) -> Source:
        """The QDQ graph after fine-tuning, where the project asks for it."""
        self._add_ledger_row(scheme, "PTQ", quantized)
        if not self.project.quantize.qat:
            return quantized
        step = "qat" if scheme == "int8" else f"qat-{scheme}"
        if scheme not in INTEGER_ACTIVATIONS:
            text = f"{scheme} is not fine-tuned: it leaves activations in float"
            self.notes.append(Note(where=step, text=text))
            return quantized
        from edgekit.stages.qat import QatStageConfig

        section = self.project.qat
        data = section.data or self.project.data or self.project.quantize.calibration
        if data is None:
            self.problems.append(
                "quantize.qat: fine-tuning needs data to train with; add a section [data] or "
                "[qat.data] (--data)"
            )
            return quantized
        scale_format = section.scale_format or scale_format
        config = QatStageConfig(
            scheme=scheme,
            data=data.model_copy(update={"split": "train"}),
            options=section.qat_config().model_copy(update={"scale_format": scale_format}),
        )
        self.add(step, "qat", config, model=quantized, float=model)
        self.trainings.append(f"{step}.summary")
        trained = Source(step, "model")
        self._add_ledger_row(scheme, "QAT", trained)
        return trained

    def _add_ledger_row(self, scheme: Precision, stage: str, graph: Source) -> None:
        """Evaluates a QDQ graph itself, where graphs are trained or made for their own sake."""
        if not self.project.quantize.qat and not self.project.quantize.schemes:
            return
        data = self._evaluation_data()
        evaluation: str | Unavailable = data if isinstance(data, Unavailable) else ""
        if not isinstance(data, Unavailable):
            evaluation = f"evaluate-{graph.step}"
            self._add_evaluation(evaluation, data, None, graph)
        self.ledger.append(LedgerEntry(form=scheme, stage=stage, evaluate=evaluation))

    def check_training(self) -> None:
        """Refuses to fine-tune nothing."""
        forms = ", ".join(INTEGER_ACTIVATIONS)
        if self.project.quantize.qat and not set(self.quantized) & set(INTEGER_ACTIVATIONS):
            self.problems.append(
                f"quantize.qat: no graph with integer activations ({forms}) is made; name one as "
                "precision of a target or in quantize.schemes"
            )

    def _add_artifact(
        self, target: Target, precision: Precision, section: TargetSection, model: Source
    ) -> None:
        from edgekit.stages.lower import LowerStageConfig, default_tolerance

        info, capabilities = target.info, target.capabilities()
        suffix = f"{info.name}-{precision}"
        lowering = lowering_config(section, precision, info)
        config = LowerStageConfig(
            **lowering.model_dump(),
            tolerance=section.tolerance
            or default_tolerance(precision, lowering.weight_compute, lowering.compute),
        )
        lower = f"lower-{suffix}"
        self.add(lower, "lower", config, target=target, model=model)
        artifact = Source(lower, "artifact")
        data = capabilities.runnable or self._evaluation_data()
        if isinstance(data, Unavailable):
            evaluation: str | Unavailable = data
        else:
            evaluation = f"evaluate-{suffix}"
            self._add_evaluation(evaluation, data, target, artifact)
        file_name = self._file_name(info, precision)
        self.entries.append(
            TargetEntry(
                target=info.name,
                title=info.title,
                precision=precision,
                engine=config.engine or info.engines[0],
                compute=config.compute or "",
                deployment_target=config.deployment_target or "",
                tolerance=config.tolerance,
                file_name=file_name,
                lower=lower,
                evaluate=evaluation,
                benchmark=self._add_benchmark(suffix, target, artifact),
            )
        )
        self.outputs.append(PublishedOutput(file_name, artifact))
        if capabilities.runnable is not None:
            self.notes.append(Note(where=lower, text=capabilities.runnable.reason))

    def _add_benchmark(self, suffix: str, target: Target, model: Source) -> str | Unavailable:
        from edgekit.stages.benchmark import BenchmarkConfig

        section = self.project.benchmark
        if not section.enabled:
            return Unavailable(reason="Measuring is switched off (benchmark.enabled, --no-bench).")
        if (reason := target.capabilities().measurable) is not None:
            self.notes.append(Note(where=f"benchmark-{suffix}", text=reason.reason))
            return reason
        step_id = f"benchmark-{suffix}"
        config = BenchmarkConfig(bench=section.bench_config())
        self.add(step_id, "benchmark", config, target=target, machine_bound=True, model=model)
        return step_id

    def _add_evaluation(
        self, step_id: str, data: DataSpec, target: Target | None, model: Source
    ) -> None:
        from edgekit.stages.evaluate import EvaluateConfig

        section = self.project.evaluate
        config = EvaluateConfig(
            data=data, batch=section.batch, threads=section.threads, required=section.required
        )
        self.add(step_id, "evaluate", config, target=target, model=model)

    def _evaluation_data(self) -> DataSpec | Unavailable:
        section, data = self.project.evaluate, self.project.data
        if not section.enabled:
            return Unavailable(reason="Evaluation is switched off (evaluate.enabled).")
        if data is None:
            return Unavailable(reason=_NO_DATA)
        return data.model_copy(
            update={"split": section.split or data.split, "limit": section.limit or data.limit}
        )

    def _file_name(self, info: TargetInfo, precision: Precision) -> str:
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

    def finish(self, model: Source) -> Plan:
        """Adds what tells of all steps, and checks the whole."""
        config = SummarizeConfig(
            project=self.project.name,
            model=str(model),
            training=None if self.training is None else str(self.training),
            reference=(
                Unavailable(reason=self.reference_reason)
                if self.reference is None
                else str(self.reference)
            ),
            quantization=tuple(self.summaries),
            qat=tuple(self.trainings),
            ledger=tuple(self.ledger),
            targets=tuple(self.entries),
            notes=tuple(self.notes),
        )
        everything = {
            f"{step.id}.{slot}": Source(step.id, slot)
            for step in self.steps
            for slot in step.stage.produces
        }
        self.steps.append(
            Step("summarize", get_stage("summarize"), config, everything, machine_bound=True)
        )
        summary = Source("summarize", "summary")
        if self.project.report.enabled:
            self.add("report", "report", StageConfig(), summary=summary)
            self.outputs.append(PublishedOutput("report", Source("report", "report")))
        return make_plan(
            self.steps,
            seed=self.project.seed,
            outputs=self.outputs,
            output_folder=self.project.output,
            notes=self.notes,
            summary=summary,
        )


def _is_onnx(source: str) -> bool:
    return source.lower().endswith(".onnx")


_GRAPH_STAGES: Mapping[str, Callable[[_Draft, Source], Source]] = {}
"""Stages that take the canonical graph and give another, in the order that the project says:
each adds its step to the draft and gives the new source of the model."""
