"""Any data set gives the samples that a twin is trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.data.contract import DataSpec
from edgekit.data.model_inputs import open_inputs
from edgekit.training.qat import samples as module
from edgekit.training.qat.samples import (
    DecodedSamples,
    QatSamples,
    StreamedSamples,
    as_inputs,
    samples_of,
)


def spec(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, shape=shape)


def open_npz(
    path: Path,
    inputs: tuple[TensorSpec, ...],
    **arrays: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> QatSamples:
    np.savez(path / "set.npz", **arrays)  # type: ignore[arg-type]
    signature = ModelSignature(inputs=inputs, outputs=())
    source = open_inputs(DataSpec(set=f"npz:{path / 'set.npz'}"), signature, None)
    return samples_of(source, signature, None)


@pytest.mark.parametrize("in_memory", [True, False])
def test_labels_are_the_models_own_classes(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 0)
    signature = ModelSignature(inputs=(spec("image", "batch", 1, 8, 8),), outputs=())
    source = open_inputs(DataSpec(set="digits", split="train", limit=20), signature, None)
    class_map = np.arange(9, -1, -1)
    found = samples_of(source, signature, class_map)
    assert isinstance(found, DecodedSamples if in_memory else StreamedSamples)
    assert len(found) == 20
    order = [7, 3, 11]
    (expected,) = source.batches(3, order)
    batches = list(found.batches(order, 2))
    assert [len(labels) for _, labels in batches] == [2, 1]
    inputs = torch.cat([as_inputs(batch)[0] for batch, _ in batches])
    assert np.array_equal(inputs.numpy(), expected.feeds["image"])
    assert expected.labels is not None
    labels = torch.cat([labels for _, labels in batches])
    assert np.array_equal(labels.numpy(), 9 - expected.labels)


@pytest.mark.parametrize("in_memory", [True, False])
def test_several_inputs_without_labels(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 0)
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((5, size)).astype(np.float32) for size in (3, 2))
    found = open_npz(tmp_path, (spec("left", 2, 3), spec("right", 2, 2)), left=left, right=right)
    batches = list(found.batches([4, 0, 2], 2))
    assert [labels.tolist() for _, labels in batches] == [[-1, -1], [-1]]
    first, second = (as_inputs(batch) for batch, _ in batches)
    assert np.array_equal(torch.cat([first[0], second[0]]).numpy(), left[[4, 0, 2]])
    # A batch that the graph fixes is not filled up here.
    assert second[1].shape == (1, 2)


@pytest.mark.parametrize("in_memory", [True, False])
def test_feeds_that_are_whole_runs(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of sound, whose first axis is time."""
    if not in_memory:
        monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 0)
    frames = np.random.default_rng(0).standard_normal((4, 7, 3)).astype(np.float32)
    found = open_npz(tmp_path, (spec("frames", 7, 3),), frames=frames, y=np.arange(4))
    batches = list(found.batches([2, 1], 64))
    assert [labels.tolist() for _, labels in batches] == [[2], [1]]
    assert np.array_equal(as_inputs(batches[0][0])[0].numpy(), frames[2])
