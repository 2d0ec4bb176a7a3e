"""Arrays of your own in an ``.npz`` file, fed to the model as they are."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import Batch, Dataset, DataSpec, Labels
from edgekit.data.image_set import check_batch_size, spread
from edgekit.data.root import find_path
from edgekit.errors import InputError

_LABEL_KEYS = ("y", "labels")
_INPUT_KEY = "x"
_CLASSES_KEY = "classes"


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """The ``.npz`` file.

    Raises:
        InputError: If it does not exist.
    """
    path = find_path(spec, spec.set.removeprefix("npz:"))
    if not path.is_file():
        raise InputError(f"Data set {spec.set!r} must be an .npz file, not a folder.")
    return (path,)


def open_set(spec: DataSpec) -> Dataset:
    """Reads all arrays into memory.

    Keys: one array for each input by its name, or ``x`` for the only one; ``y`` or
    ``labels`` with the class index of each sample; optionally ``classes`` with the class
    names. There is no division, so that the split is called ``all``.

    Raises:
        InputError: If the file is damaged or its arrays do not fit each other.
    """
    found = open_arrays(spec)
    path = found.path
    if found.targets is None:
        raise InputError(
            f"{path} must hold exactly one of the keys {' and '.join(_LABEL_KEYS)} with the class "
            f"of each sample; found {', '.join(sorted(found.arrays)) or 'nothing'}."
        )
    flat = [key for key, array in found.arrays.items() if array.ndim < 2]
    if flat:
        shape = list(found.arrays[flat[0]].shape)
        raise InputError(
            f"{path}: {flat[0]!r} has shape {shape}; expected rank 2 or more, the first axis "
            "counting the samples."
        )
    return NpzSet(
        name=path.name,
        split="all",
        labels=found.classes,
        files=(path,),
        arrays=found.arrays,
        targets=found.targets,
        chosen=found.chosen(spec.limit),
    )


def is_npz(spec: DataSpec) -> bool:
    """Whether a data set is an ``.npz`` file, by its name."""
    return spec.set.startswith("npz:") or spec.set.endswith(".npz")


@dataclass(frozen=True, slots=True)
class StoredArrays:
    """Content of an ``.npz`` file, checked; labels are optional.

    Attributes:
        path: The file.
        arrays: Inputs by key; the first axis counts the samples.
        targets: Class of each sample; None where the file has no labels.
        classes: Class names by index; empty without labels.
    """

    path: Path
    arrays: dict[str, npt.NDArray[Any]]
    targets: Labels | None
    classes: tuple[str, ...]

    def chosen(self, limit: int | None) -> Labels:
        """Positions of at most ``limit`` samples."""
        return spread(len(next(iter(self.arrays.values()))), limit)

    def array_for(self, spec: TensorSpec, *, only: bool) -> npt.NDArray[Any]:
        """Samples of one input.

        Args:
            spec: The input.
            only: Whether the model has no other, so that ``x`` stands for it, too.

        Raises:
            InputError: If there is none, or it does not fit the input.
        """
        array = self.arrays.get(spec.name, self.arrays.get(_INPUT_KEY) if only else None)
        if array is None:
            expected = f"{spec.name!r} or {_INPUT_KEY!r}" if only else repr(spec.name)
            raise InputError(
                f"{self.path} has no array for input {spec}: expected key {expected}, found "
                f"{', '.join(sorted(self.arrays))}."
            )
        counted = _sized(array.shape[1:], spec.shape[1:]) and array.ndim == len(spec.shape)
        if not counted and not _sized(array.shape[1:], spec.shape):
            raise InputError(
                f"{self.path} has samples of {list(array.shape[1:])} for input {spec.name!r}, "
                f"but {spec} expects [{', '.join(map(str, spec.shape[1:]))}]."
            )
        if not _fits(array, spec):
            raise InputError(
                f"{self.path} holds {array.dtype} values that input {spec} cannot take unchanged."
            )
        return array


def open_arrays(spec: DataSpec) -> StoredArrays:
    """Reads an ``.npz`` file whose samples may have no labels.

    Raises:
        InputError: If it is missing, damaged or empty, or its arrays do not fit each other.
    """
    (path,) = set_files(spec)
    arrays = _load(path)
    targets = _take_targets(arrays, path) if any(key in arrays for key in _LABEL_KEYS) else None
    names = arrays.pop(_CLASSES_KEY, None)
    if not arrays:
        what = "nothing" if targets is None else "labels but no inputs"
        raise InputError(f"{path} holds {what}; expected an array {_INPUT_KEY!r}.")
    first, samples = next(iter(arrays)), -1
    for key, array in arrays.items():
        _check_input(key, array, targets, path)
        if samples not in (-1, len(array)):
            raise InputError(
                f"{path}: {key!r} holds {len(array)} samples but {first!r} holds {samples}."
            )
        samples = len(array)
    if samples == 0:
        raise InputError(f"{path} is empty: it holds no samples.")
    classes = () if targets is None else _class_names(names, targets, path)
    return StoredArrays(path, arrays, targets, classes)


@dataclass(frozen=True, slots=True)
class NpzSet:
    """Arrays by input name; see `edgekit.data.contract.Dataset` for the attributes."""

    name: str
    split: str
    labels: tuple[str, ...]
    files: tuple[Path, ...]
    arrays: dict[str, npt.NDArray[Any]]
    targets: Labels
    chosen: Labels
    fed_raw: bool = True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.chosen)

    def batches(
        self,
        preprocessing: AnyPreprocessing | None,
        spec: TensorSpec,
        batch_size: int,
        *,
        order: Sequence[int] | Labels | None = None,
    ) -> Iterator[Batch]:
        """See `edgekit.data.contract.Dataset.batches`; ``preprocessing`` is not applied."""
        check_batch_size(batch_size)
        array = self._array_for(spec)
        positions = self.chosen if order is None else self.chosen[np.asarray(order, np.int64)]
        parts = (
            positions[start : start + batch_size] for start in range(0, len(positions), batch_size)
        )
        return (
            Batch(inputs=array[part].astype(spec.dtype), labels=self.targets[part])
            for part in parts
        )

    def _array_for(self, spec: TensorSpec) -> npt.NDArray[Any]:
        array = self.arrays.get(spec.name, self.arrays.get(_INPUT_KEY))
        path = self.files[0]
        if array is None:
            raise InputError(
                f"{path} has no array for input {spec}: expected key {spec.name!r} or "
                f"{_INPUT_KEY!r}, found {', '.join(sorted(self.arrays))}."
            )
        wanted = spec.shape
        if len(wanted) != array.ndim or not _sized(array.shape[1:], wanted[1:]):
            raise InputError(
                f"{path} has samples of {list(array.shape[1:])}, but input {spec} expects "
                f"[{', '.join(map(str, wanted[1:]))}]."
            )
        if not _fits(array, spec):
            raise InputError(
                f"{path} holds {array.dtype} values that input {spec} cannot take unchanged."
            )
        return array


def _sized(sizes: Sequence[int], wanted: Sequence[int | str]) -> bool:
    return len(sizes) == len(wanted) and all(
        isinstance(want, str) or want == has for want, has in zip(wanted, sizes, strict=True)
    )


def _fits(array: npt.NDArray[Any], spec: TensorSpec) -> bool:
    """Whether the cast to the input's dtype keeps every value.

    Between floating-point types only overflow counts: fewer digits are a choice of precision.
    """
    if spec.dtype in ("string", "bfloat16"):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(spec.dtype)
        if array.dtype.kind == "f" and cast.dtype.kind == "f":
            return bool(np.isfinite(cast).all())
        return np.array_equal(cast.astype(array.dtype), array)


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        # Given a path, np.load leaves the file open when it is no archive.
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise InputError(
                    f"{path} is a single .npy array; expected an .npz with inputs and y."
                )
            with loaded:
                return {key: loaded[key] for key in sorted(loaded.files)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read as .npz: {error}") from error


def _take_targets(arrays: dict[str, npt.NDArray[Any]], path: Path) -> Labels:
    found = [key for key in _LABEL_KEYS if key in arrays]
    if len(found) != 1:
        raise InputError(
            f"{path} must hold exactly one of the keys {' and '.join(_LABEL_KEYS)} with the class "
            f"of each sample; found {', '.join(sorted(arrays)) or 'nothing'}."
        )
    targets = arrays.pop(found[0])
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {found[0]!r} must be whole numbers of rank 1, one class index a sample; "
            f"got {targets.dtype} {list(targets.shape)}."
        )
    if len(targets) == 0:
        raise InputError(f"{path} is empty: it holds no samples.")
    if targets.min() < 0:
        raise InputError(f"{path}: {found[0]!r} holds a negative class index, {targets.min()}.")
    return targets.astype(np.int64)


def _class_names(names: npt.NDArray[Any] | None, targets: Labels, path: Path) -> tuple[str, ...]:
    needed = int(targets.max()) + 1
    if names is None:
        return tuple(str(index) for index in range(needed))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < needed:
        raise InputError(
            f"{path}: {_CLASSES_KEY!r} must be the names of at least {needed} classes (the "
            f"highest label is {needed - 1}); got {names.dtype} {list(names.shape)}."
        )
    return tuple(str(name) for name in names)


def _check_input(key: str, array: npt.NDArray[Any], targets: Labels | None, path: Path) -> None:
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {key!r} holds {array.dtype}, expected numbers.")
    if array.ndim < 1:
        raise InputError(
            f"{path}: {key!r} is a single number; expected an array whose first axis counts the "
            "samples."
        )
    if targets is not None and len(array) != len(targets):
        raise InputError(
            f"{path}: {key!r} holds {len(array)} samples but there are {len(targets)} labels."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.argwhere(~np.isfinite(array))[0][0])
        raise InputError(f"{path}: {key!r} holds NaN or infinity, first in sample {bad}.")
