"""Which channels of which layers can only be removed together.

The dependencies come from torch-pruning (Fang et al., DepGraph: Towards Any Structural
Pruning, CVPR 2023). This module is the only one that knows its interface.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.errors import MissingToolError, UnsupportedError
from edgekit.training.network_name import network_name
from edgekit.training.pruning.attention import Heads, heads_of
from edgekit.training.pruning.graph_attention import (
    AttentionBlock,
    HeadChannels,
    UnprunableAttention,
    find_attention,
)
from edgekit.training.pruning.head_labels import NO_HEAD
from edgekit.training.pruning.traced_constants import traced_constants

PRODUCERS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""Layers whose output channels can be removed."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ACTIVATIONS = (nn.PReLU,)
CHANNEL_NORMS = (nn.LayerNorm, nn.GroupNorm)
"""Norms whose statistics change when channels are removed."""
_KNOWN = (*PRODUCERS, *BATCH_NORMS, *_ACTIVATIONS, *CHANNEL_NORMS)


@dataclass(frozen=True, slots=True)
class Member:
    """A layer of a group, and the channels of it that belong there.

    Attributes:
        layer: Dotted name; of a parameter or constant that no layer holds, its own.
        module: The layer, or the parameter or constant.
        outputs: True where its output channels are concerned, False for its input channels.
        indices: The channels of the layer.
        roots: For each of them, the channel of the group's root that it goes with.
        handler: torch-pruning's function that removes channels of such a layer.
        axis: What it is told to be the axis of the channels; of a parameter, that axis.
    """

    layer: str
    module: nn.Module | Tensor
    outputs: bool
    indices: tuple[int, ...]
    roots: tuple[int, ...]
    handler: Any
    axis: int

    def at(self, roots: Iterable[int]) -> list[int]:
        """The layer's channels that go with these channels of the root."""
        wanted = set(roots)
        pairs = zip(self.indices, self.roots, strict=True)
        return [index for index, root in pairs if root in wanted]


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that can only be removed together.

    Attributes:
        root: Name of a layer whose output channels they are.
        channels: Output channels of that layer.
        blocks: The same positions of so many blocks of neighbouring channels go together, as
            grouped convolutions need it.
        members: All layers concerned, the root first.
        heads: Attention heads that the channels belong to; they go as a whole, so that the
            scale of the products, which depends on their width, stays.
    """

    root: str
    channels: int
    blocks: int
    members: tuple[Member, ...]
    heads: Heads | None = None

    @property
    def width(self) -> int:
        """Channels that one position removes."""
        return self.heads.width if self.heads is not None else self.blocks

    @property
    def positions(self) -> int:
        """What can be removed one by one: channels in a block, or heads."""
        return self.channels // self.width

    def channels_at(self, positions: Iterable[int]) -> list[int]:
        """Channels of the root at these positions, sorted."""
        chosen = sorted(positions)
        if self.heads is not None:
            return [at * self.width + index for at in chosen for index in range(self.width)]
        return [block * self.positions + at for block in range(self.blocks) for at in chosen]

    def by_position(self, values: Tensor) -> Tensor:
        """Sums a number a channel to a number a position."""
        if self.heads is not None:
            return values.reshape(self.positions, self.width).sum(dim=1)
        return values.reshape(self.blocks, self.positions).sum(dim=0)

    def step(self, round_to: int) -> int:
        """Positions to which the number of those left has to be rounded."""
        return round_to // math.gcd(round_to, self.width)

    @property
    def producers(self) -> tuple[str, ...]:
        """Layers that make the channels."""
        return producers(self.members)


def producers(members: Iterable[Member]) -> tuple[str, ...]:
    """Convolutions and linear layers whose output channels are concerned."""
    return tuple(
        dict.fromkeys(
            member.layer
            for member in members
            if member.outputs and isinstance(member.module, PRODUCERS)
        )
    )


def _head_member(item: HeadChannels, width: int, outputs: bool, handler: Any, axis: int) -> Member:
    """A layer or constant whose channels go with heads; their places in a head do not matter."""
    seen: dict[int, int] = {}
    pairs = []
    for index, head in enumerate(item.labels.heads):
        if head != NO_HEAD:
            place = seen[head] = seen.get(head, -1) + 1
            pairs.append((index, head * width + place % width))
    indices, roots = zip(*pairs, strict=True)
    return Member(item.name, item.item, outputs, indices, roots, handler, axis)


class ChannelGraph:
    """The groups of one module.

    Attributes:
        module: What it was made of.
        whole_attention: Why attention keeps all of its heads, by layer.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor]) -> None:
        """Runs the module once in evaluation mode.

        Args:
            module: Not modified.
            inputs: Arguments of its forward.

        Raises:
            MissingToolError: If torch-pruning is not installed.
            UnsupportedError: If the dependencies between its channels cannot be told.
        """
        self.module = module
        self._tp = _torch_pruning()
        with _kept_modes(module):
            with traced_constants(module, inputs) as constants:
                self._graph = self._build(tuple(inputs))
            attention = find_attention(module, inputs)
        self._constants = constants
        self._blocks = [item for item in attention if isinstance(item, AttentionBlock)]
        self.whole_attention = {
            layer: item.reason
            for item in attention
            if isinstance(item, UnprunableAttention)
            for layer in item.layers
        }

    def _build(self, inputs: tuple[Tensor, ...]) -> Any:
        graph = self._tp.DependencyGraph()
        try:
            return graph.build_dependency(
                self.module,
                example_inputs=inputs,
                forward_fn=lambda module, arguments: module(*arguments),
                verbose=False,
            )
        except Exception as error:
            raise self._untold(error) from error

    def _untold(self, error: Exception) -> UnsupportedError:
        return UnsupportedError(
            f"No channels can be removed from {network_name(self.module)}: torch-pruning "
            f"fails to tell which of them belong together ({type(error).__name__}: {error}). "
            "Shuffled channels (a reshape to 5 axes and back) are a known cause. Make single "
            "weights zero instead (edgekit sparsify), or prune another model"
        )

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Groups in the order of the trace, without those of `last_layers`; heads at the end.

        Raises:
            UnsupportedError: If the dependencies cannot be followed.
        """
        # Of attention torch-pruning sees single channels, which no reshape of a graph lets go.
        in_heads = {source.name for block in self._blocks for source in block.sources}
        left_out = in_heads.union(self.last_layers())
        ignored = [item for name, item in self.module.named_modules() if name in left_out]
        try:
            with _quiet():
                found = [
                    self._read(group)
                    for group in self._graph.get_all_groups(
                        ignored_layers=ignored, root_module_types=list(PRODUCERS)
                    )
                ]
        except Exception as error:
            raise self._untold(error) from error
        return (*found, *(self._heads(block) for block in self._blocks))

    def _heads(self, block: AttentionBlock) -> ChannelGroup:
        width = block.heads.width
        out, into = self._tp.prune_linear_out_channels, self._tp.prune_linear_in_channels
        members = (
            *(_head_member(item, width, True, out, 1) for item in block.sources),
            _head_member(block.projection, width, False, into, 1),
            *(_head_member(item, width, True, None, item.labels.axis) for item in block.constants),
        )
        channels = block.heads.count * width
        return ChannelGroup(block.sources[0].name, channels, 1, members, block.heads)

    def layers(self) -> tuple[str, ...]:
        """All convolutions and linear layers that a run reaches."""
        return tuple(name for name, _ in self._producer_nodes())

    def last_layers(self) -> tuple[str, ...]:
        """Layers whose channels reach an output of the module through no other layer.

        They are outputs, which stay. Following them through the reshapes of a detector's heads,
        where each channel becomes thousands of numbers, takes minutes.
        """
        return tuple(name for name, node in self._producer_nodes() if _reaches_end(node))

    def _producer_nodes(self) -> Iterator[tuple[str, Any]]:
        names: dict[Any, str] = {module: name for name, module in self.module.named_modules()}
        for layer, node in self._graph.module2node.items():
            if isinstance(layer, PRODUCERS):
                yield names[layer], node

    def _read(self, group: Any) -> ChannelGroup:
        names: dict[Any, str] = {module: name for name, module in self.module.named_modules()}
        own = (*self.module.named_parameters(), *self._constants.items())
        parameters = {id(item): name for name, item in own}
        members = []
        for item in group.items:
            target = item.dep.target.module
            name = names.get(target) if isinstance(target, nn.Module) else None
            name = parameters.get(id(target)) if isinstance(target, nn.Parameter) else name
            if name is None:
                continue  # an operator without parameters
            outputs = bool(self._graph.is_out_channel_pruning_fn(item.dep.handler))
            members.append(
                Member(
                    name,
                    target,
                    outputs,
                    tuple(item.idxs),
                    tuple(item.root_idxs),
                    item.dep.handler,
                    channel_axis(_tensor_at(self.module, name))
                    if isinstance(target, nn.Parameter)
                    else item.dep.target.pruning_dim,
                )
            )
        root = members[0]
        blocks = math.lcm(*(_blocks_of(member) for member in members))
        heads = heads_of(self.module, producers(members)) if blocks == 1 else None
        return ChannelGroup(root.layer, len(root.indices), blocks, tuple(members), heads)


def remove_channels(
    module: nn.Module, gone: Mapping[str, tuple[ChannelGroup, Sequence[int]]]
) -> None:
    """Removes output channels of layers and all that depends on them, in place.

    Nothing is traced, so that many widths of a large network can be tried.

    Args:
        module: What the groups are of, or a copy of it, with all of its channels.
        gone: By root a group, and the root's channels to remove, as `ChannelGroup.channels_at`
            gives them.
    """
    # A layer may belong to several groups, as behind a concatenation; its indices are those of
    # the whole network.
    found: dict[tuple[str, object], tuple[Member, set[int]]] = {}
    for group, channels in gone.values():
        for member in group.members:
            key = member.layer, getattr(member.handler, "__func__", member.handler)
            found.setdefault(key, (member, set()))[1].update(member.at(channels))
    for member, indices in found.values():
        if indices:
            _remove(module, member, sorted(indices))
    for group, channels in gone.values():
        if group.heads is not None and channels:
            group.heads.remove(module, {channel // group.heads.width for channel in channels})


def _tensor_at(root: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(root.get_submodule(path), leaf)
    return tensor


def channel_axis(parameter: Tensor) -> int:
    """The axis of a parameter that torch-pruning takes for its channels: the last one not 1."""
    return max(axis for axis, size in enumerate(parameter.shape) if size > 1)


def _remove(root: nn.Module, member: Member, indices: list[int]) -> None:
    path, _, name = member.layer.rpartition(".")
    if isinstance(member.module, Tensor):
        owner = root.get_submodule(path)
        old: Tensor = getattr(owner, name)
        gone = set(indices)
        kept = [index for index in range(old.shape[member.axis]) if index not in gone]
        values = old.data.index_select(member.axis, torch.tensor(kept, dtype=torch.int64))
        is_parameter = isinstance(old, nn.Parameter)
        setattr(owner, name, nn.Parameter(values, old.requires_grad) if is_parameter else values)
        return
    layer = root.get_submodule(member.layer)
    frozen = {name for name, item in layer.named_parameters() if not item.requires_grad}
    member.handler.__self__.pruning_dim = member.axis
    member.handler(layer, indices)
    for name, item in layer.named_parameters():
        item.requires_grad_(name not in frozen)


def _reaches_end(node: Any) -> bool:
    waiting, seen = [node], {id(node)}
    while waiting:
        current = waiting.pop()
        if not current.outputs:
            return True
        for following in current.outputs:
            passes = not isinstance(following.module, PRODUCERS) or is_depthwise(following.module)
            if passes and id(following) not in seen:
                seen.add(id(following))
                waiting.append(following)
    return False


def unknown_members(group: ChannelGroup) -> tuple[str, ...]:
    """Layers of a group of which edgekit does not know how they store their channels."""
    return tuple(
        f"{member.layer} ({type(member.module).__name__})"
        for member in group.members
        if not isinstance(member.module, (*_KNOWN, Tensor))
    )


def is_depthwise(module: object) -> bool:
    """True for a convolution that has a group for each of its channels."""
    groups = getattr(module, "groups", 1)
    return bool(groups > 1 and groups == getattr(module, "out_channels", 0))


def _blocks_of(member: Member) -> int:
    module = member.module
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    groups = getattr(module, "groups", 1)
    return 1 if is_depthwise(module) else int(groups)


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingToolError.for_extra("torch_pruning", "prune", "prune channels") from error
    return torch_pruning


class _kept_modes:  # noqa: N801 - reads as a function
    """Tracing needs evaluation mode and gradients; afterwards everything is as before."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = [(item, item.training) for item in module.modules()]
        self._frozen = [item for item in module.parameters() if not item.requires_grad]
        self._module = module
        self._stack: list[Any] = []

    def __enter__(self) -> None:
        self._module.eval()
        for item in self._frozen:
            item.requires_grad_(item.is_floating_point())
        self._stack = [torch.enable_grad(), _quiet()]
        for context in self._stack:
            context.__enter__()

    def __exit__(self, *problem: object) -> None:
        for context in reversed(self._stack):
            context.__exit__(*problem)
        for item in self._frozen:
            item.requires_grad_(False)
        for module, mode in self._modes:
            module.training = mode


def _quiet() -> warnings.catch_warnings[None]:
    """What torch-pruning warns of (parameters without a layer) is checked afterwards."""
    return warnings.catch_warnings(action="ignore")
