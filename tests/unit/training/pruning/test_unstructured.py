"""Masks remove the share they are asked for, exactly, and stay while a network is trained."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from edgekit.errors import ConfigError, UnsupportedError
from edgekit.training.pruning.sparsity_gains import what_it_gains
from edgekit.training.pruning.unstructured import (
    apply_masks,
    magnitude_masks,
    make_permanent,
    n_of_m_masks,
)
from tests.unit.training.pruning.networks import images, small


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(2, 8),
    data=st.data(),
    outputs=st.integers(1, 5),
    blocks=st.integers(1, 4),
    kernel=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_n_of_m_keeps_the_n_largest_of_each_m_input_channels(
    m: int, data: st.DataObject, outputs: int, blocks: int, kernel: int, seed: int
) -> None:
    n = data.draw(st.integers(1, m - 1))
    torch.manual_seed(seed)
    layer = nn.Conv2d(m * blocks, outputs, kernel)
    with torch.no_grad():
        # Ties are frequent among few values.
        layer.weight.copy_(torch.randint(-3, 4, layer.weight.shape).float())
    network = nn.Sequential(layer)
    mask = n_of_m_masks(network, n, m)["0"]
    weight = layer.weight.detach().abs()
    for row, kept in zip(
        weight.permute(0, 2, 3, 1).reshape(-1, m), mask.permute(0, 2, 3, 1).reshape(-1, m),
        strict=True,
    ):  # fmt: skip
        assert int(kept.sum()) == n
        assert float(row[kept].min()) >= float(row[~kept].max())


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.01, 0.9), seed=st.integers(0, 100))
def test_a_share_of_each_layer_removes_the_smallest(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv1d(3, 5, 2), nn.Linear(7, 4))
    masks = magnitude_masks(network, share)
    for layer, mask in masks.items():
        weight = network.get_submodule(layer).get_parameter("weight").detach().abs()
        assert int((~mask).sum()) == int(share * mask.numel())
        if not bool(mask.all()):
            assert float(weight[mask].min()) >= float(weight[~mask].max())


def test_the_masks_are_those_of_torch() -> None:
    network = small()
    reference = copy.deepcopy(network)
    layers = {name: item for name, item in reference.named_modules() if hasattr(item, "groups")}
    for layer in layers.values():
        prune.l1_unstructured(layer, "weight", amount=0.25)  # type: ignore[no-untyped-call]
    masks = magnitude_masks(network, 0.25, keep=("classifier",))
    assert set(masks) == set(layers)
    for name, mask in masks.items():
        assert torch.equal(mask, layers[name].get_buffer("weight_mask").bool())


def test_a_share_of_the_whole_network_has_one_threshold() -> None:
    network = small()
    masks = magnitude_masks(network, 0.5, scope="global")
    kept, gone = [], []
    for layer, mask in masks.items():
        weight = network.get_submodule(layer).get_parameter("weight").detach().abs()
        kept.append(weight[mask])
        gone.append(weight[~mask])
    assert torch.cat(kept).min() >= torch.cat(gone).max()
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == total // 2
    assert len({float(mask.float().mean()) for mask in masks.values()}) > 1


def test_zeros_stay_zero_in_training_and_others_learn() -> None:
    network = small()
    masks = magnitude_masks(network, 0.7)
    before = copy.deepcopy(network)
    apply_masks(network, masks)
    with torch.no_grad():
        for layer, mask in masks.items():
            before.get_submodule(layer).get_parameter("weight").mul_(mask)
        torch.testing.assert_close(network(images()), before(images()))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(network(images(8)).square().mean())
        optimizer.step()
    with torch.no_grad():
        trained = network(images())
    found = make_permanent(network)
    assert network.state_dict().keys() == before.state_dict().keys()
    torch.testing.assert_close(network(images()), trained)
    for item in found:
        weight = network.get_submodule(item.layer).get_parameter("weight")
        mask = masks[item.layer]
        assert not bool(weight[~mask].any())
        old = before.get_submodule(item.layer).get_parameter("weight")
        assert bool((weight[mask] != old[mask]).float().mean() > 0.9)
        assert (item.zeros, item.weights) == (int((~mask).sum()), mask.numel())
    assert {item.layer for item in found} == set(masks)


def test_layers_that_do_not_fit_the_pattern_stay_dense() -> None:
    # Three input channels, one for each depthwise channel, and those that keep names.
    masks = n_of_m_masks(small(), 2, 4, keep=("classifier",))
    assert set(masks) == {"second", "grouped"}


def test_a_transposed_convolution_has_its_inputs_first() -> None:
    torch.manual_seed(0)
    mask = n_of_m_masks(nn.Sequential(nn.ConvTranspose2d(8, 3, 2)), 1, 4)["0"]
    assert bool((mask.reshape(2, 4, 3, 2, 2).sum(1) == 1).all())


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4))


def test_contradictions_are_refused() -> None:
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            magnitude_masks(linear(), share)
    for n, m in ((0, 4), (4, 4), (5, 4)):
        with pytest.raises(ConfigError, match="pattern"):
            n_of_m_masks(linear(), n, m)
    with pytest.raises(UnsupportedError, match="multiples of 8, which 2:8 needs"):
        n_of_m_masks(linear(), 2, 8)
    with pytest.raises(UnsupportedError, match="besides those that keep names"):
        magnitude_masks(linear(), 0.5, keep=("0",))
    with pytest.raises(ConfigError, match=r"\[2, 2\], its weight \[4, 4\]"):
        apply_masks(linear(), {"0": torch.ones(2, 2, dtype=torch.bool)})
    masked = linear()
    apply_masks(masked, magnitude_masks(masked, 0.5))
    with pytest.raises(ConfigError, match="call make_permanent"):
        apply_masks(masked, {"0": torch.ones(4, 4, dtype=torch.bool)})


def test_a_layer_that_would_be_empty_is_named() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    with torch.no_grad():
        network[1].get_parameter("weight").mul_(1e-6)
    with pytest.raises(ConfigError, match="leaves no weight in 1;"):
        magnitude_masks(network, 0.5, scope="global")


@pytest.mark.parametrize("target", ["onnxruntime", "tflite", "coreml", "unheard"])
def test_what_it_gains_promises_no_speed(target: str) -> None:
    text = what_it_gains(target)
    assert "Only a compressed download" in text or "only a compressed download" in text
