"""Products of two activations, or with a constant of more than two axes: BATCH_MATMUL."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Axes, Dim, identity, moves_data, stored_shape

_MATRIX = 2
_MAX_RANK = 5
_VERSIONS = {"float32": 1, "int8": 2, "int16": 3}


@dataclass(frozen=True, slots=True)
class Factor:
    """An operand of a product.

    Attributes:
        value: ``[..., rows, columns]``.
        transposed: Take it as ``[..., columns, rows]``.
    """

    value: ir.Value
    transposed: bool = False

    def matrix_axes(self, rank: int) -> tuple[int, int]:
        """Axes of the rows and columns that the product sees."""
        return (rank - 1, rank - 2) if self.transposed else (rank - 2, rank - 1)


@dataclass(frozen=True, slots=True)
class Product:
    """A BATCH_MATMUL to write.

    Attributes:
        operator: With the flags of transposed operands.
        inputs: Tensors.
        axes: Storage order of the result.
    """

    operator: Operator
    inputs: tuple[int, int]
    axes: Axes


def plan_product(
    context: LoweringContext, left: Factor, right: Factor, result: ir.Value
) -> Product:
    """Brings two factors into an order that BATCH_MATMUL takes.

    An operand whose rows and columns are stored the other way round is read through ``adjX``
    or ``adjY``. Batch axes may be stored in any order common to both.

    Raises:
        Refusal: For ranks or types that the kernels do not compute.
    """
    ranks = context.rank(left.value), context.rank(right.value)
    if min(ranks) < _MATRIX or max(ranks) > _MAX_RANK:
        raise Refusal(
            f"a product of ranks {ranks[0]} and {ranks[1]}", f"ranks {_MATRIX} to {_MAX_RANK}"
        )
    _leave_zero_points_to_float(context, right.value)
    version = _version(context, left.value, right.value, result)
    batches = max(ranks) - _MATRIX
    order = _batch_order(context, (left, right), batches)
    # LiteRT 2.1.2: the builtin kernel gives wrong numbers for adjX where it repeats an operand.
    repeats = _batch_dims(context, left.value, batches) != _batch_dims(
        context, right.value, batches
    )
    first, adjoint_first = _operand(context, left, order, may_adjoin=not repeats)
    second, adjoint_second = _operand(context, right, order, may_adjoin=True)
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = adjoint_first, adjoint_second
    axes = (*order, batches, batches + 1)
    return Product(Operator("BATCH_MATMUL", options, version), (first, second), axes)


def _version(context: LoweringContext, *values: ir.Value) -> int:
    """Version of the operator for the types of both factors and the result."""
    types = [context.type_of(value) for value in values]
    kinds = {kind.dtype for kind in types}
    if len(kinds) > 1 or not kinds <= set(_VERSIONS):
        raise Refusal(f"a product of types {', '.join(kind.dtype for kind in types)}",
                      f"one of {', '.join(_VERSIONS)} throughout")  # fmt: skip
    if any(kind.quantization is not None and kind.quantization.axis is not None for kind in types):
        raise Refusal("a factor quantized along an axis", "one scale for each factor")
    return _VERSIONS[types[0].dtype]


def _leave_zero_points_to_float(context: LoweringContext, factor: ir.Value) -> None:
    """Multiplies in float where the second factor has a zero point.

    XNNPACK (LiteRT 2.1.2) takes that of an int8 second factor as 0 whatever it is. Placement
    quantizes such factors symmetrically; graphs of other tools need not.
    """
    kind = context.type_of(factor)
    if kind.dtype == "int8" and kind.quantization is not None and kind.quantization.zero_points[0]:
        point = kind.quantization.zero_points[0]
        context.compute_in_float(
            f"its second factor has the zero point {point}, which XNNPACK's product ignores"
        )


def _batch_dims(context: LoweringContext, value: ir.Value, batches: int) -> tuple[Dim, ...]:
    dims = context.shape(value)[:-_MATRIX]
    return (1,) * (batches - len(dims)) + dims


def _batch_order(
    context: LoweringContext, factors: tuple[Factor, Factor], batches: int
) -> tuple[int, ...]:
    """The order of the result's batch axes for which fewest elements are moved."""
    stored = [
        tuple(axis for axis in context.axes(factor.value) if axis < batches)
        for factor in factors
        if context.rank(factor.value) - _MATRIX == batches
        and context.constant(factor.value) is None
    ]

    def moved(order: tuple[int, ...]) -> int:
        return sum(_moved_elements(context, factor, order) for factor in factors)

    return min([identity(batches), *stored], key=moved)


def _moved_elements(context: LoweringContext, factor: Factor, order: tuple[int, ...]) -> int:
    if context.constant(factor.value) is not None:
        return 0
    shape, current = context.shape(factor.value), context.axes(factor.value)
    if not moves_data(shape, current, _wanted_axes(context, factor, order, may_adjoin=True)):
        return 0
    size = 1
    for dim in shape:
        size *= dim if isinstance(dim, int) else 1
    return size


def _wanted_axes(
    context: LoweringContext, factor: Factor, order: tuple[int, ...], *, may_adjoin: bool
) -> Axes:
    """Batch axes in front in that order; rows and columns as they lie, if they may."""
    rank = context.rank(factor.value)
    rows, columns = factor.matrix_axes(rank)
    missing = len(order) - (rank - _MATRIX)
    batch = [axis - missing for axis in order if axis >= missing]
    current = context.axes(factor.value)
    if may_adjoin and current.index(columns) < current.index(rows):
        rows, columns = columns, rows
    return (*batch, rows, columns)


def _operand(
    context: LoweringContext, factor: Factor, order: tuple[int, ...], *, may_adjoin: bool
) -> tuple[int, bool]:
    """Tensor of a factor, and whether the operator must transpose it."""
    value = factor.value
    rank = context.rank(value)
    axes = _wanted_axes(context, factor, order, may_adjoin=may_adjoin)
    adjoint = axes[-1] != factor.matrix_axes(rank)[1]
    tensor = context.tensor(value, axes)
    missing = len(order) - (rank - _MATRIX)
    lead = order[:missing]
    if any(axis >= missing for axis in lead):
        # The kernel adds missing batch axes in front; here they stand elsewhere.
        dims = _batch_dims(context, value, len(order))
        shape = (*(dims[axis] for axis in order), *stored_shape(context.shape(value), axes[-2:]))
        name = f"{context.model.name_of(tensor)}/aligned"
        tensor = context.reshape(tensor, shape, context.type_of(value), name)
    return tensor, adjoint
