"""The penalty of network slimming."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.errors import ConfigError, UnsupportedError
from edgekit.training.pruning.regularization import bn_l1


def network() -> nn.Sequential:
    result = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm1d(2)
    )
    with torch.no_grad():
        result[1].get_parameter("weight").copy_(torch.tensor([1.0, -2.0, 0.0, 0.5]))
        result[3].get_parameter("weight").copy_(torch.tensor([3.0, -1.0]))
    return result


def test_it_is_the_sum_of_the_sizes_with_the_gradient_of_their_signs() -> None:
    layers = network()
    penalty = bn_l1(layers, 0.1)
    assert penalty.item() == pytest.approx(0.75)
    torch.autograd.backward(penalty)
    assert layers[1].weight.grad is not None
    torch.testing.assert_close(layers[1].weight.grad, torch.tensor([0.1, -0.1, 0.0, 0.1]))
    assert layers[0].weight.grad is None
    assert layers[1].bias.grad is None


def test_scales_that_nothing_needs_become_small() -> None:
    layers = network()
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        torch.autograd.backward(bn_l1(layers, 0.1))
        optimizer.step()
    assert float(layers[1].get_parameter("weight").detach().abs().max()) <= 0.05 + 1e-6


def test_what_makes_no_sense_is_refused() -> None:
    for strength in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="positive"):
            bn_l1(network(), strength)
    with pytest.raises(UnsupportedError, match="no BatchNorm"):
        bn_l1(nn.Linear(2, 2), 0.1)
