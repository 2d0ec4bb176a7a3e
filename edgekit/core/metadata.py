"""What travels with a model besides its graph: preprocessing, labels, origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from edgekit.core.log_mel import LogMel
from edgekit.core.model_base import FrozenModel

METADATA_KEY = "edgekit.metadata"
"""Key under which every artifact (ONNX ``metadata_props``, TFLite metadata buffer) holds
the JSON of `ModelMetadata`."""


class Preprocessing(FrozenModel):
    """How an image of 0..255 becomes the model's input, declared once.

    The value fed is ``(pixel * scale - mean[c]) / std[c]``, after resizing, cropping and
    converting the channels, in the axis order of the input's `TensorSpec`.
    """

    kind: Literal["image"] = Field("image", description="Form of the preprocessing.")
    size: tuple[int, int] | None = Field(
        None, description="Height and width in pixels after resizing; the image's own by default."
    )
    resize: Literal["stretch", "crop"] = Field(
        "stretch",
        description="stretch ignores the aspect ratio; crop resizes the shorter side to "
        "size / crop_fraction and cuts the centre.",
    )
    crop_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the resized image that crop keeps."
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] = Field(
        "bilinear", description="Resampling filter."
    )
    channels: Literal["gray", "rgb", "bgr"] = Field(
        "rgb", description="Channel order that the model expects."
    )
    scale: float = Field(
        1.0 / 255.0, description="Factor on the raw 0..255 value, before mean and std."
    )
    mean: tuple[float, ...] = Field(
        (0.0,), description="One value for each channel, in units of the scaled value."
    )
    std: tuple[float, ...] = Field(
        (1.0,), description="One value for each channel, in units of the scaled value."
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Preprocessing:
        count = 1 if self.channels == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, count):
                raise ValueError(
                    f"{name} has {len(values)} values, but {self.channels} has {count} channels"
                )
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be above 0 in every channel")
        return self


def _kind(value: object) -> object:
    """Which form is meant; one that does not say so is an image's, as all once were."""
    if isinstance(value, Mapping):
        return value.get("kind", "image")
    return getattr(value, "kind", "image")


AnyPreprocessing = Annotated[
    Annotated[Preprocessing, Tag("image")] | Annotated[LogMel, Tag("log-mel")],
    Discriminator(
        _kind,
        custom_error_type="preprocessing_kind",
        custom_error_message="kind should be 'image' or 'log-mel'",
    ),
]
"""Preprocessing of any kind: of an image (the default), or of a recording."""


class ModelMetadata(FrozenModel):
    """Facts about a model that no graph states.

    Attributes:
        name: Short name, used for file names.
        source: Where it came from, as the user wrote it.
        preprocessing: How an image or a recording becomes the first input; None where the input
            is fed raw.
        labels: Class names by index of the classifier output; empty when unknown.
        author: Optional, copied into formats that have a field for it.
        license: Optional SPDX identifier.
        version: Optional version of the model.
    """

    name: str = "model"
    source: str = ""
    preprocessing: AnyPreprocessing | None = None
    labels: tuple[str, ...] = ()
    author: str = ""
    license: str = ""
    version: str = ""
