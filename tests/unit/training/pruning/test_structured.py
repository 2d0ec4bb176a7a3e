"""Channels go until the goal is met, and the network stays what it was without them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, UnsupportedError
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.cost import cost_of
from edgekit.training.pruning.report import PruneReport
from edgekit.training.pruning.structured import prune_structured
from edgekit.training.samples import TensorSamples
from sample_models.resnet_cifar.model import resnet20
from sample_models.tiny_vit.model import tiny_vit
from tests.unit.training.pruning.networks import images, small


def run(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = network(inputs)
    return result


def cut(report: PruneReport) -> dict[str, int]:
    return {item.layer: item.after for item in report.channels if item.after != item.before}


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "random"])
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_the_macs_of_a_small_network_come_close_below_the_goal(
    allocation: Any, importance: Any
) -> None:
    network = small()
    config = PruneConfig(macs_ratio=0.5, allocation=allocation, importance=importance, round_to=2)
    samples = TensorSamples(images(20), torch.arange(20) % 10)
    report = prune_structured(network, images(), config, samples)
    assert 0.4 < report.macs_ratio <= 0.5
    assert report.after == cost_of(network, [images()])
    assert run(network, images()).shape == (2, 10)


def test_macs_are_counted_as_written_out_by_hand() -> None:
    found = cost_of(small(), [images(count=1)])
    per_pixel = 3 * 16 * 9 + 16 * 32 * 9 + 32 * 9 + 16 * 48 * 9
    assert found.macs == 64 * per_pixel + 48 * 10
    assert found.parameters == 432 + 32 + 4608 + 32 + 288 + 32 + 6912 + 48 + 480 + 10


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_resnet20_keeps_multiples_of_8(allocation: Any) -> None:
    torch.manual_seed(0)
    network = resnet20()
    inputs = images(size=32)
    report = prune_structured(network, inputs, PruneConfig(allocation=allocation))
    assert 0.45 < report.macs_ratio <= 0.5
    assert cut(report)
    assert all(after % 8 == 0 for after in cut(report).values())
    assert run(network.eval(), inputs).shape == (2, 10)


def test_a_shortcut_that_pads_channels_is_kept_whole_and_said() -> None:
    torch.manual_seed(0)
    report = prune_structured(resnet20(), images(size=32), PruneConfig())
    (found,) = [item for item in report.kept_whole if "layer3.2.conv2" in item.layers]
    assert "conv1" in found.layers
    assert "padding" in found.reason
    (output,) = [item for item in report.kept_whole if "linear" in item.layers]
    assert output.reason == "its channels are outputs of the network"


def test_removed_zeros_change_no_output() -> None:
    network = small()
    gone = [1, 4, 7, 9, 10, 12, 14, 15]
    with torch.no_grad():
        network.first.weight[gone] = 0
        network.norm.weight[gone] = 0
        network.norm.bias[gone] = 0
        network.second.weight[:, gone] = 0
    before = run(network, images())
    config = PruneConfig(
        macs_ratio=0.9, round_to=8, keep=("second", "depthwise", "grouped", "classifier")
    )
    stay = [channel for channel in range(16) if channel not in gone]
    by_hand = copy.deepcopy(network)
    report = prune_structured(network, images(), config)
    assert cut(report) == {"first": 8}
    torch.testing.assert_close(run(network, images()), before)
    assert torch.equal(network.first.weight, by_hand.first.weight[stay])
    assert torch.equal(network.second.weight, by_hand.second.weight[:, stay])
    assert network.norm.running_mean is not None
    assert by_hand.norm.running_mean is not None
    assert torch.equal(network.norm.running_mean, by_hand.norm.running_mean[stay])


def test_grouped_and_depthwise_convolutions_stay_whole_groups() -> None:
    network = small()
    with torch.no_grad():
        half = [*range(8), *range(16, 24)]
        for layer in (network.second, network.depthwise):
            layer.weight[half] = 0
            assert layer.bias is not None
            layer.bias[half] = 0
        network.grouped.weight[:, :8] = 0
    before = run(network, images())
    config = PruneConfig(macs_ratio=0.6, round_to=16, keep=("first", "grouped", "classifier"))
    report = prune_structured(network, images(), config)
    assert cut(report) == {"second": 16, "depthwise": 16}
    assert (network.depthwise.groups, network.grouped.groups) == (16, 2)
    torch.testing.assert_close(run(network, images()), before)


def test_heads_of_attention_go_as_a_whole() -> None:
    torch.manual_seed(0)
    network = tiny_vit()
    inputs = images(channels=1, size=28)
    attention: Any = network.blocks[0]
    attention = attention.attention
    with torch.no_grad():
        attention.project.weight[:, 16:32] = 0
        for layer in (attention.query, attention.key, attention.value):
            layer.weight[16:32] = 0
            layer.bias[16:32] = 0
    before = run(network.eval(), inputs)
    keep = ("patches", "*perceptron*", "blocks.[123].attention.[qkv]*", "classifier")
    report = prune_structured(network, inputs, PruneConfig(macs_ratio=0.97, keep=keep))
    assert attention.heads == 3
    assert attention.head_width == 16
    assert cut(report) == {f"blocks.0.attention.{name}": 48 for name in ("query", "key", "value")}
    torch.testing.assert_close(run(network, inputs), before, rtol=1e-4, atol=1e-5)


def test_a_whole_transformer_reaches_its_goal() -> None:
    torch.manual_seed(0)
    network = tiny_vit()
    inputs = images(channels=1, size=28)
    report = prune_structured(network, inputs, PruneConfig(macs_ratio=0.6))
    assert 0.55 < report.macs_ratio <= 0.6
    assert run(network.eval(), inputs).shape == (2, 10)


def test_rounds_end_at_the_same_goal_and_tell_of_each() -> None:
    network = small()
    seen: list[tuple[int, int]] = []

    def after_round(module: nn.Module, number: int) -> None:
        seen.append((number, cost_of(module, [images()]).macs))

    config = PruneConfig(macs_ratio=0.4, round_to=2, iterations=3)
    report = prune_structured(network, images(), config, after_round=after_round)
    assert [number for number, _ in seen] == [1, 2, 3]
    shares = [macs / report.before.macs for _, macs in seen]
    assert [share <= goal for share, goal in zip(shares, (0.8, 0.6, 0.4), strict=True)] == [
        True
    ] * 3
    assert shares[0] > 0.6
    assert report.macs_ratio == shares[-1]


def test_the_same_seed_removes_the_same() -> None:
    states = []
    for _ in range(2):
        network = small()
        config = PruneConfig(importance="random", seed=5, round_to=4)
        prune_structured(network, images(), config)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_mode_and_frozen_parameters_stay() -> None:
    network = small().train()
    network.norm.eval()
    network.second.weight.requires_grad_(False)
    prune_structured(network, images(), PruneConfig(round_to=4))
    assert network.training
    assert not network.norm.training
    frozen = [name for name, item in network.named_parameters() if not item.requires_grad]
    assert frozen == ["second.weight"]


def test_a_goal_that_would_empty_layers_names_them() -> None:
    with pytest.raises(ConfigError, match=r"leave these layers empty: .*first \(16 channels\)"):
        prune_structured(small(), images(), PruneConfig(macs_ratio=0.01))


def test_a_pattern_that_names_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no layer with 'frist'; the layers are: first, second"):
        prune_structured(small(), images(), PruneConfig(keep=("frist",)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3)), "its channels are outputs"),
        (lambda: nn.Sequential(nn.ReLU()), "no convolution or linear layer"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.PixelShuffle(2), nn.Conv2d(2, 4, 3)),
            "does not run without some of its channels|computes something else",
        ),
    ],
)
def test_what_has_nothing_to_prune_is_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        prune_structured(make(), images(), PruneConfig(round_to=2))


class SoftmaxOverChannels(nn.Module):
    """Runs with any number of channels, but mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 8, 3)
        self.third = nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.softmax(self.first(x), dim=1)
        x = torch.relu(self.second(x))
        result: Tensor = self.third(x)
        return result


def test_an_op_that_mixes_channels_is_found() -> None:
    torch.manual_seed(0)
    report = prune_structured(
        SoftmaxOverChannels(), images(), PruneConfig(macs_ratio=0.8, round_to=2)
    )
    (found,) = [item for item in report.kept_whole if item.layers == ("first",)]
    assert "computes something else without its channels" in found.reason
    assert set(cut(report)) == {"second"}


class Encoder(nn.Module):
    """Attention as one torch layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        result: Tensor = self.classifier(self.encoder(tokens).mean(1))
        return result


def test_a_layer_that_holds_several_projections_is_kept_whole() -> None:
    torch.manual_seed(0)
    network = Encoder()
    report = prune_structured(network, images(), PruneConfig(macs_ratio=0.8))
    assert set(cut(report)) == {"encoder.linear1"}
    reasons = {layer: item.reason for item in report.kept_whole for layer in item.layers}
    assert "MultiheadAttention" in reasons["patches"]


def test_shuffled_channels_are_refused_by_name() -> None:
    torchvision = pytest.importorskip("torchvision")
    network = torchvision.models.shufflenet_v2_x0_5(weights=None)
    with pytest.raises(UnsupportedError, match="No channels can be removed from ShuffleNetV2"):
        prune_structured(network, images(size=32), PruneConfig())


def test_a_failure_while_channels_are_grouped_is_the_same_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch_pruning = pytest.importorskip("torch_pruning")

    def failing(*_: object, **__: object) -> None:
        raise IndexError("no such channel")

    monkeypatch.setattr(torch_pruning.DependencyGraph, "get_all_groups", failing)
    with pytest.raises(UnsupportedError, match=r"removed from Small: .*IndexError: no such"):
        prune_structured(small(), images(), PruneConfig())


def test_latency_needs_a_clock() -> None:
    config = PruneConfig(allocation="latency", latency_ratio=0.5)
    with pytest.raises(ConfigError, match="needs measure"):
        prune_structured(small(), images(), config)
