"""Metadata of a model inside its ONNX file."""

from __future__ import annotations

import onnx_ir as ir
from pydantic import ValidationError

from edgekit.core.hashing import canonical_json
from edgekit.core.metadata import METADATA_KEY, ModelMetadata
from edgekit.core.model_base import problems_of
from edgekit.errors import InputError


def read_metadata(model: ir.Model) -> ModelMetadata:
    """Metadata that edgekit wrote into ``model``; defaults when there is none.

    Raises:
        InputError: If the entry is there but damaged.
    """
    text = model.metadata_props.get(METADATA_KEY)
    if text is None:
        return ModelMetadata()
    try:
        return ModelMetadata.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"The model's metadata ({METADATA_KEY!r}) is damaged: {problems_of(error)}. "
            "Import the model again"
        ) from error


def write_metadata(model: ir.Model, metadata: ModelMetadata) -> None:
    """Writes ``metadata`` into ``model``, replacing what was there; ``model`` is modified."""
    model.metadata_props[METADATA_KEY] = canonical_json(metadata)
