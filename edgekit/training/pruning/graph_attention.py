"""Attention in the fx graph of a twin, of which whole heads can be removed.

A block lies between layers: what linear layers (queries, keys and values, fused or not) give is
reshaped, multiplied with each other and read by one linear layer, the projection. The heads
are found from the projection on (`head_labels`); nothing is known by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgekit.training.pruning.attention import Heads
from edgekit.training.pruning.head_labels import (
    NO_HEAD,
    HeadsLost,
    Labels,
    Shapes,
    data_inputs,
    labels_of_inputs,
    readers,
)
from edgekit.training.pruning.reshapes import graph_modules, value_shapes
from edgekit.training.pruning.stated_sizes import StatedSize, stated_sizes

_PRODUCTS = (torch.matmul, torch.einsum)


@dataclass(frozen=True, slots=True)
class GraphHeads(Heads):
    """Heads whose number stands in the sizes that an fx graph states.

    Attributes:
        owner: Dotted name of the graph module; empty for the network itself.
        sizes: What the graph states.
    """

    owner: str
    sizes: tuple[StatedSize, ...]

    def remove(self, root: nn.Module, gone: Collection[int]) -> None:
        """States the sizes of what is left."""
        module = root.get_submodule(self.owner)
        assert isinstance(module, fx.GraphModule)
        nodes = {node.name: node for node in module.graph.nodes}
        for size in self.sizes:
            size.shrink(nodes[size.node], gone)
        module.recompile()


@dataclass(frozen=True, slots=True)
class HeadChannels:
    """Channels of a layer, or positions along an axis of a constant, that belong to heads.

    Attributes:
        name: Dotted name of the layer, or of the constant.
        item: The layer or the constant.
        labels: Of its output channels; of the projection, of its input channels.
    """

    name: str
    item: nn.Linear | Tensor
    labels: Labels


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """Attention that can lose heads.

    Attributes:
        heads: How many, and where the graph states it.
        sources: The linear layers that make queries, keys and values, in graph order.
        projection: The linear layer that reads all heads.
        constants: What the graph stores for each head, as a bias by relative position.
    """

    heads: GraphHeads
    sources: tuple[HeadChannels, ...]
    projection: HeadChannels
    constants: tuple[HeadChannels, ...]


@dataclass(frozen=True, slots=True)
class UnprunableAttention:
    """Attention whose heads all stay.

    Attributes:
        layers: Dotted names of its layers.
        reason: Why.
    """

    layers: tuple[str, ...]
    reason: str


def find_attention(
    module: nn.Module, inputs: Sequence[Tensor]
) -> tuple[AttentionBlock | UnprunableAttention, ...]:
    """All attention in the fx graphs of a network.

    Args:
        module: A twin, or what holds one; others have none. Not modified.
        inputs: Arguments of its forward.
    """
    found: list[AttentionBlock | UnprunableAttention] = []
    for owner, graph_module in graph_modules(module):
        if not any(_is_product(node) for node in graph_module.graph.nodes):
            continue
        shapes = value_shapes(module, graph_module, inputs)
        if not shapes:
            continue  # the network does not run this part
        for region in _regions(graph_module.graph):
            block = _Region(owner, graph_module, region, shapes).block()
            if block is not None:
                found.append(block)
    return tuple(found)


def _is_product(node: fx.Node) -> bool:
    """True for a product of two values that are both computed."""
    computed = [item for item in node.all_input_nodes if item.op != "get_attr"]
    return node.target in _PRODUCTS and len(computed) == 2


def _regions(graph: fx.Graph) -> Iterator[tuple[fx.Node, ...]]:
    """The parts between layers that multiply computed values, in graph order."""
    order = {node: at for at, node in enumerate(graph.nodes)}
    seen: set[fx.Node] = set()
    for node in graph.nodes:
        if not _is_product(node) or node in seen:
            continue
        region, waiting = {node}, [node]
        while waiting:
            current = waiting.pop()
            for near in (*data_inputs(current), *readers(current)):
                if near.op == "call_function" and near not in region:
                    region.add(near)
                    waiting.append(near)
        seen |= region
        yield tuple(sorted(region, key=order.__getitem__))


def _columns(projection: nn.Linear, count: int) -> Iterator[tuple[int, ...]]:
    """The head of each input: those of a head together, or all heads' first, second and so on."""
    width = projection.in_features // count
    yield tuple(at // width for at in range(projection.in_features))
    if width > 1:
        yield tuple(at % count for at in range(projection.in_features))


class _Region:
    """What lies between layers, of one graph module."""

    def __init__(
        self, owner: str, module: fx.GraphModule, nodes: tuple[fx.Node, ...], shapes: Shapes
    ) -> None:
        self._owner = owner
        self._module = module
        self._nodes = nodes
        self._inside = set(nodes)
        self._shapes = shapes
        edges = dict.fromkeys(
            item for node in nodes for item in data_inputs(node) if item not in self._inside
        )
        self._sources = [item for item in edges if item.op == "call_module"]
        self._readers = tuple(
            dict.fromkeys(
                user for node in nodes for user in readers(node) if user not in self._inside
            )
        )

    def block(self) -> AttentionBlock | UnprunableAttention | None:
        """None where it is no attention."""
        if not self._sources or not all(
            isinstance(self._layer(node), nn.Linear) for node in self._sources
        ):
            return None
        linear = [node for node in self._readers if isinstance(self._layer(node), nn.Linear)]
        if not linear:
            return None
        if len(self._readers) > 1:
            return self._unprunable("its heads are read by more than one linear layer")
        projection = self._layer(linear[0])
        assert isinstance(projection, nn.Linear)
        reasons: list[tuple[int, str]] = []
        counts = self._counts(projection.in_features)
        for columns in (item for count in counts for item in _columns(projection, count)):
            labels: dict[fx.Node, Labels] = {}
            try:
                found = self._with(linear[0], columns, labels)
            except HeadsLost as reason:
                reasons.append((len(labels), str(reason)))
            else:
                if found is not None:
                    return found
        if not reasons:
            return self._unprunable("its attention has one head, or none that can be told apart")
        return self._unprunable(max(reasons)[1])

    def _counts(self, channels: int) -> list[int]:
        """Numbers of heads to try, the largest first: half as many pairs of heads fit as well."""
        sizes = {size for node in self._nodes for size in self._shapes.get(node.name, ())}
        fitting = (size for size in sizes if 1 < size <= channels and channels % size == 0)
        return sorted(fitting, reverse=True)

    def _with(
        self, reader: fx.Node, heads: tuple[int, ...], labels: dict[fx.Node, Labels]
    ) -> AttentionBlock | None:
        """The block whose projection reads these heads; None where not all its layers have some.

        Raises:
            HeadsLost: If they are not its heads.
        """
        count = max(heads) + 1
        (value,) = data_inputs(reader)
        columns = Labels(len(self._shapes[value.name]) - 1, heads)
        self._label(reader, value, columns, labels)
        if not all(node in labels for node in self._sources):
            return None
        self._check_constants(labels)
        sizes = stated_sizes(self._nodes, labels, self._shapes)
        sources = tuple(self._channels(node, labels[node]) for node in self._sources)
        if any(sum(head != NO_HEAD for head in item.labels.heads) == 0 for item in sources):
            return None
        constants = tuple(
            self._channels(node, found) for node, found in labels.items() if node.op == "get_attr"
        )
        stated = GraphHeads(count, len(heads) // count, self._owner, sizes)
        return AttentionBlock(stated, sources, self._channels(reader, columns), constants)

    def _label(
        self, reader: fx.Node, value: fx.Node, columns: Labels, labels: dict[fx.Node, Labels]
    ) -> None:
        """Labels all values from the projection's input on to the layers before it."""
        labels[value] = columns
        told: dict[fx.Node, set[fx.Node]] = {value: {reader}}
        for node in reversed(self._nodes):
            if node not in labels:
                continue
            for source, found in labels_of_inputs(node, labels[node], self._shapes).items():
                labels[source] = found.joined(labels[source]) if source in labels else found
                told.setdefault(source, set()).add(node)
        for node, by in told.items():
            others = [user for user in readers(node) if user not in by]
            if others:
                raise HeadsLost(
                    "a value of its attention is read where no heads are told apart "
                    f"({others[0].name})"
                )

    def _check_constants(self, labels: Mapping[fx.Node, Labels]) -> None:
        for node in labels:
            if node.op == "placeholder":
                raise HeadsLost("an input of the network has numbers for each head")
            if node.op == "get_attr" and "." in str(node.target):
                raise HeadsLost("its attention reads the weights of another layer")

    def _channels(self, node: fx.Node, labels: Labels) -> HeadChannels:
        prefix = f"{self._owner}." if self._owner else ""
        path = str(node.target)
        if node.op == "get_attr":
            constant = getattr(self._module, path)
            return HeadChannels(f"{prefix}{path}", constant, labels)
        calls = sum(
            other.op == "call_module" and other.target == path
            for other in self._module.graph.nodes
        )
        if calls > 1:
            raise HeadsLost(f"the network runs one of its layers {calls} times")
        layer = self._layer(node)
        assert isinstance(layer, nn.Linear)
        return HeadChannels(f"{prefix}{path}", layer, labels)

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self._module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _unprunable(self, reason: str) -> UnprunableAttention:
        prefix = f"{self._owner}." if self._owner else ""
        return UnprunableAttention(
            tuple(dict.fromkeys(f"{prefix}{node.target}" for node in self._sources)), reason
        )
