"""TensorFlow Lite's own model metadata: the flatbuffer that Android tooling reads.

Slots are field positions in ``metadata_schema.fbs`` of tflite-support (file identifier
M001, schema 1.0.0 to 1.5.0 alike for the fields used here). A union takes two slots, its
type and its value. The model holds this flatbuffer as the metadata entry
``TFLITE_METADATA``; associated files such as the labels are a ZIP behind the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.errors import MissingToolError
from edgekit.targets.tflite.flatbuffer_reader import FlatBuffer, FlatTable

if TYPE_CHECKING:
    import flatbuffers

IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
"""Oldest parser that knows every field written here."""

ColorSpace = Literal["unknown", "rgb", "grayscale"]
_COLOR_SPACES: tuple[ColorSpace, ...] = ("unknown", "rgb", "grayscale")
_FEATURE, _IMAGE = 1, 2  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What the metadata says of one input or output.

    Attributes:
        name: Public name.
        description: One sentence.
        image: Whether the content is an image (``[N, H, W, C]``) and not plain features.
        color_space: Of an image.
        size: Height and width of an image; None when unknown.
        mean: Normalisation ``(pixel - mean) / std`` of values 0..255; empty: not normalised.
        std: One value per channel, as many as ``mean``.
        highest: Largest value of the tensor per channel; empty when unknown.
        lowest: Smallest value of the tensor per channel; empty when unknown.
        label_file: Name of the associated file with one label a line for the last axis.
    """

    name: str
    description: str = ""
    image: bool = False
    color_space: ColorSpace = "unknown"
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    highest: tuple[float, ...] = ()
    lowest: tuple[float, ...] = ()
    label_file: str = ""


@dataclass(frozen=True, slots=True)
class OfficialMetadata:
    """The fields of ``ModelMetadata`` that edgekit writes; one subgraph."""

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorFacts, ...] = ()
    outputs: tuple[TensorFacts, ...] = ()
    min_parser_version: str = MIN_PARSER_VERSION


def write_official(metadata: OfficialMetadata) -> bytes:
    """The flatbuffer of ``metadata``; equal input gives equal bytes.

    Raises:
        MissingToolError: If flatbuffers is not installed.
    """
    try:
        import flatbuffers
    except ImportError as error:
        raise MissingToolError.for_extra(
            "flatbuffers", "tflite", "write TFLite metadata"
        ) from error
    out = _Writer(flatbuffers.Builder(1024))
    subgraph = out.table(
        {
            0: out.text(metadata.name),
            2: out.tables([_write_tensor(out, facts) for facts in metadata.inputs]),
            3: out.tables([_write_tensor(out, facts) for facts in metadata.outputs]),
        }
    )
    root = out.table(
        {
            0: out.text(metadata.name),
            1: out.text(metadata.description),
            2: out.text(metadata.version),
            3: out.tables([subgraph]),
            4: out.text(metadata.author),
            5: out.text(metadata.license),
            7: out.text(metadata.min_parser_version),
        }
    )
    out.builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(out.builder.Output())


def read_official(data: bytes, name: str) -> OfficialMetadata:
    """Reads the flatbuffer; fields that edgekit does not write are passed over.

    Args:
        data: Content of the metadata entry.
        name: How messages call it.

    Raises:
        InputError: If the bytes are damaged or of another format.
    """
    root = FlatBuffer(data, name).root(IDENTIFIER, "TFLite metadata flatbuffer")
    subgraphs = root.tables(3)
    return OfficialMetadata(
        name=root.string(0),
        description=root.string(1),
        version=root.string(2),
        author=root.string(4),
        license=root.string(5),
        inputs=tuple(map(_read_tensor, subgraphs[0].tables(2))) if subgraphs else (),
        outputs=tuple(map(_read_tensor, subgraphs[0].tables(3))) if subgraphs else (),
        min_parser_version=root.string(7),
    )


class _Byte(int):
    """A one-byte scalar field."""


class _UInt(int):
    """A four-byte unsigned scalar field."""


class _Offset(int):
    """The place of a string, vector or table that was written before."""


class _Writer:
    """Writes tables by slot; children come before the table that holds them."""

    def __init__(self, builder: flatbuffers.Builder) -> None:
        self.builder = builder

    def text(self, value: str) -> _Offset | None:
        """A string; None for an empty one, which is left out."""
        return _Offset(self.builder.CreateString(value)) if value else None

    def tables(self, places: Sequence[int]) -> _Offset | None:
        """A vector of tables; None for an empty one."""
        if not places:
            return None
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return _Offset(self.builder.EndVector())

    def floats(self, values: Sequence[float]) -> _Offset | None:
        """A vector of float32; None for an empty one."""
        if not values:
            return None
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return _Offset(self.builder.EndVector())

    def table(self, fields: Mapping[int, _Byte | _UInt | _Offset | None]) -> _Offset:
        """A table with ``fields`` by slot; those that are None are left out."""
        self.builder.StartObject(max(fields, default=-1) + 1)
        for slot, value in fields.items():
            if isinstance(value, _Byte):
                self.builder.PrependUint8Slot(slot, value, 0)
            elif isinstance(value, _UInt):
                self.builder.PrependUint32Slot(slot, value, 0)
            elif value is not None:
                self.builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return _Offset(self.builder.EndObject())


def _write_tensor(out: _Writer, facts: TensorFacts) -> _Offset:
    units = None
    if facts.mean:
        options = out.table({0: out.floats(facts.mean), 1: out.floats(facts.std)})
        units = out.tables([out.table({0: _Byte(_NORMALIZATION), 1: options})])
    stats = None
    if facts.highest:
        stats = out.table({0: out.floats(facts.highest), 1: out.floats(facts.lowest)})
    files = None
    if facts.label_file:
        label_file = out.table(
            {
                0: out.text(facts.label_file),
                1: out.text("Labels of the last axis, one a line."),
                2: _Byte(_AXIS_LABELS),
            }
        )
        files = out.tables([label_file])
    return out.table(
        {
            0: out.text(facts.name),
            1: out.text(facts.description),
            3: _write_content(out, facts),
            4: units,
            5: stats,
            6: files,
        }
    )


def _write_content(out: _Writer, facts: TensorFacts) -> _Offset:
    if not facts.image:
        return out.table({0: _Byte(_FEATURE), 1: out.table({})})
    size = None
    if facts.size is not None:
        height, width = facts.size
        size = out.table({0: _UInt(width), 1: _UInt(height)})
    color = _Byte(_COLOR_SPACES.index(facts.color_space))
    return out.table({0: _Byte(_IMAGE), 1: out.table({0: color, 1: size})})


def _read_tensor(table: FlatTable) -> TensorFacts:
    image, color_space, size = _read_content(table.table(3))
    normalization = next(
        (unit.table(1) for unit in table.tables(4) if unit.scalar(0, "B") == _NORMALIZATION),
        None,
    )
    stats = table.table(5)
    labels = [item.string(0) for item in table.tables(6) if item.scalar(2, "b") == _AXIS_LABELS]
    return TensorFacts(
        name=table.string(0),
        description=table.string(1),
        image=image,
        color_space=color_space,
        size=size,
        mean=normalization.floats(0) if normalization else (),
        std=normalization.floats(1) if normalization else (),
        highest=stats.floats(0) if stats else (),
        lowest=stats.floats(1) if stats else (),
        label_file=labels[0] if labels else "",
    )


def _read_content(content: FlatTable | None) -> tuple[bool, ColorSpace, tuple[int, int] | None]:
    """Whether it is an image, its colour space, its height and width."""
    if content is None or content.scalar(0, "B") != _IMAGE:
        return False, "unknown", None
    properties = content.table(1)
    if properties is None:
        return True, "unknown", None
    code = properties.scalar(0, "b")
    color = _COLOR_SPACES[code] if 0 <= code < len(_COLOR_SPACES) else "unknown"
    size = properties.table(1)
    shape = (size.scalar(1, "I"), size.scalar(0, "I")) if size else None
    return True, color, shape
