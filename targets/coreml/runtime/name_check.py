"""Names of a program: each that is read was made before."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

from edgekit.errors import InputError
from edgekit.targets.coreml.package.description import Description
from edgekit.targets.coreml.package.program import Block, Function, Operation
from edgekit.targets.coreml.package.types import StateType


def check_names(path: Path, function: Function, description: Description) -> None:
    """Compares the names that are read with those that are there.

    Args:
        path: The package, for the message.
        function: The function that is to run.
        description: The features of the same function.

    Raises:
        InputError: If a value is read that nothing makes, or an input is not described.
    """
    described = {item.name for item in description.inputs}
    tensors = {item.name for item in function.inputs if not isinstance(item.type, StateType)}
    for name in sorted(described ^ tensors):
        place = "description" if name in described else "program"
        raise _damaged(path, f"its {place} alone has the input {name!r}")
    _check_block(path, function.block, {item.name for item in function.inputs})


def _check_block(path: Path, block: Block, outer: AbstractSet[str]) -> None:
    known = {*outer, *(item.name for item in block.inputs)}
    for operation in block.operations:
        if operation.type == "const" and len(operation.outputs) != 1:
            raise _damaged(path, "a constant has no name")
        for name in _read(operation):
            if name not in known:
                raise _damaged(
                    path, f"operator {operation.type!r} reads {name!r}, which nothing makes"
                )
        for inner in operation.blocks:
            _check_block(path, inner, known)
        known.update(item.name for item in operation.outputs)
    for name in block.outputs:
        if name not in known:
            raise _damaged(path, f"the result {name!r} is made by no operator")


def _read(operation: Operation) -> list[str]:
    return [item for items in operation.inputs.values() for item in items if isinstance(item, str)]


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is damaged: {reason}. Copy the package again, or convert the model again."
    )
