"""The graph that ONNX Runtime makes of a file, told in the file's own values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgekit.graph.canonical_names import float_value_of
from edgekit.graph.inspect import layer_macs
from edgekit.graph.io import load_onnx
from edgekit.graph.quantized import read_float_reasons
from edgekit.targets.onnxruntime.exactness import operators_in_float

_SHOWN = 3
_ADDED = re.compile(r"(_nchwc|_token_\d+|_quant)$")
"""What the runtime puts behind the name of a node, or of what it gives, that it rewrote."""

_PLAIN_DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is known of a node that the runtime runs.

    Attributes:
        op: Its type; with the domain where that is not one of the usual.
        value: Value of the float graph that it computes; its own name where that is unknown.
        macs: Of the layers of the file that it stands for; None where they are not known.
        reason: Why it computes in float in an integer artifact; None where it does not.
    """

    op: str
    value: str
    macs: int | None
    reason: str | None


class OptimizedGraph:
    """Which layers of a file each node of the optimized graph stands for.

    Attributes:
        nested: Names of nodes within the branches of others.
    """

    def __init__(self, path: Path, optimized: Path) -> None:
        """Compares the two graphs.

        Args:
            path: The file.
            optimized: What the runtime made of it.

        Raises:
            InputError: If the file is damaged.
        """
        self._macs = layer_macs(path)
        self._producers = {
            name: node
            for node in onnx.load(path, load_external_data=False).graph.node
            for name in node.output
        }
        self._named = {node.name: node for node in self._producers.values() if node.name}
        rewritten = onnx.load(optimized)
        nodes = rewritten.graph.node
        keys = self.keys([(node.name, node.op_type) for node in nodes])
        self._nodes = dict(zip(keys, nodes, strict=True))
        self.nested = _nested_names(rewritten.graph)
        self._values = {node.name: self._value(node) for node in rewritten.graph.node}
        self._boundary = {value for value in self._values.values() if value}
        self._layers: dict[str, list[str]] = {}
        taken: set[str] = set()
        for node in rewritten.graph.node:
            value = self._values[node.name]
            found = self._layers_of(value) - taken if value else set()
            taken |= found
            self._layers[node.name] = sorted(found)
        self._left = sorted(set(self._macs) - taken)
        quantizes = any(node.op_type == "QuantizeLinear" for node in self._producers.values())
        self._stated = read_float_reasons(load_onnx(path)) if quantizes else {}
        # By what a node gives, where the file quantizes activations.
        self._floats = {
            key.rpartition(" -> ")[2]: reason
            for key, reason in (
                operators_in_float(rewritten, self._stated).items() if quantizes else ()
            )
        }

    def keys(self, nodes: Sequence[tuple[str, str]]) -> list[str]:
        """What tells nodes apart in every load: names of the file, else type and number.

        The runtime numbers the nodes that it adds in an order that differs from load to load.

        Args:
            nodes: Names and types in the order in which they run.
        """
        found = []
        counts: Counter[str] = Counter()
        for name, op in nodes:
            kept = _ADDED.sub("", name)
            if kept in self._producers or kept in self._named:
                found.append(name)
                continue
            found.append(f"{op} #{counts[op]}")
            counts[op] += 1
        return found

    def facts(self, key: str, op: str) -> NodeFacts:
        """What is known of a node by its key and type."""
        node = self._nodes.get(key)
        if node is None:
            return NodeFacts(op, "", None, None)
        name = node.name
        macs = [self._macs[layer] for layer in self._layers[name]]
        known = [item for item in macs if item is not None]
        domain = node.domain.removeprefix("com.microsoft.")
        return NodeFacts(
            op=op if node.domain in _PLAIN_DOMAINS else f"{domain}::{op}",
            value=float_value_of(self._values[name] or name or node.output[0]),
            macs=sum(known) if len(known) == len(macs) else None,
            reason=self._reason(node),
        )

    def notes(self) -> tuple[str, ...]:
        """Layers whose work no node of the runtime was found for."""
        if not self._left:
            return ()
        shown = ", ".join(self._left[:_SHOWN])
        more = ", ..." if len(self._left) > _SHOWN else ""
        note = (
            f"the multiply-accumulates of {len(self._left)} layers are not told: ONNX Runtime's "
            f"graph does not name what they give ({shown}{more})"
        )
        return (note,)

    def _value(self, node: onnx.NodeProto) -> str:
        """The file's value that a node gives; empty where it is the runtime's own.

        Where the runtime changes the layout, it names what is given anew and keeps the name of
        the node, or of what it gave.
        """
        given = next((name for name in node.output if name in self._producers), "")
        kept = _ADDED.sub("", node.name)
        if given or kept == node.name:
            return given
        if kept in self._producers:
            return kept
        known = self._named.get(kept)
        return known.output[0] if known is not None else ""

    def _layers_of(self, value: str) -> set[str]:
        """Layers on the way back from a value to those that other nodes give."""
        found: set[str] = set()
        waiting, seen = [value], {value}
        while waiting:
            name = waiting.pop()
            node = self._producers.get(name)
            if node is None:
                continue
            if node.output[0] in self._macs:
                found.add(node.output[0])
            for source in node.input:
                if source and source not in seen and source not in self._boundary:
                    seen.add(source)
                    waiting.append(source)
        return found

    def _reason(self, node: onnx.NodeProto) -> str | None:
        found = self._floats.get(node.output[0])
        maker = self._producers.get(self._values[node.name])
        if found is None or maker is None:
            return found
        return self._stated.get(maker.name, found)


def with_named_nodes(path: Path, folder: Path) -> Path:
    """The file, or where nodes of it have no name a copy in which they have one.

    The profiler tells of nodes by their names.
    """
    model = onnx.load(path)
    nodes = list(_all_nodes(model.graph))
    unnamed = [node for node in nodes if not node.name]
    if not unnamed:
        return path
    taken = {node.name for node in nodes}
    for place, node in enumerate(unnamed):
        name = f"{node.op_type} without name {place}"
        while name in taken:
            name += "'"
        node.name = name
    copy = folder / path.name
    onnx.save(model, copy)
    return copy


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)


def _nested_names(graph: onnx.GraphProto) -> frozenset[str]:
    outer = {node.name for node in graph.node}
    return frozenset(node.name for node in _all_nodes(graph)) - outer
