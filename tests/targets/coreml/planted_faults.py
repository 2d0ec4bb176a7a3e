"""Faults put into packages, as a converter with a defect would leave them."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.targets.coreml.toolchain import coremltools as ct

_WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
_MODEL = "Data/com.apple.CoreML/model.mlmodel"


def planted(source: Path, path: Path, change: Callable[[Any, Path], None]) -> Path:
    """A copy of a package with a change of its main block, or of its weight file."""
    shutil.copytree(source, path)
    specification = ct.proto.Model_pb2.Model()
    specification.ParseFromString((path / _MODEL).read_bytes())
    (function,) = specification.mlProgram.functions.values()
    change(function.block_specializations[function.opset], path / _WEIGHTS)
    (path / _MODEL).write_bytes(specification.SerializeToString(deterministic=True))
    return path


def rescale(
    source: Path,
    path: Path,
    value: str,
    factor: float,
    kinds: tuple[str, ...] = ("quantize", "dequantize"),
) -> Path:
    """Another scale where a value is quantized and restored.

    Args:
        source: The sound package.
        path: Where the faulty one goes.
        value: Name in the QDQ graph before the pair.
        factor: The scale is multiplied by it.
        kinds: Which of the two operators change.
    """

    def change(block: Any, weights: Path) -> None:
        del weights
        for kind, added in (("quantize", "_int8"), ("dequantize", "_dequantized")):
            if kind not in kinds:
                continue
            operation = _maker(block, f"{value}{added}", kind)
            binding = operation.inputs["scale"].arguments[0]
            constant = _named(block, binding.name)
            made = type(constant)()
            made.CopyFrom(constant)
            made.outputs[0].name = f"{binding.name}_planted"
            tensor = made.attributes["val"].immediateValue.tensor
            if tensor.HasField("bytes"):
                halves = np.frombuffer(tensor.bytes.values, np.float16)
                tensor.bytes.values = (halves * np.float16(factor)).tobytes()
            else:
                tensor.floats.values[0] *= factor
            place = list(block.operations).index(constant)
            block.operations.insert(place, made)
            operation = _maker(block, f"{value}{added}", kind)
            operation.inputs["scale"].arguments[0].name = f"{binding.name}_planted"

    return planted(source, path, change)


def swap_channels(source: Path, path: Path, value: str) -> Path:
    """The output channels of the layer that makes a value, in reverse order."""

    def change(block: Any, weights: Path) -> None:
        operation = _maker(block, value)
        product = operation.type == "matmul"
        name = operation.inputs["y" if product else "weight"].arguments[0].name
        stored = _stored(_named(block, name))
        offset = stored.blobFileValue.offset
        sizes = [item.constant.size for item in stored.type.tensorType.dimensions]
        content = bytearray(weights.read_bytes())
        size, start = struct.unpack_from("<QQ", content, offset + 8)
        data = np.frombuffer(bytes(content[start : start + size]), np.uint8)
        # The matrix of a product has its outputs last, all other weights first.
        swapped = (
            data.reshape(*sizes, -1)[:, ::-1] if product else data.reshape(sizes[0], -1)[::-1]
        )
        content[start : start + size] = swapped.tobytes()
        weights.write_bytes(bytes(content))

    return planted(source, path, change)


def _stored(constant: Any) -> Any:
    """Value that a constant or compressed constant keeps in the weight file."""
    if constant.type == "const":
        return constant.attributes["val"]
    key = "data" if "data" in (*constant.inputs, *constant.attributes) else "quantized_data"
    if key in constant.inputs:
        return constant.inputs[key].arguments[0].value
    return constant.attributes[key]


def remove(source: Path, path: Path, value: str) -> Path:
    """The activation that makes a value does nothing any more."""

    def change(block: Any, weights: Path) -> None:
        del weights
        operation = _maker(block, value)
        operation.type = "identity"
        for name in [name for name in operation.inputs if name != "x"]:
            del operation.inputs[name]

    return planted(source, path, change)


def _named(block: Any, name: str) -> Any:
    (found,) = [
        item for item in block.operations if any(output.name == name for output in item.outputs)
    ]
    return found


def _maker(block: Any, value: str, kind: str | None = None) -> Any:
    """The operation that makes a value, whatever precision has added to its name."""
    for added in ("", "_cast_fp16"):
        for item in block.operations:
            if item.outputs[0].name == f"{value}{added}" and kind in (None, item.type):
                return item
    raise AssertionError(value)
