"""The learning rate follows the published course."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim.lr_scheduler import CosineAnnealingLR

from edgekit.training.config import TrainConfig
from edgekit.training.schedule import rate_factor


def test_cosine_equals_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    peer = CosineAnnealingLR(optimizer, T_max=30)
    config = TrainConfig(epochs=10, warmup_epochs=0)
    for step in range(30):
        assert rate_factor(step, 3, config) == pytest.approx(peer.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        peer.step()


def test_warm_up_rises_in_even_steps_to_one() -> None:
    config = TrainConfig(epochs=10, warmup_epochs=2, schedule="constant")
    factors = [rate_factor(step, 2, config) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@given(st.integers(1, 50), st.integers(1, 40), st.sampled_from(["cosine", "constant"]), st.data())
def test_factor_is_always_above_zero_and_at_most_one(
    epochs: int, steps: int, schedule: str, data: st.DataObject
) -> None:
    config = TrainConfig.model_validate({"epochs": epochs, "schedule": schedule})
    step = data.draw(st.integers(0, epochs * steps - 1))
    assert 0 < rate_factor(step, steps, config) <= 1


def test_warm_up_longer_than_training_is_refused() -> None:
    with pytest.raises(ValidationError, match="warmup_epochs is 5, but there are only 5 epochs"):
        TrainConfig(epochs=5, warmup_epochs=5)
