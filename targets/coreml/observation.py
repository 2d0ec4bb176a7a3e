"""A package whose variables can be seen and replaced, in the edgekit MIL runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.observation import Computed, ObservedTensor, Steps
from edgekit.core.signature import ModelSignature
from edgekit.core.target import RuntimeConfig
from edgekit.graph.canonical_names import float_value_of
from edgekit.targets.coreml.embedded import decode
from edgekit.targets.coreml.exactness.stored_parameters import (
    StoredParameters,
    stored_parameters,
)
from edgekit.targets.coreml.exactness.teacher_forcing import operators_before
from edgekit.targets.coreml.lowering.naming import identifier
from edgekit.targets.coreml.package import Package, read_package
from edgekit.targets.coreml.package.program import Block, Operation
from edgekit.targets.coreml.package.types import TensorType
from edgekit.targets.coreml.session import MilSession

type Array = Any

_FLOATS = {"float16", "float32"}
_ADDED = re.compile(r"(_to_fp16|_cast_fp16|_cast_fp32|_cast_ios\d+)+$")
"""What coremltools adds to the name of a variable whose operator it writes anew."""
_INNER = "__"
"""What edgekit puts behind a value's name for the operators within one node's lowering."""
_PRESCRIBED = {"softmax", "sigmoid", "tanh"}
_MAIN = "main"


@dataclass(frozen=True, slots=True)
class _Point:
    """A variable that is seen.

    Attributes:
        tensor: What it stands for; its name is the variable's.
        read: How a dequantize restores its integers; None as `ObservedTensor.steps`.
        rounded_too: Whether it is also quantized, which is a point of its own.
    """

    tensor: ObservedTensor
    read: Steps | None = None
    rounded_too: bool = False


class ObservedPackage:
    """Implements `edgekit.core.observation.ObservableSession`."""

    def __init__(self, path: Path) -> None:
        """Loads a package.

        Raises:
            InputError: If it is missing or damaged.
            UnsupportedError: If it holds an operator that the runtime does not know.
        """
        self._session = MilSession(path, RuntimeConfig())
        self._points, self._hidden = _Finder(read_package(path)).found()

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's terms."""
        return self._session.signature

    @property
    def runtime(self) -> str:
        """Which runtime; that it is not Apple's stands in its name."""
        return self._session.runtime

    @property
    def tensors(self) -> tuple[ObservedTensor, ...]:
        """Variables of the main block that hold a value of the canonical graph."""
        return tuple(point.tensor for point in self._points.values())

    @property
    def hidden(self) -> Mapping[str, str]:
        """The other variables."""
        return self._hidden

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `ObservableSession.observe`."""
        found: dict[str, Array] = {}

        def keep(name: str, array: Array) -> None:
            if name in self._points:
                found[name] = np.array(array, np.float32)

        self._session.run(feeds, observer=keep)
        return found

    def represent(self, name: str, values: Array) -> Array:
        """See `ObservableSession.represent`."""
        point = self._points[name]
        if point.tensor.steps is not None and point.read is not None:
            values = point.read.dequantize(point.tensor.steps.quantize(values))
        elif point.tensor.dtype == "float16":
            with np.errstate(over="ignore"):
                values = values.astype(np.float16)
        return np.asarray(values, np.float32)

    def compute(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        """See `ObservableSession.compute`."""
        split = {name for name in given if self._points[name].rounded_too}
        found = self._forced(feeds, given)
        if split:
            # Where others read a value as well, its rounding must not begin with what is given:
            # the operator's error is to be in it.
            computed = self._forced(feeds, {n: v for n, v in given.items() if n not in split})
            values = {self._points[name].tensor.canonical for name in split}
            for name, array in computed.items():
                tensor = self._points[name].tensor
                if tensor.steps is not None and tensor.canonical in values:
                    found[name] = array
        return Computed(found)

    def close(self) -> None:
        """Frees the model; the session cannot be used afterwards."""
        self._session.close()

    def _forced(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> dict[str, Array]:
        found: dict[str, Array] = {}

        def given_instead(name: str, array: Array) -> Array | None:
            if name not in given:
                return None
            found[name] = np.array(array, np.float32)
            return np.asarray(given[name], array.dtype)

        self._session.run(feeds, observer=given_instead)
        return found


class _Finder:
    """Looks for the variables of a program that a comparison sees."""

    def __init__(self, package: Package) -> None:
        self._package = package
        functions = package.program.functions
        function = functions.get(_MAIN) or next(iter(functions.values()))
        self._inputs = {item.name for item in function.inputs}
        self._block: Block = function.block
        self._stored = stored_parameters(package)
        embedded = decode(dict(package.description.entries), str(package.path))
        self._named = embedded is not None
        origins = () if embedded is None else embedded.origins
        self._values = {origin.variable: float_value_of(origin.value) for origin in origins}
        self._outputs = set(self._block.outputs)
        if embedded is not None:
            specs = embedded.signature.outputs
            self._outputs |= {identifier(spec.name) for spec in specs}
            self._values |= {identifier(spec.name): spec.name for spec in specs}
        self._makers = {
            output.name: operation
            for operation in self._block.operations
            for output in operation.outputs
        }
        self._readers: dict[str, list[Operation]] = {}
        for operation in self._block.operations:
            for name in _read(operation):
                self._readers.setdefault(name, []).append(operation)

    def found(self) -> tuple[dict[str, _Point], dict[str, str]]:
        """The variables that are seen by name, and why others are not."""
        points: dict[str, _Point] = {}
        hidden: dict[str, str] = {}
        computed = set(self._inputs)
        for operation in self._block.operations:
            if not computed.intersection(_read(operation)):
                continue
            computed.update(output.name for output in operation.outputs)
            if operation.type in {"cast", "quantize"}:
                continue
            for output in operation.outputs:
                kind = output.type
                if not isinstance(kind, TensorType) or kind.dtype not in _FLOATS:
                    hidden[output.name] = f"it is {kind}, no tensor of real numbers"
                    continue
                point = self._point(operation, output.name, kind.dtype)
                if isinstance(point, str):
                    hidden[output.name] = point
                elif point is not None:
                    points[output.name] = point
        return self._with_operators(points), hidden

    def _point(self, operation: Operation, name: str, dtype: str) -> _Point | str | None:
        """The point of a variable; why there is none, or None where another stands for it."""
        canonical = self._canonical(operation, name)
        if canonical is None:
            return "coremltools' passes made it, or it lies within one operator"
        if operation.type == "dequantize":
            return self._rounded(name, canonical)
        readers = self._readers.get(name, [])
        quantizing = [reader for reader in readers if reader.type == "quantize"]
        is_output = name in self._outputs or canonical in self._outputs
        if readers and len(quantizing) == len(readers) and name not in self._outputs:
            return None
        tensor = ObservedTensor(
            name=name,
            canonical=canonical,
            stored=name,
            dtype=dtype,
            is_output=is_output,
            named=self._named,
        )
        return _Point(tensor, rounded_too=bool(quantizing))

    def _rounded(self, name: str, canonical: str) -> _Point | str:
        restoring = self._stored[name]
        rounding = self._stored.get(restoring.source)
        if rounding is None:
            return "its integers are made by no quantize"
        steps, read = _steps(rounding), _steps(restoring, rounding.dtype)
        if steps is None or read is None:
            return "it has a scale for each channel"
        maker = self._makers.get(rounding.source)
        prescribed = maker is not None and maker.type in _PRESCRIBED
        steps = replace(steps, prescribed=prescribed)
        tensor = ObservedTensor(
            name=name,
            canonical=canonical,
            stored=restoring.source,
            dtype=steps.dtype,
            steps=steps,
            is_output=name in self._outputs or identifier(canonical) in self._outputs,
            named=self._named,
        )
        return _Point(tensor, read)

    def _canonical(self, operation: Operation, name: str) -> str | None:
        """Name of the value that a variable holds; None where the program does not tell."""
        base = _ADDED.sub("", name)
        if base in self._values:
            return self._values[base]
        if not self._named:
            return name
        # Constants keep the name of the value whose lowering made them, when a variable is
        # renamed because another one bears its name.
        owners = {item.partition(_INNER)[0] for item in _read(operation) if _INNER in item}
        if len(owners) == 1:
            (owner,) = owners
            if base == owner or re.fullmatch(rf"{re.escape(owner)}_\d+", base):
                return self._values.get(owner, owner)
        if _INNER in base or operation.type == "transpose":
            return None
        return base

    def _with_operators(self, points: dict[str, _Point]) -> dict[str, _Point]:
        known = frozenset(points)
        rounded = {
            name: point.tensor.stored for name, point in points.items() if point.tensor.steps
        }
        names = {rounded.get(name, name) for name in points}
        operators = operators_before(self._package.program, names, known)
        found = {}
        for name, point in points.items():
            tensor = point.tensor
            types = tuple(
                item for item in operators.get(rounded.get(name, name), ()) if item != "cast"
            )
            found[name] = replace(point, tensor=replace(tensor, operators=types))
        return found


def _read(operation: Operation) -> list[str]:
    return [item for items in operation.inputs.values() for item in items if isinstance(item, str)]


def _steps(parameters: StoredParameters, dtype: str | None = None) -> Steps | None:
    if parameters.scale.size != 1:
        return None
    return Steps(
        scale=float(parameters.scale.reshape(-1)[0]),
        zero_point=int(parameters.zero_point.reshape(-1)[0]),
        dtype=dtype or parameters.dtype,
    )
