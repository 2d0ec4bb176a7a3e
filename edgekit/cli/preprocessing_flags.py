"""The preprocessing of a model, from flags or from a TOML file."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import AnyPreprocessing, Preprocessing
from edgekit.core.toml_config import describe_problems, load_toml, read_toml, validation_problems
from edgekit.errors import ConfigError, UsageError


@dataclass(frozen=True, slots=True)
class PreprocessingFlags:
    """The options of ``convert`` as typed; None stands for one that was not given."""

    size: str | None = None
    resize: str | None = None
    channels: str | None = None
    scale: str | None = None
    mean: str | None = None
    std: str | None = None

    def given(self) -> dict[str, object]:
        """Values of the options that were given, by field of `Preprocessing`.

        Raises:
            UsageError: If one cannot be read.
        """
        parsed = {
            "size": None if self.size is None else parse_size(self.size),
            "resize": self.resize,
            "channels": self.channels,
            "scale": None if self.scale is None else parse_number(self.scale),
            "mean": None if self.mean is None else parse_numbers(self.mean),
            "std": None if self.std is None else parse_numbers(self.std),
        }
        return {name: value for name, value in parsed.items() if value is not None}


def preprocessing_from(file: Path | None, flags: PreprocessingFlags) -> AnyPreprocessing | None:
    """What the user declares; None when nothing was given, so that the model's own holds.

    Args:
        file: TOML file with the fields of `Preprocessing`, or of `LogMel` if its kind is log-mel.
        flags: The fields of `Preprocessing` as options.

    Raises:
        UsageError: If both are given, or an option cannot be read.
        ConfigError: If a key or value is wrong.
    """
    given = flags.given()
    if file is not None:
        if given:
            raise UsageError(
                f"Give the preprocessing in {file} or by --{', --'.join(given)}, not both."
            )
        return _load(file)
    if not given:
        return None
    try:
        return Preprocessing.model_validate(given)
    except ValidationError as error:
        problems = validation_problems(error, Preprocessing)
        raise ConfigError(describe_problems("The preprocessing", problems)) from error


def _load(file: Path) -> AnyPreprocessing:
    kind = read_toml(file).get("kind", "image")
    if kind == "image":
        return load_toml(file, Preprocessing)
    if kind == "log-mel":
        return load_toml(file, LogMel)
    raise ConfigError(f"{file}: kind should be 'image' or 'log-mel', but is {kind!r}.")


def parse_size(text: str) -> tuple[int, int]:
    """Reads ``224`` or ``HEIGHTxWIDTH``.

    Raises:
        UsageError: If it is something else.
    """
    parts = text.lower().split("x")
    if len(parts) in (1, 2) and all(part.isdecimal() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[-1])
    raise UsageError(f"Size {text!r} cannot be read; write 224 or HEIGHTxWIDTH, as in 240x320.")


def parse_number(text: str) -> float:
    """Reads ``0.0039`` or a fraction such as ``1/255``.

    Raises:
        UsageError: If it is something else.
    """
    numerator, slash, denominator = text.partition("/")
    value = math.nan
    with suppress(ValueError, ZeroDivisionError):
        value = float(numerator) / float(denominator) if slash else float(numerator)
    if not math.isfinite(value):
        raise UsageError(f"{text!r} is no number; write 0.5 or a fraction, as in 1/255.")
    return value


def parse_numbers(text: str) -> tuple[float, ...]:
    """Reads numbers with commas between, as in ``0.485,0.456,0.406``.

    Raises:
        UsageError: If one cannot be read.
    """
    return tuple(parse_number(part.strip()) for part in text.split(","))
