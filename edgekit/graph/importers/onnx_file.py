"""Importer of ONNX files."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit.errors import UsageError
from edgekit.graph.importers.request import ImportRequest
from edgekit.graph.io import load_onnx


def import_onnx_file(request: ImportRequest) -> ir.Model:
    """Loads an ONNX file; the file is not modified.

    Raises:
        UsageError: If weights are given, which an ONNX file holds itself.
        InputError: If the file is missing or damaged.
        UnsupportedError: If it uses ops that standard ONNX does not define.
    """
    if request.weights is not None:
        raise UsageError(f"{request.source} holds its own weights; --weights is for torch modules")
    return load_onnx(Path(request.source))
