"""Augmentation moves and mirrors, and does nothing else."""

from __future__ import annotations

import pytest
import torch

from edgekit.errors import ConfigError
from edgekit.training.augment import Augmentation
from edgekit.training.config import TrainConfig


def images(count: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, 6, 5, generator=torch.Generator().manual_seed(0))


def test_every_result_is_a_shift_of_its_own_image() -> None:
    given = images()
    before = given.clone()
    moved = Augmentation(TrainConfig(shift_px=2), seed=1)(given)
    assert torch.equal(given, before)
    padded = torch.nn.functional.pad(given, (2, 2, 2, 2), mode="replicate")
    seen = set()
    for index in range(len(given)):
        places = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.equal(moved[index], padded[index, :, row : row + 6, column : column + 5])
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) > 12


def test_about_half_of_the_images_are_mirrored() -> None:
    given = images(400)
    result = Augmentation(TrainConfig(flip=True), seed=1)(given)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(result, given, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(result, given, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250


def test_same_seed_same_result() -> None:
    config = TrainConfig(shift_px=1, flip=True)
    one, two, other = (Augmentation(config, seed)(images()) for seed in (4, 4, 5))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_off_gives_the_same_tensor() -> None:
    given = images()
    assert Augmentation(TrainConfig(), seed=0)(given) is given


def test_input_without_height_and_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"need images of 4 axes .* has 2"):
        Augmentation(TrainConfig(flip=True), seed=0)(torch.zeros(4, 10))
