"""Shape inference by ONNX."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.graph.passes.graph_pass import GraphPass

_SMALL_TENSOR_BYTES = 1024
"""Tensors up to this size may be shapes, whose content inference reads."""


class InferShapes(GraphPass):
    """Annotates every value of the main graph with the shape and dtype that ONNX infers.

    1. Shapes and dtypes of values and outputs are filled in or made more precise; shapes
       of inputs are the model's interface and are not touched.
    2. A dim that inference cannot determine keeps what the file said.
    3. A graph that contradicts itself (an impossible shape or dtype) is an `InputError`.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
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
        value.shape = inferred.shape
        return True
    dims: list[int | str | None] = []
    for old, new in zip(value.shape, inferred.shape, strict=True):
        if isinstance(old, int):
            dims.append(old)
        elif isinstance(new, int):
            dims.append(new)
        else:
            dims.append(old.value or new.value)
    shape = ir.Shape(dims)
    if shape != value.shape:
        value.shape = shape
        modified = True
    return modified
