"""Which operators of a quantized program compute in float, and why.

Core ML has no integer operators: a program says "dequantize, compute, quantize", and the system
computes on integers where its device can. So an operator counts as an integer one if all its
activations come from a dequantize and what it gives goes to a quantize, with the elementwise
operators between them fused into it.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.targets.coreml.package.program import Block, Operation
from edgekit.targets.coreml.package.types import TensorType

_MOVES = {
    "cast", "const", "expand_dims", "identity", "reshape", "shape", "slice_by_index", "split",
    "squeeze", "transpose", "gather", "concat", "dequantize", "quantize",
}  # fmt: skip
_FLOATS = {"float16", "float32"}


def float_operators(block: Block, stated: Mapping[str, str]) -> dict[str, str]:
    """Operators in float by ``"type -> variable"``, each with its reason; "" where none is known.

    Args:
        block: The program's main block.
        stated: Why nodes of the graph compute in float, by the name of what they give.
    """
    makers = {
        output.name: operation for operation in block.operations for output in operation.outputs
    }
    readers = _readers(block)
    found = {}
    for operation in block.operations:
        if not _computes(operation):
            continue
        name = operation.outputs[0].name
        if _fed_by_integers(operation, makers) and _ends_in_integers(operation, readers, block):
            continue
        found[f"{operation.type} -> {name}"] = _reason(name, stated)
    return found


INVERSED = "_inversed_"
"""What coremltools puts before the name of a quotient that it makes a product."""


def _reason(name: str, stated: Mapping[str, str]) -> str:
    name = name.removeprefix(INVERSED)
    for own, reason in stated.items():
        if name == own or name.startswith((f"{own}_cast", f"{own}__")):
            return reason
    return ""


def _computes(operation: Operation) -> bool:
    if operation.type in _MOVES or operation.type.startswith("constexpr_"):
        return False
    kinds = [output.type for output in operation.outputs]
    return any(isinstance(kind, TensorType) and kind.dtype in _FLOATS for kind in kinds)


def _readers(block: Block) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for operation in block.operations:
        for items in operation.inputs.values():
            for item in items:
                if isinstance(item, str):
                    found.setdefault(item, []).append(operation)
    return found


def _fed_by_integers(operation: Operation, makers: Mapping[str, Operation]) -> bool:
    """Whether all activations come from a dequantize, past moves and what is fused."""
    pending = [operation]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for items in current.inputs.values():
            for item in items:
                if not isinstance(item, str):
                    continue
                maker = makers.get(item)
                if maker is None:
                    return False
                if maker.type in {"const", "dequantize"} or maker.type.startswith("constexpr_"):
                    continue
                pending.append(maker)
    return True


def _ends_in_integers(
    operation: Operation, readers: Mapping[str, list[Operation]], block: Block
) -> bool:
    """Whether everything that reads its result leads to a quantize."""
    pending = [operation]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for output in current.outputs:
            if output.name in block.outputs:
                return False
            pending += [
                reader for reader in readers.get(output.name, []) if reader.type != "quantize"
            ]
    return True
