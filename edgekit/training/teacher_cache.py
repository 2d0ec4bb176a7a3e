"""Outputs of a teacher for all samples, computed once where the samples do not change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekit.core.progress import Progress
from edgekit.training.config import TrainConfig
from edgekit.training.devices import moved
from edgekit.training.objectives import Teacher
from edgekit.training.samples import Samples

_BATCH = 256

type Array = npt.NDArray[np.float32]


def stays_the_same(config: TrainConfig) -> bool:
    """Whether a sample looks the same in every epoch."""
    changes = (config.shift_px, config.flip, config.mixup, config.cutmix, config.progressive_from)
    return not any(changes)


class TeacherCache:
    """One array an output; its first axis counts the samples."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self._arrays = tuple(arrays)

    def outputs(self, positions: Sequence[int], device: torch.device) -> tuple[Tensor, ...]:
        """The teacher's outputs for the samples at ``positions``."""
        index = np.asarray(positions, np.int64)
        return tuple(moved(torch.from_numpy(array[index]), device) for array in self._arrays)


def cache_teacher(
    teacher: Teacher,
    samples: Samples,
    device: torch.device,
    progress: Progress,
    folder: Path | None,
) -> TeacherCache:
    """Asks the teacher once for every sample.

    Args:
        teacher: Asked in batches of at most 256.
        samples: In their own order.
        device: Where the teacher computes.
        progress: Receives the samples.
        folder: Keeps the outputs as ``teacher-N.npy``, float32, for a training that goes on;
            None keeps them in memory. What lies there already is taken if it holds for the
            first samples what the teacher says of them.
    """
    first = _asked(teacher, samples, range(min(_BATCH, len(samples))), device)
    paths = [] if folder is None else [folder / f"teacher-{i}.npy" for i in range(len(first))]
    kept = _kept(paths, first, len(samples))
    if kept is not None:
        return TeacherCache(kept)
    arrays = [np.empty((len(samples), *item.shape[1:]), np.float32) for item in first]
    progress.start("teacher", len(samples))
    try:
        for start in range(0, len(samples), _BATCH):
            order = range(start, min(start + _BATCH, len(samples)))
            for array, found in zip(arrays, _asked(teacher, samples, order, device), strict=True):
                array[start : start + len(order)] = found
            progress.advance(len(order))
    finally:
        progress.finish()
    for path, array in zip(paths, arrays, strict=False):
        _write(path, array)
    return TeacherCache(arrays)


def _asked(
    teacher: Teacher, samples: Samples, order: Sequence[int], device: torch.device
) -> tuple[Array, ...]:
    columns: list[list[Array]] = []
    for inputs, _ in samples.batches(order, _BATCH):
        found = [item.float().cpu().numpy() for item in teacher(inputs.to(device))]
        columns = columns or [[] for _ in found]
        for column, item in zip(columns, found, strict=True):
            column.append(item)
    return tuple(np.concatenate(column) for column in columns)


def _kept(paths: Sequence[Path], first: Sequence[Array], count: int) -> list[Array] | None:
    """What an earlier training left, if it is whole and of this teacher."""
    if not paths:
        return None
    arrays = []
    for path, expected in zip(paths, first, strict=True):
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError):
            return None
        if array.shape != (count, *expected.shape[1:]) or array.dtype != np.float32:
            return None
        if not np.array_equal(array[: len(expected)], expected):
            return None
        arrays.append(array)
    return arrays


def _write(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        np.save(file, array)
    os.replace(beside, path)
