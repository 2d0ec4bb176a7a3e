"""Integer inputs and outputs: QUANTIZE and DEQUANTIZE at the border leave the file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.core.signature import StoredIntegers
from edgekit.core.target import IoType
from edgekit.targets.tflite.lowering.flatbuffer import FlatbufferModel, Operator, WrittenOperator
from edgekit.targets.tflite.lowering.quantization import unsigned


def integer_inputs(
    model: FlatbufferModel, inputs: Mapping[str, int], io: IoType, notes: list[str]
) -> dict[str, int]:
    """Lets float inputs that are quantized at once be fed as integers.

    Args:
        model: Changed.
        inputs: Tensor of each input.
        io: ``"int8"``, or ``"uint8"``, whose integers are those of int8 and 128; a QUANTIZE
            then moves them.
        notes: Receives the reason for every input that stays.

    Returns:
        The tensors of the inputs afterwards.
    """
    made = {}
    for name, tensor in inputs.items():
        made[name] = tensor
        readers = model.readers(tensor)
        types = {model.type_of(reader.outputs[0]) for reader in readers}
        if model.type_of(tensor).dtype != "float32":
            continue
        if any(reader.name != "QUANTIZE" for reader in readers) or len(types) != 1:
            notes.append(f"input {name!r} stays float32: operators compute with it in float")
            continue
        (stored,) = types
        if stored.dtype != "int8":
            notes.append(f"input {name!r} stays float32: the model reads it as {stored.dtype}")
        elif io == "uint8":
            model.retype(tensor, unsigned(stored))
        else:
            made[name] = _take_over(model, name, tensor, readers)
    return made


def integer_outputs(
    model: FlatbufferModel, outputs: Mapping[str, int], io: IoType, notes: list[str]
) -> dict[str, int]:
    """Lets outputs that are dequantized at the end be read as integers; see `integer_inputs`."""
    made = {}
    for name, tensor in outputs.items():
        made[name] = tensor
        writer = model.writer(tensor)
        if model.type_of(tensor).dtype != "float32":
            continue
        if writer is None or writer.name != "DEQUANTIZE" or model.readers(tensor):
            notes.append(f"output {name!r} stays float32: it is computed in float")
            continue
        source = writer.inputs[0]
        stored = model.type_of(source)
        shared = source in made.values() or source in outputs.values()
        if stored.dtype != "int8" or shared or model.writer(source) is None:
            notes.append(f"output {name!r} stays float32: the model gives it as {stored.dtype}")
            continue
        model.remove_operator(writer)
        if io == "uint8":
            model.retype(tensor, unsigned(stored))
            model.add_operator(Operator("QUANTIZE", schema.QuantizeOptionsT()), [source], [tensor])
            continue
        model.rename(source, name)
        made[name] = source
    return made


def stored_integers(model: FlatbufferModel, tensor: int) -> StoredIntegers | None:
    """How an input or output is stored; None for one that is stored as it is."""
    tensor_type = model.type_of(tensor)
    quantization = tensor_type.quantization
    if quantization is None or tensor_type.dtype not in {"int8", "uint8"}:
        return None
    return StoredIntegers.model_validate(
        {
            "dtype": tensor_type.dtype,
            "scale": float(np.float32(quantization.scales[0])),
            "zero_point": quantization.zero_points[0],
        }
    )


def _take_over(
    model: FlatbufferModel, name: str, tensor: int, readers: list[WrittenOperator]
) -> int:
    """Makes the first quantized copy the input; readers of the others read it."""
    first = readers[0].outputs[0]
    for reader in readers:
        copy = reader.outputs[0]
        model.remove_operator(reader)
        if copy != first:
            for operator in model.readers(copy):
                operator.record.inputs = [
                    first if index == copy else index for index in operator.inputs
                ]
    model.rename(first, name)
    return first
