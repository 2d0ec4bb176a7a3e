"""Reading .tflite files: what is in them, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.target import Inspection
from edgekit.errors import InputError
from edgekit.targets.tflite.inspection import inspect
from edgekit.targets.tflite.model_file import parse_model, read_model_file
from tests.targets.tflite.file_builder import FileBuilder, classifier

CLASSIFIER = classifier()


def test_tensors_operators_and_names_are_read() -> None:
    file = parse_model(CLASSIFIER, "c.tflite")
    assert file.description == "made for a test"
    assert [op.name for op in file.main.operators] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    image = file.main.tensors[file.main.inputs[0]]
    assert (image.shape, image.dynamic, image.dtype) == ((1, 8, 8, 3), frozenset({0}), "float32")
    assert not image.constant
    kernel = file.main.tensors[1]
    assert kernel.constant
    assert kernel.shape == (6, 3, 3, 3)
    assert file.named_inputs() == (("image", 0),)
    assert file.signatures[0].key == "serving_default"


def test_signature_names_win_over_tensor_names() -> None:
    file = FileBuilder()
    x = file.tensor("serving_default_x:0", (2,))
    y = file.tensor("", (2,))
    file.op("ABS", (x,), (y,))
    file.signature({"x": x}, {"y": y})
    parsed = parse_model(file.finish((x,), (y,)), "m.tflite")
    assert parsed.named_inputs() == (("x", x),)
    assert parsed.named_outputs() == (("y", y),)


def test_one_tensor_under_two_output_names_keeps_both() -> None:
    file = FileBuilder()
    x = file.tensor("x", (2,))
    y = file.tensor("y", (2,))
    file.op("ABS", (x,), (y,))
    file.signature({"x": x}, {"first": y, "second": y})
    parsed = parse_model(file.finish((x,), (y, y)), "m.tflite")
    assert parsed.named_outputs() == (("first", y), ("second", y))


def test_tensors_without_any_name_get_one() -> None:
    file = FileBuilder()
    x = file.tensor("", (2,))
    y = file.tensor("", (2,))
    file.op("ABS", (x,), (y,))
    parsed = parse_model(file.finish((x,), (y,)), "m.tflite")
    assert parsed.named_inputs() == (("tensor_0", 0),)


def test_custom_operators_bear_their_own_name() -> None:
    file = FileBuilder()
    x = file.tensor("x", (2,))
    y = file.tensor("y", (2,))
    file.op("MyDetection", (x,), (y,), custom=True)
    op = parse_model(file.finish((x,), (y,)), "m.tflite").main.operators[0]
    assert (op.name, op.custom) == ("MyDetection", True)


def test_metadata_entries_are_read_whole() -> None:
    file = FileBuilder()
    x = file.tensor("x", (2,))
    y = file.tensor("y", (2,))
    file.op("ABS", (x,), (y,))
    file.metadata("some.entry", b"\0binary\xff")
    assert parse_model(file.finish((x,), (y,)), "m").metadata == {"some.entry": b"\0binary\xff"}


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.tflite does not exist"):
        read_model_file(tmp_path / "absent.tflite")
    with pytest.raises(InputError, match=r"is a folder; a \.tflite file is expected"):
        read_model_file(tmp_path)


def test_text_file_named_tflite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.tflite"
    path.write_text("This is a text file.\n")
    with pytest.raises(InputError, match=r"text\.tflite is not a TensorFlow Lite model"):
        read_model_file(path)


def test_tensor_index_out_of_range_is_refused() -> None:
    file = FileBuilder()
    x = file.tensor("x", (2,))
    file.op("ABS", (x,), (77,))
    with pytest.raises(InputError, match="operator 0 refers to tensor 77 of 1"):
        parse_model(file.finish((x,), (x,)), "m.tflite")


def test_shape_signature_of_another_rank_is_refused() -> None:
    file = FileBuilder()
    x = file.tensor("x", (2, 3))
    file.graph.tensors[x].shapeSignature = [-1]
    with pytest.raises(InputError, match=r"shape \[2, 3\], but the shape signature \[-1\]"):
        parse_model(file.finish((x,), (x,)), "m.tflite")


def test_other_schema_version_is_refused() -> None:
    file = FileBuilder()
    file.model.version = 9
    with pytest.raises(InputError, match="schema version 9; version 3 is the only one"):
        parse_model(file.finish((), ()), "m.tflite")


def test_buffer_index_out_of_range_is_refused() -> None:
    file = FileBuilder()
    x = file.tensor("x", (2,))
    file.graph.tensors[x].buffer = 5
    with pytest.raises(InputError, match="tensor 'x' refers to entry 5 of 1"):
        parse_model(file.finish((x,), (x,)), "m.tflite")


def test_file_without_graph_is_refused() -> None:
    file = FileBuilder()
    file.finish((), ())
    file.model.subgraphs = []
    import flatbuffers

    builder = flatbuffers.Builder(64)
    builder.Finish(file.model.Pack(builder), file_identifier=b"TFL3")
    with pytest.raises(InputError, match="holds no graph"):
        parse_model(bytes(builder.Output()), "m.tflite")


def _inspect_bytes(data: bytes, folder: Path) -> Inspection | None:
    """The inspection, or None where the file is refused; anything else escapes."""
    path = folder / "fuzzed.tflite"
    path.write_bytes(data)
    try:
        return inspect(path)
    except InputError:
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def test_every_truncation_is_refused_or_read(folder: Path) -> None:
    refused = sum(
        _inspect_bytes(CLASSIFIER[:size], folder) is None for size in range(0, len(CLASSIFIER), 3)
    )
    # Only the last bytes may be padding.
    assert refused > 0.95 * len(CLASSIFIER) / 3


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, len(CLASSIFIER) - 1), st.integers(0, 255)), min_size=1, max_size=8
    )
)
def test_altered_bytes_are_refused_or_read(folder: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(CLASSIFIER)
    for place, value in flips:
        data[place] = value
    _inspect_bytes(bytes(data), folder)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.integers(0, len(CLASSIFIER) // 4 - 1), value=st.integers(0, 2**32 - 1))
def test_altered_offsets_are_refused_or_read(folder: Path, place: int, value: int) -> None:
    data = np.frombuffer(CLASSIFIER, "<u4", len(CLASSIFIER) // 4).copy()
    data[place] = value
    _inspect_bytes(data.tobytes(), folder)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(tail=st.binary(max_size=300))
def test_random_bytes_behind_the_identifier_are_refused_or_read(folder: Path, tail: bytes) -> None:
    _inspect_bytes(b"\x10\0\0\0TFL3" + tail, folder)


def _in_blocks(scales: int, block: int, points: int = -1) -> bytes:
    """A file with weights in blocks; scale tensors have places 1 (4 numbers) and 2 (none)."""
    file = FileBuilder()
    x = file.tensor("x", (1, 64))
    file.constant("scales", np.ones((2, 2), np.float16))
    file.tensor("empty", (2, 2), "float16")
    w = file.tensor("w", (2, 64), "int4", data=np.zeros(64, np.uint8))
    details = schema.BlockwiseQuantizationT()
    details.scales, details.zeroPoints, details.blockSize = scales, points, block
    file.graph.tensors[w].quantization = schema.QuantizationParametersT()
    file.graph.tensors[w].quantization.detailsType = 2
    file.graph.tensors[w].quantization.details = details
    y = file.tensor("y", (1, 2))
    file.op("FULLY_CONNECTED", (x, w, -1), (y,))
    return file.finish([x], [y])


def test_weights_in_blocks_are_quantized() -> None:
    file = parse_model(_in_blocks(1, 32), "m.tflite")
    weights = next(tensor for tensor in file.main.tensors if tensor.name == "w")
    assert (weights.dtype, weights.quantized, weights.block_scales) == ("int4", True, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_in_blocks(9, 32), r"the block scales of tensor 'w' refers to entry 9 of 5"),
        (_in_blocks(-1, 32), r"the block scales of tensor 'w' refers to entry -1 of 5"),
        (_in_blocks(1, 32, points=7), r"the block scales of tensor 'w' refers to entry 7 of 5"),
        (_in_blocks(1, 0), r"the block scales of tensor 'w' have a block size of 0"),
        (_in_blocks(1, 16), r"lie in 'scales', which has 8 of 16 bytes"),
        (_in_blocks(2, 32), r"lie in 'empty', which has 0 of 8 bytes"),
    ],
)
def test_block_scales_that_are_not_there_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_model(data, "m.tflite")
