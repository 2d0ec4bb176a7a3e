"""Reading and editing a graph: constants, consumers, replacing nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

type Array = npt.NDArray[np.generic]


def constant_array(value: ir.Value | None) -> Array | None:
    """The array of an initializer or Constant output; None when it is not constant.

    The array is shared with the graph; do not modify it.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = value.const_value
    if tensor is None:
        node = value.producer()
        if node is None or node.op_type != "Constant":
            return None
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None:
            return None
    return tensor.numpy()


def constant_scalar(value: ir.Value | None) -> float | None:
    """The only element of a constant as a float; None when it is no constant of one element."""
    array = constant_array(value)
    if array is None or array.size != 1:
        return None
    return float(array.reshape(-1)[0])


def constant_ints(value: ir.Value | None) -> tuple[int, ...] | None:
    """Elements of a constant of integers; None when it is not constant."""
    array = constant_array(value)
    if array is None or not np.issubdtype(array.dtype, np.integer):
        return None
    return tuple(int(item) for item in array.reshape(-1))


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default when absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else int(attribute.as_int())


def ints_attribute(node: ir.Node, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """A list of integers, or its default when absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(int(item) for item in attribute.as_ints())


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, or its default when absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.as_float())


def string_attribute(node: ir.Node, name: str, default: str) -> str:
    """A string attribute, or its default when absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else str(attribute.as_string())


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index`` of a node; None when it is absent or left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """True for a node of the standard domain with one of the given types."""
    return node is not None and node.domain == "" and node.op_type in op_types


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The node that alone reads a value; None when several do, or it is a graph output."""
    if value.is_graph_output():
        return None
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 else None


def add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Adds a constant under ``name``, made unique with a number where it is taken."""
    taken = graph.initializers.keys() | {value.name for value in graph.inputs}
    unique, count = name, 1
    while unique in taken:
        unique = f"{name}_{count}"
        count += 1
    # ascontiguousarray alone would turn a scalar into a vector of one.
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=unique)
    value = ir.Value(
        name=unique,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def replace_value(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Lets every reader of ``old`` read ``new``; a graph output keeps its name.

    Where ``old`` is a graph output, ``new`` takes over its name and place, so ``new`` must be
    produced by a node and be no graph output itself; check with `can_replace`.
    """
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    if old.is_graph_output():
        name, shape = old.name, old.shape
        old.name = f"{name}_replaced"
        new.name = name
        if shape is not None:
            new.shape = shape
        for index, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[index] = new
    ir.convenience.replace_all_uses_with(old, new)


def can_replace(old: ir.Value, new: ir.Value) -> bool:
    """Whether `replace_value` keeps the model's interface.

    A graph output can be replaced only by a value that a node produces and that is no graph
    output itself; otherwise the names of the interface would be lost.
    """
    if not old.is_graph_output():
        return True
    return new.producer() is not None and not new.is_graph_output()


def replace_node(
    graph: ir.Graph, old: ir.Node, op_type: str, inputs: list[ir.Value | None],
    attributes: dict[str, int | float | str | list[int]] | None = None,
) -> ir.Node:  # fmt: skip
    """Puts a new node with one output in the place of ``old``'s first output.

    The value keeps its name; ``old`` is removed with the nodes that nothing reads then, so
    its other outputs must be unused.

    Returns:
        The new node, named like the old one.
    """
    node = ir.node(op_type, inputs, attributes=attributes or {}, num_outputs=1, name=old.name)
    output, former = node.outputs[0], old.outputs[0]
    output.name, output.shape, output.type = former.name, former.shape, former.type
    graph.insert_before(old, node)
    if former.is_graph_output():
        for index, value in enumerate(graph.outputs):
            if value is former:
                graph.outputs[index] = output
    former.name = f"{former.name}_replaced"
    ir.convenience.replace_all_uses_with(former, output)
    sources = tuple(old.inputs)
    graph.remove(old, safe=True)
    remove_unread(graph, sources)
    return node


def remove_unread(graph: ir.Graph, values: Sequence[ir.Value | None]) -> None:
    """Removes the nodes that make ``values`` where nothing reads them any more, and theirs."""
    pending = [value for value in values if value is not None]
    while pending:
        node = pending.pop().producer()
        if node is None or node.graph is None:
            continue
        if any(output.uses() or output.is_graph_output() for output in node.outputs):
            continue
        pending += [value for value in node.inputs if value is not None]
        graph.remove(node, safe=True)
