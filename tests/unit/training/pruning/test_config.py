"""Options of pruning contradict each other clearly."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from edgekit.training.pruning.config import PruneConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allocation": "latency"}, "needs latency_ratio"),
        (
            {"allocation": "latency", "latency_ratio": 0.5, "macs_ratio": 0.5},
            "macs_ratio contradicts allocation latency",
        ),
        ({"latency_ratio": 0.5}, "latency_ratio contradicts allocation uniform"),
        ({"keep": ("*",)}, "no layer is pruned"),
        ({"keep": ("conv1", " ")}, "empty pattern"),
        ({"macs_ratio": 1.0}, "less than 1"),
        ({"macs_ratio": 0.0}, "greater than 0"),
        ({"round_to": 0}, "greater than or equal to 1"),
        ({"sparsity": 0.5}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PruneConfig(**options)


def test_the_goal_is_half_the_macs_by_default() -> None:
    assert PruneConfig().goal == 0.5
    assert PruneConfig(macs_ratio=0.25).goal == 0.25
    assert PruneConfig(allocation="latency", latency_ratio=0.75).goal == 0.75


def test_keep_names_layers_by_patterns() -> None:
    config = PruneConfig(keep=("stem", "blocks.0.*"))
    assert config.keeps("stem")
    assert config.keeps("blocks.0.conv1")
    assert not config.keeps("blocks.10.conv1")


def test_every_option_is_described() -> None:
    assert all(field.description for field in PruneConfig.model_fields.values())
