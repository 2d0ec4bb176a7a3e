"""Static facts about a .tflite file, read from the flatbuffer alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgekit.core.metadata import METADATA_KEY, ModelMetadata
from edgekit.core.signature import ModelSignature
from edgekit.core.target import Inspection, OpCount
from edgekit.errors import InputError
from edgekit.targets.tflite.metadata import OFFICIAL_ENTRY, canonical_signature, embedded_in
from edgekit.targets.tflite.model_file import ModelFile, read_model_file
from edgekit.targets.tflite.operator_costs import (
    count_arithmetic,
    count_macs,
    count_parameters,
    count_transposes,
)
from edgekit.targets.tflite.stored_signature import stored_signature

_RUNTIME_ENTRY = "min_runtime_version"


def inspect(path: Path) -> Inspection:
    """Static facts about a .tflite file; needs neither LiteRT nor flatbuffers.

    Operators of all subgraphs are counted; multiply-accumulates and transposes are those of
    the main graph, with a dynamic batch taken as 1.

    Raises:
        InputError: If the file is missing, damaged or of another format.
    """
    file = read_model_file(path)
    signature, embedded = _signature(file)
    ops = Counter(op.name for graph in file.subgraphs for op in graph.operators)
    macs, macs_unknown = count_macs(file)
    arithmetic = count_arithmetic(file)
    transposes = count_transposes(file)
    custom = sorted({op.name for graph in file.subgraphs for op in graph.operators if op.custom})
    details = {
        "description": file.description,
        "min_runtime_version": _runtime_version(file),
        "subgraphs": str(len(file.subgraphs)),
        "signatures": ", ".join(item.key for item in file.signatures) or "none",
        "custom_ops": ", ".join(custom) or "none",
        "transposes": str(transposes.total),
        "transposes_between_convolutions": str(transposes.between_convolutions),
        "layout_transposes_between_convolutions": str(transposes.of_layout),
        "constant_dequantize_ops": str(arithmetic.constant_dequantize),
        "hybrid_ops": str(arithmetic.hybrid),
        "edgekit_metadata": embedded,
        "tflite_metadata": "present" if OFFICIAL_ENTRY in file.metadata else "absent",
        "delegates": "not known from the file",
    }
    if macs_unknown:
        details["macs"] = f"not known: {macs_unknown}"
    return Inspection(
        path=path,
        format="tflite",
        signature=signature,
        ops=tuple(
            OpCount(op=op, count=count)
            for op, count in sorted(ops.items(), key=lambda item: (-item[1], item[0]))
        ),
        macs=macs,
        parameters=count_parameters(file),
        size_bytes=file.size_bytes,
        integer_ops=arithmetic.integer,
        float_ops=arithmetic.floating,
        details=details,
        metadata=_metadata(file),
    )


def _metadata(file: ModelFile) -> ModelMetadata | None:
    """Edgekit's own entry; None when there is none or, as `_signature` tells, it is unusable."""
    try:
        embedded = embedded_in(file)
    except InputError:
        return None
    return None if embedded is None else embedded.metadata


def _signature(file: ModelFile) -> tuple[ModelSignature, str]:
    """The signature, and what became of edgekit's own metadata entry."""
    try:
        signature = canonical_signature(file)
    except InputError as error:
        # A file remains worth inspecting when only edgekit's entry in it is unusable.
        return stored_signature(file), str(error)
    return signature, "present" if METADATA_KEY in file.metadata else "absent"


def _runtime_version(file: ModelFile) -> str:
    raw = file.metadata.get(_RUNTIME_ENTRY)
    if raw is None:
        return "not stated"
    # Converters pad the text with zero bytes to 16.
    return raw.split(b"\0", 1)[0].decode("utf-8", errors="replace")
