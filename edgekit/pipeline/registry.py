"""Finds stages and targets by name, importing each only when it is asked for."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from edgekit.core.stage import Stage
from edgekit.core.target import Target, TargetInfo
from edgekit.core.toml_config import nearest_name
from edgekit.errors import ConfigError, InternalError, MissingToolError

ENTRY_POINT_GROUP = "edgekit.targets"
"""Group under which another distribution offers a target: a callable that returns it."""

_STAGES: Mapping[str, str] = {
    "train": "edgekit.stages.train:TrainStage",
    "import_model": "edgekit.stages.import_model:ImportStage",
    "prune": "edgekit.stages.prune:PruneStage",
    "sparsify": "edgekit.stages.sparsify:SparsifyStage",
    "distill": "edgekit.stages.distill:DistillStage",
    "quantize": "edgekit.stages.quantize:QuantizeStage",
    "qat": "edgekit.stages.qat:QatStage",
    "lower": "edgekit.stages.lower:LowerStage",
    "evaluate": "edgekit.stages.evaluate:EvaluateStage",
    "benchmark": "edgekit.stages.benchmark:BenchmarkStage",
    "predictions": "edgekit.stages.predictions:PredictionsStage",
    "layer_errors": "edgekit.stages.layer_errors:LayerErrorsStage",
    "summarize": "edgekit.pipeline.summarize:SummarizeStage",
    "report": "edgekit.pipeline.report_stage:ReportStage",
}


def stage_names() -> tuple[str, ...]:
    """Names of all stages."""
    return tuple(_STAGES)


def get_stage(name: str) -> Stage[Any]:
    """A new instance of the stage of that name.

    Raises:
        ConfigError: If there is none; names the nearest.
    """
    if name not in _STAGES:
        raise ConfigError(
            f"There is no stage {name!r}.{nearest_name(name, _STAGES)} "
            f"Known: {', '.join(sorted(_STAGES))}."
        )
    return cast("Stage[Any]", load(_STAGES[name])())


def load(reference: str) -> Any:
    """The object that ``"module:attribute"`` names."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def target_names() -> tuple[str, ...]:
    """Names of all targets, edgekit's own and those of other distributions, sorted."""
    return tuple(sorted({*_own_targets(), *_foreign_targets()}))


def target_info(name: str) -> TargetInfo:
    """Static facts about a target; imports no toolchain for edgekit's own targets.

    Raises:
        ConfigError: If there is no such target; names the nearest.
    """
    if name in _own_targets():
        return cast(TargetInfo, load(f"edgekit.targets.{name}:INFO"))
    return get_target(name).info


def get_target(name: str) -> Target:
    """The target of that name.

    Raises:
        ConfigError: If there is none; names the nearest.
        MissingToolError: If another distribution offers it and fails to load it.
    """
    if name in _own_targets():
        return cast(Target, load(f"edgekit.targets.{name}.target:create_target")())
    if name in _foreign_targets():
        return _load_foreign(_foreign_targets()[name])
    names = target_names()
    raise ConfigError(
        f"There is no target {name!r}.{nearest_name(name, names)} "
        f"Known targets: {', '.join(names)}."
    )


def all_targets() -> tuple[Target, ...]:
    """All targets in the order of `target_names`."""
    return tuple(get_target(name) for name in target_names())


@cache
def _own_targets() -> frozenset[str]:
    import edgekit.targets

    return frozenset(
        module.name for module in pkgutil.iter_modules(edgekit.targets.__path__) if module.ispkg
    )


@cache
def _foreign_targets() -> Mapping[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in _own_targets() or entry.name in found:
            raise ConfigError(
                f"{_giver(entry)} offers a target {entry.name!r}, but there is another of that "
                "name. Uninstall one of the two."
            )
        found[entry.name] = entry
    return found


def _load_foreign(entry: EntryPoint) -> Target:
    try:
        target = entry.load()()
    except ImportError as error:
        raise MissingToolError(
            f"Target {entry.name!r} of {_giver(entry)} cannot be loaded: {error}."
        ) from error
    if target.info.name != entry.name:
        raise InternalError(
            f"{_giver(entry)} registers a target as {entry.name!r} that calls itself "
            f"{target.info.name!r}. Target developer: make the two agree."
        )
    return cast(Target, target)


def _giver(entry: EntryPoint) -> str:
    return f"distribution {entry.dist.name!r}" if entry.dist else repr(entry.value)
