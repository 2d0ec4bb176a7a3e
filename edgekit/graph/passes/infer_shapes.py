"""Shape inference by ONNX."""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.signature import dims_of
from edgekit.graph.values import is_op

_SMALL_TENSOR_BYTES = 1024
"""Tensors up to this size may be shapes, whose content inference reads."""
_MADE_UP = "unk__"
"""Prefix of the symbols that ONNX invents for dims it cannot determine."""


class InferShapes(GraphPass):
    """Annotates every value of the main graph with the shape and dtype that ONNX infers.

    1. Shapes and dtypes of values and outputs are filled in or made more precise; shapes
       of inputs are the model's interface and are not touched.
    2. A dim that inference cannot determine keeps what the file said.
    3. The ``-1`` of a Reshape is the one symbolic dim of its input where the other sizes
       have the same product; ONNX leaves it unknown.
    4. A graph that contradicts itself (an impossible shape or dtype) is an `InputError`.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = _infer(model)
        # Each Reshape that is resolved may show the shapes up to the next one.
        while _resolve_reshapes(model.graph):
            modified = True
            _infer(model)
        return modified


def _infer(model: ir.Model) -> bool:
    proto = ir.to_proto(model)
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) > _SMALL_TENSOR_BYTES:
            tensor.ClearField("raw_data")
    try:
        inferred = onnx.shape_inference.infer_shapes(
            proto, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"The graph contradicts itself; ONNX shape inference says: {reason}"
        ) from error
    infos = {info.name: info for info in (*inferred.graph.value_info, *inferred.graph.output)}
    modified = False
    for node in model.graph:
        for value in node.outputs:
            if value.name in infos:
                modified |= _refine(value, infos[value.name])
    return modified


def _resolve_reshapes(graph: ir.Graph) -> bool:
    """Names the symbolic dim behind the ``-1`` of reshapes; True when one was found."""
    modified = False
    for node in graph:
        if not is_op(node, "Reshape") or node.inputs[0] is None:
            continue
        before, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
        if before is None or after is None or after.count("?") != 1:
            continue
        symbols = [dim for dim in before if isinstance(dim, str)]
        known = [dim for dim in after if isinstance(dim, int)]
        sizes = [dim for dim in before if isinstance(dim, int)]
        if len(symbols) != 1 or symbols[0] == "?" or len(known) != len(after) - 1:
            continue
        if math.prod(known) == math.prod(sizes):
            node.outputs[0].shape = ir.Shape([symbols[0] if dim == "?" else dim for dim in after])
            modified = True
    return modified


def _refine(value: ir.Value, info: onnx.ValueInfoProto) -> bool:
    """Takes over what ``info`` knows better; True when something changed."""
    modified = False
    inferred = ir.serde.deserialize_value_info_proto(info, None)
    if value.dtype is None and inferred.type is not None:
        value.type = inferred.type
        modified = True
    if inferred.shape is None:
        return modified
    if value.shape is None or len(value.shape) != len(inferred.shape):
        value.shape = ir.Shape(
            [dim if isinstance(dim, int) else _own_symbol(dim) for dim in inferred.shape]
        )
        return True
    dims: list[int | str | None] = []
    for old, new in zip(value.shape, inferred.shape, strict=True):
        if isinstance(old, int):
            dims.append(old)
        elif isinstance(new, int):
            dims.append(new)
        else:
            dims.append(old.value or _own_symbol(new))
    shape = ir.Shape(dims)
    if shape != value.shape:
        value.shape = shape
        modified = True
    return modified


def _own_symbol(dim: ir.SymbolicDim) -> str | None:
    """The symbol, unless ONNX made it up for an unknown dim."""
    return None if dim.value is None or dim.value.startswith(_MADE_UP) else dim.value
