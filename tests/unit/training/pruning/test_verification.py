"""A network without channels is compared with one whose channels are 0."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import nn

from edgekit.errors import MissingToolError, VerificationError
from edgekit.training.pruning import structured
from edgekit.training.pruning.channel_graph import ChannelGraph, ChannelGroup, remove_channels
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.structured import prune_structured
from edgekit.training.pruning.verification import fault_between, fault_of, masked
from tests.unit.training.pruning.networks import images, small


def test_zeros_and_no_channels_are_the_same() -> None:
    network = small()
    group = next(
        item for item in ChannelGraph(network, [images()]).groups() if item.root == "first"
    )
    gone = [0, 3, 5]
    zeros = masked(network, {"first": (group, gone)})
    pruned = copy.deepcopy(network)
    remove_channels(pruned, {group.root: (group, gone)})
    assert pruned.first.out_channels == 13
    assert fault_between(pruned, zeros, [images()]) is None
    other = masked(network, {"first": (group, [0, 3, 6])})
    assert "computes something else" in (fault_between(pruned, other, [images()]) or "")


def test_norms_over_channels_are_no_fault() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 4, 3), nn.Flatten(),
        nn.Linear(64, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 5),
    )  # fmt: skip
    graph = ChannelGraph(network, [images()])
    faults = {group.root: fault_of(network, [images()], group, seed=0) for group in graph.groups()}
    assert faults == {"5": None, "3": None, "0": None}
    assert graph.last_layers() == ("8",)


def test_a_wrong_removal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(module: nn.Module, gone: Mapping[str, tuple[ChannelGroup, Sequence[int]]]) -> None:
        moved = {
            root: (group, [(channel + 1) % 16 for channel in channels])
            for root, (group, channels) in gone.items()
        }
        remove_channels(module, moved)

    config = PruneConfig(macs_ratio=0.8, keep=("second", "depthwise", "grouped", "classifier"))
    monkeypatch.setattr(structured, "fault_of", lambda *arguments: None)
    monkeypatch.setattr(structured, "remove_channels", wrong)
    with pytest.raises(VerificationError, match="Pruning made Small wrong"):
        prune_structured(small(), images(), config)


def test_without_torch_pruning_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingToolError, match=r"edgekit\[prune\]"):
        ChannelGraph(small(), [images()])


class Joined(nn.Module):
    """Two branches that a concatenation joins, and a head that a reshape spreads."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 8, 3, padding=1)
        self.right = nn.Conv2d(3, 16, 3, padding=1)
        self.both = nn.Conv2d(24, 8, 1)
        self.boxes = nn.Conv2d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.left(x), self.right(x)], dim=1).relu()
        boxes: torch.Tensor = self.boxes(self.both(joined))
        return boxes.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 2)


def test_groups_that_share_a_layer_go_together() -> None:
    torch.manual_seed(0)
    network = Joined()
    graph = ChannelGraph(network, [images()])
    groups = {group.root: group for group in graph.groups()}
    assert set(groups) == {"left", "right", "both"}
    assert graph.last_layers() == ("boxes",)
    gone = {"left": (groups["left"], [1, 6]), "right": (groups["right"], [0, 2, 15])}
    pruned = copy.deepcopy(network)
    remove_channels(pruned, gone)
    kept = [0, 2, 3, 4, 5, 7, *(8 + index for index in range(16) if index not in (0, 2, 15))]
    assert torch.equal(pruned.both.weight, network.both.weight[:, kept])
    assert fault_between(pruned, masked(network, gone), [images()]) is None


class Idle(Joined):
    """Has a layer that no run reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(3, 16, 3)


def test_only_layers_that_run_are_told_to_be_outputs() -> None:
    torch.manual_seed(0)
    report = prune_structured(Idle(), images(), PruneConfig(macs_ratio=0.7, round_to=1))
    assert [(item.layers, item.reason) for item in report.kept_whole] == [
        (("boxes",), "its channels are outputs of the network")
    ]
