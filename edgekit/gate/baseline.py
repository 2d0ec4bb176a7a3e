"""The baseline: a small JSON file that names artifacts by digest, with what they achieved.

It holds no latency. A stored time says nothing on a machine that is busy in another way today;
the artifact itself is kept beside the baseline (`edgekit.gate.kept_artifacts`) and timed again.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature
from edgekit.core.toml_config import describe_problems, validation_problems
from edgekit.data.contract import DataSpec
from edgekit.errors import InputError, UsageError
from edgekit.gate.options import GateOptions
from edgekit.measure.accuracy import predictions_digest
from edgekit.store.durable import write_bytes
from edgekit.store.os_errors import os_errors_explained

KIND: Literal["edgekit-baseline"] = "edgekit-baseline"


class KeptAccuracy(FrozenModel):
    """What an artifact predicted.

    Attributes:
        hits: Samples that it had right.
        samples: Number of samples.
        predictions: Class of each, packed by `pack`.
        predictions_digest: sha256 over them, see `edgekit.measure.accuracy`.
        targets_digest: The same over the true classes, so that other samples are noticed.
    """

    hits: int = Field(ge=0)
    samples: int = Field(ge=1)
    predictions: str
    predictions_digest: str
    targets_digest: str


class KeptArtifact(FrozenModel):
    """One artifact of the baseline.

    Attributes:
        target: Target that runs it.
        digest: sha256 of its content.
        size_bytes: Its size.
        inputs: Its inputs as text, name, dtype and shape.
        outputs: Its outputs.
        runtime: Runtime and version that ran it; empty where this machine could not.
        accuracy: What it predicted, or why accuracy is not gated.
        latency: None when latency is gated, otherwise why it is not.
        memory_bytes: Its peak memory, or why memory is not gated.
    """

    target: str
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runtime: str
    accuracy: KeptAccuracy | Unavailable
    latency: Unavailable | None
    memory_bytes: int | Unavailable


class KeptData(FrozenModel):
    """The samples that accuracy is gated on.

    Attributes:
        set: As in `DataSpec`.
        split: As in `DataSpec`.
        limit: As in `DataSpec`.
        files_digest: Over the content of the set's files; empty for embedded data.
    """

    set: str
    split: Literal["train", "test"]
    limit: int | None
    files_digest: str

    def spec(self, root: Path | None) -> DataSpec:
        """How it is opened on this machine."""
        return DataSpec(set=self.set, root=root, split=self.split, limit=self.limit)


class Baseline(FrozenModel):
    """What artifacts are compared with.

    Attributes:
        kind: Tells this from other JSON.
        version: Of this form.
        model: Name of the model.
        edgekit_version: Version that wrote it.
        device: Processor that it was measured on.
        options: Tolerances.
        data: The samples; None when accuracy is not gated.
        artifacts: By file name.
    """

    kind: Literal["edgekit-baseline"] = KIND
    version: Literal[1] = 1
    model: str
    edgekit_version: str
    device: str
    options: GateOptions
    data: KeptData | None
    artifacts: dict[str, KeptArtifact]


def read_baseline(path: Path) -> Baseline:
    """Reads and checks a baseline.

    Raises:
        UsageError: If there is none.
        InputError: If it is damaged; says what is wrong.
    """
    if not path.exists():
        raise UsageError(
            f"{path}: there is no baseline. Make one of artifacts that are good with --update, "
            "and commit it with the folder beside it."
        )
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged: it cannot be read as JSON ({error}).") from error
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise InputError(f'{path} is no baseline: it does not say "kind": "{KIND}".')
    try:
        baseline = Baseline.model_validate(value)
    except ValidationError as error:
        problems = validation_problems(error, Baseline)
        raise InputError(describe_problems(f"The baseline {path}", problems)) from error
    for name, kept in baseline.artifacts.items():
        if isinstance(kept.accuracy, KeptAccuracy):
            _check_predictions(path, name, kept.accuracy)
    return baseline


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes it with sorted artifacts, so that a change shows as few lines.

    Raises:
        UsageError: If it cannot be written.
    """
    value = baseline.model_dump(mode="json")
    value["artifacts"] = dict(sorted(value["artifacts"].items()))
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with os_errors_explained("write the baseline to", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())


def keep_accuracy(predictions: Sequence[int], targets: Sequence[int]) -> KeptAccuracy:
    """What is kept of an evaluation."""
    return KeptAccuracy(
        hits=sum(a == b for a, b in zip(predictions, targets, strict=True)),
        samples=len(targets),
        predictions=pack(predictions),
        predictions_digest=predictions_digest(predictions),
        targets_digest=predictions_digest(targets),
    )


def pack(classes: Sequence[int]) -> str:
    """Class indices as text: little-endian in the smallest width, zlib, base64.

    Raises:
        ValueError: If one is negative or beyond 32 bits.
    """
    values = np.asarray(classes, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() >= 1 << 32):
        raise ValueError("class indices lie in 0..2**32-1")
    width = next(w for w in (1, 2, 4) if not values.size or values.max() < 1 << (8 * w))
    data = bytes([width]) + values.astype(f"<u{width}").tobytes()
    return base64.b64encode(zlib.compress(data, 9)).decode()


def unpack(text: str) -> npt.NDArray[np.int64]:
    """The class indices that `pack` was given, ``int64[n]``.

    Raises:
        ValueError: If the text is damaged.
    """
    try:
        data = zlib.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"packed classes are damaged: {error}") from error
    width = data[0] if data else 0
    if width not in (1, 2, 4) or (len(data) - 1) % width:
        raise ValueError("packed classes are damaged: they have no known width")
    return np.frombuffer(data[1:], dtype=f"<u{width}").astype(np.int64)


def signature_texts(signature: ModelSignature) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs as they stand in a baseline."""
    return (
        tuple(str(spec) for spec in signature.inputs),
        tuple(str(spec) for spec in signature.outputs),
    )


def _check_predictions(path: Path, name: str, kept: KeptAccuracy) -> None:
    try:
        predictions = unpack(kept.predictions)
    except ValueError as error:
        raise InputError(f"{path} is damaged: of {name}, {error}.") from error
    if len(predictions) != kept.samples or kept.hits > kept.samples:
        raise InputError(
            f"{path} is damaged: of {name} it says {kept.hits} of {kept.samples} samples and "
            f"holds {len(predictions)} predictions."
        )
    if predictions_digest(predictions) != kept.predictions_digest:
        raise InputError(f"{path} is damaged: the predictions of {name} have another digest.")
