"""Importer of ``.pt2`` files, saved by ``torch.export.save``."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import torch

from edgekit.errors import InputError, UsageError
from edgekit.graph.importers.quiet import quiet
from edgekit.graph.importers.request import ImportRequest
from edgekit.graph.importers.torch_export import export_program


def import_exported_program(request: ImportRequest) -> ir.Model:
    """Loads an exported program and translates it.

    Raises:
        UsageError: If weights are given, which the file holds itself.
        InputError: If the file is missing or damaged.
        UnsupportedError: If an operator has no ONNX form.
    """
    if request.weights is not None:
        raise UsageError(f"{request.source} holds its own weights; --weights is for torch modules")
    path = Path(request.source)
    if not path.is_file():
        raise InputError(f"No exported program at {path}")
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:
        # torch.export.load raises many kinds on damaged archives.
        first = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise InputError(
            f"{path} is no file of torch.export.save, or is damaged: {first}"
        ) from error
    return export_program(program, request.source)
