"""Counts of a canonical graph that its latency on a Neural Engine is estimated from.

Conventions:

- Multiply-accumulates are those of `edgekit.graph.inspect.count_macs`.
- Activation bytes are 2 bytes for every element that an op writes. Not written are: views, which
  hold the elements of their input in the same order; what an op computes from constants alone; an
  activation whose input only it reads, and a constant that is added to a product, since both are
  computed where the product is. The graph's inputs are not counted.
- Weight bytes are 2 bytes for every element of constants of rank 1 and more that are read, without
  64-bit integers and booleans (shapes, axes and masks) and without scales and zero points.
- A symbolic first dim counts as 1. QuantizeLinear and DequantizeLinear count nothing: the figures
  are those of the float16 network, whatever it is stored in.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.core.model_base import FrozenModel
from edgekit.errors import InputError
from edgekit.graph.inspect import count_macs
from edgekit.graph.values import constant_array, input_at, is_op

HALF_BYTES = 2
"""Size of a float16 number."""
_VIEWS = (
    "Reshape", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Dropout",
    "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip
_ACTIVATIONS = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid",
    "HardSwish", "Swish", "Tanh", "Gelu", "Mish", "Softplus", "Softsign", "ThresholdedRelu",
)  # fmt: skip
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CONTROL_FLOW = ("If", "Loop", "Scan")
_NO_WEIGHTS = (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING)


class Features(FrozenModel):
    """What one inference computes, writes and reads, at batch 1 in float16.

    Attributes:
        macs: Multiply-accumulates.
        activation_bytes: Bytes of all tensors that ops write.
        weight_bytes: Bytes of all weights.
    """

    macs: int
    activation_bytes: int
    weight_bytes: int


def features_of_graph(model: ir.Model) -> Features:
    """Counts a canonical graph, float or QDQ (see the module docstring).

    Args:
        model: With inferred shapes; not modified.

    Raises:
        InputError: If the graph has control flow, or a size besides the batch is open.
    """
    for node in model.graph:
        if is_op(node, *_CONTROL_FLOW):
            raise InputError(
                f"{node.op_type} {node.name!r} runs a part of the graph, how often the graph does "
                "not tell, so its work cannot be counted; unroll it before the export"
            )
    macs = count_macs(model)
    if macs is None:
        raise InputError(
            "a convolution or matrix product has an open size besides the batch, so its work "
            "cannot be counted; import the model with fixed input shapes"
        )
    writes = [
        value
        for node in model.graph
        if _writes(node)
        for value in node.outputs
        if value.uses() or value.is_graph_output()
    ]
    return Features(
        macs=macs,
        activation_bytes=HALF_BYTES * sum(_elements(value) for value in writes),
        weight_bytes=HALF_BYTES * _weights(model.graph),
    )


def _writes(node: ir.Node) -> bool:
    """Whether an op stores results of its own."""
    if is_op(node, "Constant", *_VIEWS):
        return False
    if all(value is None or constant_array(value) is not None for value in node.inputs):
        return False
    return not (_is_fused_activation(node) or _is_swish(node) or _is_constant_sum(node))


def _is_fused_activation(node: ir.Node) -> bool:
    """Whether an activation follows what computes its input, which nothing else reads.

    The Sigmoid of ``x * Sigmoid(x)``, the form of SiLU in a canonical graph, shares its input.
    """
    if not is_op(node, *_ACTIVATIONS):
        return False
    source = node.inputs[0]
    if source is None or source.producer() is None or source.is_graph_output():
        return False
    readers = _readers(source)
    if readers == {node}:
        return True
    product = _swish_product(node)
    return product is not None and readers == {node, product}


def _is_swish(node: ir.Node) -> bool:
    """Whether a product is the second half of a SiLU that is fused."""
    return any(
        value is not None
        and (gate := value.producer()) is not None
        and _swish_product(gate) is node
        and _is_fused_activation(gate)
        for value in node.inputs
    )


def _swish_product(gate: ir.Node) -> ir.Node | None:
    """The Mul of ``x * Sigmoid(x)``, given its Sigmoid."""
    if not is_op(gate, "Sigmoid") or gate.outputs[0].is_graph_output():
        return None
    readers = _readers(gate.outputs[0])
    if len(readers) != 1:
        return None
    (product,) = readers
    if not is_op(product, "Mul"):
        return None
    return product if gate.inputs[0] in product.inputs else None


def _is_constant_sum(node: ir.Node) -> bool:
    """Whether an Add is the bias of the product before it."""
    if not is_op(node, "Add"):
        return False
    for value, other in (node.inputs, tuple(reversed(node.inputs))):
        if value is None or constant_array(other) is None or value.is_graph_output():
            continue
        if is_op(value.producer(), *_PRODUCTS) and _readers(value) == {node}:
            return True
    return False


def _readers(value: ir.Value) -> set[ir.Node]:
    return {use.node for use in value.uses()}


def _elements(value: ir.Value) -> int:
    if value.shape is None:
        raise InputError(_open_size(value, "an unknown shape"))
    sizes = [
        dim if isinstance(dim, int) else (1 if axis == 0 else None)
        for axis, dim in enumerate(value.shape)
    ]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise InputError(_open_size(value, f"the shape {value.shape}"))
    return math.prod(known)


def _open_size(value: ir.Value, what: str) -> str:
    node = value.producer()
    op = "" if node is None else f" of {node.op_type} {node.name!r}"
    return (
        f"tensor {value.name!r}{op} has {what}, so its bytes cannot be counted; import the model "
        "with fixed input shapes"
    )


def _weights(graph: ir.Graph) -> int:
    """Elements of weights."""
    return sum(
        tensor.size
        for value in graph.initializers.values()
        if (tensor := value.const_value) is not None
        and len(tensor.shape) > 0
        and tensor.dtype not in _NO_WEIGHTS
        and any(not _is_quantization_parameter(value, use.node) for use in value.uses())
    )


def _is_quantization_parameter(value: ir.Value, node: ir.Node) -> bool:
    if not is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return False
    return value in (input_at(node, 1), input_at(node, 2))
