"""Importances are the formulas of their papers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, InputError
from edgekit.training.pruning.channel_graph import ChannelGraph, ChannelGroup
from edgekit.training.pruning.importance import loss_gradients, need_samples, scores
from edgekit.training.samples import TensorSamples
from tests.unit.training.pruning.networks import Small, images, small


def group_of(network: nn.Module, inputs: Tensor, layer: str) -> ChannelGroup:
    groups = ChannelGraph(network, [inputs]).groups()
    return next(item for item in groups if layer in item.producers)


def normalized(values: Tensor) -> Tensor:
    return values / values.mean()


def labelled() -> TensorSamples:
    return TensorSamples(images(24), torch.arange(24) % 10)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_magnitude_is_the_mean_over_layers_of_the_squared_weights() -> None:
    network = small()
    found = scores(group_of(network, images(), "first"), "magnitude", {}, generator())
    wanted = torch.zeros(16, dtype=torch.float64)
    for channel in range(16):
        wanted[channel] = (
            network.first.weight[channel].double().square().sum()
            + network.norm.weight[channel].double() ** 2
            + network.second.weight[:, channel].double().square().sum()
        ) / 3
    assert found is not None
    torch.testing.assert_close(found, normalized(wanted.detach()))


def test_magnitude_of_grouped_convolutions_adds_the_channels_of_one_position() -> None:
    network = small()
    group = group_of(network, images(), "second")
    found = scores(group, "magnitude", {}, generator())
    assert (group.blocks, group.positions) == (2, 16)
    second, depthwise, grouped = (
        item.weight.detach().double().square()
        for item in (network.second, network.depthwise, network.grouped)
    )
    wanted = torch.zeros(16, dtype=torch.float64)
    for position in range(16):
        for block in range(2):
            channel = block * 16 + position
            readers = grouped[block * 24 : (block + 1) * 24, position]
            own = second[channel].sum() + depthwise[channel].sum() + readers.sum()
            wanted[position] += own / 3
    assert found is not None
    torch.testing.assert_close(found, normalized(wanted))


def test_taylor_is_the_first_order_change_of_the_loss() -> None:
    network, samples = small(), labelled()
    gradients = loss_gradients(network, samples, seed=0)
    reference = copy.deepcopy(network)
    loss = torch.nn.functional.cross_entropy(reference(samples.inputs), samples.labels)
    torch.autograd.backward(loss)
    found = scores(group_of(network, images(), "first"), "taylor", gradients, generator())
    terms = []
    for weight, axes in (
        (reference.first.weight, (1, 2, 3)),
        (reference.norm.weight, ()),
        (reference.second.weight, (0, 2, 3)),
    ):
        assert weight.grad is not None
        product = (weight * weight.grad).detach().double()
        terms.append((product.sum(axes) if axes else product).abs())
    wanted = torch.stack(terms).mean(0)
    assert found is not None
    torch.testing.assert_close(found, normalized(wanted), rtol=1e-4, atol=1e-6)
    assert all(item.grad is None for item in network.parameters())


def test_bn_scale_is_the_size_of_the_scale() -> None:
    network = small()
    with torch.no_grad():
        network.norm.weight[::2] *= -1
    found = scores(group_of(network, images(), "first"), "bn_scale", {}, generator())
    assert found is not None
    torch.testing.assert_close(found, normalized(network.norm.weight.detach().double().abs()))
    assert scores(group_of(network, images(), "second"), "bn_scale", {}, generator()) is None


def test_random_follows_its_seed_alone() -> None:
    group = group_of(small(), images(), "first")
    first, second = (scores(group, "random", {}, generator()) for _ in range(2))
    other = scores(group, "random", {}, torch.Generator().manual_seed(1))
    assert first is not None
    assert second is not None
    assert other is not None
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_transposed_convolution_counts_its_outputs_on_the_second_axis() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.ConvTranspose2d(4, 8, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2))
    found = scores(group_of(network, images(channels=4), "0"), "magnitude", {}, generator())
    first, last = (network[at].get_parameter("weight").detach().double().square() for at in (0, 2))
    assert found is not None
    wanted = (first.sum((0, 2, 3)) + last.sum((1, 2, 3))) / 2
    torch.testing.assert_close(found, normalized(wanted))


def test_taylor_needs_samples_of_classes() -> None:
    with pytest.raises(ConfigError, match=r"importance taylor .* needs samples"):
        need_samples("taylor", None)
    headless = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(InputError, match="use importance magnitude"):
        loss_gradients(headless, labelled(), seed=0)
    empty = TensorSamples(images(0), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match="empty"):
        loss_gradients(Small(), empty, seed=0)
