"""A network without channels is compared with one whose channels are 0."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from torch import nn

from edgekit.errors import MissingToolError, VerificationError
from edgekit.training.pruning import structured
from edgekit.training.pruning.channel_graph import ChannelGraph
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
    ChannelGraph(pruned, [images()]).remove(group, gone)
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
    faults = {
        group.root: fault_of(network, [images()], group, seed=0)
        for group in ChannelGraph(network, [images()]).groups()
    }
    assert faults == {
        "8": "its channels are outputs of the network", "5": None, "3": None, "0": None,
    }  # fmt: skip


def test_a_wrong_removal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    remove = ChannelGraph.remove

    def wrong(graph: ChannelGraph, group: object, channels: list[int]) -> None:
        remove(graph, group, [(channel + 1) % 16 for channel in channels])  # type: ignore[arg-type]

    config = PruneConfig(macs_ratio=0.8, keep=("second", "depthwise", "grouped", "classifier"))
    monkeypatch.setattr(structured, "fault_of", lambda *arguments: None)
    monkeypatch.setattr(ChannelGraph, "remove", wrong)
    with pytest.raises(VerificationError, match="Small was pruned wrongly"):
        prune_structured(small(), images(), config)


def test_without_torch_pruning_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingToolError, match=r"edgekit\[prune\]"):
        ChannelGraph(small(), [images()])
