"""Evaluation of what does not depend on the inputs."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.signature import static_shape
from edgekit.graph.symbolic_shapes import ShapeVectors
from edgekit.graph.values import Array, constant_array, is_op

_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
           "RandomUniformLike")  # fmt: skip
_KEPT = ("QuantizeLinear", "DequantizeLinear", "Constant")
_GROWTH_LIMIT_BYTES = 4 << 20
"""A folded tensor larger than this must not be larger than its inputs."""


class FoldConstants(GraphPass):
    """Replaces values that do not depend on the model's inputs by initializers.

    1. Shape and Size of a value of static shape become constants.
    2. A vector of sizes computed from Shape by Gather, Slice, Concat, Squeeze, Unsqueeze,
       Cast is followed symbolically: where its elements are all known it becomes a
       constant, and where one is symbolic and it is the target of a Reshape, that element
       becomes -1.
    3. A node of the standard domain whose inputs are all constant is evaluated by ONNX
       Runtime; its outputs become initializers of the same names.
       Subgraphs count with what they capture, and sequences on the way are followed: exporters
       write constant indices as a Loop over a sequence.
    4. Random ops, QuantizeLinear and DequantizeLinear, outputs of the model, and nodes that
       would blow a small constant up beyond 4 MiB stay.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = self._fold_shapes(model.graph)
        modified |= self._fold_reshape_targets(model.graph)
        return self._fold_nodes(model) or modified

    def _fold_shapes(self, graph: ir.Graph) -> bool:
        vectors, modified = ShapeVectors(), False
        for node in graph:
            output = node.outputs[0] if node.outputs else None
            if output is None or output.is_graph_output() or not output.uses():
                continue
            sizes: Array | None
            if is_op(node, "Size") and node.inputs[0] is not None:
                shape = static_shape(node.inputs[0])
                sizes = None if shape is None else np.asarray(math.prod(shape), np.int64)
            else:
                sizes = vectors.array(output)
            if sizes is not None:
                _become_constant(graph, node, [sizes])
                modified = True
        return modified

    def _fold_reshape_targets(self, graph: ir.Graph) -> bool:
        vectors, modified = ShapeVectors(), False
        for node in graph:
            if not is_op(node, "Reshape") or constant_array(node.inputs[1]) is not None:
                continue
            target = vectors.reshape_target(node)
            if target is None:
                self.keep(node, "the target shape of Reshape depends on more than one free dim")
                continue
            name = f"{node.outputs[0].name}_shape"
            value = ir.Value(
                name=name,
                shape=ir.Shape((len(target),)),
                type=ir.TensorType(ir.DataType.INT64),
                const_value=ir.tensor(np.asarray(target, np.int64), name=name),
            )
            graph.register_initializer(value)
            node.replace_input_with(1, value)
            modified = True
        return modified

    def _fold_nodes(self, model: ir.Model) -> bool:
        graph = model.graph
        constant = {value for value in graph.initializers.values() if not value.is_graph_input()}
        foldable: list[ir.Node] = []
        for node in graph:
            inputs = _read_values(node)
            starts = bool(inputs) or is_op(node, "SequenceEmpty")
            if _may_fold(node) and starts and all(value in constant for value in inputs):
                foldable.append(node)
                constant.update(node.outputs)
        if all(_makes_sequence(node) for node in foldable):
            return False
        arrays = _evaluate(model, foldable)
        modified = False
        for node in foldable:
            if _makes_sequence(node) and not any(o.uses() for o in _tensors(node)):
                continue
            results = [arrays[output.name or ""] for output in _tensors(node)]
            if _grows(node, results):
                self.keep(node, "folding would store a constant much larger than its inputs")
            else:
                _become_constant(graph, node, results)
                modified = True
        return modified


def _may_fold(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type in _RANDOM or node.op_type in _KEPT:
        return False
    if any(output.is_graph_output() for output in node.outputs):
        return False
    inner = [n for graph in _subgraphs(node) for n in graph.all_nodes()]
    return not any(n.op_type in _RANDOM for n in inner) and all(
        output.type is not None for output in node.outputs if output.name
    )


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            found += attribute.as_graphs()
    return found


def _read_values(node: ir.Node) -> list[ir.Value]:
    """Inputs of a node, and what its subgraphs capture of the graph around them."""
    values = [value for value in node.inputs if value is not None]
    for graph in _subgraphs(node):
        inner = [graph, *(sub for n in graph.all_nodes() for sub in _subgraphs(n))]
        own = {value for sub in inner for value in (*sub.inputs, *sub.initializers.values())}
        nodes = list(graph.all_nodes())
        own.update(output for n in nodes for output in n.outputs)
        read = [value for n in nodes for value in n.inputs]
        read += [value for sub in inner for value in sub.outputs]
        values += [value for value in read if value is not None and value not in own]
    return values


def _makes_sequence(node: ir.Node) -> bool:
    return any(isinstance(output.type, ir.SequenceType) for output in node.outputs)


def _tensors(node: ir.Node) -> list[ir.Value]:
    """Outputs that can be an initializer."""
    return [o for o in node.outputs if o.name and not isinstance(o.type, ir.SequenceType)]


def _evaluate(model: ir.Model, nodes: list[ir.Node]) -> dict[str, Array]:
    """Computes all outputs of ``nodes``, which form a closed constant subgraph."""
    fed = {value.name: value for node in nodes for value in _read_values(node)}
    made = {value.name: value for node in nodes for value in node.outputs if value.name}
    weights = [
        ir.serde.serialize_tensor(value.const_value)
        for name, value in fed.items()
        if name not in made and value.const_value is not None
    ]
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node) for node in nodes],
        "constants",
        inputs=[],
        outputs=[ir.serde.serialize_value(value) for node in nodes for value in _tensors(node)],
        initializer=weights,
    )
    proto = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(*item) for item in model.opset_imports.items()],
        ir_version=model.ir_version,
    )
    return ReferenceSession.run_once(proto, {})


def _grows(node: ir.Node, results: list[Array]) -> bool:
    size = sum(array.nbytes for array in results)
    arrays = [constant_array(value) for value in node.inputs]
    source = sum(array.nbytes for array in arrays if array is not None)
    return size > _GROWTH_LIMIT_BYTES and size > 2 * source


def _become_constant(graph: ir.Graph, node: ir.Node, arrays: list[Array]) -> None:
    """Replaces ``node`` by initializers named like its outputs; what makes a sequence stays."""
    for output, array in zip(_tensors(node), arrays, strict=True):
        name = output.name
        output.name = f"{name}_folded"
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        graph.register_initializer(value)
        ir.convenience.replace_all_uses_with(output, value)
    if not _makes_sequence(node):
        graph.remove(node, safe=True)
