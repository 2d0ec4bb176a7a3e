"""Data sets of labelled images: order, selection and batching, whatever they are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import Batch, Image, Labels
from edgekit.data.preprocessing import ImagePreprocessor
from edgekit.errors import InputError


class ImageSource(Protocol):
    """Where the images of a data set are decoded from."""

    def reader(self) -> AbstractContextManager[Callable[[int], Image]]:
        """Opens the source; the value given reads the image at a position.

        The reader raises `InputError`, naming the image, if it is damaged.
        """


@dataclass(frozen=True, slots=True)
class ImagesInMemory:
    """Images that are already decoded, ``uint8[n, h, w]`` or ``uint8[n, h, w, 3]``."""

    images: npt.NDArray[np.uint8]

    def reader(self) -> AbstractContextManager[Callable[[int], Image]]:
        """Reads by index; nothing is opened."""

        def read(position: int) -> Image:
            image: Image = self.images[position]
            return image

        return nullcontext(read)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images; see `edgekit.data.contract.Dataset` for the attributes.

    Attributes:
        name: Name of the data set.
        split: Part of it.
        labels: Class names by class index.
        files: What it is read from.
        source: Decodes the images.
        targets: Class of every image of the source, ``int64[n]``.
        chosen: Positions in the source of the samples that the set gives.
        fed_raw: False; images are always preprocessed.
    """

    name: str
    split: str
    labels: tuple[str, ...]
    files: tuple[Path, ...]
    source: ImageSource
    targets: Labels
    chosen: Labels
    fed_raw: bool = False

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
        """See `edgekit.data.contract.Dataset.batches`."""
        check_batch_size(batch_size)
        preprocess = ImagePreprocessor(preprocessing, spec)
        positions = self.chosen if order is None else self.chosen[np.asarray(order, np.int64)]
        return self._decode(preprocess, positions, batch_size)

    def _decode(
        self, preprocess: ImagePreprocessor, positions: Labels, batch_size: int
    ) -> Iterator[Batch]:
        with self.source.reader() as read:
            for start in range(0, len(positions), batch_size):
                part = positions[start : start + batch_size]
                images = [read(int(position)) for position in part]
                yield Batch(inputs=preprocess(images), labels=self.targets[part])


def check_batch_size(batch_size: int) -> None:
    """Refuses a batch size below 1.

    Raises:
        InputError: If it is.
    """
    if batch_size < 1:
        raise InputError(f"A batch needs at least 1 sample, not {batch_size}.")


def spread(count: int, limit: int | None) -> Labels:
    """Positions of at most ``limit`` samples, spread evenly over ``count``.

    Even spacing keeps the classes of a set that is sorted by class in balance, which the
    first ``limit`` samples would not.
    """
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * count // limit


def check_targets(where: str, targets: Labels, images: int, classes: int) -> None:
    """Checks the labels of a set against its images and classes.

    Args:
        where: Names the data in the message, with its place.
        targets: Class index of each image.
        images: Number of images.
        classes: Number of classes.

    Raises:
        InputError: If there are no images, a label too many or too few, or a label that is
            no class.
    """
    if images != len(targets):
        raise InputError(
            f"{where} holds {images} images but {len(targets)} labels; the files do not belong "
            "together or one is incomplete."
        )
    if images == 0:
        raise InputError(f"{where} is empty: it holds no images.")
    wrong = np.flatnonzero((targets < 0) | (targets >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise InputError(
            f"{where} has {classes} classes, but {wrong.size} labels are outside "
            f"0..{classes - 1}; the first is {int(targets[first])} at image {first}."
        )
