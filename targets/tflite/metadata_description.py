"""What edgekit's metadata and signature mean in the words of TFLite metadata.

edgekit normalises ``(pixel * scale - mean) / std``; TFLite metadata says
``(pixel - mean') / std'`` of the same 0..255 pixel. Hence ``mean' = mean / scale`` and
``std' = std / scale``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit import __version__
from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import (
    METADATA_KEY,
    AnyPreprocessing,
    ModelMetadata,
    Preprocessing,
)
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.targets.tflite.official_metadata import ColorSpace, OfficialMetadata, TensorFacts

LABEL_FILE = "labels.txt"
UNNAMED_LABEL = "???"
"""Stands for an empty label: Android's loader drops empty lines, which would shift the rest."""
_COLOR_SPACES: Mapping[str, ColorSpace] = {"rgb": "rgb", "gray": "grayscale", "bgr": "unknown"}
_HIGHEST_PIXEL = 255.0


@dataclass(frozen=True, slots=True)
class Description:
    """TFLite metadata of a model.

    Attributes:
        official: Content of the flatbuffer.
        labels: Content of the label file; empty when the model has none.
        notes: What Android tooling will not learn from it, with the reason.
    """

    official: OfficialMetadata
    labels: bytes
    notes: tuple[str, ...]


def describe(metadata: ModelMetadata, signature: ModelSignature) -> Description:
    """Expresses ``metadata`` as TFLite metadata.

    Args:
        metadata: Of the model.
        signature: With ``stored_axes``, tensors in the order of the file.

    Raises:
        ConfigError: If a label or the preprocessing cannot be expressed at all.
    """
    notes: list[str] = []
    inputs = [_plain(spec) for spec in signature.inputs]
    if metadata.preprocessing is not None and signature.inputs:
        inputs[0], reasons = _preprocessed(signature.inputs[0], metadata.preprocessing)
        notes += reasons
    outputs = [_plain(spec) for spec in signature.outputs]
    labels = b""
    if metadata.labels:
        place = _labelled_output(metadata, signature)
        if place is None:
            notes.append(
                f"The {len(metadata.labels)} labels are not in the TFLite metadata: the last "
                "axis of no output has that size."
            )
        else:
            spec = signature.outputs[place]
            labels = _label_lines(metadata.labels)
            outputs[place] = TensorFacts(
                name=spec.name,
                description=f"One value for each of {len(metadata.labels)} classes.",
                label_file=LABEL_FILE,
            )
    official = OfficialMetadata(
        name=metadata.name,
        description=f"Converted by edgekit {__version__}.",
        version=metadata.version,
        author=metadata.author,
        license=metadata.license,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )
    return Description(official=official, labels=labels, notes=tuple(notes))


def _plain(spec: TensorSpec) -> TensorFacts:
    shape = ", ".join(map(str, spec.stored_shape))
    return TensorFacts(name=spec.name, description=f"{spec.dtype}[{shape}]")


def _preprocessed(
    spec: TensorSpec, preprocessing: AnyPreprocessing
) -> tuple[TensorFacts, list[str]]:
    """Facts of an input with declared preprocessing, and what is lost."""
    if isinstance(preprocessing, LogMel):
        return _features(spec, preprocessing)
    return _image(spec, preprocessing)


def _features(spec: TensorSpec, declared: LogMel) -> tuple[TensorFacts, list[str]]:
    """Facts of log-mel features, and what is lost."""
    facts = TensorFacts(
        name=spec.name,
        description=(
            f"Log-mel features, {declared.frames} frames of {declared.mel_bins} mel bins, of a "
            f"recording of {declared.clip_samples} samples at {declared.sample_rate_hz} Hz; how "
            f"they are computed stands in the metadata {METADATA_KEY}."
        ),
    )
    reason = (
        f"The TFLite metadata describes the log-mel features of input {spec.name!r} in words "
        f"alone, having no fields for them; the application computes them as {METADATA_KEY} says."
    )
    return facts, [reason]


def _image(spec: TensorSpec, preprocessing: Preprocessing) -> tuple[TensorFacts, list[str]]:
    """Facts of an image input, and what is lost."""
    if preprocessing.scale <= 0:
        raise ConfigError(
            f"The preprocessing scale is {preprocessing.scale}; TFLite metadata can only "
            "express a scale above 0 (1/255 maps a pixel to 0..1)."
        )
    channels = 1 if preprocessing.channels == "gray" else 3
    shape = spec.stored_shape
    if len(shape) != 4 or shape[-1] != channels:
        reason = (
            f"The preprocessing is not in the TFLite metadata: input {spec.name!r} is stored "
            f"as {list(shape)}, while tooling expects [batch, height, width, {channels}]."
        )
        return _plain(spec), [reason]
    notes = []
    if preprocessing.channels == "bgr":
        notes.append(
            "The TFLite metadata leaves the colour space open: it has no name for BGR. "
            "Swap the channels of an RGB image before feeding it."
        )
    count = max(len(preprocessing.mean), len(preprocessing.std))
    mean = _spread(preprocessing.mean, count)
    std = _spread(preprocessing.std, count)
    scale = preprocessing.scale
    high = _HIGHEST_PIXEL * scale
    height, width = shape[1], shape[2]
    fixed = isinstance(height, int) and isinstance(width, int)
    facts = TensorFacts(
        name=spec.name,
        description=(
            f"Image in channel order {preprocessing.channels.upper()}, values 0 to 255 "
            "normalised as stated."
        ),
        image=True,
        color_space=_COLOR_SPACES[preprocessing.channels],
        size=(int(height), int(width)) if fixed else preprocessing.size,
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
        highest=tuple((high - m) / s for m, s in zip(mean, std, strict=True)),
        lowest=tuple((0.0 - m) / s for m, s in zip(mean, std, strict=True)),
    )
    return facts, notes


def _spread(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values if len(values) == count else values * count


def _labelled_output(metadata: ModelMetadata, signature: ModelSignature) -> int | None:
    """Index of the first output whose last stored axis has one entry a label."""
    for place, spec in enumerate(signature.outputs):
        if spec.shape and spec.stored_shape[-1] == len(metadata.labels):
            return place
    return None


def _label_lines(labels: tuple[str, ...]) -> bytes:
    for index, label in enumerate(labels):
        if "\n" in label or "\r" in label:
            raise ConfigError(
                f"Label {index} ({label!r}) holds a line break; a label file has one label "
                "a line. Remove the line break."
            )
    return "".join(f"{label.strip() or UNNAMED_LABEL}\n" for label in labels).encode()
