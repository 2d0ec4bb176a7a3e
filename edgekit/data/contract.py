"""What a data set is to the rest of edgekit: how it is named, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import TensorSpec

type Image = npt.NDArray[np.uint8]
"""One decoded image: ``[height, width]`` grey or ``[height, width, 3]`` RGB, 0..255."""

type Labels = npt.NDArray[np.int64]


class DataSpec(FrozenModel):
    """Which data a stage works on."""

    set: str = Field(
        description="digits, fashion-mnist, mnist, cifar10, omniglot, spoken-digits, "
        "folder:PATH, npz:PATH or a .npz path."
    )
    root: Path | None = Field(
        None, description="Folder that holds the data sets; EDGEKIT_DATA when not given."
    )
    split: Literal["train", "test"] = Field("test", description="Part of the data set.")
    limit: int | None = Field(
        None, ge=1, description="Take only so many samples, spread evenly over the split."
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive samples.

    Attributes:
        inputs: What the model's input is fed, in the axis order and dtype of its
            `TensorSpec`; the first axis counts the samples.
        labels: Class index of each sample, ``int64[n]``.
    """

    inputs: npt.NDArray[Any]
    labels: Labels


class Dataset(Protocol):
    """Labelled samples in a fixed order."""

    @property
    def name(self) -> str:
        """Name as in `DataSpec.set`, with a path shortened to its last part."""

    @property
    def split(self) -> str:
        """``"train"``, ``"test"``, or ``"all"`` where the data has no such division."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by class index."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files and folders it was read from; empty for embedded data."""

    @property
    def fed_raw(self) -> bool:
        """True when the stored arrays are the model's input and no preprocessing is applied."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(
        self,
        preprocessing: AnyPreprocessing | None,
        spec: TensorSpec,
        batch_size: int,
        *,
        order: Sequence[int] | Labels | None = None,
    ) -> Iterator[Batch]:
        """Gives the samples once, decoded only as they are asked for.

        Args:
            preprocessing: How an image or a recording becomes the input; None feeds an image's
                raw 0..255 values.
            spec: The input that is fed; its shape decides the axis order and is checked.
            batch_size: Samples a batch; the last one may be smaller.
            order: Positions of the samples to give, for shuffled training; None gives all
                in the data set's own order.

        Raises:
            InputError: If a sample is damaged, does not fit ``spec``, or is of another kind than
                the preprocessing.
        """
