"""Which operators of a .tflite file the operators that XNNPACK tells of belong to.

XNNPACK numbers the operators of its own graph. It builds that graph in the file's order, drops
some operators (a PAD that it fuses into a convolution, a RESHAPE that moves nothing) and adds
others (a reshape before a product). So the two lists are aligned like texts: in order, types that
belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

_AUXILIARY = frozenset({"staticreshape", "reshape", "copy", "transpose", "convert", "fusedims"})
"""Operators that XNNPACK adds around others."""

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_SHAPES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
_SLICES = frozenset({"SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V"})
_KNOWN: dict[str, frozenset[str]] = {
    "convolution": _CONVOLUTIONS,
    # A convolution of 1 x 1 is a product of matrices to XNNPACK.
    "fullyconnected": frozenset({"FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL"}),
    "dynamicfullyconnected": frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"}),
    "batchmatrixmultiply": frozenset({"BATCH_MATMUL", "FULLY_CONNECTED"}),
    "deconvolution": frozenset({"TRANSPOSE_CONV"}),
    "subconvolution": frozenset({"TRANSPOSE_CONV"}),
    "averagepooling": frozenset({"AVERAGE_POOL_2D", "MEAN"}),
    "globalaveragepooling": frozenset({"MEAN", "AVERAGE_POOL_2D"}),
    "mean": frozenset({"MEAN", "AVERAGE_POOL_2D"}),
    "sum": frozenset({"SUM"}),
    "reducemax": frozenset({"REDUCE_MAX"}),
    "reducemin": frozenset({"REDUCE_MIN"}),
    "maxpooling": frozenset({"MAX_POOL_2D"}),
    "argmaxpooling": frozenset({"MAX_POOL_2D"}),
    "constantpad": frozenset({"PAD", "PADV2"}),
    "staticreshape": _SHAPES,
    "reshape": _SHAPES,
    "copy": _SHAPES | _SLICES | {"CONCATENATION"},
    "fusedims": _SHAPES,
    "slice": _SLICES,
    "split": _SLICES,
    "concatenate": frozenset({"CONCATENATION"}),
    "convert": frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"}),
    "clamp": frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MINIMUM", "MAXIMUM"}),
    "sigmoid": frozenset({"LOGISTIC"}),
    "subtract": frozenset({"SUB"}),
    "multiply": frozenset({"MUL"}),
    "divide": frozenset({"DIV"}),
    "negate": frozenset({"NEG"}),
    "ceiling": frozenset({"CEIL"}),
    "bankdersrounding": frozenset({"ROUND"}),
    "bankersrounding": frozenset({"ROUND"}),
    "squareroot": frozenset({"SQRT"}),
    "reciprocalsquareroot": frozenset({"RSQRT"}),
    "squareddifference": frozenset({"SQUARED_DIFFERENCE"}),
    "sine": frozenset({"SIN"}),
    "cosine": frozenset({"COS"}),
    "power": frozenset({"POW"}),
    "approxgelu": frozenset({"GELU"}),
    "resizebilinear": frozenset({"RESIZE_BILINEAR"}),
}
"""What an operator of XNNPACK computes, where the names differ."""

_MATCH, _REPEATED, _ADDED, _FORBIDDEN = 4.0, 0.5, -0.5, -1e9
_DROPPED = -0.1
_BEHIND = -0.05
_STATES = (0, 1)


def align(operators: Sequence[str], kernels: Sequence[str]) -> list[int] | None:
    """The operator of each kernel.

    Args:
        operators: Builtin names of a delegate's part, in order.
        kernels: What XNNPACK calls its own, in order.

    Returns:
        For each kernel the place of its operator, not descending; None where a kernel suits none.
    """
    if not kernels:
        return []
    columns = len(operators)
    scores = [[_FORBIDDEN] * columns for _ in _STATES]
    came: list[list[list[tuple[int, int]]]] = []
    for row, kernel in enumerate(kernels):
        scores, sources = _advance(scores, row == 0, kernel, operators)
        came.append(sources)
    ends = [
        (scores[state][place] + _DROPPED * (columns - 1 - place), place, state)
        for state in _STATES
        for place in range(columns)
    ]
    score, place, state = max(ends, default=(_FORBIDDEN, 0, 0))
    if score < _FORBIDDEN / 2:
        return None
    found = []
    for sources in reversed(came):
        found.append(place)
        place, state = sources[state][place]
    return found[::-1]


def _advance(
    before: list[list[float]], first: bool, kernel: str, operators: Sequence[str]
) -> tuple[list[list[float]], list[list[tuple[int, int]]]]:
    """One kernel further: the best score for each operator it may belong to, and where from.

    The state tells whether the operator has had a kernel of its own type yet.
    """
    now = [[_FORBIDDEN] * len(operators) for _ in _STATES]
    sources = [[(-1, 0)] * len(operators) for _ in _STATES]
    ahead, origin = (0.0 if first else _FORBIDDEN), (-1, 0)
    for place, operator in enumerate(operators):
        if place > 0:
            ahead += _DROPPED
            for state in _STATES:
                if not first and before[state][place - 1] > ahead:
                    ahead, origin = before[state][place - 1], (place - 1, state)
        own, added = _belongs(kernel, operator)
        steps = [(ahead, origin, 0, own)]
        if not first:
            steps += [(before[state][place], (place, state), state, own) for state in _STATES]
        for score, source, state, matches in steps:
            if matches:
                gain, reached = (_REPEATED if state else _MATCH), 1
            else:
                # XNNPACK mostly reshapes before a product: what it adds belongs to what
                # follows.
                gain = (_ADDED + state * _BEHIND) if added else _FORBIDDEN
                reached = state
            if score + gain > now[reached][place]:
                now[reached][place] = score + gain
                sources[reached][place] = source
    return now, sources


def kernel_type(kernel: str) -> str:
    """The type in a name of XNNPACK's: ``Fully Connected (NC, F32) GEMM``: ``fullyconnected``."""
    return "".join(filter(str.isalnum, kernel.partition("(")[0])).lower()


def _belongs(kernel: str, operator: str) -> tuple[bool, bool]:
    """Whether a kernel computes such an operator, and whether XNNPACK may add it to one."""
    kind = kernel_type(kernel)
    own = operator in _KNOWN.get(kind, ()) or kind == operator.replace("_", "").lower()
    return own, kind in _AUXILIARY
