"""If and Loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, optional_input, required_input
from edgekit.targets.coreml.lowering.emitter import Emitter, kind_of, rank_of, shape_of
from edgekit.targets.coreml.lowering.registry import Var, lowers
from edgekit.targets.coreml.lowering.walk import lower_nodes


@lowers("If", accepts="branches of equal types and shapes")
def lower_if(e: Emitter, node: ir.Node) -> list[Var]:
    """One branch or the other; only that one where the condition is a constant."""
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    known = e.array(required_input(node, 0))
    if known is not None:
        chosen = branches[0] if bool(np.asarray(known).reshape(-1)[0]) else branches[1]
        lower_nodes(e, chosen)
        return [e.var(value) for value in chosen.outputs]
    condition = _scalar(e, e.input(node, 0))

    def branch(graph: ir.Graph) -> Any:
        with e.inner_block():
            lower_nodes(e, graph)
            made = [e("identity", x=e.var(value)) for value in graph.outputs]
        return made[0] if len(made) == 1 else tuple(made)

    result = e(
        "cond",
        pred=condition,
        _true_fn=lambda: branch(branches[0]),
        _false_fn=lambda: branch(branches[1]),
    )
    return list(result) if isinstance(result, list | tuple) else [result]


def _scalar(e: Emitter, x: Var) -> Var:
    return e("squeeze", x=x) if rank_of(x) else x


@lowers("Loop", accepts="a fixed number of rounds for stacked outputs; states of fixed shapes")
def lower_loop(e: Emitter, node: ir.Node) -> list[Var]:
    """Unrolled where the number of rounds is known and small, else MIL's while_loop."""
    body = node.attributes["body"].as_graph()
    rounds = e.array(optional_input(node, 0))
    go = optional_input(node, 1)
    known = e.array(go)
    carried = len(node.inputs) - 2
    always = go is None or (known is not None and bool(np.asarray(known).reshape(-1)[0]))
    states = [e.input(node, index + 2) for index in range(carried)]
    if rounds is not None and always and _stays(body):
        count = int(np.asarray(rounds).reshape(-1)[0])
        if count <= _MOST_UNROLLED:
            return _unrolled(e, node, body, states, count)
    if len(node.outputs) > carried:
        raise Refusal("stacked outputs of a loop of open length", "a fixed number of rounds")
    return _while(e, node, body, states)


_MOST_UNROLLED = 64


def _stays(body: ir.Graph) -> bool:
    """Whether the body's condition is true always: its own input, or a constant."""
    value = body.outputs[0]
    while value.producer() is not None and value.producer().op_type == "Identity":  # type: ignore[union-attr]
        value = value.producer().inputs[0]  # type: ignore[union-attr, assignment]
    if value is body.inputs[1]:
        return True
    constant = ir.convenience.get_const_tensor(value)
    return constant is not None and bool(np.asarray(constant.numpy()).reshape(-1)[0])


def _unrolled(
    e: Emitter, node: ir.Node, body: ir.Graph, states: list[Var], count: int
) -> list[Var]:
    scans: list[list[Var]] = [[] for _ in range(len(node.outputs) - len(states))]
    if scans and not count:
        raise Refusal("a tensor without elements", "at least one round")
    outer = e.variables
    for index in range(count):
        e.variables = outer.new_child()
        e.variables[body.inputs[0]] = e.constant(np.array(index, np.int32))
        e.variables[body.inputs[1]] = e.constant(np.array(True))
        for value, state in zip(body.inputs[2:], states, strict=True):
            e.variables[value] = state
        lower_nodes(e, body)
        results = [e.var(value) for value in body.outputs[1:]]
        states = results[: len(states)]
        for found, result in zip(scans, results[len(states) :], strict=True):
            found.append(e("expand_dims", x=result, axes=[0]))
        e.variables = outer
    stacked = [e("concat", values=found, axis=0) if count > 1 else found[0] for found in scans]
    return [*states, *stacked]


def _while(e: Emitter, node: ir.Node, body: ir.Graph, states: list[Var]) -> list[Var]:
    limit = e.optional(node, 0)
    first = e.optional(node, 1)
    go = e.constant(np.array(True)) if first is None else _scalar(e, first)
    go = e("cast", x=go, dtype="int32")
    bound = None if limit is None else _scalar(e, limit)

    def condition(index: Var, on: Var, *_: Var) -> Var:
        wanted = e("not_equal", x=on, y=np.int32(0))
        if bound is None:
            return wanted
        return e("logical_and", x=e("less", x=index, y=bound), y=wanted)

    def step(index: Var, on: Var, *own: Var) -> tuple[Var, ...]:
        with e.inner_block():
            e.variables[body.inputs[0]] = index
            e.variables[body.inputs[1]] = e("not_equal", x=on, y=np.int32(0))
            for value, state in zip(body.inputs[2:], own, strict=True):
                e.variables[value] = state
            lower_nodes(e, body)
            results = [e.var(value) for value in body.outputs]
            for result, state in zip(results[1:], own, strict=True):
                if shape_of(result) != shape_of(state) or kind_of(result) != kind_of(state):
                    raise Refusal("a loop whose state changes its shape", "states of fixed shapes")
            following = e("cast", x=_scalar(e, results[0]), dtype="int32")
            kept = [e("identity", x=result) for result in results[1:]]
            return (e("add", x=index, y=np.int32(1)), following, *kept)

    start = (e.constant(np.array(0, np.int32)), go, *states)
    results = e("while_loop", _cond=condition, _body=step, loop_vars=start)
    return list(results)[2:]


@lowers("Scan", accepts="a fixed number of steps")
def lower_scan(e: Emitter, node: ir.Node) -> list[Var]:
    """Unrolled over the scanned axis."""
    body = node.attributes["body"].as_graph()
    count = node.attributes["num_scan_inputs"].as_int()
    offset = 1 if e.opset < 9 else 0
    if offset:
        raise Refusal("Scan of opset 8", "opset 9 or later")
    carried = len(node.inputs) - count
    settings = _scan_settings(node, count, len(node.outputs) - carried)
    states = [e.input(node, index) for index in range(carried)]
    inputs = [e.input(node, carried + index) for index in range(count)]
    steps = shape_of(inputs[0])[settings["scan_input_axes"][0]]
    if not isinstance(steps, int | np.integer) or steps > _MOST_UNROLLED:
        raise Refusal("a scan of an open or long axis", f"at most {_MOST_UNROLLED} steps")
    scans: list[list[Var]] = [[] for _ in range(len(node.outputs) - carried)]
    outer = e.variables
    for step in range(int(steps)):
        e.variables = outer.new_child()
        for value, state in zip(body.inputs[:carried], states, strict=True):
            e.variables[value] = state
        for at, value in enumerate(body.inputs[carried:]):
            place = int(steps) - 1 - step if settings["scan_input_directions"][at] else step
            axis = settings["scan_input_axes"][at]
            e.variables[value] = e("gather", x=inputs[at], indices=np.int32(place), axis=axis)
        lower_nodes(e, body)
        results = [e.var(value) for value in body.outputs]
        states = results[:carried]
        for found, result in zip(scans, results[carried:], strict=True):
            found.append(result)
        e.variables = outer
    stacked = []
    for at, found in enumerate(scans):
        if settings["scan_output_directions"][at]:
            found.reverse()
        stacked.append(e("stack", values=found, axis=settings["scan_output_axes"][at]))
    return [*states, *stacked]


def _scan_settings(node: ir.Node, inputs: int, outputs: int) -> dict[str, list[int]]:
    sizes = {
        "scan_input_axes": inputs, "scan_input_directions": inputs,
        "scan_output_axes": outputs, "scan_output_directions": outputs,
    }  # fmt: skip
    return {
        name: list(node.attributes[name].as_ints()) if name in node.attributes else [0] * size
        for name, size in sizes.items()
    }
