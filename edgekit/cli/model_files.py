"""Finds out what a model file on disk is, and which target runs it."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.target import Inspection, Target
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.registry import get_target, target_info, target_names

ONNX_SUFFIX = ".onnx"


def require_model_file(path: Path) -> None:
    """Refuses what is no file before anything is loaded.

    Raises:
        InputError: If nothing stands there, or a folder that is no model.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file.")
    if path.is_dir() and path.suffix == "":
        raise InputError(f"{path} is a folder, not a model file. {_known_forms()}")


def target_of(path: Path, name: str | None = None) -> Target:
    """The target that runs the file.

    Args:
        path: A model file; its suffix decides.
        name: The target to take instead; None goes by the suffix.

    Raises:
        InputError: If the file is missing, or no target has files with this suffix.
        ConfigError: If no target is called ``name``.
        UsageError: If the target named runs files of another form.
    """
    require_model_file(path)
    if name is not None:
        target = get_target(name)
        if target.info.suffix != path.suffix:
            raise UsageError(
                f"Target {name!r} runs {target.info.suffix} files, but {path} is none. "
                "Leave --target out to go by the suffix."
            )
        return target
    for known in target_names():
        if target_info(known).suffix == path.suffix:
            return get_target(known)
    raise InputError(f"{path}: the suffix {path.suffix!r} belongs to no target. {_known_forms()}")


def inspect_file(path: Path) -> Inspection:
    """Static facts about a model file of any known form.

    Raises:
        InputError: If it is missing, damaged or of an unknown form.
    """
    require_model_file(path)
    if path.suffix == ONNX_SUFFIX:
        from edgekit.graph.inspect import inspect_onnx

        return inspect_onnx(path)
    return target_of(path).inspect(path)


def _known_forms() -> str:
    suffixes = {ONNX_SUFFIX, *(target_info(name).suffix for name in target_names())}
    return f"Known forms: {', '.join(sorted(suffixes))}."
