"""Metadata inside the file: read back, harmless to the model, readable by others."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.core.metadata import METADATA_KEY, ModelMetadata, Preprocessing
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError, InternalError
from edgekit.targets.tflite.metadata import (
    EmbeddedMetadata,
    canonical_signature,
    embed_metadata,
    embedded_in,
    read_embedded,
    read_label_file,
)
from edgekit.targets.tflite.model_file import parse_model
from edgekit.targets.tflite.official_metadata import read_official
from edgekit.targets.tflite.repacking import with_metadata_entries
from tests.targets.tflite.file_builder import classifier

NCHW = ModelSignature(
    inputs=(TensorSpec(name="image", shape=("batch", 3, 8, 8), stored_axes=(0, 2, 3, 1)),),
    outputs=(TensorSpec(name="scores", shape=("batch", 4)),),
)
METADATA = ModelMetadata(
    name="net",
    source="net.py:make",
    author="someone",
    license="MIT",
    version="1.2",
    preprocessing=Preprocessing(mean=(0.5,), std=(0.5,)),
    labels=("a", "b", "c", "d"),
)
PROVENANCE = {"source_digest": "00ff", "edgekit": "0.1.0"}


def _embedded() -> bytes:
    return embed_metadata(classifier(), METADATA, NCHW, PROVENANCE)


def test_what_is_embedded_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(_embedded())
    assert read_embedded(path) == EmbeddedMetadata(
        metadata=METADATA, signature=NCHW, provenance=PROVENANCE
    )
    assert canonical_signature(parse_model(path.read_bytes(), "m")) == NCHW


def test_a_file_without_the_entry_has_none(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(classifier())
    assert read_embedded(path) is None


def test_tflites_own_metadata_is_beside_it() -> None:
    file = parse_model(_embedded(), "m")
    official = read_official(file.metadata["TFLITE_METADATA"], "m")
    assert (official.name, official.version) == ("net", "1.2")
    assert (official.author, official.license) == ("someone", "MIT")
    assert official.inputs[0].mean == (127.5,)
    assert official.outputs[0].label_file == "labels.txt"


def test_labels_are_a_zip_behind_the_model() -> None:
    data = _embedded()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["labels.txt"]
        info = archive.getinfo("labels.txt")
        # Android reads it in place.
        assert info.compress_type == zipfile.ZIP_STORED
        assert archive.read("labels.txt") == b"a\nb\nc\nd\n"
        assert archive.testzip() is None
    assert read_label_file(data) == ("a", "b", "c", "d")
    assert read_label_file(classifier()) == ()


def test_equal_input_gives_equal_bytes() -> None:
    assert _embedded() == _embedded()


def test_embedding_again_replaces() -> None:
    once = _embedded()
    assert embed_metadata(once, METADATA, NCHW, PROVENANCE) == once
    other = METADATA.model_copy(update={"name": "renamed", "labels": ()})
    again = embed_metadata(once, other, NCHW, PROVENANCE)
    assert read_label_file(again) == ()
    found = parse_model(again, "m")
    assert sorted(found.metadata) == ["TFLITE_METADATA", METADATA_KEY]
    embedded = embedded_in(found)
    assert embedded is not None
    assert embedded.metadata.name == "renamed"


def test_the_model_itself_is_unchanged() -> None:
    before = schema.ModelT.InitFromObj(schema.Model.GetRootAs(classifier(), 0))
    after = schema.ModelT.InitFromObj(schema.Model.GetRootAs(_embedded(), 0))
    assert after.description == before.description
    for old, new in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        assert (old.name, old.type, list(old.shape)) == (new.name, new.type, list(new.shape))
        old_data, new_data = before.buffers[old.buffer].data, after.buffers[new.buffer].data
        assert (old_data is None) == (new_data is None)
        if old_data is not None:
            assert old_data.tobytes() == new_data.tobytes()
    for old, new in zip(before.subgraphs[0].operators, after.subgraphs[0].operators, strict=True):
        assert (old.opcodeIndex, list(old.inputs)) == (new.opcodeIndex, list(new.inputs))
        assert old.builtinOptionsType == new.builtinOptionsType


def test_weights_lie_at_16_byte_boundaries() -> None:
    model = schema.Model.GetRootAs(_embedded(), 0)
    places = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            places.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(places) == 7  # kernel, bias, axes, matrix, offset and two entries
    assert [place % 16 for place in places] == [0] * 7


def test_a_signature_of_another_file_is_a_defect() -> None:
    other = ModelSignature(
        inputs=(TensorSpec(name="image", shape=("batch", 3, 8, 8)),), outputs=NCHW.outputs
    )
    with pytest.raises(
        InternalError,
        match=r"'image' is stored as \['batch', 3, 8, 8\], but the file has \['batch', 8, 8, 3\]",
    ):
        embed_metadata(classifier(), METADATA, other, {})


def test_a_damaged_entry_is_an_input_error() -> None:
    data = with_metadata_entries(classifier(), {METADATA_KEY: b'{"format_version": 2}'})
    with pytest.raises(InputError, match=r"format_version.*of a newer edgekit"):
        embedded_in(parse_model(data, "m.tflite"))


def test_an_entry_that_does_not_fit_is_an_input_error() -> None:
    entry = EmbeddedMetadata(
        metadata=METADATA,
        signature=NCHW.model_copy(update={"outputs": ()}),
        provenance={},
    )
    data = with_metadata_entries(classifier(), {METADATA_KEY: entry.model_dump_json().encode()})
    with pytest.raises(InputError, match=r"Another tool changed the file"):
        canonical_signature(parse_model(data, "m.tflite"))


def test_truncated_model_bytes_are_refused() -> None:
    with pytest.raises(InputError, match=r"the \.tflite file to describe is damaged"):
        embed_metadata(classifier()[:900], METADATA, NCHW, {})
