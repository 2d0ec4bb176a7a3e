"""Biases and normalisations are not decayed."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.training.config import TrainConfig
from edgekit.training.optimizer import make_optimizer, parameter_groups


def model() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 2)
    )


def test_only_matrices_and_kernels_are_decayed() -> None:
    module = model()
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, free = (group["params"] for group in parameter_groups(module, 0.1))
    assert [names[id(item)] for item in decayed] == ["0.weight", "4.weight"]
    assert {names[id(item)] for item in free} == {
        "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.bias",
    }  # fmt: skip


def test_decay_shrinks_weights_and_leaves_biases() -> None:
    # Nesterov momentum adds 0.9 of the step to the first step.
    for kind, factor in (("adamw", 1 - 0.1 * 0.5), ("sgd", 1 - 0.1 * 0.5 * 1.9)):
        module = model()
        config = TrainConfig.model_validate({"optimizer": kind, "lr": 0.1, "weight_decay": 0.5})
        optimizer = make_optimizer(module, config)
        before = {name: item.detach().clone() for name, item in module.named_parameters()}
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        after = dict(module.named_parameters())
        torch.testing.assert_close(after["4.weight"], before["4.weight"] * factor)
        assert torch.equal(after["4.bias"], before["4.bias"])
        assert torch.equal(after["1.weight"], before["1.weight"])


def test_frozen_parameters_are_left_out() -> None:
    module = model()
    module[0].requires_grad_(False)
    groups = parameter_groups(module, 0.1)
    assert sum(len(group["params"]) for group in groups) == 6
