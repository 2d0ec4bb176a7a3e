"""Attention whose heads a module counts in an attribute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

_HEADS = ("num_heads", "heads", "n_heads", "num_attention_heads")
_WIDTHS = ("attn_dim", "inner_dim", "all_head_size", "all_head_dim")
"""Attributes of known implementations that hold the width of all heads together."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Query, key and value layers that belong to the same heads.

    Attributes:
        owner: Dotted name of the module that counts the heads.
        attribute: Under which name it does.
        count: Heads now.
        width: Channels of one head.
    """

    owner: str
    attribute: str
    count: int
    width: int


def heads_of(root: nn.Module, layers: Iterable[str]) -> Heads | None:
    """The heads that linear layers share; None where they are no attention.

    Args:
        root: The network.
        layers: Dotted names of layers whose output channels go together.
    """
    names = tuple(layers)
    owners = {name.rpartition(".")[0] for name in names}
    if len(names) < 2 or len(owners) != 1:
        return None
    (owner,) = owners
    attributes = vars(root.get_submodule(owner))
    widths = {getattr(root.get_submodule(name), "out_features", 0) for name in names}
    for attribute in _HEADS:
        count = attributes.get(attribute)
        if isinstance(count, int) and count > 1 and len(widths) == 1:
            (width,) = widths
            if width and width % count == 0:
                return Heads(owner, attribute, count, width // count)
    return None


def set_heads(root: nn.Module, heads: Heads, count: int) -> None:
    """Tells the module that it has ``count`` heads of the same width now."""
    owner = root.get_submodule(heads.owner)
    setattr(owner, heads.attribute, count)
    for name in _WIDTHS:
        if vars(owner).get(name) == heads.count * heads.width:
            setattr(owner, name, count * heads.width)
