"""What a lowering works with: constants and variables of values, and MIL operators to emit."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, optional_input, required_input
from edgekit.graph.values import constant_array
from edgekit.targets.coreml.lowering.naming import Names
from edgekit.targets.coreml.lowering.options import LoweringOptions
from edgekit.targets.coreml.lowering.registry import Var
from edgekit.targets.coreml.toolchain import mb

type Array = npt.NDArray[Any]

INT32 = np.iinfo(np.int32)
_FLOATS = {"float16", "float32", "float64", "bfloat16"}
_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}
_NO_ARITHMETIC = {"uint32", "uint64"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which value of the ONNX graph a variable of the program holds.

    Attributes:
        variable: The variable; its name may change until the lowering ends.
        value: Name in the ONNX graph.
        role: ``"weight"``, ``"quantize"`` or ``"dequantize"``.
    """

    variable: Var
    value: str
    role: str


@dataclass
class Emitter:
    """State of one lowering.

    Attributes:
        opset: Opset version of the ONNX graph's default domain.
        options: Options.
        variables: Variable of each value so far; inner blocks add a layer.
        names: Names given so far.
        notes: Reasons for the report.
        origins: Where quantized values came from.
        prefix: Name that the operators of the current node begin with.
    """

    opset: int
    options: LoweringOptions
    variables: ChainMap[ir.Value, Var] = field(default_factory=ChainMap)
    names: Names = field(default_factory=Names)
    notes: dict[str, None] = field(default_factory=dict)
    origins: list[Origin] = field(default_factory=list)
    prefix: str = "edgekit"
    _widened: dict[int, Var] = field(default_factory=dict)

    def __call__(self, op: str, **arguments: Any) -> Var:
        """Emits one MIL operator.

        Args:
            op: Its type, for example ``"conv"``.
            arguments: By its parameters' names; None leaves one out.

        Raises:
            Refusal: If the deployment target does not have it, or it does not accept the
                arguments.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        name = self.names.unique(f"{self.prefix}__{op}")
        builder = getattr(mb, op)
        try:
            return builder(**given, name=name)
        except Refusal:
            raise
        except Exception as error:
            # Its checks raise ValueError, TypeError, AssertionError and others alike.
            raise Refusal(f"coremltools refuses MIL's {op}: {_one_line(error)}") from error

    def note(self, text: str) -> None:
        """Adds a reason to the report, once."""
        self.notes[text] = None

    def array(self, value: ir.Value | None) -> Array | None:
        """Elements of a value that is known now, in ONNX's dtype where it is an initializer."""
        if value is None:
            return None
        constant = constant_array(value)
        if constant is not None:
            return np.asarray(constant)
        variable = self.variables.get(value)
        known = None if variable is None else variable.val
        return None if known is None else np.asarray(known)

    def required_array(self, node: ir.Node, index: int, what: str) -> Array:
        """Elements of an input that MIL needs to know.

        Raises:
            Refusal: If they are computed while the model runs.
        """
        array = self.array(required_input(node, index))
        if array is None:
            raise Refusal(f"{what} is computed while the model runs", f"a constant {what}")
        return array

    def ints(self, node: ir.Node, index: int, what: str) -> list[int] | None:
        """Integers of an optional input that MIL needs to know; None where it is omitted."""
        if optional_input(node, index) is None:
            return None
        return [int(item) for item in self.required_array(node, index, what).reshape(-1)]

    def raw(self, value: ir.Value) -> Var:
        """The variable as it is, also one of 8-bit integers."""
        variable = self.variables.get(value)
        if variable is None:
            array = constant_array(value)
            if array is None:
                raise Refusal(f"value {value.name!r} has no lowering to read from")
            variable = self.constant(array, name=value.name or "constant")
            self.variables[value] = variable
        return variable

    def var(self, value: ir.Value) -> Var:
        """The variable of a value in a type that all MIL operators take."""
        variable = self.raw(value)
        if kind_of(variable) != "int" or dtype_of(variable) == "int32":
            return variable
        if id(variable) not in self._widened:
            self._widened[id(variable)] = self("cast", x=variable, dtype="int32")
        return self._widened[id(variable)]

    def input(self, node: ir.Node, index: int) -> Var:
        """The variable of a required input."""
        return self.var(required_input(node, index))

    def optional(self, node: ir.Node, index: int) -> Var | None:
        """The variable of an optional input; None where it is omitted."""
        value = optional_input(node, index)
        return None if value is None else self.var(value)

    def constant(self, array: Array, name: str = "constant") -> Var:
        """A constant in float32, int32 or bool.

        Raises:
            Refusal: If an integer does not fit in 32 bits, or the dtype has no counterpart.
        """
        return mb.const(val=mil_array(array), name=self.names.unique(name))

    @contextmanager
    def inner_block(self) -> Iterator[None]:
        """Keeps variables made meanwhile from being read outside of a nested block."""
        outer, widened = self.variables, self._widened
        self.variables = outer.new_child()
        self._widened = dict(widened)
        try:
            yield
        finally:
            self.variables, self._widened = outer, widened

    def wrapped(self, variable: Var, value: ir.Value) -> Var:
        """Brings the result of integer arithmetic into the range of ``value``'s type.

        Raises:
            Refusal: For unsigned integers that int32 does not hold.
        """
        name = dtype_name(value)
        if name in _NO_ARITHMETIC:
            raise Refusal(f"arithmetic on {name}, which Core ML does not have", "int32 or int64")
        if name not in _BITS or kind_of(variable) != "int":
            return variable
        size = 1 << _BITS[name]
        if name.startswith("u"):
            return self("mod", x=variable, y=np.int32(size))
        moved = self("add", x=variable, y=np.int32(size // 2))
        return self("sub", x=self("mod", x=moved, y=np.int32(size)), y=np.int32(size // 2))


def mil_array(array: Array) -> Any:
    """A constant as MIL holds it: float32, int32 or bool.

    Raises:
        Refusal: If an integer does not fit in 32 bits, or the dtype has no counterpart.
    """
    name = array.dtype.name
    if name == "bool":
        return np.asarray(array)
    if name in _FLOATS:
        return np.asarray(array, np.float32)
    if np.issubdtype(array.dtype, np.integer):
        if array.size and (array.max() > INT32.max or array.min() < INT32.min):
            raise Refusal(
                f"a constant holds {array.max()}, which does not fit in Core ML's 32-bit integers"
            )
        return np.asarray(array, np.int32)
    if name in {"int4", "uint4", "int2", "uint2"}:
        return np.asarray(array, np.int32)
    raise Refusal(f"a constant of type {name}, which MIL does not have")


def dtype_name(value: ir.Value) -> str:
    """NumPy name of a value's ONNX element type; empty where it is unknown."""
    return "" if value.dtype is None else value.dtype.numpy().name


def dtype_of(variable: Var) -> str:
    """Name of a variable's element type, for example ``"fp32"`` or ``"int32"``."""
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(variable.dtype))


def kind_of(variable: Var) -> str:
    """``"float"``, ``"int"`` or ``"bool"``."""
    name = dtype_of(variable)
    if name == "bool":
        return "bool"
    return "int" if "int" in name else "float"


def shape_of(variable: Var) -> tuple[Any, ...]:
    """Sizes of a variable: numbers, or symbols of open dims."""
    return tuple(variable.shape)


def is_open(size: Any) -> bool:
    """Whether a size is known only while the model runs."""
    return not isinstance(size, int | np.integer)


def static_sizes(variable: Var, what: str) -> tuple[int, ...]:
    """Sizes of a variable, all of them numbers.

    Raises:
        Refusal: If one is open.
    """
    sizes = shape_of(variable)
    if any(is_open(size) for size in sizes):
        raise Refusal(f"{what} has an open dimension", "fixed sizes")
    return tuple(int(size) for size in sizes)


def rank_of(variable: Var) -> int:
    """Number of axes."""
    return len(variable.shape)


def as_list(result: Var | Sequence[Var | None]) -> list[Var | None]:
    """Results of a lowering as a list."""
    return list(result) if isinstance(result, list | tuple) else [result]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
