"""Choosing the importer of a source, and what follows every import."""

from __future__ import annotations

import re
from pathlib import Path

import onnx_ir as ir

from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.stage import Note
from edgekit.errors import UsageError
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.importers.input_shapes import fix_inputs
from edgekit.graph.importers.request import ImportedModel, ImportRequest, InputRequest
from edgekit.graph.metadata import read_metadata, write_metadata

_ZOO_PREFIXES = ("timm:", "torchvision:")


def import_from_source(request: ImportRequest) -> ImportedModel:
    """See `edgekit.graph.importers.import_model`."""
    model, known, import_notes = _import(request)
    metadata = ModelMetadata(
        name=request.name or (known.name if known.name != "model" else _name_of(request.source)),
        source=known.source or _described(request.source),
        preprocessing=request.preprocessing or known.preprocessing,
        labels=request.labels or known.labels,
        author=known.author,
        license=known.license,
        version=known.version,
    )
    notes = fix_inputs(model, _requests_for(model, request), dynamic_batch=request.dynamic_batch)
    result = canonicalize(model)
    write_metadata(result.model, metadata)
    return ImportedModel(result.model, (*import_notes, *notes, *result.notes))


def _import(request: ImportRequest) -> tuple[ir.Model, ModelMetadata, tuple[Note, ...]]:
    """The graph as its source gives it, and what the source knows of it, and notes."""
    source = request.source
    preprocessing: Preprocessing | None = None
    # Imported here, since torch is not needed for ONNX files.
    if source.startswith("timm:"):
        from edgekit.graph.importers.timm_model import import_timm_model

        model, preprocessing = import_timm_model(request)
        return model, ModelMetadata(preprocessing=_sized(preprocessing, request)), ()
    if source.startswith("torchvision:"):
        from edgekit.graph.importers.torchvision_model import import_torchvision_model

        model, preprocessing, labels = import_torchvision_model(request)
        sized = _sized(preprocessing, request)
        return model, ModelMetadata(preprocessing=sized, labels=labels), ()
    suffix = Path(source).suffix.lower()
    if suffix == ".onnx":
        from edgekit.graph.importers.onnx_file import import_onnx_file

        model = import_onnx_file(request)
        return model, read_metadata(model), ()
    if suffix == ".pt2":
        from edgekit.graph.importers.exported_program import import_exported_program

        model, notes = import_exported_program(request)
        return model, ModelMetadata(), notes
    if ":" in source:
        from edgekit.graph.importers.torch_module import import_torch_module

        return import_torch_module(request), ModelMetadata(), ()
    raise UsageError(_unknown_source(source, suffix))


def _sized(preprocessing: Preprocessing | None, request: ImportRequest) -> Preprocessing | None:
    """The zoo's preprocessing at the image size that was asked for."""
    shape = request.inputs[0].shape if request.inputs else ()
    if preprocessing is None or len(shape) != 4:
        return preprocessing
    return preprocessing.model_copy(update={"size": (shape[2], shape[3])})


def _unknown_source(source: str, suffix: str) -> str:
    forms = (
        "FILE.onnx, FILE.pt2, FILE.py:FACTORY, PACKAGE.MODULE:FACTORY, timm:NAME, torchvision:NAME"
    )
    if suffix in {".pth", ".pt", ".th", ".safetensors"}:
        return (
            f"{source} holds weights without their model; give the model's factory and the "
            f"file with --weights, for example: FILE.py:FACTORY --weights {source}"
        )
    if suffix == ".py":
        return f"{source} names no factory in the file; give {source}:FACTORY"
    return f"{source!r} is no known form of a model; accepted: {forms}"


def _requests_for(model: ir.Model, request: ImportRequest) -> tuple[InputRequest, ...]:
    """Requests that are still open: torch modules are exported with their shapes."""
    if Path(request.source).suffix.lower() in {".onnx", ".pt2"}:
        return request.inputs
    return ()


def _described(source: str) -> str:
    """The source without its folder: artifacts are the same wherever a project lies."""
    return source if source.startswith(_ZOO_PREFIXES) else Path(source).name


def _name_of(source: str) -> str:
    """Short name for files: the zoo name, the factory, or the file's stem."""
    for prefix in _ZOO_PREFIXES:
        if source.startswith(prefix):
            return _safe(source.removeprefix(prefix).partition("@")[0])
    place, separator, factory = source.rpartition(":")
    if separator and place:
        return _safe(factory)
    return _safe(Path(source).stem)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name) or "model"
