"""Serialises a TFLite model of LiteRT's schema objects, with aligned buffers."""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT_BYTES = 16
_TABLES_BYTES = 1 << 16


class _AlignedBuffer:
    """A buffer whose data starts at a multiple of 16 bytes.

    The schema asks for it (``force_align: 16``) but the generated ``BufferT.Pack`` ignores
    that, and kernels may read unaligned weights slowly or not at all.
    """

    def __init__(self, content: bytes | None) -> None:
        self._content = content

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - called by ModelT.Pack
        """Writes the vector with its alignment, then the table; gives the table's place."""
        vector = None
        if self._content is not None:
            builder.StartVector(1, len(self._content), BUFFER_ALIGNMENT_BYTES)
            builder.head -= len(self._content)
            builder.Bytes[builder.head : builder.head + len(self._content)] = self._content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def pack_model(model: Any) -> bytes:
    """The bytes of a ``ModelT``; equal models give equal bytes. ``model`` is not modified.

    Args:
        model: A ``ModelT`` whose buffers hold bytes, byte arrays or nothing.
    """
    contents = [None if item.data is None else bytes(item.data) for item in model.buffers]
    packed = schema.ModelT()
    packed.__dict__.update(model.__dict__)
    packed.buffers = [_AlignedBuffer(content) for content in contents]
    size = sum(len(content) for content in contents if content is not None)
    builder = flatbuffers.Builder(size + _TABLES_BYTES)
    builder.Finish(packed.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
