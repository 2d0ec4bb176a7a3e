"""Metadata inside a .tflite file: what Android tooling reads, and what edgekit restores.

Two entries are written. ``TFLITE_METADATA`` is TensorFlow Lite's own, with the labels as
a file in a ZIP behind the model, the way tflite-support packs it. ``edgekit.metadata`` is
JSON: the model's metadata, its signature in canonical axis order with the stored order of
each tensor, and the provenance.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edgekit.core.hashing import canonical_json
from edgekit.core.metadata import METADATA_KEY, ModelMetadata
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature
from edgekit.errors import InputError, InternalError
from edgekit.targets.tflite.metadata_description import LABEL_FILE, describe
from edgekit.targets.tflite.model_file import ModelFile, parse_model, read_model_file
from edgekit.targets.tflite.official_metadata import write_official
from edgekit.targets.tflite.repacking import with_metadata_entries
from edgekit.targets.tflite.stored_signature import misfit, stored_signature
from edgekit.targets.tflite.tensor_origin import TensorOrigin

OFFICIAL_ENTRY = "TFLITE_METADATA"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the oldest a ZIP can state: equal input, equal bytes
_UNIX = 3


class EmbeddedMetadata(FrozenModel):
    """Content of the entry ``edgekit.metadata``.

    Attributes:
        format_version: Raised when a field changes its meaning.
        metadata: As it came with the canonical graph.
        signature: In canonical axis order, with ``stored_axes`` of this file.
        provenance: For example digest of the source graph and version of edgekit.
        tensors: Which value of the canonical graph each activation tensor holds; empty where
            another engine made the file.
        float_reasons: Why an operator of a quantized file computes in float, by the tensor that
            it writes.
    """

    format_version: Literal[1] = 1
    metadata: ModelMetadata
    signature: ModelSignature
    provenance: dict[str, str]
    tensors: tuple[TensorOrigin, ...] = ()
    float_reasons: dict[str, str] = Field(default_factory=dict)


def embed_metadata(
    model_bytes: bytes,
    metadata: ModelMetadata,
    signature: ModelSignature,
    provenance: Mapping[str, str],
    tensors: Sequence[TensorOrigin] = (),
    float_reasons: Mapping[str, str] | None = None,
) -> bytes:
    """Puts both metadata entries and the label file into a .tflite file.

    Entries of the same names and a ZIP behind the model are replaced. Equal input gives
    equal bytes.

    Args:
        model_bytes: The whole .tflite file.
        metadata: Of the model.
        signature: Canonical, with ``stored_axes``; tensors in the order of the file.
        provenance: Facts on the origin, by name.
        tensors: Which value each activation tensor holds, where that is known.
        float_reasons: Why an operator computes in float, by the tensor that it writes.

    Raises:
        InputError: If ``model_bytes`` is damaged or no .tflite file.
        ConfigError: If a label or the preprocessing cannot be expressed.
        InternalError: If ``signature`` does not describe the file.
        MissingToolError: If LiteRT's schema or flatbuffers is not installed.
    """
    file = parse_model(model_bytes, "the .tflite file to describe")
    reason = misfit(signature, stored_signature(file))
    if reason:
        raise InternalError(f"The signature does not describe the .tflite file: {reason}.")
    description = describe(metadata, signature)
    own = EmbeddedMetadata(
        metadata=metadata,
        signature=signature,
        provenance=dict(provenance),
        tensors=tuple(tensors),
        float_reasons=dict(float_reasons or {}),
    )
    packed = with_metadata_entries(
        model_bytes,
        {
            OFFICIAL_ENTRY: write_official(description.official),
            METADATA_KEY: canonical_json(own).encode(),
        },
    )
    if not description.labels:
        return packed
    return _with_file(packed, LABEL_FILE, description.labels)


def read_embedded(path: Path) -> EmbeddedMetadata | None:
    """The entry ``edgekit.metadata`` of a file; None when it has none.

    Raises:
        InputError: If the file is missing or damaged, or the entry is.
    """
    return embedded_in(read_model_file(path))


def embedded_in(file: ModelFile) -> EmbeddedMetadata | None:
    """The entry ``edgekit.metadata``; None when the file has none.

    Raises:
        InputError: If the entry is damaged or of a newer format.
    """
    raw = file.metadata.get(METADATA_KEY)
    if raw is None:
        return None
    try:
        return EmbeddedMetadata.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its text"
        raise InputError(
            f"{file.name}: the metadata entry {METADATA_KEY!r} cannot be read ({place}: "
            f"{first['msg']}). It is damaged or of a newer edgekit; convert the model again."
        ) from error


def canonical_signature(file: ModelFile) -> ModelSignature:
    """The signature that edgekit recorded, or else the one that the flatbuffer states.

    Raises:
        InputError: If the recorded one is damaged or does not fit the file.
    """
    stored = stored_signature(file)
    embedded = embedded_in(file)
    if embedded is None:
        return stored
    reason = misfit(embedded.signature, stored)
    if reason:
        raise InputError(
            f"{file.name}: the metadata entry {METADATA_KEY!r} does not fit the file: {reason}. "
            "Another tool changed the file after edgekit wrote it; convert the model again."
        )
    return embedded.signature


def read_label_file(data: bytes) -> tuple[str, ...]:
    """The lines of the label file behind a model; empty when there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(archive.read(LABEL_FILE).decode().splitlines())
    except (zipfile.BadZipFile, KeyError):
        return ()


def _with_file(model: bytes, name: str, content: bytes) -> bytes:
    """``model`` followed by an uncompressed ZIP that holds one file."""
    stream = io.BytesIO()
    stream.write(model)
    info = zipfile.ZipInfo(name, date_time=_ZIP_DATE)
    info.create_system = _UNIX
    info.external_attr = 0o644 << 16
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(info, content)
    return stream.getvalue()
