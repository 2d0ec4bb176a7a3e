"""``edgekit.toml``: a project, typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from edgekit.core.lowering_choices import LoweringChoices
from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.model_base import FrozenModel
from edgekit.core.target import QUANTIZED, BenchConfig, Precision
from edgekit.core.toml_config import load_toml, nearest_name
from edgekit.data.datasets import DataSpec
from edgekit.errors import ConfigError
from edgekit.quantization.options import QuantizeOptions
from edgekit.training.config import TrainConfig
from edgekit.training.distillation import DistillOptions
from edgekit.training.pruning.sparsify_options import SparsifyOptions
from edgekit.training.pruning.stage_options import PruneOptions
from edgekit.training.qat.config import QatConfig

MODEL_STAGES = ("train", "prune", "sparsify", "distill", "quantize")
"""Stages that `ProjectConfig.stages` may name. Each has a section of its own name."""


PRECISIONS: tuple[str, ...] = get_args(Precision)


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Precisions = Annotated[
    tuple[Precision, ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(PRECISIONS), "type": "string"},
                {
                    "items": {"enum": list(PRECISIONS), "type": "string"},
                    "minItems": 1,
                    "type": "array",
                },
            ]
        }
    ),
]
"""One numeric form, or a list of them."""


Schemes = Annotated[tuple[Precision, ...], BeforeValidator(_as_tuple)]
"""Numeric forms that a graph is quantized to; one may stand without a list."""


class ModelSection(FrozenModel):
    """The model that goes in."""

    source: str = Field(
        description="file.py:factory, package.module:factory, a .onnx or .pt2 file, timm:NAME "
        "or torchvision:NAME."
    )
    weights: Path | None = Field(
        None, description="State dict of a torch module: .safetensors, .pth or .pt."
    )
    inputs: tuple[str, ...] = Field(
        (), description='Inputs as "NAME:1x3x224x224", with ":DTYPE" behind where not float32.'
    )
    dynamic_batch: bool = Field(False, description="Leave the size of the first axis open.")
    preprocessing: AnyPreprocessing | None = Field(
        None, description="How an image or a recording becomes the input; travels with the model."
    )
    labels: tuple[str, ...] = Field((), description="Class names by index.")
    labels_file: Path | None = Field(None, description="Text file with one class name a line.")
    name: str | None = Field(None, description="Name in the metadata; the project's by default.")

    @model_validator(mode="after")
    def _check_labels(self) -> ModelSection:
        if self.labels and self.labels_file is not None:
            raise ValueError("give labels or labels_file, not both")
        return self

    def class_names(self) -> tuple[str, ...]:
        """The labels, read from ``labels_file`` where they stand there.

        Raises:
            ConfigError: If the file cannot be read or holds no names.
        """
        return self.labels if self.labels_file is None else read_labels(self.labels_file)


class TargetSection(LoweringChoices):
    """What is made for one target."""

    precision: Precisions = Field(
        ("float32",),
        description="Numeric form, or a list of them: float32, float16, int8, int16x8, "
        "int8-weights, int4-weights.",
    )
    tolerance: float | None = Field(
        None,
        gt=0,
        description="Largest accepted difference from ONNX Runtime, as a share of the output's "
        "range; 1e-4 for float32 and 2e-2 for float16 by default. An int8 artifact is compared "
        "integer by integer instead.",
    )

    @field_validator("precision")
    @classmethod
    def _check_precision(cls, precision: tuple[Precision, ...]) -> tuple[Precision, ...]:
        if len(set(precision)) < len(precision):
            raise ValueError("a precision stands twice")
        return precision


class EvaluateSection(FrozenModel):
    """How accuracy is measured."""

    enabled: bool = Field(True, description="Measure accuracy where there is a data set.")
    required: bool = Field(
        True,
        description="Fail where the data set has no labels that accuracy can be measured with; "
        "otherwise the report says why.",
    )
    split: Literal["train", "test"] | None = Field(
        None, description="Part of the data set; that of [data] by default."
    )
    limit: int | None = Field(
        None, ge=1, description="Take only so many samples; as many as [data] says by default."
    )
    batch: int = Field(32, ge=1, description="Samples in one run where the model allows it.")
    threads: int = Field(1, ge=1, description="Threads given to the runtime.")


class BenchmarkSection(BenchConfig):
    """How latency is measured."""

    enabled: bool = Field(True, description="Measure latency on this machine.")

    def bench_config(self) -> BenchConfig:
        """The options of the measurement itself."""
        return BenchConfig.model_validate(self.model_dump(exclude={"enabled"}))


class QuantizeSection(QuantizeOptions):
    """How targets with integers are quantized; one QDQ graph for each such numeric form."""

    calibration: DataSpec | None = Field(
        None, description="Data that activation ranges are taken from; [data] by default."
    )
    schemes: Schemes = Field(
        (),
        description="Numeric forms whose QDQ graph is made even where no target asks for it: "
        f"{', '.join(QUANTIZED)}.",
    )
    qat: bool = Field(
        False,
        description="Fine-tune each QDQ graph that has integer activations, as section qat says; "
        "targets are then lowered from that.",
    )

    @field_validator("schemes")
    @classmethod
    def _check_schemes(cls, schemes: tuple[Precision, ...]) -> tuple[Precision, ...]:
        for scheme in schemes:
            if scheme not in QUANTIZED:
                raise ValueError(
                    f"{scheme} is no scheme of quantization. Known: {', '.join(QUANTIZED)}"
                )
        if len(set(schemes)) < len(schemes):
            raise ValueError("a scheme stands twice")
        return schemes

    def quantize_options(self) -> QuantizeOptions:
        """The options of the stage."""
        own = {"calibration", "schemes", "qat"}
        return QuantizeOptions.model_validate(self.model_dump(exclude=own))


class QatSection(QatConfig):
    """How QDQ graphs are fine-tuned, where ``quantize.qat`` asks for it."""

    data: DataSpec | None = Field(
        None,
        description="Data to train with, of which the training split is taken; [data] by default.",
    )

    def qat_config(self) -> QatConfig:
        """The options of the training itself."""
        return QatConfig.model_validate(self.model_dump(exclude={"data"}))


class PruneSection(PruneOptions):
    """How channels are removed, where ``stages`` names prune."""

    data: DataSpec | None = Field(
        None, description="Data for statistics and importance taylor; [data] by default."
    )

    def prune_options(self) -> PruneOptions:
        """The options of the stage."""
        return PruneOptions.model_validate(self.model_dump(exclude={"data"}))


class SparsifySection(SparsifyOptions):
    """Which single weights become 0, where ``stages`` names sparsify."""

    data: DataSpec | None = Field(None, description="Data for statistics; [data] by default.")

    def sparsify_options(self) -> SparsifyOptions:
        """The options of the stage."""
        return SparsifyOptions.model_validate(self.model_dump(exclude={"data"}))


class DistillSection(DistillOptions):
    """How the float graph is trained on, where ``stages`` names distill."""

    data: DataSpec | None = Field(
        None, description="Data to train with; the training split of [data] by default."
    )

    def distill_options(self) -> DistillOptions:
        """The options of the stage."""
        # Not from model_dump, which leaves out what is no part of the cache key.
        return DistillOptions.model_validate(
            {name: getattr(self, name) for name in DistillOptions.model_fields}
        )


class ReportSection(FrozenModel):
    """What is told at the end."""

    enabled: bool = Field(True, description="Write report.json, report.md and report.html.")
    layer_samples: int = Field(
        8,
        ge=0,
        description="Samples on which each layer of a quantized graph is compared with the float "
        "graph; 0 leaves that out.",
    )


class ProjectConfig(FrozenModel):
    """A whole project. Relative paths are taken from the folder of the file."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the files that are made."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random.")
    stages: tuple[str, ...] = Field(
        (), description=f"Stages that change the model, in order: {', '.join(MODEL_STAGES)}."
    )
    output: Path = Field(Path("out"), description="Folder for what is made.")
    store: Path = Field(Path(".edgekit"), description="Folder for results that can be reused.")
    model: ModelSection
    data: DataSpec | None = Field(None, description="Data to train with and to evaluate on.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Options of training.")
    targets: dict[str, TargetSection] = Field(
        default_factory=dict,
        description="What is made, by name of the target; may be empty where quantize.schemes "
        "asks for QDQ graphs, or stages for a changed float graph.",
    )
    quantize: QuantizeSection = QuantizeSection()
    qat: QatSection = QatSection()
    prune: PruneSection = PruneSection()
    sparsify: SparsifySection = SparsifySection()
    distill: DistillSection = DistillSection()
    evaluate: EvaluateSection = EvaluateSection()
    benchmark: BenchmarkSection = BenchmarkSection()
    report: ReportSection = ReportSection()

    @field_validator("stages")
    @classmethod
    def _check_stages(cls, stages: tuple[str, ...]) -> tuple[str, ...]:
        for stage in stages:
            if stage not in MODEL_STAGES:
                raise ValueError(
                    f"there is no stage {stage!r}.{nearest_name(stage, MODEL_STAGES)} "
                    f"Known: {', '.join(MODEL_STAGES)}"
                )
        if "quantize" in stages[:-1]:
            raise ValueError(
                "quantize has to be the last stage: integers can be neither pruned nor trained "
                "as floats. To train the quantized graph set quantize.qat = true"
            )
        return stages

    @model_validator(mode="after")
    def _check_products(self) -> ProjectConfig:
        if not self.targets and not self.schemes() and not self.stages:
            raise ValueError(
                "nothing is to be made; add a section [targets.NAME], quantize.schemes for QDQ "
                "graphs alone, or stages for a changed float graph"
            )
        return self

    def schemes(self) -> tuple[Precision, ...]:
        """Forms whose QDQ graph is made whatever the targets ask for.

        Stage quantize without any form asked for makes int8.
        """
        asked = {form for target in self.targets.values() for form in target.precision}
        if self.quantize.schemes or "quantize" not in self.stages or asked & set(QUANTIZED):
            return self.quantize.schemes
        return ("int8",)


def load_project(path: Path) -> ProjectConfig:
    """Reads an ``edgekit.toml``; paths in the result are absolute.

    Raises:
        ConfigError: If it is missing, is not TOML, or has wrong keys or values; all of them
            are listed.
    """
    project = load_toml(path, ProjectConfig)
    folder = path.absolute().parent
    model = project.model
    source = {"source": _source_from(model.source, folder)}
    updates: dict[str, Any] = {"model": model.model_copy(update=source)}
    if project.data is not None:
        place = {"set": _set_from(project.data.set, folder)}
        updates["data"] = project.data.model_copy(update=place)
    if (calibration := project.quantize.calibration) is not None:
        placed = calibration.model_copy(update={"set": _set_from(calibration.set, folder)})
        updates["quantize"] = project.quantize.model_copy(update={"calibration": placed})
    for name in ("qat", "prune", "sparsify", "distill"):
        section = getattr(project, name)
        if section.data is not None:
            place = {"set": _set_from(section.data.set, folder)}
            placed = section.data.model_copy(update=place)
            updates[name] = section.model_copy(update={"data": placed})
    if project.distill.teacher is not None:
        section = updates.get("distill", project.distill)
        place = {"teacher": _source_from(project.distill.teacher, folder)}
        updates["distill"] = section.model_copy(update=place)
    return project.model_copy(update=updates)


def project_json_schema() -> dict[str, Any]:
    """JSON Schema of ``edgekit.toml``, for editors."""
    schema = ProjectConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line; empty lines at the end do not count.

    Raises:
        ConfigError: If the file cannot be read or holds no names.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.labels_file: {path} cannot be read: {error}.") from error
    labels = tuple(line.strip() for line in text.rstrip().splitlines())
    if not labels:
        raise ConfigError(f"model.labels_file: {path} holds no class names.")
    return labels


def _source_from(source: str, folder: Path) -> str:
    """``source`` with the file it names, if any, taken from ``folder``."""
    file, colon, factory = source.rpartition(":")
    if colon and file.endswith(".py"):
        return f"{folder / Path(file).expanduser()}:{factory}"
    if not colon:
        return str(folder / Path(source).expanduser())
    return source


def _set_from(name: str, folder: Path) -> str:
    """``name`` with the path it holds taken from ``folder``, if something stands there.

    Otherwise it is left as it is, to be looked for below the data root.
    """
    kind, colon, place = name.partition(":")
    if colon and kind in ("folder", "npz") and (folder / place).exists():
        return f"{kind}:{folder / place}"
    if not colon and name.endswith(".npz") and (folder / name).exists():
        return str(folder / name)
    return name
