"""Rewrites .tflite files through the schema classes that LiteRT ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import InputError, MissingToolError
from edgekit.targets.tflite.model_file import parse_model

SIGNATURE_KEY = "serving_default"


def with_metadata_entries(model_bytes: bytes, entries: Mapping[str, bytes]) -> bytes:
    """The model with metadata ``entries`` set; entries of the same names are replaced.

    Raises:
        InputError: If ``model_bytes`` is damaged or of another format.
        MissingToolError: If LiteRT's schema or flatbuffers is not installed.
    """
    import numpy as np

    schema, model = _unpacked(model_bytes)
    model.metadata = list(model.metadata or [])
    for name, content in entries.items():
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        known = [item for item in model.metadata if item.name == name.encode()]
        if known:
            model.buffers[known[0].buffer] = buffer
            continue
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    from edgekit.targets.tflite.packing import pack_model

    return pack_model(model)


def with_interface(
    model_bytes: bytes,
    inputs: Sequence[tuple[str, int]],
    outputs: Sequence[tuple[str, int]],
) -> bytes:
    """The model with its main graph's inputs and outputs in another order, newly named.

    Args:
        model_bytes: The whole .tflite file.
        inputs: Name and tensor index of each input, in the order wanted.
        outputs: The same of each output.

    Raises:
        InputError: If ``model_bytes`` is damaged or of another format.
        MissingToolError: If LiteRT's schema or flatbuffers is not installed.
    """
    schema, model = _unpacked(model_bytes)
    graph = model.subgraphs[0]
    graph.inputs = [index for _, index in inputs]
    graph.outputs = [index for _, index in outputs]

    def tensor_maps(pairs: Sequence[tuple[str, int]]) -> list[Any]:
        maps = []
        for name, index in pairs:
            item = schema.TensorMapT()
            item.name = name
            item.tensorIndex = index
            maps.append(item)
        return maps

    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE_KEY
    signature.inputs = tensor_maps(inputs)
    signature.outputs = tensor_maps(outputs)
    signature.subgraphIndex = 0
    model.signatureDefs = [signature]
    from edgekit.targets.tflite.packing import pack_model

    return pack_model(model)


def unpack_model(model_bytes: bytes) -> Any:
    """The model as a ``ModelT`` of LiteRT's schema module.

    Raises:
        InputError: If ``model_bytes`` is damaged or keeps weights behind its flatbuffer.
        MissingToolError: If LiteRT's schema or flatbuffers is not installed.
    """
    return _unpacked(model_bytes)[1]


def _unpacked(model_bytes: bytes) -> tuple[Any, Any]:
    """The schema module and the model as its objects."""
    # The generated classes read without looking at the end of the bytes.
    parse_model(model_bytes, "the .tflite file to rewrite")
    try:
        import flatbuffers  # noqa: F401 - the schema module needs it
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingToolError.for_extra(
            (error.name or "ai_edge_litert").partition(".")[0], "tflite", "rewrite a .tflite file"
        ) from error
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model_bytes, 0))
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise InputError(
            "The .tflite file keeps weights behind its flatbuffer (a model above 2 GB); "
            "edgekit cannot rewrite such a file."
        )
    return schema, model
