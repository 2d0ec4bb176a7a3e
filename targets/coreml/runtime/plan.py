"""Compiles a block to a list of steps, once for many runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit.errors import InputError, InternalError, UnsupportedError
from edgekit.targets.coreml.package.mlpackage import Package
from edgekit.targets.coreml.package.program import Block, NamedType, Operation, Value
from edgekit.targets.coreml.package.types import TensorType
from edgekit.targets.coreml.runtime import ops  # noqa: F401 - registers the operators
from edgekit.targets.coreml.runtime.parameters import CONVERSIONS
from edgekit.targets.coreml.runtime.registry import OPERATORS, Call, Operator, Parameter
from edgekit.targets.coreml.runtime.values import stored, to_tensor

type Observer = Callable[[str, Any], Any]
type Values = dict[str, Any]
type Source = Callable[[Values], Any]


_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What torch, NumPy and Python raise where values do not fit; never errors of edgekit."""


@dataclass(slots=True)
class Step:
    """One operation, ready to run.

    Attributes:
        operation: What it computes.
        run: Its function, with what is constant bound.
        sources: How each argument that changes is got from the values.
        outputs: Names and types of its results.
        dead: Names that nothing reads after it.
    """

    operation: Operation
    run: Callable[..., Any]
    sources: dict[str, Source]
    outputs: tuple[NamedType, ...]
    dead: tuple[str, ...] = ()

    def compute(self, values: Values) -> list[Any]:
        """The results, in the types that the program declares."""
        arguments = {name: source(values) for name, source in self.sources.items()}
        try:
            made = self.run(**arguments)
        except _FAILURES as error:
            raise InternalError(
                f"The edgekit MIL runtime fails in {self.describe()}: "
                f"{' '.join(str(error).split())}"
            ) from error
        results = list(made) if isinstance(made, tuple) else [made]
        if len(results) < len(self.outputs):
            raise InternalError(
                f"The edgekit MIL runtime gives {len(results)} results in {self.describe()}, "
                f"where the program declares {len(self.outputs)}. Please report the package."
            )
        return [
            self._declared(result, output)
            for result, output in zip(results, self.outputs, strict=False)
        ]

    def _declared(self, result: Any, output: NamedType) -> Any:
        kind = output.type
        if not isinstance(kind, TensorType) or isinstance(result, str):
            return result
        shape = kind.shape
        if shape is not None and (
            len(shape) != result.ndim
            or any(
                size is not None and size != own
                for size, own in zip(shape, result.shape, strict=True)
            )
        ):
            raise InternalError(
                f"The edgekit MIL runtime gives shape {list(result.shape)} in {self.describe()}, "
                f"where the program declares {kind}. Please report the package."
            )
        return stored(result, kind.dtype)

    def describe(self) -> str:
        """The operation, for messages."""
        name = self.outputs[0].name if self.outputs else "?"
        return f"operator {self.operation.type} of value {name!r}"


@dataclass(slots=True)
class Plan:
    """A block, ready to run.

    Attributes:
        inputs: Names of its arguments.
        outputs: Names of its results.
        steps: Its operations.
        constants: Values that never change, by name; those of outer blocks too.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    def run(self, values: Values, observer: Observer | None = None) -> list[Any]:
        """Computes the block.

        Args:
            values: Arguments and, in a nested block, what the outer ones made; changed.
            observer: Called with the name and value of each result that is no constant; what
                it returns replaces the value, unless it is None.
        """
        for step in self.steps:
            results = step.compute(values)
            for output, result in zip(step.outputs, results, strict=False):
                if observer is not None:
                    replaced = observer(output.name, result)
                    result = result if replaced is None else replaced
                values[output.name] = result
            for name in step.dead:
                values.pop(name, None)
        return [self._value(values, name) for name in self.outputs]

    def _value(self, values: Values, name: str) -> Any:
        return values[name] if name in values else self.constants[name]


class Planner:
    """Compiles the blocks of one package.

    Args:
        package: Where constants are read.
        opset: Opset of the function.
    """

    def __init__(self, package: Package, opset: str) -> None:
        self._package = package
        self._opset = opset
        self.observer: Observer | None = None
        self.current: Values = {}

    def plan(self, block: Block, outer: Mapping[str, Any] | None = None) -> Plan:
        """Compiles a block.

        Args:
            block: The block.
            outer: Constants of the blocks around it.

        Raises:
            UnsupportedError: For an operator or parameter that the runtime does not know.
            InputError: If a constant cannot be read.
        """
        plan = Plan(tuple(item.name for item in block.inputs), block.outputs)
        plan.constants.update(outer or {})
        for operation in block.operations:
            if operation.type == "const":
                plan.constants[operation.outputs[0].name] = self._constant(operation)
                continue
            step = self._step(operation, plan)
            if _is_constant(operation, plan):
                for output, result in zip(step.outputs, step.compute({}), strict=False):
                    plan.constants[output.name] = result
                continue
            plan.steps.append(step)
        if outer is None:
            _mark_dead(plan)
        return plan

    def _constant(self, operation: Operation) -> Any:
        value = operation.attributes.get("val")
        if value is None:
            raise UnsupportedError(
                f"The constant {operation.outputs[0].name!r} has no value; the package is damaged."
            )
        return self._value(value)

    def _value(self, value: Value) -> Any:
        data = self._package.constant(value)
        try:
            return _as_held(data, value.type)
        except _FAILURES as error:
            raise InputError(
                f"{self._package.path} is damaged: a constant is no {value.type} ({error}). "
                "Convert the model again."
            ) from error

    def _step(self, operation: Operation, plan: Plan) -> Step:
        known = OPERATORS.get(operation.type)
        name = operation.outputs[0].name if operation.outputs else "?"
        if known is None:
            raise UnsupportedError(
                f"{self._package.path}: the edgekit MIL runtime does not know operator "
                f"{operation.type!r} (value {name!r}). It knows the operators up to iOS18; run "
                "the model on a Mac."
            )
        operation = _with_stored_parameters(operation)
        _check_parameters(known, operation, name)
        bound: dict[str, Any] = {}
        sources: dict[str, Source] = {}
        for parameter, bindings in operation.inputs.items():
            spec = known.parameters[parameter]
            values = [self._binding(item, plan) for item in bindings]
            try:
                self._bind(parameter, spec, values, (bound, sources))
            except _FAILURES as error:
                raise InputError(
                    f"{self._package.path} is damaged: parameter {parameter!r} of operator "
                    f"{operation.type!r} (value {name!r}) is no {spec.kind} ({error}). Convert "
                    "the model again."
                ) from error
        if known.wants_call:
            bound["call"] = Call(
                outputs=operation.outputs,
                opset=self._opset,
                blocks=tuple(self._runner(block, plan) for block in operation.blocks),
                given=frozenset(operation.inputs),
                constants=frozenset(bound),
            )
        return Step(operation, _bound(known, bound), sources, operation.outputs)

    def _bind(
        self,
        parameter: str,
        spec: Parameter,
        values: list[tuple[bool, Any]],
        made: tuple[dict[str, Any], dict[str, Source]],
    ) -> None:
        bound, sources = made
        convert = CONVERSIONS[spec.kind]
        if all(known for known, _ in values):
            held = [value for _, value in values]
            bound[parameter] = convert(
                held if len(held) != 1 or spec.kind == "tensors" else held[0]
            )
            return
        if len(values) == 1 and spec.kind == "tensor":
            name = values[0][1]
            sources[parameter] = lambda values, name=name: values[name]  # type: ignore[misc]
            return

        def gather(current: Values) -> Any:
            held = [value if known else current[value] for known, value in values]
            return convert(held if len(held) != 1 or spec.kind == "tensors" else held[0])

        sources[parameter] = gather

    def _binding(self, item: str | Value, plan: Plan) -> tuple[bool, Any]:
        """Whether it is known now, and the value or else the name."""
        if isinstance(item, Value):
            return True, self._value(item)
        if item in plan.constants:
            return True, plan.constants[item]
        return False, item

    def _runner(self, block: Block, plan: Plan) -> Callable[[Sequence[Any]], list[Any]]:
        """A nested block as a function of its arguments; it reads the outer values."""
        inner = self.plan(block, plan.constants)

        def run(arguments: Sequence[Any]) -> list[Any]:
            values = dict(self.current)
            values.update(zip(inner.inputs, arguments, strict=False))
            outer, self.current = self.current, values
            try:
                return inner.run(values, self.observer)
            finally:
                self.current = outer

        return run


def _bound(known: Operator, bound: dict[str, Any]) -> Callable[..., Any]:
    if not bound:
        return known.run

    def run(**arguments: Any) -> Any:
        return known.run(**bound, **arguments)

    return run


def _with_stored_parameters(operation: Operation) -> Operation:
    """Compressed constants of iOS16 keep their parameters among the attributes."""
    if not operation.type.startswith("constexpr_"):
        return operation
    stored = {
        name: (value,)
        for name, value in operation.attributes.items()
        if name != "name" and name not in operation.inputs
    }
    return replace(operation, inputs={**operation.inputs, **stored})


def _check_parameters(known: Operator, operation: Operation, name: str) -> None:
    unknown = sorted(operation.inputs.keys() - known.parameters.keys())
    if unknown:
        raise UnsupportedError(
            f"Operator {operation.type!r} (value {name!r}) has parameter {unknown[0]!r}, which "
            "the edgekit MIL runtime does not know; to leave it out could give wrong numbers."
        )
    missing = [
        key
        for key, spec in known.parameters.items()
        if spec.required and key not in operation.inputs
    ]
    if missing:
        raise UnsupportedError(
            f"Operator {operation.type!r} (value {name!r}) lacks parameter {missing[0]!r}; the "
            "package is damaged."
        )


_CHANGING = {"read_state", "write_state", "cond", "while_loop", "make_list"}


def _is_constant(operation: Operation, plan: Plan) -> bool:
    """Whether all that an operation reads is known before the first run."""
    if operation.type in _CHANGING or operation.type.startswith("random_") or operation.blocks:
        return False
    names = [
        item for items in operation.inputs.values() for item in items if isinstance(item, str)
    ]
    return all(name in plan.constants for name in names)


def _as_held(data: Any, kind: Any) -> Any:
    if isinstance(kind, TensorType) and kind.dtype != "string":
        return to_tensor(data, kind.dtype)
    if isinstance(data, list):
        return [_as_element(item) for item in data]
    return data


def _as_element(item: Any) -> Any:
    if isinstance(item, str | list | dict):
        return item
    return to_tensor(item, str(item.dtype))


def _mark_dead(plan: Plan) -> None:
    """Tells each step of the outermost block what nothing reads after it."""
    last: dict[str, int] = {}
    for index, step in enumerate(plan.steps):
        for name in _names(step.operation):
            last[name] = index
        for output in step.outputs:
            last.setdefault(output.name, index)
    kept = set(plan.outputs)
    for index, step in enumerate(plan.steps):
        step.dead = tuple(name for name, at in last.items() if at == index and name not in kept)


def _names(operation: Operation) -> list[str]:
    found = [
        item for items in operation.inputs.values() for item in items if isinstance(item, str)
    ]
    for block in operation.blocks:
        found += block.outputs
        for inner in block.operations:
            found += _names(inner)
    return found
