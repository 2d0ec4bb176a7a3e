"""Feeds for all inputs of a model, labelled or not: what calibration and fine-tuning read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.data.contract import Dataset, DataSpec, Labels
from edgekit.data.datasets import open_dataset
from edgekit.data.image_set import check_batch_size
from edgekit.data.npz import is_npz, open_arrays
from edgekit.errors import InputError

type Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class InputBatch:
    """Some samples for all inputs.

    Attributes:
        feeds: By input name. Where the model fixes its batch and too few samples are left, the
            last one is repeated.
        labels: Class index of each sample, ``int64[n]`` without the repeated ones; None where
            the set has no labels.
        samples: Samples without the repeated ones.
    """

    feeds: dict[str, Array]
    labels: Labels | None
    samples: int


class ModelInputs(Protocol):
    """Samples in a fixed order, each with a value for every input of a model."""

    @property
    def name(self) -> str:
        """Name of the set, with its split behind a slash where it has one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index; empty where the samples have no labels."""

    @property
    def fed_raw(self) -> bool:
        """True when no preprocessing is applied."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[InputBatch]:
        """Gives the samples once.

        Args:
            size: Samples a batch, where the model leaves its batch open.
            order: Positions of the samples to give; None gives all in the set's own order.

        Raises:
            InputError: If a sample is damaged or does not fit the model.
        """


def open_inputs(
    data: DataSpec, signature: ModelSignature, preprocessing: AnyPreprocessing | None
) -> ModelInputs:
    """Opens a data set as feeds for a model.

    A labelled set feeds a model with one input. An ``.npz`` file holds one array for each
    input by its name (or ``x`` for the only one) and needs no labels; its arrays have the
    shape of the input with the samples counted along the first axis, or along one axis more.
    A folder of images without class folders is taken as images without labels.

    Args:
        data: Names the set.
        signature: Inputs of the model.
        preprocessing: As the model declares it.

    Raises:
        ConfigError: If no data set is called that.
        InputError: If it is missing, damaged or empty, or does not fit the inputs.
    """
    if is_npz(data):
        return _from_arrays(data, signature)
    dataset = _open_images(data)
    if len(signature.inputs) != 1:
        names = ", ".join(str(spec) for spec in signature.inputs)
        raise InputError(
            f"The model has {len(signature.inputs)} inputs ({names}), but data set "
            f"{dataset.name!r} gives samples for one; put one array for each input into an .npz "
            "file and name that."
        )
    spec = signature.inputs[0]
    return DatasetInputs(dataset, spec, None if dataset.fed_raw else preprocessing)


def fixed_batch(signature: ModelSignature) -> int | None:
    """The batch that a model's inputs are fixed to; None where it is open."""
    sizes = [spec.shape[0] for spec in signature.inputs if spec.shape]
    return next((size for size in sizes if isinstance(size, int)), None)


@dataclass(frozen=True, slots=True)
class DatasetInputs:
    """A labelled data set that feeds the one input of a model."""

    dataset: Dataset
    spec: TensorSpec
    preprocessing: AnyPreprocessing | None

    @property
    def name(self) -> str:
        """See `ModelInputs.name`."""
        return f"{self.dataset.name}/{self.dataset.split}"

    @property
    def classes(self) -> tuple[str, ...]:
        """See `ModelInputs.classes`."""
        return self.dataset.labels

    @property
    def fed_raw(self) -> bool:
        """See `ModelInputs.fed_raw`."""
        return self.dataset.fed_raw

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[InputBatch]:
        """See `ModelInputs.batches`."""
        fixed = fixed_batch(ModelSignature(inputs=(self.spec,), outputs=()))
        batches = self.dataset.batches(self.preprocessing, self.spec, fixed or size, order=order)
        for batch in batches:
            count = len(batch.labels)
            labels = batch.labels if self.classes else None
            yield InputBatch({self.spec.name: _filled(batch.inputs, fixed)}, labels, count)


@dataclass(frozen=True, slots=True)
class ArrayInputs:
    """Arrays in memory, one an input.

    Attributes:
        name: Name of the set.
        arrays: By input name; the first axis counts the samples.
        signature: Inputs of the model.
        targets: Class of each sample; None without labels.
        classes: Class names by index.
        chosen: Positions of the samples that the set gives.
    """

    name: str
    arrays: dict[str, Array]
    signature: ModelSignature
    targets: Labels | None
    classes: tuple[str, ...]
    chosen: Labels
    fed_raw: bool = True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.chosen)

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[InputBatch]:
        """See `ModelInputs.batches`."""
        check_batch_size(size)
        positions = self.chosen if order is None else self.chosen[np.asarray(order, np.int64)]
        fixed = fixed_batch(self.signature)
        step = self._step(fixed, size)
        for start in range(0, len(positions), step):
            part = positions[start : start + step]
            feeds = {spec.name: self._feed(spec, part, fixed) for spec in self.signature.inputs}
            labels = None if self.targets is None else self.targets[part]
            yield InputBatch(feeds, labels, len(part))

    def _step(self, fixed: int | None, size: int) -> int:
        if any(self.arrays[spec.name].ndim > len(spec.shape) for spec in self.signature.inputs):
            return 1
        return fixed or size

    def _feed(self, spec: TensorSpec, part: Labels, fixed: int | None) -> Array:
        array = self.arrays[spec.name]
        if array.ndim > len(spec.shape):
            return np.asarray(array[part[0]].astype(spec.dtype))
        return _filled(array[part].astype(spec.dtype), fixed)


def _open_images(data: DataSpec) -> Dataset:
    from edgekit.data.image_folder import is_unlabelled, open_unlabelled

    return open_unlabelled(data) if is_unlabelled(data) else open_dataset(data)


def _from_arrays(data: DataSpec, signature: ModelSignature) -> ArrayInputs:
    found = open_arrays(data)
    arrays = {}
    for spec in signature.inputs:
        array = found.array_for(spec, only=len(signature.inputs) == 1)
        arrays[spec.name] = array
    return ArrayInputs(
        name=found.path.name,
        arrays=arrays,
        signature=signature,
        targets=found.targets,
        classes=found.classes,
        chosen=found.chosen(data.limit),
    )


def _filled(values: Array, fixed: int | None) -> Array:
    """Fills a short batch up to a fixed size by repeating its last sample."""
    if fixed is None or len(values) >= fixed:
        return values
    return np.concatenate([values, np.repeat(values[-1:], fixed - len(values), axis=0)])
