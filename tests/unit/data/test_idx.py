"""The IDX reader: right files, and every way in which one can be wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import DataSpec, data_files, open_dataset
from edgekit.data.idx import read_idx
from edgekit.errors import InputError


def idx_bytes(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def write_set(folder: Path, images: int = 4, labels: int = 4, *, zipped: bool = True) -> Path:
    folder.mkdir(parents=True)
    pixels = np.arange(images * 784).reshape(images, 28, 28).astype(np.uint8)
    classes = (np.arange(labels) * 3 % 10).astype(np.uint8)
    for stem in ("train", "t10k"):
        for name, values in (("images-idx3", pixels), ("labels-idx1", classes)):
            content = idx_bytes(values)
            path = folder / f"{stem}-{name}-ubyte"
            if zipped:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                path.write_bytes(content)
    return folder


@settings(max_examples=40, deadline=None)
@given(
    values=arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, max_side=6)),
    zipped=st.booleans(),
)
def test_what_is_written_is_read(
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    zipped: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("idx") / "values"
    content = idx_bytes(values)
    path.write_bytes(gzip.compress(content) if zipped else content)
    np.testing.assert_array_equal(read_idx(path, rank=values.ndim), values)


@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(0, 60),
    position=st.integers(0, 59),
    value=st.integers(0, 255),
    zipped=st.booleans(),
)
def test_a_damaged_file_never_gives_anything_but_an_array_or_an_input_error(
    cut: int, position: int, value: int, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = idx_bytes(np.arange(44, dtype=np.uint8).reshape(1, 4, 11))
    damaged = bytearray(gzip.compress(content, mtime=0) if zipped else content)
    damaged[position % len(damaged)] = value
    path = tmp_path_factory.mktemp("idx") / "values"
    path.write_bytes(bytes(damaged[:cut]))
    try:
        assert read_idx(path, rank=3).size == (44 if zipped else min(cut, 60) - 16)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017  # either outcome is right, no other is


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file"),
        (b"\x01\x02\x08\x01", "is no IDX file"),
        (bytes((0, 0, 0x0D, 1, 0, 0, 0, 1, 5)), "IDX type 0x0d; expected unsigned bytes"),
        (bytes((0, 0, 8, 1, 0, 0, 0, 1, 5)), "has 1 dims, expected 3"),
        (bytes((0, 0, 8, 3, 0, 0)), "truncated within its header"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8))[:-1], "truncated: dims 2 x 3 x 4 need 24 bytes"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8)) + b"x", "longer than its header says"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12 + b"abc", r"need \d+ bytes, found 3"),
        (gzip.compress(idx_bytes(np.zeros((2, 3, 4), np.uint8)), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_each_fault_is_named_with_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"train-images-idx3-ubyte.*{message}"):
        read_idx(path, rank=3)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("name", "place"),
    [("mnist", "mnist"), ("fashion-mnist", "fashion-mnist"), ("mnist", "MNIST/raw")],
)
def test_a_set_is_found_and_read(tmp_path: Path, name: str, place: str, zipped: bool) -> None:
    folder = write_set(tmp_path / place, zipped=zipped)
    dataset = open_dataset(DataSpec(set=name, root=tmp_path, split="train"))
    assert len(dataset) == 4
    assert len(dataset.labels) == 10
    assert [path.parent for path in dataset.files] == [folder, folder]
    assert dataset.files == data_files(DataSpec(set=name, root=tmp_path, split="train"))
    (batch,) = dataset.batches(None, TensorSpec(name="x", shape=(4, 1, 28, 28)), 4)
    np.testing.assert_array_equal(batch.labels, [0, 3, 6, 9])
    np.testing.assert_array_equal(batch.inputs.reshape(-1), np.arange(4 * 784) % 256)


def test_a_set_that_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "mnist", images=4, labels=3)
    with pytest.raises(InputError, match="holds 4 images but 3 labels"):
        open_dataset(DataSpec(set="mnist", root=tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        InputError, match=r"incomplete: .* holds neither t10k-labels-idx1-ubyte\.gz"
    ):
        data_files(DataSpec(set="mnist", root=tmp_path))
