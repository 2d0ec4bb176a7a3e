"""Static facts about an ONNX file: operators, multiply-accumulates, parameters, size.

Conventions:

- One multiply-accumulate (MAC) is one product added to a sum; a bias costs nothing.
- Conv: output elements x input channels / group x kernel size. ConvTranspose: input elements
  x output channels / group x kernel size. Gemm and MatMul: output elements x inner size.
  Every other operator counts as 0, as profilers for torch do.
- A symbolic first dim counts as batch 1.
- An operator computes on floats when any of its tensors is floating, otherwise on integers.
- Parameters are the elements of constants of rank 1 and more, without 64-bit integers and
  booleans: those are shapes, axes and masks, and scalars are bounds.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx_ir as ir

from edgekit.core.metadata import METADATA_KEY
from edgekit.core.target import Inspection, OpCount
from edgekit.errors import EdgekitError
from edgekit.graph.io import external_files, load_onnx
from edgekit.graph.metadata import read_metadata
from edgekit.graph.passes.fold_constants import FoldConstants
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.lift_constants import LiftConstants
from edgekit.graph.signature import signature_of
from edgekit.graph.values import constant_array, int_attribute, is_op

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose multiply-accumulates are counted."""
_NO_PARAMETERS = (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING)


def inspect_onnx(path: Path) -> Inspection:
    """Inspects an ONNX file of any opset; the file is not modified.

    Raises:
        InputError: If the file is missing or damaged.
        UnsupportedError: If it uses ops that standard ONNX does not define.
    """
    model = load_onnx(path)
    files = (path, *external_files(path))
    shaped = _with_shapes(model)
    floating = sum(_is_floating(node) for node in shaped.graph)
    integer = sum(_is_integer(node) for node in shaped.graph)
    counts = Counter(_op_name(node) for node in model.graph)
    return Inspection(
        path=path,
        format="onnx",
        signature=signature_of(model),
        ops=tuple(
            OpCount(op=op, count=count)
            for op, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ),
        macs=count_macs(shaped),
        parameters=_parameters(shaped),
        size_bytes=sum(file.stat().st_size for file in files),
        integer_ops=integer,
        float_ops=floating,
        details=_details(model, len(files) - 1),
        metadata=read_metadata(model) if METADATA_KEY in model.metadata_props else None,
    )


def count_macs(model: ir.Model) -> int | None:
    """Multiply-accumulates of one inference at batch 1 (see the module docstring).

    Returns:
        None when a shape that is needed is unknown.
    """
    total = 0
    for node in model.graph:
        if not is_op(node, *LAYERS):
            continue
        macs = _macs(node)
        if macs is None:
            return None
        total += macs
    return total


def layer_macs(path: Path) -> dict[str, int | None]:
    """Multiply-accumulates of each layer of an ONNX file, by the value that it gives.

    Raises:
        InputError: If the file is missing or damaged.
    """
    return {
        str(node.outputs[0].name): _macs(node)
        for node in _with_shapes(load_onnx(path)).graph
        if is_op(node, *LAYERS)
    }


def _macs(node: ir.Node) -> int | None:
    left, right = _sizes(node.inputs[0]), _sizes(node.inputs[1])
    output = _sizes(node.outputs[0])
    if left is None or right is None or output is None:
        return None
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    if node.op_type == "Gemm":
        return math.prod(output) * left[0 if int_attribute(node, "transA", 0) else 1]
    return math.prod(output) * left[-1]


def _sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """Sizes with a symbolic first dim as 1; None when another is unknown."""
    if value is None:
        return None
    array = constant_array(value)
    if array is not None:
        return array.shape
    if value.shape is None:
        return None
    sizes = [
        dim if isinstance(dim, int) else (1 if axis == 0 else None)
        for axis, dim in enumerate(value.shape)
    ]
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None


def _with_shapes(model: ir.Model) -> ir.Model:
    """A copy with as many shapes as can be inferred at the file's own opset."""
    copy = ir.from_proto(ir.to_proto(model))
    LiftConstants()(copy)
    try:
        for graph_pass in (InferShapes(), FoldConstants(), InferShapes()):
            graph_pass(copy)
    except EdgekitError:
        # The counts that need shapes are then None; the rest of the facts still holds.
        return copy
    return copy


def _dtypes(node: ir.Node) -> list[ir.DataType]:
    values = (*node.inputs, *node.outputs)
    return [value.dtype for value in values if value is not None and value.dtype is not None]


def _is_floating(node: ir.Node) -> bool:
    return any(dtype.is_floating_point() for dtype in _dtypes(node))


def _is_integer(node: ir.Node) -> bool:
    return not _is_floating(node) and any(dtype.is_integer() for dtype in _dtypes(node))


def _parameters(model: ir.Model) -> int:
    return sum(
        tensor.size
        for value in model.graph.initializers.values()
        if (tensor := value.const_value) is not None
        and len(tensor.shape) > 0
        and tensor.dtype not in _NO_PARAMETERS
        and value.uses()
    )


def _op_name(node: ir.Node) -> str:
    return node.op_type if not node.domain else f"{node.domain}::{node.op_type}"


def _details(model: ir.Model, external: int) -> dict[str, str]:
    details = {
        "opset": str(model.opset_imports[""]),
    }
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    if producer:
        details["producer"] = producer
    if external:
        details["external_data_files"] = str(external)
    return details
