"""A graph in ONNX Runtime whose values can be seen and replaced.

A value between QuantizeLinear and DequantizeLinear is one tensor: what its readers read. It stands
for the float value before the pair, which is seen by itself only where something else reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgekit.core.observation import Array, Computed, ObservedTensor, Steps
from edgekit.core.signature import ModelSignature
from edgekit.errors import UnsupportedError, UsageError
from edgekit.graph.canonical_names import RESULT
from edgekit.graph.forced_graph import GIVEN, forced_graph, integers_of
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.reference import check_feeds, run_session, start_session
from edgekit.graph.signature import signature_of
from edgekit.graph.values import constant_array, input_at, is_op

type Starter = Callable[[ir.Model], Any]

_FLOATS = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.DOUBLE: "float64",
}


@dataclass(frozen=True, slots=True)
class _Point:
    """A value that is seen.

    Attributes:
        tensor: What it stands for.
        value: Value of the graph at which it is read off and replaced.
        read: How its readers restore integers; None as `ObservedTensor.steps`.
    """

    tensor: ObservedTensor
    value: str
    read: Steps | None

    def restored(self, array: Array) -> Array:
        if self.read is None:
            return np.asarray(array, np.float32)
        return self.read.dequantize(array)

    def stored(self, array: Array) -> Array:
        if self.tensor.steps is None:
            return array.astype(self.tensor.dtype)
        return self.tensor.steps.quantize(array)


class ObservedGraph:
    """Implements `edgekit.core.observation.ObservableSession` for a graph in memory."""

    def __init__(self, model: ir.Model, runtime: str, start: Starter | None = None) -> None:
        """Finds the values; sessions start when they are first needed.

        Args:
            model: The graph, float or QDQ; not modified.
            runtime: Name and version of the runtime.
            start: Loads a graph into it; by default ONNX Runtime runs it node by node.

        Raises:
            InputError: If the graph contradicts itself.
        """
        self._model = _with_types(model)
        self._start = start or _node_by_node
        self._runtime = runtime
        self._points, self._hidden = _points(self._model)
        self._watched: tuple[Any, list[str]] | None = None
        self._forced: dict[frozenset[str], tuple[Any, list[str], list[str]]] = {}
        self._closed = False

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs."""
        return signature_of(self._model)

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return self._runtime

    @property
    def tensors(self) -> tuple[ObservedTensor, ...]:
        """Values of floats and pairs, in graph order."""
        return tuple(point.tensor for point in self._points.values())

    @property
    def hidden(self) -> Mapping[str, str]:
        """Values of other types."""
        return self._hidden

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `ObservableSession.observe`."""
        self._require_open()
        check_feeds(self.signature, feeds)
        if self._watched is None:
            self._watched = self._watch()
        session, names = self._watched
        found = dict(zip(names, run_session(session, feeds), strict=True))
        return {name: point.restored(found[point.value]) for name, point in self._points.items()}

    def represent(self, name: str, values: Array) -> Array:
        """See `ObservableSession.represent`."""
        point = self._points[name]
        return point.restored(point.stored(values))

    def compute(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        """See `ObservableSession.compute`."""
        self._require_open()
        key = frozenset(given)
        if key not in self._forced:
            self._forced[key] = self._force(key)
        session, inputs, outputs = self._forced[key]
        points = {self._points[name].value: self._points[name] for name in given}
        arrays = {
            f"{value}{GIVEN}": point.stored(given[point.tensor.name])
            for value, point in points.items()
        }
        found = run_session(session, {name: {**feeds, **arrays}[name] for name in inputs})
        made = dict(zip(outputs, found, strict=True))
        return Computed(
            {point.tensor.name: point.restored(made[value]) for value, point in points.items()}
        )

    def close(self) -> None:
        """Frees the runtime; the session cannot be used afterwards."""
        self._watched = None
        self._forced.clear()
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("The session of the graph is closed; load it again.")

    def _watch(self) -> tuple[Any, list[str]]:
        model = ir.from_proto(ir.to_proto(self._model))
        wanted = {point.value for point in self._points.values()}
        for node in model.graph:
            for value in node.outputs:
                if value.name in wanted and not value.is_graph_output():
                    model.graph.outputs.append(value)
        return self._start(model), [str(value.name) for value in model.graph.outputs]

    def _force(self, names: frozenset[str]) -> tuple[Any, list[str], list[str]]:
        values = {self._points[name].value: self._points[name].tensor for name in names}
        canonical = {value: tensor.canonical for value, tensor in values.items()}

        def keeps_reading(value: ir.Value, node: ir.Node) -> bool:
            # A pair behind a value that others read, too, is the same tensor once more: its
            # error is to be that of the operator as well.
            return is_op(node, "QuantizeLinear") and (
                canonical.get(str(node.outputs[0].name)) == canonical[str(value.name)]
            )

        model = forced_graph(self._model, values, keeps_reading)
        inputs = [str(value.name) for value in model.graph.inputs]
        outputs = [str(value.name) for value in model.graph.outputs]
        return self._start(model), inputs, outputs


def runtime_name() -> str:
    """What runs graphs where nothing else is given, with its version."""
    return f"ONNX Runtime {onnxruntime.__version__} (CPU, node by node)"


def _node_by_node(model: ir.Model) -> Any:
    return start_session(model, 1, "disabled")


def _with_types(model: ir.Model) -> ir.Model:
    """The graph with the types of its values, which files need not state."""
    if all(value.dtype is not None for node in model.graph for value in node.outputs):
        return model
    model = ir.from_proto(ir.to_proto(model))
    InferShapes()(model)
    return model


def _points(model: ir.Model) -> tuple[dict[str, _Point], dict[str, str]]:
    """The values that are seen by their key, and why others are not."""
    graph = model.graph
    computed = _computed_values(graph)
    points: dict[str, _Point] = {}
    hidden: dict[str, str] = {}
    canonical: dict[ir.Value, str] = {}
    for node in graph:
        if is_op(node, "QuantizeLinear") and node.inputs[0] in computed:
            point = _pair(node, canonical)
            points[point.tensor.name] = point
            continue
        if is_op(node, "DequantizeLinear"):
            continue
        for value in node.outputs:
            if value not in computed or not value.name:
                continue
            dtype = _FLOATS.get(value.dtype) if value.dtype is not None else None
            if dtype is None:
                hidden[value.name] = f"holds {value.dtype}, no real numbers"
            elif _is_read(value):
                points[value.name] = _Point(_float_tensor(node, value, dtype), value.name, None)
    return points, hidden


def _computed_values(graph: ir.Graph) -> set[ir.Value]:
    """Values that depend on an input."""
    found = {value for value in graph.inputs if value.name not in graph.initializers}
    for node in graph:
        inner = any(
            attribute.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
            for attribute in node.attributes.values()
        )
        if inner or any(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def _is_read(value: ir.Value) -> bool:
    """Whether anything but QuantizeLinear reads a value."""
    return value.is_graph_output() or any(
        not is_op(use.node, "QuantizeLinear") for use in value.uses()
    )


def _float_tensor(node: ir.Node, value: ir.Value, dtype: str) -> ObservedTensor:
    name = str(value.name)
    return ObservedTensor(
        name=name,
        canonical=name.removesuffix(RESULT),
        stored=name,
        layer=node.name or "",
        operators=(node.op_type,),
        dtype=dtype,
        is_output=value.is_graph_output(),
    )


def _pair(node: ir.Node, canonical: dict[ir.Value, str]) -> _Point:
    """The tensor that a QuantizeLinear with its DequantizeLinear stands for."""
    source, integers = node.inputs[0], node.outputs[0]
    assert source is not None
    steps = _steps(node)
    restoring = [use.node for use in integers.uses() if is_op(use.node, "DequantizeLinear")]
    outputs = [reader.outputs[0] for reader in restoring]
    known = canonical.get(source, str(source.name)).removesuffix(RESULT)
    for value in outputs:
        if value.is_graph_output():
            known = str(value.name)
    canonical.update(dict.fromkeys(outputs, known))
    source = _before_pairs(source)
    maker = source.producer()
    read = next((_steps(reader) for reader in restoring), steps)
    tensor = ObservedTensor(
        name=str(integers.name),
        canonical=known,
        stored=str(integers.name),
        aliases=tuple(dict.fromkeys(str(value.name) for value in (source, integers, *outputs))),
        layer="" if maker is None else maker.name or "",
        operators=(node.op_type,) if maker is None else (maker.op_type, node.op_type),
        dtype=steps.dtype,
        steps=steps,
        is_output=any(value.is_graph_output() for value in (integers, *outputs)),
    )
    return _Point(tensor, str(integers.name), read)


def _before_pairs(value: ir.Value) -> ir.Value:
    """The value that an operator makes, before pairs that follow one another."""
    maker = value.producer()
    while maker is not None and maker.op_type in {"QuantizeLinear", "DequantizeLinear"}:
        assert maker.inputs[0] is not None
        value = maker.inputs[0]
        maker = value.producer()
    return value


def _steps(node: ir.Node) -> Steps:
    """Scale and zero point of a Q or DQ node on activations.

    Raises:
        UnsupportedError: If they are not one constant each.
    """
    scale, zero = constant_array(input_at(node, 1)), constant_array(input_at(node, 2))
    if scale is None or scale.size != 1 or (zero is None and input_at(node, 2) is not None):
        raise UnsupportedError(
            f"Node {node.name!r} ({node.op_type}) quantizes an activation by more than one "
            "constant scale; layers are compared where each tensor has one scale and zero point."
        )
    integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    known = None if integers is None or integers.dtype is None else integers.dtype.numpy()
    dtype = known or integers_of(node)
    point = 0 if zero is None else int(zero.reshape(-1)[0])
    return Steps(float(scale.reshape(-1)[0]), point, dtype.name)
