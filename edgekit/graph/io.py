"""Loading and saving ONNX files, with every way a file can be wrong checked."""

from __future__ import annotations

import math
import os
from pathlib import Path

import google.protobuf.message  # type: ignore[import-untyped]  # protobuf ships no types
import onnx
import onnx_ir as ir

from edgekit.errors import InputError, UnsupportedError
from edgekit.graph.metadata import read_metadata, write_metadata
from edgekit.graph.signature import signature_of
from edgekit.graph.validation import check_ops, check_validity, check_weights, shorten_domain
from edgekit.graph.values import Array

__all__ = ["load_onnx", "read_metadata", "save_onnx", "signature_of", "write_metadata"]

_IR_WITHOUT_WEIGHT_INPUTS = 4
_PROTOBUF_LIMIT_BYTES = (1 << 31) - 1
_EXTERNAL_ABOVE_BYTES = 1 << 30
"""Weights beyond this go to a file beside the graph: protobuf ends at 2 GiB."""


def load_onnx(path: Path) -> ir.Model:
    """Loads and checks an ONNX file; weights are read into memory, the file is not modified.

    Initializers that old exporters list among the graph's inputs are no inputs here.

    Args:
        path: The file; external data is looked up beside it.

    Raises:
        InputError: If the file or its external data is missing or damaged, the graph is
            empty, or a weight holds NaN or infinity.
        UnsupportedError: If the graph holds ops that no installed ONNX defines (all of them
            are listed), or its weights exceed 2 GiB.
    """
    proto = _parse(path)
    shorten_domain(proto)
    _check_proto(proto, path)
    check_ops(proto, path)
    model = ir.from_proto(proto)
    _read_external(model, path)
    check_validity(proto, path)
    _drop_weights_from_inputs(model)
    check_weights(model, path)
    return model


def _drop_weights_from_inputs(model: ir.Model) -> None:
    """Takes initializers off the list of inputs, which only IR versions below 4 demand."""
    weights = model.graph.initializers.keys()
    inputs = [value for value in model.graph.inputs if value.name not in weights]
    model.graph.inputs.clear()
    model.graph.inputs.extend(inputs)
    model.ir_version = max(model.ir_version, _IR_WITHOUT_WEIGHT_INPUTS)


def save_onnx(
    model: ir.Model, path: Path, *, external_above_bytes: int = _EXTERNAL_ABOVE_BYTES
) -> None:
    """Writes ``model`` beside ``path`` and moves it there; equal graphs give equal bytes.

    Args:
        model: Not modified.
        path: Its folder must exist; an existing file is replaced.
        external_above_bytes: Weights larger than this in sum go to ``<path>.data``.
    """
    proto = ir.to_proto(model)
    weights = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if weights > external_above_bytes:
        _write_external(proto, path.with_name(f"{path.name}.data"))
    _write_beside(path, proto.SerializeToString(deterministic=True))


def external_files(path: Path) -> tuple[Path, ...]:
    """Files beside ``path`` that hold its weights, sorted; empty when it holds them itself.

    Raises:
        InputError: If the file is missing or damaged.
    """
    return tuple(sorted({path.parent / location for location in _locations(_parse(path))}))


def _parse(path: Path) -> onnx.ModelProto:
    if not path.exists():
        raise InputError(f"No ONNX file at {path}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the .onnx file inside it")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty")
    if size > _PROTOBUF_LIMIT_BYTES:
        raise InputError(f"{path} has {size} bytes; a protobuf file ends at 2 GiB")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except google.protobuf.message.DecodeError as error:
        raise InputError(f"{path} is no ONNX file: {_why_unreadable(content)}") from error
    return proto


def _why_unreadable(content: bytes) -> str:
    """Guesses from the first bytes what was given instead."""
    head = content[:512]
    for magic, kind in (
        (b"PK\x03\x04", "a zip archive (a torch .pt/.pt2/.pth file?)"),
        (b"\x89HDF", "an HDF5 file (a Keras model?)"),
        (b"version https://git-lfs", "a Git LFS pointer; fetch the file with `git lfs pull`"),
    ):
        if head.startswith(magic):
            return f"it is {kind}"
    if head[4:8] == b"TFL3":
        return "it is a TFLite file"
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if printable == len(head):
        return "it is a text file"
    return "the protobuf data is damaged or cut off"


def _check_proto(proto: onnx.ModelProto, path: Path) -> None:
    if not proto.HasField("graph") or not proto.graph.node:
        raise InputError(f"{path} holds no graph: it has no nodes, so there is nothing to convert")
    if not any(entry.domain == "" for entry in proto.opset_import):
        raise InputError(
            f"{path} declares no opset of the standard domain; the file is cut off or was not "
            "written by an ONNX exporter"
        )
    if not proto.graph.output:
        raise InputError(f"The graph in {path} has no outputs")


def _locations(proto: onnx.ModelProto) -> list[str]:
    return [
        entry.value
        for tensor in proto.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    ]


def _read_external(model: ir.Model, path: Path) -> None:
    """Reads external weights into memory, so that the model needs no other file."""
    total = 0
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None:
            raise InputError(f"Initializer {value.name!r} in {path} has no data")
        total += tensor.nbytes
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        array = _external_array(tensor, path)
        value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=tensor.name)
    if total > _PROTOBUF_LIMIT_BYTES:
        raise UnsupportedError(
            f"The weights of {path} take {total / 2**30:.1f} GiB; edgekit handles up to 2 GiB"
        )


def _external_array(tensor: ir.ExternalTensor, path: Path) -> Array:
    location = Path(tensor.location)
    if location.is_absolute() or ".." in location.parts:
        raise InputError(
            f"Weight {tensor.name!r} of {path} lies at {tensor.location!r}, outside the "
            "model's folder; external data must lie beside the model"
        )
    file = path.parent / location
    if not file.is_file():
        raise InputError(
            f"External data {file} of {path} is missing (weight {tensor.name!r}); "
            "copy it beside the .onnx file"
        )
    needed = (tensor.offset or 0) + tensor.nbytes
    if tensor.length is not None and tensor.length != tensor.nbytes:
        raise InputError(
            f"Weight {tensor.name!r} of {path} needs {tensor.nbytes} bytes, but its entry "
            f"says {tensor.length}"
        )
    if file.stat().st_size < needed:
        raise InputError(
            f"External data {file} is cut off: weight {tensor.name!r} ends at byte {needed}, "
            f"the file has {file.stat().st_size}"
        )
    return ir.ExternalTensor(
        location, tensor.offset, tensor.length, tensor.dtype,
        shape=tensor.shape, name=tensor.name or "", base_dir=path.parent,
    ).numpy().copy()  # fmt: skip


def _write_external(proto: onnx.ModelProto, data: Path) -> None:
    temporary = data.with_name(f".{data.name}.{os.getpid()}.tmp")
    offset = 0
    try:
        with temporary.open("wb") as stream:
            for tensor in proto.graph.initializer:
                content = tensor.raw_data
                if not content or math.prod(tensor.dims) < 256:
                    continue
                padding = -offset % 64
                stream.write(b"\0" * padding + content)
                offset += padding
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                for key, text in (
                    ("location", data.name), ("offset", str(offset)), ("length", str(len(content)))
                ):  # fmt: skip
                    tensor.external_data.add(key=key, value=text)
                offset += len(content)
        temporary.replace(data)
    finally:
        temporary.unlink(missing_ok=True)


def _write_beside(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
