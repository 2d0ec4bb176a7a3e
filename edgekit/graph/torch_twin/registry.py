"""The table of ONNX operators that the twin has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir
from torch import fx

if TYPE_CHECKING:
    from edgekit.graph.torch_twin.context import TwinContext

type Built = fx.Node | Sequence[fx.Node | None] | None
"""The outputs of a node: one, or several with None for those that are left out; None alone
where they are made as soon as something reads them."""
type TwinOp = Callable[["TwinContext", ir.Node], Built]


class Refusal(Exception):  # noqa: N818 - not a failure of the program: the answer "not this node"
    """Raised by an operator for a node that it cannot express; collected into one error.

    Args:
        reason: Why the node is refused.
        accepted: What would be accepted.
    """

    def __init__(self, reason: str, accepted: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.accepted = accepted


@dataclass(frozen=True, slots=True)
class OpEntry:
    """One row of the table.

    Attributes:
        op: Operator type of the default domain.
        build: Makes the torch nodes of an ONNX node.
        parameters: Inputs that are trained when they are float constants.
    """

    op: str
    build: TwinOp
    parameters: tuple[int, ...] = ()


TWIN_OPS: dict[str, OpEntry] = {}


def twin_op(*ops: str, parameters: tuple[int, ...] = ()) -> Callable[[TwinOp], TwinOp]:
    """Registers the torch form of one or more ONNX operators.

    Args:
        ops: Operator types of the default domain.
        parameters: Inputs that are trained when they are float constants.

    Raises:
        ValueError: If an operator is registered twice.
    """

    def register(build: TwinOp) -> TwinOp:
        for op in ops:
            if op in TWIN_OPS:
                raise ValueError(f"two torch forms are registered for {op}")
            TWIN_OPS[op] = OpEntry(op, build, parameters)
        return build

    return register
