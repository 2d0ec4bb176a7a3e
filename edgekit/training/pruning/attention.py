"""Attention whose heads a module counts in an attribute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch import nn

_HEADS = ("num_heads", "heads", "n_heads", "num_attention_heads")
_WIDTHS = ("attn_dim", "inner_dim", "all_head_size", "all_head_dim")
"""Attributes of known implementations that hold the width of all heads together."""


@dataclass(frozen=True, slots=True)
class Heads(ABC):
    """Query, key and value layers that belong to the same heads.

    Attributes:
        count: Heads now.
        width: Channels of one head.
    """

    count: int
    width: int

    @abstractmethod
    def remove(self, root: nn.Module, gone: Collection[int]) -> None:
        """Tells a network, whose layers are pruned already, which heads it no longer has.

        Args:
            root: Changed in place.
            gone: Numbers of heads.
        """


@dataclass(frozen=True, slots=True)
class CountedHeads(Heads):
    """Heads that a module counts.

    Attributes:
        owner: Dotted name of the module.
        attribute: Under which name it counts them.
    """

    owner: str
    attribute: str

    def remove(self, root: nn.Module, gone: Collection[int]) -> None:
        """Fewer heads of the same width."""
        owner, count = root.get_submodule(self.owner), self.count - len(gone)
        setattr(owner, self.attribute, count)
        for name in _WIDTHS:
            if vars(owner).get(name) == self.count * self.width:
                setattr(owner, name, count * self.width)


def heads_of(root: nn.Module, layers: Iterable[str]) -> CountedHeads | None:
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
                return CountedHeads(count, width // count, owner, attribute)
    return None
