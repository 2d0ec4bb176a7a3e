"""The table of ONNX operators that this target lowers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.targets.tflite.lowering.context import Lowering


@dataclass(frozen=True, slots=True)
class OpSupport:
    """One row of the support table.

    Attributes:
        op: ONNX operator type of the default domain.
        accepts: What is accepted, for people.
        lower: The lowering.
        integer: Whether TFLite computes it on 8-bit integers.
        int16: Whether it does so on 16-bit integers.
    """

    op: str
    accepts: str
    lower: Lowering
    integer: bool = False
    int16: bool = False

    def computes_on(self, dtype: str) -> bool:
        """Whether TFLite computes it on tensors of an integer type."""
        return {"int8": self.integer, "int16": self.int16}.get(dtype, False)


LOWERINGS: dict[str, OpSupport] = {}


def lowers(
    *ops: str, accepts: str, integer: bool = False, int16: bool = False
) -> Callable[[Lowering], Lowering]:
    """Registers a lowering for one or more ONNX operators.

    Args:
        ops: Operator types of the default domain.
        accepts: What is accepted; shown by the docs and in the refusal of other forms.
        integer: Whether TFLite has a kernel on 8-bit integers, so that a node between
            quantized values computes on integers.
        int16: Whether it has one on 16-bit activations.

    Raises:
        ValueError: If an operator is registered twice.
    """

    def register(lowering: Lowering) -> Lowering:
        for op in ops:
            if op in LOWERINGS:
                raise ValueError(f"two lowerings are registered for {op}")
            LOWERINGS[op] = OpSupport(op, accepts, lowering, integer, int16)
        return lowering

    return register
