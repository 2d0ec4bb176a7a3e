"""Static figures of a .tflite graph: multiply-accumulates, parameters, arithmetic, transposes.

One multiply-accumulate is one product added to a sum; biases, activations and pooling
count nothing. Layouts are those of the TensorFlow Lite kernels: activations
``[N, H, W, C]``, convolution filters ``[Cout, kh, kw, Cin / groups]``, depthwise filters
``[1, kh, kw, Cout]``, fully connected weights ``[Cout, Cin]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgekit.errors import InputError
from edgekit.targets.tflite.model_file import FileGraph, FileOperator, FileTensor, ModelFile

CONVOLUTIONS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE"}
)
FLOAT_TYPES = frozenset({"float16", "float32", "float64", "bfloat16", "complex64", "complex128"})
_LINE_RANK, _IMAGE_RANK = 3, 4
_INTEGER_TYPES = frozenset(
    {
        "int2", "int4", "int8", "int16", "int32", "int64",
        "uint4", "uint8", "uint16", "uint32", "uint64", "bool",
    }
)  # fmt: skip
_RESTORING = frozenset({"DEQUANTIZE", "DENSIFY"})
_SMALL_INTEGERS = frozenset({"int2", "int4", "uint4", "int8", "uint8"})
_UNCOUNTED = frozenset(
    {
        "LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "IF", "WHILE", "CALL",
        "STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL", "STABLEHLO_COMPOSITE",
        "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_CUSTOM_CALL", "DELEGATE",
    }
)  # fmt: skip
# Positions of (operand that sets the number of products, filter) among the inputs; the
# operand None stands for the output.
_FILTERED = {
    "CONV_2D": (None, 1),
    "DEPTHWISE_CONV_2D": (None, 1),
    "FULLY_CONNECTED": (None, 1),
    "CONV_3D": (None, 1),
    "TRANSPOSE_CONV": (2, 1),
    "CONV_3D_TRANSPOSE": (2, 1),
}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Operators of all subgraphs by the numbers they compute on.

    Attributes:
        integer: Operators whose first activation (else first output) is an integer or bool.
        floating: Operators whose first activation (else first output) is floating point.
        hybrid: Those of ``floating`` that have weights of 8 bits or fewer.
        constant_dequantize: DEQUANTIZE and DENSIFY of stored weights, which runtimes do once;
            in neither of the counts above.
    """

    integer: int
    floating: int
    hybrid: int
    constant_dequantize: int


@dataclass(frozen=True, slots=True)
class Transposes:
    """TRANSPOSE operators of the main graph.

    Attributes:
        total: All of them.
        between_convolutions: Those with a convolution before and another after them.
        of_layout: Those of ``between_convolutions`` that move the channels of an image from
            the last place to the second or back. A channel shuffle and the heads of attention
            stay out.
    """

    total: int
    between_convolutions: int
    of_layout: int


def count_macs(file: ModelFile) -> tuple[int | None, str]:
    """Multiply-accumulates of one run of the main graph, with a dynamic first dim taken as 1.

    Returns:
        The count and an empty text, or None and the reason why it is not known.

    Raises:
        InputError: If an operator has fewer tensors than its kind needs.
    """
    graph = file.main
    unknown = sorted({op.name for op in graph.operators if op.custom or op.name in _UNCOUNTED})
    if unknown:
        return None, f"the work inside {', '.join(unknown)} is not known from the file"
    total = 0
    for place, op in enumerate(graph.operators):
        try:
            macs = _operator_macs(graph, op)
        except IndexError:
            raise InputError(
                f"{file.name} is damaged: operator {place} ({op.name}) has {len(op.inputs)} "
                f"inputs and {len(op.outputs)} outputs, or shapes that do not suit it."
            ) from None
        if macs is None:
            return None, f"operator {place} ({op.name}) has a size that is open besides the batch"
        total += macs
    return total, ""


def macs_of(graph: FileGraph, op: FileOperator) -> int | None:
    """Multiply-accumulates of one operator; None where the file does not tell them."""
    if op.custom or op.name in _UNCOUNTED:
        return None
    try:
        return _operator_macs(graph, op)
    except IndexError:
        return None


def _operator_macs(graph: FileGraph, op: FileOperator) -> int | None:
    """Multiply-accumulates of one operator; None when a shape is open."""
    if op.name == "BATCH_MATMUL":
        left, output = _operand(graph, op, 0), graph.tensors[op.outputs[0]]
        if not (_sized(left) and _sized(output)):
            return None
        adjoint = op.options is not None and op.options.scalar(0, "?")
        return prod(output.shape) * left.shape[-2 if adjoint else -1]
    if op.name not in _FILTERED:
        return 0
    source, place = _FILTERED[op.name]
    weights = _operand(graph, op, place)
    operand = graph.tensors[op.outputs[0]] if source is None else _operand(graph, op, source)
    if not (_sized(weights) and _sized(operand)):
        return None
    shape = weights.shape
    per_element = {
        "CONV_2D": shape[1:],
        "DEPTHWISE_CONV_2D": shape[1:3],
        "FULLY_CONNECTED": shape[1:],
        "CONV_3D": shape[:4],
        "TRANSPOSE_CONV": shape[:3],
        "CONV_3D_TRANSPOSE": shape[:4],
    }[op.name]
    return prod(operand.shape) * prod(per_element)


def _sized(tensor: FileTensor) -> bool:
    """Whether all sizes but that of the batch are known."""
    return tensor.ranked and tensor.dynamic <= {0}


def _operand(graph: FileGraph, op: FileOperator, place: int) -> FileTensor:
    index = op.inputs[place]
    if index < 0:
        raise IndexError
    return graph.tensors[index]


def count_parameters(file: ModelFile) -> int:
    """Constant numbers that are weights or biases, each stored buffer once.

    Integer constants without a scale are shapes, axes or paddings and do not count, nor do the
    scales of blocks.
    """
    seen: set[int] = set()
    total = 0
    for graph in file.subgraphs:
        scales = {tensor.block_scales for tensor in graph.tensors}
        for index, tensor in enumerate(graph.tensors):
            if index in scales:
                continue
            weight = tensor.dtype in FLOAT_TYPES or tensor.quantized
            if tensor.constant and weight and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                total += prod(tensor.shape)
    return total


def count_arithmetic(file: ModelFile) -> Arithmetic:
    """Counts the operators of all subgraphs by the numbers they compute on."""
    integer = floating = hybrid = constant_dequantize = 0
    for graph in file.subgraphs:
        for op in graph.operators:
            inputs = [graph.tensors[index] for index in op.inputs if index >= 0]
            active = [tensor for tensor in inputs if not tensor.constant]
            if op.name in _RESTORING and not active:
                constant_dequantize += 1
                continue
            operands = active + [graph.tensors[index] for index in op.outputs]
            dtype = operands[0].dtype if operands else ""
            integer += dtype in _INTEGER_TYPES
            floating += dtype in FLOAT_TYPES
            hybrid += dtype in FLOAT_TYPES and any(
                tensor.constant and tensor.quantized and tensor.dtype in _SMALL_INTEGERS
                for tensor in inputs
            )
    return Arithmetic(integer, floating, hybrid, constant_dequantize)


def count_transposes(file: ModelFile) -> Transposes:
    """Counts the TRANSPOSE operators of the main graph and what they stand between."""
    graph = file.main
    after: set[int] = set()
    behind: set[int] = set()
    # Operators are stored in the order of execution, so one pass each way reaches all.
    is_after = [_advance(op, op.inputs, op.outputs, after) for op in graph.operators]
    is_before = [_advance(op, op.outputs, op.inputs, behind) for op in reversed(graph.operators)][
        ::-1
    ]
    total = between = of_layout = 0
    for op, follows, precedes in zip(graph.operators, is_after, is_before, strict=True):
        if op.name != "TRANSPOSE":
            continue
        total += 1
        if follows and precedes:
            between += 1
            of_layout += _moves_channels(graph, op)
    return Transposes(total, between, of_layout)


def _moves_channels(graph: FileGraph, op: FileOperator) -> bool:
    """Whether the shapes of a TRANSPOSE tell that it goes from NHWC to NCHW or back."""
    if not op.inputs or not op.outputs:
        return False
    before, after = (graph.tensors[index].shape for index in (op.inputs[0], op.outputs[0]))
    if len(before) == _LINE_RANK:
        return after == (before[0], before[2], before[1])
    if len(before) != _IMAGE_RANK:
        return False
    batch, first, second, third = before
    rotated = after in {(batch, third, first, second), (batch, second, third, first)}
    return rotated and after != (batch, second, first, third)


def _advance(
    op: FileOperator, near: tuple[int, ...], far: tuple[int, ...], reached: set[int]
) -> bool:
    """Whether ``op`` touches what a convolution reaches; extends ``reached`` beyond it."""
    touched = not reached.isdisjoint(near)
    if touched or op.name in CONVOLUTIONS:
        reached.update(index for index in far if index >= 0)
    return touched
