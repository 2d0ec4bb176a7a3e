"""Finds out what a model file or folder on disk is, and which target runs it."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.target import Inspection, Target, TargetInfo
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.registry import get_target, target_info, target_names

ONNX_SUFFIX = ".onnx"


def require_model_file(path: Path) -> None:
    """Refuses what can be no model before anything is loaded.

    Raises:
        InputError: If nothing stands there, a folder that is no model, or a part of one that is.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file.")
    folders = {info.suffix for info in map(target_info, target_names()) if info.folder}
    for parent in path.absolute().parents:
        if parent.suffix in folders:
            raise InputError(
                f"{path} is a part of the model {parent.name}, which is a folder. Give the path "
                "of that folder."
            )
    if path.is_dir() and path.suffix == "":
        raise InputError(f"{path} is a folder, not a model file. {_known_forms()}")


def target_of(path: Path, name: str | None = None) -> Target:
    """The target that runs the file.

    Args:
        path: A model file or folder; its suffix decides.
        name: The target to take instead; None goes by the suffix.

    Raises:
        InputError: If it is missing, no target has artifacts with this suffix, or it is a file
            where the target has folders or the other way round.
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
        _check_form(path, target.info)
        return target
    for known in target_names():
        if target_info(known).suffix == path.suffix:
            _check_form(path, target_info(known))
            return get_target(known)
    raise InputError(f"{path}: the suffix {path.suffix!r} belongs to no target. {_known_forms()}")


def _check_form(path: Path, info: TargetInfo) -> None:
    """Refuses a file where a target's artifacts are folders, and a folder where they are files."""
    if info.folder and not path.is_dir():
        raise InputError(
            f"{path} is a file, but a {info.suffix} of {info.title} is a folder. Give the folder "
            "itself; unpack it first if this is an archive of it."
        )
    if path.is_dir() and not info.folder:
        raise InputError(
            f"{path} is a folder, but a {info.suffix} of {info.title} is a file. Give the file."
        )


def inspect_file(path: Path) -> Inspection:
    """Static facts about a model file or folder of any known form.

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
