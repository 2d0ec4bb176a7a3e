"""Whether a group's channels are what the dependency graph takes them for.

Without a channel, a network computes what it computes when all weights that write and read
the channel are 0. So a group is sound where a copy without half of its channels gives the
outputs of a copy in which they are 0. This finds what the graph cannot tell: a padding that
shifts channels, a reshape that states sizes as numbers, an op that mixes channels, and layers
whose channels are outputs of the network.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekit.training.pruning.channel_graph import (
    BATCH_NORMS,
    CHANNEL_NORMS,
    PRODUCERS,
    ChannelGroup,
    Member,
    is_depthwise,
    remove_channels,
    unknown_members,
)

_TOLERANCE = 1e-4
"""Of the largest output: float32 sums in another order differ far less, wrong channels more."""


def fault_of(
    module: nn.Module, inputs: Sequence[Tensor], group: ChannelGroup, seed: int
) -> str | None:
    """Why the group must not be pruned; None where it can be.

    Args:
        module: Not modified.
        inputs: Arguments of its forward.
        group: One of the module's.
        seed: Decides which half of the channels is tried.
    """
    unknown = unknown_members(group)
    if unknown:
        return f"it depends on a layer that edgekit cannot prune: {', '.join(unknown)}"
    if group.positions < 2:
        return "it has one channel in each block"
    generator = torch.Generator().manual_seed(seed)
    half = torch.randperm(group.positions, generator=generator)[: group.positions // 2]
    gone = group.channels_at(half.tolist())
    pruned = copy.deepcopy(module).eval()
    try:
        # An fx graph that fails prints its code, besides raising; here failing is an answer.
        with contextlib.redirect_stderr(io.StringIO()):
            remove_channels(pruned, {group.root: (group, gone)})
            found = _run(pruned, inputs)
    except Exception as error:
        return (
            "the network does not run without some of its channels, as where a reshape or a "
            f"padding states sizes as numbers ({type(error).__name__}: {_first_line(error)})"
        )
    wanted = _run(masked(module, {group.root: (group, gone)}), inputs)
    return _difference(found, wanted)


def fault_between(
    pruned: nn.Module, with_zeros: nn.Module, inputs: Sequence[Tensor]
) -> str | None:
    """How a pruned network differs from one whose channels are 0; None where it does not.

    Args:
        pruned: Not modified.
        with_zeros: From `masked`; used up.
        inputs: Arguments of their forward.
    """
    return _difference(_run(copy.deepcopy(pruned).eval(), inputs), _run(with_zeros, inputs))


@torch.no_grad()
def masked(module: nn.Module, gone: Mapping[str, tuple[ChannelGroup, Sequence[int]]]) -> nn.Module:
    """A copy in which channels are 0 and nothing reads them.

    Args:
        module: Not modified.
        gone: By root a group of the module, and the root's channels to clear.
    """
    result = copy.deepcopy(module).eval()
    for group, channels in gone.values():
        removed = set(channels)
        for member in group.members:
            _clear(result, member, member.at(removed))
    return result


def _difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> str | None:
    for left, right in zip(found, wanted, strict=True):
        if left.shape != right.shape:
            return "its channels are outputs of the network"
        if not left.is_floating_point():
            continue
        largest = float(right.abs().max()) if right.numel() else 0.0
        # Outputs may hardly depend on what is tried; what changes them at all decides then.
        error = float((left - right).abs().max()) if left.numel() else 0.0
        if not error <= _TOLERANCE * largest:
            return (
                "the network computes something else without its channels than with them at "
                f"0 (by {error:.3g} at outputs up to {largest:.3g}), as where a padding moves "
                "channels or an op mixes them"
            )
    return None


def _run(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    for layer in module.modules():
        if isinstance(layer, CHANNEL_NORMS):
            # Its statistics change with the channels, as they have to; the rest is compared.
            layer.register_forward_hook(_scale_and_shift)
    with torch.no_grad():
        return tuple(_tensors(module(*inputs)))


def _scale_and_shift(norm: nn.Module, arguments: tuple[Tensor, ...], _: Tensor) -> Tensor:
    """A norm's output without its statistics."""
    (x,) = arguments
    spatial = [1] * (x.ndim - 2) if isinstance(norm, nn.GroupNorm) else []
    scale, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    y = x * scale.reshape([*scale.shape, *spatial]) if isinstance(scale, Tensor) else x
    return y + bias.reshape([*bias.shape, *spatial]) if isinstance(bias, Tensor) else y


def _clear(root: nn.Module, member: Member, indices: list[int]) -> None:
    if isinstance(member.module, Tensor):
        path, _, name = member.layer.rpartition(".")
        array: Tensor = getattr(root.get_submodule(path), name)
        array.index_fill_(member.axis, torch.tensor(indices, dtype=torch.int64), 0.0)
        return
    layer = root.get_submodule(member.layer)
    if isinstance(layer, PRODUCERS):
        _clear_weights(layer, member, indices)
    elif isinstance(layer, (*BATCH_NORMS, *CHANNEL_NORMS)):
        for item in (layer.weight, layer.bias):
            if item is not None:
                item[indices] = 0.0
        if isinstance(layer, BATCH_NORMS) and layer.running_mean is not None:
            layer.running_mean[indices] = 0.0


def _clear_weights(layer: nn.Module, member: Member, indices: list[int]) -> None:
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    transposed = bool(getattr(layer, "transposed", False))
    first = member.outputs != transposed or is_depthwise(layer)
    if first:
        weight[indices] = 0.0
    else:
        weight[:, sorted({index % weight.shape[1] for index in indices})] = 0.0
    if isinstance(bias, Tensor) and (member.outputs or is_depthwise(layer)):
        bias[indices] = 0.0


def _tensors(found: object) -> Iterable[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, dict):
        for item in found.values():
            yield from _tensors(item)
    elif isinstance(found, (list, tuple)):
        for item in found:
            yield from _tensors(item)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
