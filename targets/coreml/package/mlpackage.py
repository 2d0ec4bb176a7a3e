"""Opens a ``.mlpackage`` folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import InputError
from edgekit.targets.coreml.package.description import Description, parse_description
from edgekit.targets.coreml.package.program import (
    Constant,
    Program,
    Value,
    element_count,
    parse_program,
)
from edgekit.targets.coreml.package.types import TensorType
from edgekit.targets.coreml.package.weight_file import WeightFile
from edgekit.targets.coreml.package.wire import DamageError, fields, message, number

_PROGRAM = 502
_KINDS = {
    200: "a pipeline classifier", 202: "a pipeline", 303: "a neural network regressor",
    403: "a neural network classifier", 500: "a neural network", 302: "a tree ensemble",
    402: "a tree ensemble", 555: "a custom model",
}  # fmt: skip
_MODEL_PATH = "@model_path/"


@dataclass(frozen=True)
class Package:
    """A Core ML package.

    Attributes:
        path: The folder.
        specification_version: Version of Core ML's format.
        description: Features and texts.
        program: The ML program.
        folder: Where the model file and its weights lie.
    """

    path: Path
    specification_version: int
    description: Description
    program: Program
    folder: Path

    @cached_property
    def _files(self) -> dict[str, WeightFile]:
        return {}

    def constant(self, value: Value) -> Constant:
        """The elements of a constant, read from the weight file where they lie there.

        Raises:
            InputError: If the weight file is missing or damaged.
        """
        if value.blob is None:
            assert value.data is not None
            return value.data
        name, offset = value.blob
        if name not in self._files:
            self._files[name] = WeightFile(self._weights(name))
        kind = value.type
        if not isinstance(kind, TensorType) or kind.dtype == "string":
            raise InputError(f"{self.path}: a constant in {name} is no tensor of numbers.")
        try:
            count = element_count(kind)
        except DamageError as error:
            raise InputError(
                f"{self.path} is damaged: {error}. Convert the model again."
            ) from error
        flat = self._files[name].read(offset, kind.dtype, count)
        if kind.dtype == "bool":
            flat = flat != np.zeros((), flat.dtype)
        return flat.reshape([size for size in kind.shape or () if size is not None])

    def _weights(self, name: str) -> Path:
        """The weight file; its name is relative to the model file, and stays in the package."""
        path = self.folder / name.removeprefix(_MODEL_PATH)
        try:
            inside = path.resolve().is_relative_to(self.path.resolve())
            present = path.is_file()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} is damaged: {name!r} is no name of a weight file ({error}). Copy "
                "the package again."
            ) from error
        if not inside:
            raise InputError(
                f"{self.path} refers to weights outside of it: {name}. The package is damaged; "
                "convert the model again."
            )
        if not present:
            raise InputError(
                f"{self.path} is incomplete: its weights {path.relative_to(self.path)} are "
                "missing. Copy the whole folder, or convert the model again."
            )
        return path

    def weight_bytes(self) -> int:
        """Size of all files of the package."""
        return sum(item.stat().st_size for item in self.path.rglob("*") if item.is_file())


def read_package(path: Path, function: str = "main") -> Package:
    """Reads a package; constants are read as they are asked for.

    Args:
        path: The ``.mlpackage`` folder.
        function: Function whose features are described where there are several.

    Raises:
        InputError: If it is missing, damaged, or no ML program.
    """
    model = _model_file(path)
    try:
        data = memoryview(model.read_bytes())
    except OSError as error:
        raise InputError(f"{model} cannot be read: {error.strerror or error}.") from error
    try:
        version, description, program = _parse(data, function)
    except (DamageError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{model} is damaged: {error}. Copy the package again, or convert the model again."
        ) from error
    return Package(path, version, description, program, model.parent)


def _parse(data: memoryview, function: str) -> tuple[int, Description, Program]:
    version, description, program = 0, None, None
    other = ""
    for index, _, value in fields(data):
        if index == 1:
            version = number(value)
        elif index == 2:
            description = parse_description(message(value), function)
        elif index == _PROGRAM:
            program = parse_program(message(value))
        elif index >= 200:
            other = _KINDS.get(index, f"a model of type {index}")
    if program is None and other:
        raise DamageError(f"it holds {other}, and edgekit reads ML programs (iOS15 and later)")
    if description is None or program is None:
        raise DamageError("it holds no model description or no program")
    return version, description, program


def _model_file(path: Path) -> Path:
    """The model file that the manifest names."""
    if not path.exists():
        raise InputError(f"No Core ML package at {path}.")
    if not path.is_dir():
        raise InputError(
            f"{path} is a file, but a Core ML package is a folder. Unpack it first if it is an "
            "archive; .mlmodel files of neural networks are not read."
        )
    manifest = path / "Manifest.json"
    try:
        content: Any = json.loads(manifest.read_text(encoding="utf-8"))
        entry = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
        model = path / "Data" / str(entry)
        inside = model.resolve().is_relative_to(path.resolve())
    except FileNotFoundError as error:
        raise InputError(
            f"{path} has no Manifest.json, so it is no Core ML package, or an incomplete one."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{manifest} is damaged: it names no model file ({type(error).__name__}). Copy the "
            "package again."
        ) from error
    if not inside or not model.is_file():
        raise InputError(
            f"{path} is incomplete: the model file {entry} that its manifest names is missing."
        )
    return model
