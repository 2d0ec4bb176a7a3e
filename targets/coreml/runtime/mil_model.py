"""A saved package, ready to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.errors import InputError
from edgekit.targets.coreml.package import Package, read_package
from edgekit.targets.coreml.package.description import Description, Feature
from edgekit.targets.coreml.package.program import NamedType, Program
from edgekit.targets.coreml.package.types import StateType, TensorType
from edgekit.targets.coreml.runtime.images import image_array
from edgekit.targets.coreml.runtime.name_check import check_names
from edgekit.targets.coreml.runtime.plan import Planner
from edgekit.targets.coreml.runtime.values import stored, to_numpy, to_tensor

type Array = Any
type Observer = Callable[[str, Array], Array | None]


@dataclass
class State:
    """What a model with states keeps from one prediction to the next, by name."""

    values: dict[str, Any] = field(default_factory=dict)


class MilModel:
    """A package that is executed on the CPU; not thread-safe."""

    def __init__(self, path: Path, *, function: str | None = None) -> None:
        """Reads and compiles a package.

        Args:
            path: The ``.mlpackage`` folder.
            function: Which of its functions to run; None for ``main``.

        Raises:
            InputError: If it is missing or damaged, or has no such function.
            UnsupportedError: For an operator or parameter that the runtime does not know.
        """
        function = function or "main"
        self.package: Package = read_package(path, function)
        functions = self.package.program.functions
        if function not in functions:
            raise InputError(
                f"{path} has no function {function!r}; it has {', '.join(sorted(functions))}."
            )
        self._function = functions[function]
        self._planner = Planner(self.package, self._function.opset)
        check_names(path, self._function, self.description)
        self._plan = self._planner.plan(self._function.block)
        self._types = {item.name: item.type for item in self._function.inputs}
        self._results = _result_types(self._function.block.operations, self._function.inputs)

    @property
    def description(self) -> Description:
        """Features and texts."""
        return self.package.description

    @property
    def program(self) -> Program:
        """The program as it is stored: functions, operations, their inputs and outputs."""
        return self.package.program

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """Inputs in order."""
        return self.description.inputs

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """Outputs in order."""
        return self.description.outputs

    def make_state(self) -> State:
        """States as they are at first: zeros."""
        found = {}
        for name, kind in self._types.items():
            if isinstance(kind, StateType) and isinstance(kind.wrapped, TensorType):
                shape = [size or 1 for size in kind.wrapped.shape or ()]
                found[name] = to_tensor(np.zeros(shape, np.float32), kind.wrapped.dtype)
        return State(found)

    def predict(
        self,
        feeds: Mapping[str, Array],
        *,
        state: State | None = None,
        observer: Observer | None = None,
        reached: Callable[[str], None] | None = None,
    ) -> dict[str, Array]:
        """Runs once.

        Args:
            feeds: Arrays by input name, images also as PIL images; not modified.
            state: For models with states; changed. None begins anew.
            observer: Called with the name and the array of each result within the program; what
                it returns replaces that array, unless it is None.
            reached: Called with the name of each result as soon as it is there, and with "" when
                the first operator begins; in place of ``observer``.

        Returns:
            Arrays by output name; for classifiers the best class, and probabilities by class.

        Raises:
            InputError: If a feed is missing, unknown, or of the wrong shape or type.
        """
        values = self._arguments(feeds)
        held = self.make_state() if state is None else state
        states = {name for name, kind in self._types.items() if isinstance(kind, StateType)}
        if held.values.keys() != states:
            raise InputError(
                f"{self.package.path.name}: the state belongs to another model; make one by this "
                "model's make_state()."
            )
        # Operators write into these tensors, so the state needs no update afterwards.
        values.update(held.values)
        seen = None if observer is None else _observing(observer, self._results)
        if reached is not None:
            seen = _reaching(reached)
            reached("")
        with torch.inference_mode():
            self._planner.current = values
            self._planner.observer = seen
            results = self._plan.run(values, seen)
        return {
            name: self._output(name, result)
            for name, result in zip(self._plan.outputs, results, strict=True)
        }

    def _output(self, name: str, result: Any) -> Any:
        if not isinstance(result, torch.Tensor):
            return result
        kind = self._results.get(name)
        return to_numpy(result, kind) if isinstance(kind, TensorType) else result.numpy()

    def _arguments(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        known = {item.name: item for item in self.inputs}
        unknown = sorted(feeds.keys() - known.keys())
        missing = sorted(
            item.name for item in self.inputs if item.name not in feeds and item.default is None
        )
        if unknown or missing:
            problem = f"no input {unknown[0]!r}" if unknown else f"no value for {missing[0]!r}"
            raise InputError(
                f"{self.package.path.name}: {problem}; it expects {', '.join(known) or 'nothing'}."
            )
        left_out = {
            name: np.full([size or 1 for size in item.shape], item.default)
            for name, item in known.items()
            if name not in feeds
        }
        values = {}
        for name, value in (*feeds.items(), *left_out.items()):
            kind = self._types.get(name)
            if not isinstance(kind, TensorType):
                raise InputError(f"Input {name!r} is no tensor.")
            feature = known[name]
            array = image_array(value, feature) if feature.image is not None else np.asarray(value)
            _check(feature, kind, array)
            values[name] = stored(to_tensor(array, str(array.dtype)), kind.dtype)
        return values


def _check(feature: Feature, kind: TensorType, array: Array) -> None:
    """Compares a feed with the feature.

    Raises:
        InputError: Naming what is expected and what was given.
    """
    allowed = feature.open_shape()
    fits = len(allowed) == array.ndim and all(
        size is None or size == own for size, own in zip(allowed, array.shape, strict=True)
    )
    if fits and feature.shapes:
        fits = tuple(array.shape) in feature.shapes
    if fits and feature.ranges:
        fits = all(
            low <= own and (high is None or own <= high)
            for (low, high), own in zip(feature.ranges, array.shape, strict=True)
        )
    floats = array.dtype.kind == "f"
    if fits and (floats or array.dtype.kind in "iub") and (not floats or "float" in kind.dtype):
        return
    limits = f", sizes within {list(feature.ranges)}" if feature.ranges else ""
    limits += f", one of {list(feature.shapes)}" if feature.shapes else ""
    raise InputError(
        f"Input {feature.name!r} expects {kind}{limits}; got "
        f"{array.dtype}[{', '.join(map(str, array.shape))}]."
    )


def _result_types(operations: Any, inputs: tuple[NamedType, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {item.name: item.type for item in inputs}
    for operation in operations:
        for output in operation.outputs:
            found[output.name] = output.type
        for block in operation.blocks:
            found.update(_result_types(block.operations, block.inputs))
    return found


def _reaching(reached: Callable[[str], None]) -> Callable[[str, Any], Any]:
    def seen(name: str, value: Any) -> None:
        reached(name)

    return seen


def _observing(observer: Observer, types: Mapping[str, Any]) -> Callable[[str, Any], Any]:
    """The observer of arrays as one of tensors."""

    def seen(name: str, value: Any) -> Any:
        kind = types.get(name)
        if not isinstance(value, torch.Tensor) or not isinstance(kind, TensorType):
            return None
        replaced = observer(name, to_numpy(value, kind))
        if replaced is None:
            return None
        return stored(to_tensor(replaced, str(replaced.dtype)), kind.dtype)

    return seen
