"""The table of MIL operators that the runtime executes.

Each is a function with keyword parameters alone, called like those of the operator. Annotations
say how a parameter is given: `Tensor` as it is, `int`, `float`, `bool` and `str` as one Python
value, `Ints` and `Bools` as lists, `Tensors` as a list of tensors, `Call` as facts about the
operation. An operation with a parameter that the function does not have is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from edgekit.targets.coreml.package.program import NamedType

type Tensor = torch.Tensor
type Ints = list[int]
type Bools = list[bool]
type Tensors = list[torch.Tensor]
type Runner = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class Call:
    """What a function may need to know of the operation that it computes.

    Attributes:
        outputs: Names and declared types of the results.
        opset: Opset of the program's function, for example ``"CoreML7"``.
        blocks: Nested blocks, ready to run on a list of arguments.
        given: Names of the parameters that the operation gives.
        cache: Survives from call to call: what was derived from constants.
        constants: Names of parameters whose value never changes.
    """

    outputs: tuple[NamedType, ...]
    opset: str
    blocks: tuple[Runner, ...] = ()
    given: frozenset[str] = frozenset()
    cache: dict[Any, Any] = field(default_factory=dict)
    constants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: how it is given, and whether it can be left out."""

    kind: str
    required: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """One row of the table."""

    type: str
    run: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    wants_call: bool


OPERATORS: dict[str, Operator] = {}

_KINDS = {
    "Tensor": "tensor", "Tensor | None": "tensor", "int": "int", "int | None": "int",
    "float": "float", "float | None": "float", "bool": "bool", "bool | None": "bool",
    "str": "str", "Ints": "ints", "Ints | None": "ints", "Bools": "bools", "Bools | None": "bools",
    "Tensors": "tensors", "Any": "any",
}  # fmt: skip


def operator(*types: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function for one or more operator types.

    Raises:
        ValueError: If a type is registered twice, or an annotation is not known.
    """

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        parameters, wants_call = _parameters(run)
        for name in types:
            if name in OPERATORS:
                raise ValueError(f"two functions are registered for {name}")
            OPERATORS[name] = Operator(name, run, parameters, wants_call)
        return run

    return register


def _parameters(run: Callable[..., Any]) -> tuple[dict[str, Parameter], bool]:
    found, wants_call = {}, False
    for name, parameter in inspect.signature(run).parameters.items():
        annotation = parameter.annotation
        if annotation == "Call":
            wants_call = True
            continue
        if annotation not in _KINDS or parameter.kind is not parameter.KEYWORD_ONLY:
            raise ValueError(f"parameter {name} of {run.__name__} has annotation {annotation!r}")
        required = parameter.default is parameter.empty
        found[name] = Parameter(_KINDS[annotation], required)
    return found, wants_call
