"""Conversion as one call: what ``edgekit convert`` does, for Python programs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from edgekit.core.layer_error import LayerComparison
from edgekit.core.lowering_choices import LoweringChoices
from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.progress import Progress
from edgekit.core.run_summary import ArtifactSummary, RunSummary
from edgekit.core.target import (
    INTEGER_ACTIVATIONS,
    WEIGHTS_ONLY,
    BenchConfig,
    IoType,
    Precision,
    TargetInfo,
)
from edgekit.data.contract import DataSpec
from edgekit.errors import ConfigError, InternalError, UsageError
from edgekit.pipeline.comparison import CompareOptions
from edgekit.pipeline.project import (
    BenchmarkSection,
    DistillSection,
    EvaluateSection,
    ModelSection,
    ProjectConfig,
    PruneSection,
    QatSection,
    QuantizeSection,
    SparsifySection,
    TargetSection,
)
from edgekit.quantization.options import QuantizeOptions
from edgekit.training.config import TrainConfig
from edgekit.training.distillation import DistillOptions
from edgekit.training.pruning.sparsify_options import SparsifyOptions
from edgekit.training.pruning.stage_options import PruneOptions
from edgekit.training.qat.config import QatConfig

if TYPE_CHECKING:
    import torch

    from edgekit.pipeline.run_record import HistoryPlace
    from edgekit.pipeline.run_result import RunResult

__all__ = [
    "CompareOptions",
    "ConvertOptions",
    "ConvertResult",
    "compare",
    "conversion_project",
    "convert",
    "quantize",
    "run_project",
]


class ConvertOptions(LoweringChoices):
    """What a conversion can be told besides model, targets and output."""

    weights: Path | None = Field(
        None, description="State dict for the module: .pth, .pt or .safetensors."
    )
    inputs: tuple[str, ...] = Field(
        (), description="Input as NAME:1x3x224x224 or NAME:1x16:int64; once for each input."
    )
    dynamic_batch: bool = Field(False, description="Leave the size of the first axis open.")
    name: str | None = Field(
        None, description="Names the files that are made; derived from the model by default."
    )
    labels: tuple[str, ...] = Field((), description="Class names by index.")
    preprocessing: AnyPreprocessing | None = Field(
        None, description="How an image or a recording becomes the input; travels with the model."
    )
    tolerance: float | None = Field(
        None,
        gt=0,
        description="Largest accepted difference from ONNX Runtime, as a share of the output's "
        "range; 1e-4 for float32 and 2e-2 for float16 by default.",
    )
    data: DataSpec | None = Field(None, description="Data set to measure accuracy on.")
    calibration: DataSpec | None = Field(
        None, description="Data set that int8 ranges are calibrated with."
    )
    quantize: QuantizeOptions = Field(
        default_factory=QuantizeOptions, description="How int8 artifacts are quantized."
    )
    qat: QatConfig | None = Field(
        None,
        description="Fine-tune each QDQ graph with integer activations before targets are lowered "
        "from it; None leaves it as post-training quantization gives it.",
    )
    qat_data: DataSpec | None = Field(
        None,
        description="Data set to fine-tune with, of which the training split is taken; data by "
        "default.",
    )
    stages: tuple[str, ...] = Field(
        (),
        description="Stages that change the model before it is quantized and lowered, in order: "
        "train, prune, sparsify, distill.",
    )
    train: TrainConfig = Field(default_factory=TrainConfig, description="How stage train trains.")
    prune: PruneOptions = Field(
        default_factory=PruneOptions, description="What stage prune removes."
    )
    sparsify: SparsifyOptions = Field(
        default_factory=SparsifyOptions, description="Which weights stage sparsify makes 0."
    )
    distill: DistillOptions = Field(
        default_factory=DistillOptions, description="How stage distill trains."
    )
    schemes: tuple[Precision, ...] = Field(
        (), description="Numeric forms whose QDQ graph is made even where no target asks for it."
    )
    bench: BenchConfig | None = Field(
        default_factory=BenchConfig, description="How latency is measured; None leaves it out."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random.")
    store: Path | None = Field(
        None, description="Folder that keeps results for reuse; none are kept by default."
    )


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """A finished conversion.

    Attributes:
        outputs: Files in the output folder: one artifact for each target and precision, and
            the report.
        summary: All figures, typed.
        notes: What was left out before the work began, and why.
    """

    outputs: tuple[Path, ...]
    summary: RunSummary
    notes: tuple[str, ...] = ()

    @property
    def qdq_graph(self) -> Path:
        """The QDQ graph; of several, the first that was asked for.

        Raises:
            KeyError: If none was made.
        """
        for path in self.outputs:
            if path.name.endswith(".qdq.onnx"):
                return path
        raise KeyError("qdq.onnx")

    def artifact(self, target: str, precision: Precision = "float32") -> Path:
        """The file that was made for a target.

        Raises:
            KeyError: If there is none.
        """
        for result in self.summary.targets:
            wanted = result.target == target and result.precision == precision
            if wanted and isinstance(result.artifact, ArtifactSummary):
                for path in self.outputs:
                    if path.name == result.artifact.file_name:
                        return path
        raise KeyError(f"{target} {precision}")


def convert(
    model: torch.nn.Module | str | Path,
    *,
    example_inputs: Sequence[torch.Tensor] | None = None,
    targets: Sequence[str] = ("tflite",),
    precisions: Sequence[Precision] = ("float32",),
    output: str | Path = "out",
    data: str | None = None,
    options: ConvertOptions | None = None,
) -> ConvertResult:
    """Converts a model, runs every artifact and compares it with ONNX Runtime.

    Args:
        model: A torch module, or a source as the command line takes it: a ``.onnx`` or
            ``.pt2`` file, ``file.py:factory``, ``timm:NAME``, ``torchvision:NAME``. Neither
            the module nor the file is modified.
        example_inputs: Tensors that the module is called with, for its input shapes; needed
            for a module, which must be on the CPU, and refused otherwise.
        targets: Names of targets, as ``edgekit targets`` lists them.
        precisions: Numeric forms; each target gets those that it offers.
        output: Folder for the artifacts and the report, made if need be.
        data: Data set to measure accuracy on, as in `DataSpec.set`; short for
            ``options.data``.
        options: Everything else.

    Raises:
        UsageError: If arguments contradict each other or a file is missing or damaged.
        UnsupportedError: If the model cannot be exported or a target cannot express it.
        VerificationError: If an artifact does not compute what the model computes.
        MissingToolError: If a target's tools are not installed.
    """
    options = options or ConvertOptions()
    if data is not None:
        if options.data is not None:
            raise UsageError("Give the data set as data or in options.data, not both.")
        options = options.model_copy(update={"data": DataSpec(set=data)})
    with tempfile.TemporaryDirectory(prefix="edgekit-convert-") as folder:
        source = _source(model, example_inputs, options, Path(folder))
        project, notes = conversion_project(source, targets, precisions, Path(output), options)
        result = run_project(project, store=options.store)
    if result.summary is None:
        raise InternalError("the plan of a conversion gave no summary")
    return ConvertResult(result.outputs, result.summary, notes)


def quantize(
    model: torch.nn.Module | str | Path,
    *,
    data: str | DataSpec | None = None,
    example_inputs: Sequence[torch.Tensor] | None = None,
    schemes: Sequence[Precision] = ("int8",),
    targets: Sequence[str] = (),
    output: str | Path = "out",
    options: ConvertOptions | None = None,
) -> ConvertResult:
    """Quantizes a model, fine-tunes it if ``options.qat`` says so, and measures what it costs.

    Args:
        model: See `convert`; also a QDQ graph that was made before, which is then fine-tuned.
        data: Data set whose training split is calibrated and fine-tuned with, and whose test
            split accuracy is measured on where it has labels; short for ``options.data``.
        example_inputs: See `convert`.
        schemes: Numeric forms, one QDQ graph each.
        targets: Names of targets that are lowered from it; none makes the graph alone.
        output: Folder for graphs, artifacts and the report, made if need be.
        options: Everything else.

    Raises:
        EdgekitError: See `convert`; `GateError` if the training diverges.
    """
    options = options or ConvertOptions(bench=None)
    updates: dict[str, object] = {"schemes": tuple(schemes)}
    if data is not None:
        if options.data is not None:
            raise UsageError("Give the data set as data or in options.data, not both.")
        updates["data"] = DataSpec(set=data) if isinstance(data, str) else data
    return convert(
        model,
        example_inputs=example_inputs,
        targets=targets,
        precisions=schemes,
        output=output,
        options=options.model_copy(update=updates),
    )


def compare(
    reference: str | Path,
    *artifacts: str | Path,
    data: str | DataSpec,
    options: CompareOptions | None = None,
) -> LayerComparison:
    """Compares artifacts with a reference, layer by layer, and names the first culprit.

    Args:
        reference: What is right by definition: a ``.onnx``, ``.qdq.onnx``, ``.tflite`` or
            ``.mlpackage``, or a torch source as for `convert`.
        artifacts: At least one of the same forms.
        data: Samples to compare on, as in `DataSpec.set`.
        options: How many, and whether remedies are tried.

    Raises:
        EdgekitError: See `edgekit.pipeline.comparison.compare_sources`.
    """
    from edgekit.pipeline.comparison import compare_sources

    spec = DataSpec(set=data) if isinstance(data, str) else data
    return compare_sources([str(reference), *map(str, artifacts)], spec, options)


def conversion_project(
    source: str,
    targets: Sequence[str],
    precisions: Sequence[Precision],
    output: Path,
    options: ConvertOptions,
) -> tuple[ProjectConfig, tuple[str, ...]]:
    """The project that a conversion stands for, and what was left out of it with the reason.

    Raises:
        ConfigError: If a target or engine is unknown, or a target offers no precision asked for.
    """
    sections, notes = _target_sections(targets, precisions, options)
    name = options.name or project_name(source)
    fields = options.model_dump(
        include={"weights", "inputs", "dynamic_batch", "labels", "preprocessing"}
    )
    benchmark = BenchmarkSection(enabled=False)
    if options.bench is not None:
        benchmark = BenchmarkSection(**options.bench.model_dump())
    try:
        project = ProjectConfig(
            name=name,
            seed=options.seed,
            output=output,
            model=ModelSection(source=source, name=options.name, **fields),
            data=options.data,
            targets=sections,
            quantize=QuantizeSection(
                calibration=options.calibration,
                schemes=options.schemes,
                qat=options.qat is not None,
                **options.quantize.model_dump(),
            ),
            stages=options.stages,
            train=options.train,
            prune=PruneSection(**options.prune.model_dump()),
            sparsify=SparsifySection(**options.sparsify.model_dump()),
            distill=DistillSection(**options.distill.model_dump()),
            qat=QatSection(data=options.qat_data, **(options.qat or QatConfig()).model_dump()),
            evaluate=EvaluateSection(required=not (options.schemes or options.stages)),
            benchmark=benchmark,
        )
    except ValidationError as error:
        from edgekit.core.toml_config import describe_problems, validation_problems

        problems = validation_problems(error, ProjectConfig)
        raise ConfigError(describe_problems("The conversion", problems)) from error
    return project, notes


def run_project(
    project: ProjectConfig,
    *,
    store: Path | None = None,
    progress: Progress | None = None,
    history: HistoryPlace | None = None,
) -> RunResult:
    """Plans and runs a project.

    Args:
        project: What to do.
        store: Folder that keeps results; None keeps them only until the run has ended.
        progress: Receives the advance.
        history: Where the run is recorded when it has ended; None does not record it. That it
            cannot be is no failure: `RunResult.history_problem` then says why.

    Raises:
        EdgekitError: Whatever planning or a stage raises. An output folder that did not exist
            before is then removed again, unless something was put there.
    """
    from edgekit.pipeline.plan import build_plan
    from edgekit.pipeline.run_folders import removed_if_empty, store_folder
    from edgekit.pipeline.run_record import RunRecorder
    from edgekit.pipeline.runner import Runner
    from edgekit.store.store import Store

    plan = build_plan(project)
    recorder = None if history is None else RunRecorder(history)
    with removed_if_empty(project.output), store_folder(store) as folder:
        result = Runner(Store(folder), progress).run(plan)
    return result if recorder is None else recorder.record(result)


def project_name(source: str) -> str:
    """A name for files: the factory, the zoo's name, or the file's stem.

    >>> project_name("a/net.qdq.onnx"), project_name("net.py:build"), project_name("timm:a.b@c")
    ('net', 'build', 'a.b')
    """
    place, colon, last = source.rpartition(":")
    name = last.partition("@")[0] if colon and place else Path(source).stem.removesuffix(".qdq")
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-") or "model"


def _source(
    model: torch.nn.Module | str | Path,
    example_inputs: Sequence[torch.Tensor] | None,
    options: ConvertOptions,
    folder: Path,
) -> str:
    """The source as text; a module is imported into ``folder`` first."""
    if isinstance(model, (str, Path)):
        if example_inputs is not None:
            raise UsageError(
                "example_inputs belong to a torch module; give shapes in options.inputs instead."
            )
        return str(model)
    from edgekit.graph.importers import parse_input
    from edgekit.graph.importers.live_module import export_to_file, requests_of

    if example_inputs is None and not options.inputs:
        raise UsageError(
            "A torch module needs its input shapes: give example_inputs=(tensor, ...)."
        )
    name = options.name or type(model).__name__
    path = folder / f"{project_name(name)}.onnx"
    inputs = tuple(parse_input(text) for text in options.inputs)
    if not inputs and example_inputs is not None:
        inputs = requests_of(model, example_inputs)
    export_to_file(model, inputs, path, dynamic_batch=options.dynamic_batch)
    return str(path)


def _target_sections(
    targets: Sequence[str], precisions: Sequence[Precision], options: ConvertOptions
) -> tuple[dict[str, TargetSection], tuple[str, ...]]:
    """One section for each target, with the precisions and the engine that it offers."""
    from edgekit.pipeline.registry import target_info

    infos = {name: target_info(name) for name in targets}
    offered = {engine for info in infos.values() for engine in info.engines}
    if options.engine is not None and options.engine not in offered:
        raise ConfigError(
            f"No target asked for offers the engine {options.engine!r}; they offer: "
            f"{', '.join(sorted(offered))}."
        )
    _check_io(precisions, infos, options.io)
    if options.integer_only and not set(precisions) & set(INTEGER_ACTIVATIONS):
        raise ConfigError(
            f"Computing on integers alone belongs to {' and '.join(INTEGER_ACTIVATIONS)}, which "
            "are not asked for."
        )
    sections: dict[str, TargetSection] = {}
    notes: list[str] = []
    if options.weight_compute is not None and not set(precisions) & set(WEIGHTS_ONLY):
        notes.append(
            f"weight_compute {options.weight_compute} changes nothing: it is for "
            f"{', '.join(WEIGHTS_ONLY)}."
        )
    for name, info in infos.items():
        sections[name], told = _section(info, options, precisions)
        notes += told
    return sections, tuple(notes)


def _section(
    info: TargetInfo, options: ConvertOptions, precisions: Sequence[Precision]
) -> tuple[TargetSection, list[str]]:
    """The section of one target, and what it does not offer of what is asked for."""
    kept = tuple(item for item in precisions if item in info.precisions)
    left_out = [item for item in precisions if item not in info.precisions]
    if not kept:
        raise ConfigError(
            f"Target {info.name!r} offers {', '.join(info.precisions)}, not {', '.join(left_out)}."
        )
    notes = []
    if left_out:
        notes.append(
            f"Target {info.name} is not made as {', '.join(left_out)}: "
            f"it offers {', '.join(info.precisions)}."
        )
    compute = options.weight_compute if set(kept) & set(WEIGHTS_ONLY) else None
    if compute is not None and compute not in info.weight_computes:
        notes.append(
            f"Target {info.name} does not offer weight_compute {compute}; it computes "
            f"{info.weight_computes[0]}."
        )
        compute = None
    io = options.io if options.io in info.io_types else "float32"
    if io != options.io:
        notes.append(f"Target {info.name} keeps float32 inputs and outputs; it offers no others.")
    integers = bool(set(kept) & set(INTEGER_ACTIVATIONS))
    if options.integer_only and integers and not info.integer_only:
        notes.append(f"Target {info.name} does not promise to compute on integers alone.")
    # These are met where a target offers them, and told of where not; all others have to be.
    met = {
        "engine": options.engine if options.engine in info.engines else None,
        "io": io if "int8" in kept else "float32",
        "integer_only": options.integer_only and integers and info.integer_only,
        "weight_compute": compute,
    }
    choices = options.choices().model_copy(update=met)
    section = TargetSection(precision=kept, tolerance=options.tolerance, **choices.model_dump())
    return section, notes


def _check_io(
    precisions: Sequence[Precision], infos: Mapping[str, TargetInfo], io: IoType
) -> None:
    if io == "float32":
        return
    if "int8" not in precisions:
        raise ConfigError(
            f"{io} inputs and outputs belong to precision int8, which is not asked for."
        )
    if not any(io in info.io_types for info in infos.values()):
        raise ConfigError(f"No target asked for offers {io} inputs and outputs.")
