"""Writes a package whose bytes depend on its content alone.

coremltools gives each package new random identifiers; edgekit derives them, so that the same
graph and options have the same digest.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

from edgekit.errors import InputError

_MODEL = "com.apple.CoreML/model.mlmodel"
_WEIGHTS = "com.apple.CoreML/weights"
_AUTHOR = "com.apple.CoreML"
_NAMESPACE = uuid.UUID("8ff9a3cf-1b26-4c7a-9b2f-2a2d3b0c6e55")


def manifest(has_weights: bool) -> str:
    """JSON of ``Manifest.json``."""
    entries = {}
    model = str(uuid.uuid5(_NAMESPACE, _MODEL)).upper()
    if has_weights:
        weights = str(uuid.uuid5(_NAMESPACE, _WEIGHTS)).upper()
        entries[weights] = {
            "author": _AUTHOR,
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": _WEIGHTS,
        }
    entries[model] = {
        "author": _AUTHOR,
        "description": "CoreML Model Specification",
        "name": "model.mlmodel",
        "path": _MODEL,
    }
    content = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": model,
    }
    return json.dumps(content, indent=4)


def write_package(path: Path, specification: bytes, weights: Path | None) -> None:
    """Writes a package whole or not at all; one that is there is replaced.

    Args:
        path: Folder with the suffix ``.mlpackage``.
        specification: The serialized model.
        weights: ``weight.bin``; None for a model without stored weights.

    Raises:
        InputError: If the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    former = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        data = temporary / "Data" / "com.apple.CoreML"
        data.mkdir(parents=True)
        (temporary / "Manifest.json").write_text(manifest(weights is not None), encoding="utf-8")
        (data / "model.mlmodel").write_bytes(specification)
        if weights is not None:
            (data / "weights").mkdir()
            shutil.copyfile(weights, data / "weights" / "weight.bin")
        if path.exists():
            path.rename(former)
        temporary.rename(path)
    except OSError as error:
        if former.exists() and not path.exists():
            former.rename(path)
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Choose a folder that exists "
            "and can be written, on a disk with room."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
