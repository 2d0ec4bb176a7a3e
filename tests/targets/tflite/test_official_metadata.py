"""TFLite metadata against files of tflite-support and against the schema's positions."""

from __future__ import annotations

import base64
from typing import Any

import flatbuffers
import numpy as np
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.targets.tflite.official_metadata import (
    OfficialMetadata,
    TensorFacts,
    read_official,
    write_official,
)

# Written by tflite-support 0.4.4 (metadata_schema_py_generated): dimension names, a
# threshold unit before the normalisation, and the facts of FACTS.
WRITTEN_BY_TFLITE_SUPPORT = """
    HAAAAE0wMDEUACAAHAAYABQAEAAMAAgAAAAEABQAAAAcAAAAJAAAADAAAAA8AAAALAIAADACAAA0AgAABQAAADEu
    MC4wAAAACgAAAEFwYWNoZS0yLjAAAAkAAABBLiBBdXRob3IAAAABAAAAEAAAAAwAEAAMAAAACAAEAAwAAAAMAAAA
    hAAAAMwBAAABAAAAGAAAAAAAEgAQAAwAAAAAAAgAAAAAAAQAEgAAAAwAAAA4AAAASAAAAAEAAAAQAAAAAAAKAAwA
    CAAAAAcACgAAAAAAAAIEAAAACgAAAGxhYmVscy50eHQAABD///8MAAAAAAAAAQQABAAEAAAABgAAAHNjb3JlcwAA
    AQAAABQAAAAQABwAGAAUABAADAAIAAQAEAAAABgAAABAAAAAoAAAANAAAAAEAQAAEAEAAFD///8IAAAAFAAAAAMA
    AAAAACDAAAAAwAAAwL8DAAAAAAAgQAAAEEAAAABAAgAAAEgAAAAEAAAAnP///wgAAAAAAAABlP///wgAAAAUAAAA
    AwAAAHuUaULhemRCAIBlQgMAAACaWfdCXI/oQlwPz0IIAAoACQAEAAgAAAAMAAAAAAMGAAgABAAGAAAAAAAAP/T/
    //8QAAAAAAAAAggADAALAAQACAAAABAAAAAAAAABCAAMAAgABAAIAAAAGAAAACAAAAAEAAAAKAAAABwAAAAQAAAA
    BAAAAAEAAABjAAAAAQAAAHgAAAABAAAAeQAAAAUAAABiYXRjaAAAAAgAAABhbiBpbWFnZQAAAAAFAAAAaW1hZ2UA
    AAABAAAAZwAAAAEAAAAzAAAAAQAAAGQAAAALAAAAZml2ZSB0aGluZ3MA
"""

FACTS = OfficialMetadata(
    name="five things",
    description="d",
    version="3",
    author="A. Author",
    license="Apache-2.0",
    inputs=(
        TensorFacts(
            name="image",
            description="an image",
            image=True,
            color_space="rgb",
            size=(24, 32),
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            highest=(2.5, 2.25, 2.0),
            lowest=(-2.5, -2.0, -1.5),
        ),
    ),
    outputs=(TensorFacts(name="scores", label_file="labels.txt"),),
)


def _rounded(metadata: OfficialMetadata) -> OfficialMetadata:
    """The metadata with its numbers in float32, as the file holds them."""

    def tensor(facts: TensorFacts) -> TensorFacts:
        def single(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(float(np.float32(value)) for value in values)

        return TensorFacts(
            name=facts.name,
            description=facts.description,
            image=facts.image,
            color_space=facts.color_space,
            size=facts.size,
            mean=single(facts.mean),
            std=single(facts.std),
            highest=single(facts.highest),
            lowest=single(facts.lowest),
            label_file=facts.label_file,
        )

    return OfficialMetadata(
        name=metadata.name,
        description=metadata.description,
        version=metadata.version,
        author=metadata.author,
        license=metadata.license,
        inputs=tuple(map(tensor, metadata.inputs)),
        outputs=tuple(map(tensor, metadata.outputs)),
    )


def test_a_file_of_tflite_support_is_read() -> None:
    data = base64.b64decode(WRITTEN_BY_TFLITE_SUPPORT)
    assert read_official(data, "golden") == _rounded(FACTS)


def test_what_is_written_is_read_back() -> None:
    assert read_official(write_official(FACTS), "own") == _rounded(FACTS)


def test_equal_facts_give_equal_bytes() -> None:
    assert write_official(FACTS) == write_official(FACTS)


class _Walker:
    """Reads by the vtable offsets that flatc would generate: 4 + 2 * position of the field."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def child(self, position: int) -> _Walker:
        return _Walker(Table(self.table.Bytes, self.table.Indirect(self._place(position))))

    def element(self, position: int, index: int) -> _Walker:
        start = self.table.Vector(self.table.Offset(4 + 2 * position))
        return _Walker(Table(self.table.Bytes, self.table.Indirect(start + 4 * index)))

    def union(self, position: int) -> _Walker:
        return self.child(position)

    def text(self, position: int) -> str:
        return bytes(self.table.String(self._place(position))).decode()

    def byte(self, position: int) -> int:
        return int(self.table.Get(number_types.Uint8Flags, self._place(position)))

    def uint(self, position: int) -> int:
        return int(self.table.Get(number_types.Uint32Flags, self._place(position)))

    def floats(self, position: int) -> list[float]:
        vector = self.table.GetVectorAsNumpy(
            number_types.Float32Flags, self.table.Offset(4 + 2 * position)
        )
        return [float(value) for value in vector]

    def _place(self, position: int) -> int:
        offset = self.table.Offset(4 + 2 * position)
        assert offset != 0
        return int(offset + self.table.Pos)


def test_fields_lie_where_metadata_schema_fbs_puts_them() -> None:
    data = write_official(FACTS)
    assert data[4:8] == b"M001"
    root = flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)
    model = _Walker(Table(data, root))
    assert model.text(0) == "five things"  # name
    assert model.text(1) == "d"  # description
    assert model.text(2) == "3"  # version
    assert model.text(4) == "A. Author"  # author
    assert model.text(5) == "Apache-2.0"  # license
    assert model.text(7) == "1.0.0"  # min_parser_version
    subgraph = model.element(3, 0)
    image = subgraph.element(2, 0)  # input_tensor_metadata
    assert image.text(0) == "image"
    assert image.text(1) == "an image"
    content = image.child(3)
    assert content.byte(0) == 2  # ContentProperties.ImageProperties
    properties = content.union(1)
    assert properties.byte(0) == 1  # ColorSpaceType.RGB
    size = properties.child(1)
    assert (size.uint(0), size.uint(1)) == (32, 24)  # width, height
    unit = image.element(4, 0)
    assert unit.byte(0) == 1  # ProcessUnitOptions.NormalizationOptions
    assert unit.union(1).floats(0) == pytest.approx([123.675, 116.28, 103.53])
    assert unit.union(1).floats(1) == pytest.approx([58.395, 57.12, 57.375])
    assert image.child(5).floats(0) == [2.5, 2.25, 2.0]  # stats.max
    assert image.child(5).floats(1) == [-2.5, -2.0, -1.5]  # stats.min
    scores = subgraph.element(3, 0)  # output_tensor_metadata
    assert scores.child(3).byte(0) == 1  # ContentProperties.FeatureProperties
    label_file = scores.element(6, 0)
    assert label_file.text(0) == "labels.txt"
    assert label_file.byte(2) == 2  # AssociatedFileType.TENSOR_AXIS_LABELS


def test_empty_metadata_is_read_back() -> None:
    assert read_official(write_official(OfficialMetadata(name="")), "x").name == ""


def test_other_bytes_are_refused() -> None:
    with pytest.raises(InputError, match="x is not a TFLite metadata flatbuffer"):
        read_official(b"\x08\0\0\0TFL3\0\0\0\0", "x")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.integers(0, 600), value=st.integers(0, 255), cut=st.integers(0, 636))
def test_damaged_metadata_is_refused_or_read(place: int, value: int, cut: int) -> None:
    data = bytearray(base64.b64decode(WRITTEN_BY_TFLITE_SUPPORT))
    data[place] = value
    try:
        found = read_official(bytes(data[: max(cut, 8)]), "x")
    except InputError:
        return
    assert isinstance(found, OfficialMetadata)
