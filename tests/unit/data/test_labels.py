"""Which data sets have labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.data.contract import DataSpec
from edgekit.data.labels import has_labels
from edgekit.errors import InputError


def test_it_is_seen_from_the_files(tmp_path: Path) -> None:
    images = np.zeros((2, 1, 4, 4), np.float32)
    np.savez(tmp_path / "with.npz", x=images, labels=np.array([0, 1]))
    np.savez(tmp_path / "without.npz", x=images)
    (tmp_path / "classes" / "one").mkdir(parents=True)
    (tmp_path / "plain").mkdir()
    for folder in ("classes/one", "plain"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / folder / "a.png")
    answers = {
        name: has_labels(DataSpec(set=name.format(tmp_path)))
        for name in (
            "digits", "npz:{}/with.npz", "npz:{}/without.npz", "folder:{}/classes",
            "folder:{}/plain",
        )
    }  # fmt: skip
    assert list(answers.values()) == [True, True, False, True, False]
    with pytest.raises(InputError, match="was not found"):
        has_labels(DataSpec(set="npz:nowhere.npz"))
