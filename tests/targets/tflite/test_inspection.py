"""What `inspect` says of small files of known content and of real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.metadata import METADATA_KEY, ModelMetadata
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.targets.tflite.inspection import inspect
from edgekit.targets.tflite.metadata import embed_metadata
from edgekit.targets.tflite.repacking import with_metadata_entries
from tests.targets.tflite.data_files import dtln
from tests.targets.tflite.file_builder import FileBuilder, classifier

NCHW = ModelSignature(
    inputs=(TensorSpec(name="image", shape=("batch", 3, 8, 8), stored_axes=(0, 2, 3, 1)),),
    outputs=(TensorSpec(name="scores", shape=("batch", 4)),),
)


def _write(folder: Path, data: bytes) -> Path:
    path = folder / "m.tflite"
    path.write_bytes(data)
    return path


def test_a_file_of_another_tool_has_its_own_axis_order(tmp_path: Path) -> None:
    found = inspect(_write(tmp_path, classifier()))
    assert found.format == "tflite"
    assert [(op.op, op.count) for op in found.ops] == [
        ("CONV_2D", 1),
        ("FULLY_CONNECTED", 1),
        ("MEAN", 1),
    ]
    assert str(found.signature.inputs[0]) == "image: float32[batch, 8, 8, 3]"
    assert found.signature.inputs[0].stored_axes is None
    assert found.macs == 8 * 8 * 6 * 27 + 6 * 4
    assert found.parameters == 6 * 27 + 6 + 4 * 6 + 4
    assert (found.integer_ops, found.float_ops) == (0, 3)
    assert found.size_bytes == (tmp_path / "m.tflite").stat().st_size
    assert found.details["description"] == "made for a test"
    assert found.details["edgekit_metadata"] == "absent"
    assert found.details["min_runtime_version"] == "not stated"
    assert found.details["custom_ops"] == "none"


def test_edgekits_metadata_gives_the_canonical_axis_order(tmp_path: Path) -> None:
    data = embed_metadata(classifier(), ModelMetadata(name="net"), NCHW, {})
    found = inspect(_write(tmp_path, data))
    assert found.signature == NCHW
    assert found.signature.inputs[0].stored_shape == ("batch", 8, 8, 3)
    assert found.details["edgekit_metadata"] == "present"
    assert found.details["tflite_metadata"] == "present"


def test_metadata_of_another_file_is_told_and_not_believed(tmp_path: Path) -> None:
    entry = (
        '{"format_version":1,"metadata":{},"provenance":{},'
        '"signature":{"inputs":[{"name":"other","shape":[1]}],"outputs":[]}}'
    )
    data = with_metadata_entries(classifier(), {METADATA_KEY: entry.encode()})
    found = inspect(_write(tmp_path, data))
    assert found.signature.inputs[0].name == "image"
    assert (
        "does not fit the file: its inputs are ['other'], but the file has ['image']"
        in (found.details["edgekit_metadata"])
    )


def test_damaged_metadata_does_not_hide_the_rest(tmp_path: Path) -> None:
    data = with_metadata_entries(classifier(), {METADATA_KEY: b"{no json"})
    found = inspect(_write(tmp_path, data))
    assert found.macs is not None
    assert "cannot be read (its text: Invalid JSON" in found.details["edgekit_metadata"]


def test_custom_operators_are_listed_and_leave_macs_unknown(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (2,)), file.tensor("y", (2,))
    file.op("Detect", (x,), (y,), custom=True)
    file.metadata("min_runtime_version", b"1.14.0\0\0\0\0\0\0\0\0\0\0")
    found = inspect(_write(tmp_path, file.finish((x,), (y,))))
    assert found.macs is None
    assert found.details["macs"] == "not known: the work inside Detect is not known from the file"
    assert found.details["custom_ops"] == "Detect"
    assert found.details["min_runtime_version"] == "1.14.0"


def test_inputs_that_numpy_does_not_know_are_refused(tmp_path: Path) -> None:
    file = FileBuilder()
    x = file.tensor("wave", (2,), "complex64")
    y = file.tensor("y", (2,))
    file.op("REAL", (x,), (y,))
    with pytest.raises(InputError, match="'wave' has the element type complex64"):
        inspect(_write(tmp_path, file.finish((x,), (y,))))


@pytest.mark.parametrize("name", ["model_1.tflite", "model_quant_1.tflite"])
def test_dtln(name: str) -> None:
    found = inspect(dtln(name))
    counts = {op.op: op.count for op in found.ops}
    assert (counts["FULLY_CONNECTED"], counts["LOGISTIC"], counts["PACK"]) == (5, 7, 5)
    # Two LSTM layers of 128 units (input 257 and 128) and a dense layer to 257.
    assert found.macs == 4 * 128 * (257 + 128) + 4 * 128 * (128 + 128) + 128 * 257
    assert [spec.name for spec in found.signature.inputs] == ["input_2", "input_3"]
    assert found.signature.inputs[1].shape == (1, 2, 128, 2)
    assert found.details["min_runtime_version"] == "1.14.0"
    assert found.details["hybrid_ops"] == ("5" if "quant" in name else "0")
    assert (found.integer_ops, found.float_ops) == (0, 43)
