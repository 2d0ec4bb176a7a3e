"""Options of sparsity contradict each other clearly."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from edgekit.training.pruning.sparsify_options import SparsifyOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.5, "pattern": "2:4"}, "sparsity contradicts pattern 2:4"),
        ({"scope": "global", "pattern": "2:4"}, "scope global contradicts pattern 2:4"),
        ({"pattern": "4:2"}, "'4:2' is none; write N:M"),
        ({"pattern": "4:4"}, "N from 1 to M - 1"),
        ({"pattern": "0:4"}, "is none"),
        ({"pattern": "2"}, "is none"),
        ({"pattern": "2:4:8"}, "is none"),
        ({"pattern": "-2:4"}, "is none"),
        ({"pattern": ""}, "is none"),
        ({"sparsity": 0.0}, "greater than 0"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": float("nan")}, "less than 1"),
        ({"scope": "network"}, "'layer' or 'global'"),
        ({"keep": ("*",)}, "no layer is pruned"),
        ({"keep": ("conv1", " ")}, "empty pattern"),
        ({"statistics_samples": -1}, "greater than or equal to 0"),
        ({"macs_ratio": 0.5}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SparsifyOptions(**options)


def test_half_of_the_weights_go_by_default() -> None:
    assert SparsifyOptions().share == 0.5
    assert SparsifyOptions(sparsity=0.8).share == 0.8
    assert SparsifyOptions().n_of_m is None
    assert SparsifyOptions(pattern="2:4").share is None
    assert SparsifyOptions(pattern="12:16").n_of_m == (12, 16)


def test_options_come_back_from_what_is_written() -> None:
    for options in (SparsifyOptions(), SparsifyOptions(pattern="1:4", keep=("conv*",))):
        assert SparsifyOptions.model_validate(options.model_dump()) == options


def test_keep_names_layers_by_patterns() -> None:
    options = SparsifyOptions(keep=("stem", "blocks.0.*"))
    assert options.keeps("stem")
    assert options.keeps("blocks.0.conv1")
    assert not options.keeps("blocks.10.conv1")


def test_every_option_is_described() -> None:
    assert all(field.description for field in SparsifyOptions.model_fields.values())
