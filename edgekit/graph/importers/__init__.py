"""Importers: every source becomes one canonical ONNX graph.

Importing this package loads no framework, so that options can be declared with its types.
"""

from __future__ import annotations

from edgekit.graph.importers.request import (
    ImportedModel,
    ImportRequest,
    InputRequest,
    parse_input,
)

__all__ = ["ImportRequest", "ImportedModel", "InputRequest", "import_model", "parse_input"]


def import_model(request: ImportRequest) -> ImportedModel:
    """Imports a model from any source and brings it to the canonical form.

    Metadata that an ONNX file already carries is kept where the request says nothing.

    Raises:
        UsageError: If the source has no known form or shapes are missing.
        InputError: If a file is missing or damaged, or user code fails.
        UnsupportedError: If the model cannot be expressed in ONNX.
        VerificationError: If torch's exporter gives a graph that computes something else.
    """
    from edgekit.graph.importers.dispatch import import_from_source

    return import_from_source(request)
