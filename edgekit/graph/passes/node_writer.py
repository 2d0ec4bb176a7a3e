"""Writes the nodes that stand for another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import Array, add_initializer

type AttributeValue = int | float | str | list[int]


class NodeWriter:
    """Collects nodes that are put before ``node``, all named below its name.

    A node and its only output bear the same name, as in ``lstm_4/step_0/gates``.
    """

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        """Starts with no node written.

        Args:
            graph: The graph that holds ``node``.
            node: The node that is replaced; its name is the prefix.
        """
        self.prefix = node.name or node.outputs[0].name or node.op_type
        self._graph = graph
        self._node = node
        self._integers: dict[tuple[int, ...], ir.Value] = {}

    def add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> ir.Value:
        """Writes a node with one output and gives it."""
        (output,) = self.add_many(op_type, inputs, [name], attributes)
        return output

    def add_many(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        names: Sequence[str],
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> list[ir.Value]:
        """Writes a node with an output for each name; it is called like the first of them."""
        node = ir.node(
            op_type,
            inputs,
            attributes=dict(attributes or {}),
            num_outputs=len(names),
            name=f"{self.prefix}/{names[0]}",
        )
        for output, name in zip(node.outputs, names, strict=True):
            output.name = f"{self.prefix}/{name}"
        self._graph.insert_before(self._node, node)
        return list(node.outputs)

    def constant(self, array: Array, name: str) -> ir.Value:
        """An initializer."""
        return add_initializer(self._graph, f"{self.prefix}/{name}", array)

    def integers(self, *numbers: int) -> ir.Value:
        """An int64 initializer of axes or positions, one for all nodes that need these."""
        if numbers not in self._integers:
            name = f"integers_{'_'.join(map(str, numbers))}"
            self._integers[numbers] = self.constant(np.array(numbers, np.int64), name)
        return self._integers[numbers]

    def finish(self, results: Sequence[ir.Value | None]) -> None:
        """Puts results in the place of the node's outputs and removes the node.

        Args:
            results: One for each output of the node, None where nothing reads it. They take
                over the names of the outputs.
        """
        for output, result in zip(self._node.outputs, results, strict=True):
            if result is None:
                continue
            name = output.name
            output.name = f"{name}_replaced"
            result.name = name
            result.type = result.type or output.type
            result.shape = result.shape or output.shape
            for index, value in enumerate(self._graph.outputs):
                if value is output:
                    self._graph.outputs[index] = result
            ir.convenience.replace_all_uses_with(output, result)
        self._graph.remove(self._node, safe=True)
