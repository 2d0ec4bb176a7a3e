"""Plans the steps that give the float graph: training, import, and what changes it after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.signature import TensorSpec
from edgekit.core.target import Target
from edgekit.errors import ConfigError, MissingToolError
from edgekit.pipeline.draft import Draft, LedgerGraph
from edgekit.pipeline.project import DistillSection
from edgekit.pipeline.registry import get_target, target_info, target_names
from edgekit.pipeline.steps import PublishedOutput, Source
from edgekit.stages.distill import DistillStageConfig
from edgekit.training.distillation import DistillOptions

if TYPE_CHECKING:
    from edgekit.data.datasets import DataSpec
    from edgekit.graph.importers import InputRequest

_NO_MODULE = (".onnx", ".pt2")
_ZOOS = ("timm:", "torchvision:")


def add_model_steps(draft: Draft, inputs: tuple[InputRequest, ...]) -> Source:
    """Everything up to the float graph that is quantized and lowered; gives that graph."""
    stages = list(draft.project.stages)
    weights, stage = None, "float"
    if stages[:1] == ["train"] and _is_module(draft.project.model.source):
        del stages[0]
        weights, stage = _add_training(draft, inputs), "trained"
    model = _add_import(draft, inputs, weights)
    draft.history.append(LedgerGraph("float32", stage, model, None))
    for name in stages:
        if name in _GRAPH_STAGES:
            model = _GRAPH_STAGES[name](draft, model)
    return model


def ledger_target(draft: Draft) -> Target | None:
    """The first target of the project that makes float32 artifacts and can measure them here."""
    for name in draft.project.targets:
        with suppress(ConfigError, MissingToolError):
            target = get_target(name)
            capabilities = target.capabilities()
            here = capabilities.convertible is None and capabilities.measurable is None
            if here and "float32" in target.info.precisions:
                return target
    return None


def _is_module(source: str) -> bool:
    """Whether a torch module is built from code of the user's, which can be trained as it is."""
    return not source.lower().endswith(_NO_MODULE) and not source.startswith(_ZOOS)


def _add_training(draft: Draft, inputs: tuple[InputRequest, ...]) -> Source | None:
    """Trains the torch module; gives its weights."""
    from edgekit.stages.train import TrainStageConfig

    model, data = draft.project.model, draft.project.data
    before = len(draft.problems)
    if data is None:
        draft.problems.append("stages: 'train' needs a data set; add a section [data]")
    if len(inputs) != 1 and len(inputs) == len(model.inputs):
        draft.problems.append(
            f"stages: 'train' needs exactly one input in model.inputs, such as "
            f'"image:1x3x32x32", but there are {len(inputs)}'
        )
    if data is None or len(inputs) != 1 or len(draft.problems) > before:
        return None
    spec = TensorSpec(
        name=inputs[0].name, shape=("batch", *inputs[0].shape[1:]), dtype=inputs[0].dtype
    )
    config = TrainStageConfig(
        source=model.source,
        weights=model.weights,
        input=spec,
        preprocessing=model.preprocessing,
        labels=draft.labels,
        data=data.model_copy(update={"split": "train"}),
        options=draft.project.train,
    )
    draft.add("train", "train", config)
    draft.training = Source("train", "curve")
    weights = Source("train", "weights")
    draft.outputs.append(PublishedOutput(f"{draft.project.name}.safetensors", weights))
    return weights


def _add_import(draft: Draft, inputs: tuple[InputRequest, ...], weights: Source | None) -> Source:
    """Imports the model; gives the canonical graph."""
    from edgekit.stages.import_model import ImportConfig

    model = draft.project.model
    config = ImportConfig(
        source=model.source,
        # Training starts from them; what it gives takes their place.
        weights=None if weights is not None else model.weights,
        inputs=inputs,
        dynamic_batch=model.dynamic_batch,
        preprocessing=model.preprocessing,
        labels=draft.labels,
        name=model.name or draft.project.name,
    )
    if weights is None:
        draft.add("import_model", "import_model", config)
    else:
        draft.add("import_model", "import_model", config, weights=weights)
    return Source("import_model", "model")


def _training_data(draft: Draft, own: DataSpec | None) -> DataSpec | None:
    """The section's own set, or the training split of the project's."""
    if own is not None:
        return own
    data = draft.project.data
    return None if data is None else data.model_copy(update={"split": "train", "limit": None})


def _add_pruning(draft: Draft, model: Source) -> Source:
    from edgekit.stages.prune import PruneStageConfig

    section = draft.project.prune
    step = draft.new_id("prune")
    data = _training_data(draft, section.data)
    latency = section.allocation == "latency"
    target = ledger_target(draft) if latency else None
    if latency and target is None:
        draft.problems.append(
            "prune.allocation: latency is measured on a target, and no target of the project "
            "can measure float32 artifacts on this machine; add a section [targets.tflite] or "
            "choose another allocation"
        )
    if section.importance == "taylor" and data is None:
        draft.problems.append(
            "prune.importance: taylor needs a labelled data set; add a section [data] or "
            "[prune.data] (--data)"
        )
    config = PruneStageConfig(step=step, data=data, options=section.prune_options())
    draft.add(step, "prune", config, target=target, machine_bound=latency, model=model)
    draft.prunings.append(f"{step}.summary")
    return _next(draft, "pruned", step, model)


def _add_sparsifying(draft: Draft, model: Source) -> Source:
    from edgekit.stages.sparsify import SparsifyStageConfig

    section = draft.project.sparsify
    step = draft.new_id("sparsify")
    data = _training_data(draft, section.data)
    config = SparsifyStageConfig(step=step, data=data, options=section.sparsify_options())
    draft.add(step, "sparsify", config, model=model)
    draft.sparsifyings.append(f"{step}.summary")
    return _next(draft, "sparsified", step, model)


def _add_distillation(draft: Draft, model: Source) -> Source:
    """Trains the graph on, by its parent or by the teacher that is named."""
    section = draft.project.distill
    step = draft.new_id("distill")
    data = _training_data(draft, section.data)
    if data is None:
        draft.problems.append(
            "stages: 'distill' needs data to train with; add a section [data] or [distill.data] "
            "(--data)"
        )
        return model
    options = section.distill_options()
    inputs: dict[str, Source] = {"model": model}
    artifact, target = None, None
    if section.teacher is None:
        parent = draft.history[0].graph
        if parent == model:
            draft.problems.append(
                "stages: 'distill' has no teacher: the graph is its own parent. Put prune or "
                "sparsify before it, or name one (distill.teacher, --teacher)"
            )
        inputs["teacher"] = parent
    elif (target := _target_of(section.teacher)) is not None:
        artifact = Path(section.teacher)
    else:
        inputs["teacher"] = _add_teacher(draft, section)
    config = DistillStageConfig(step=step, data=data, teacher_artifact=artifact, options=options)
    draft.add(step, "distill", config, target=target, machine_bound=False, **inputs)
    draft.courses.append(f"{step}.curve")
    return _next(draft, "distilled", step, model)


def _add_teacher(draft: Draft, section: DistillSection) -> Source:
    """Imports a teacher that is another model, with the inputs of this one."""
    from edgekit.stages.import_model import ImportConfig

    model = draft.project.model
    config = ImportConfig(
        source=str(section.teacher),
        weights=section.teacher_weights,
        inputs=draft.parsed_inputs(),
        dynamic_batch=model.dynamic_batch,
        preprocessing=model.preprocessing,
        labels=draft.labels,
        name=Path(str(section.teacher)).stem,
    )
    step = draft.new_id("import_teacher")
    draft.add(step, "import_model", config)
    return Source(step, "model")


def _target_of(teacher: str) -> Target | None:
    """The target whose artifact it is; None for what can be imported."""
    for name in target_names():
        info = target_info(name)
        if Path(teacher).suffix == info.suffix and info.suffix not in _NO_MODULE:
            return get_target(name)
    return None


def _add_fine_tuning(draft: Draft, model: Source) -> Source:
    """Trains the graph on by labels alone, with the options of section train."""
    step = draft.new_id("fine-tune")
    data = _training_data(draft, None)
    if data is None:
        draft.problems.append("stages: 'train' needs a data set; add a section [data] (--data)")
        return model
    options = DistillOptions.model_validate(draft.project.train.model_dump())
    config = DistillStageConfig(step=step, data=data, labels_alone=True, options=options)
    draft.add(step, "distill", config, model=model)
    draft.courses.append(f"{step}.curve")
    return _next(draft, "fine-tuned", step, model)


def _next(draft: Draft, stage: str, step: str, parent: Source) -> Source:
    graph = Source(step, "model")
    draft.history.append(LedgerGraph("float32", stage, graph, parent))
    return graph


_GRAPH_STAGES: Mapping[str, Callable[[Draft, Source], Source]] = {
    "train": _add_fine_tuning,
    "prune": _add_pruning,
    "sparsify": _add_sparsifying,
    "distill": _add_distillation,
}
"""Stages that take the canonical graph and give another: each adds its step to the draft and
gives the new source of the model."""
