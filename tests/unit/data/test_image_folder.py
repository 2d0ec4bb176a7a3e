"""Class folders of PNG and JPEG images, and the decoder below them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import DataSpec, data_files, open_dataset
from edgekit.data.decoding import decode_image
from edgekit.errors import InputError

type Writer = Callable[[Path, Mapping[str, bytes]], Path]
type Encode = Callable[..., bytes]

SPEC = TensorSpec(name="image", shape=("batch", 3, 4, 4))
SMALL = Preprocessing(size=(4, 4), scale=1.0)


@pytest.fixture
def pets(tmp_path: Path, write_files: Writer, png: Encode) -> Path:
    members = {
        "dog/b.png": png(30, 5, 9),
        "dog/a.jpg": png(20, 8, 8, form="JPEG"),
        "cat/deep/z.PNG": png(10),
        "cat/y.jpeg": png(0, form="JPEG"),
        "cat/notes.txt": b"not an image",
        "cat/.hidden.png": b"not an image",
        ".git/x.png": b"not an image",
    }
    return write_files(tmp_path / "pets", members)


def test_classes_and_files_come_in_the_order_of_their_names(pets: Path) -> None:
    spec = DataSpec(set=f"folder:{pets}")
    dataset = open_dataset(spec)
    assert (dataset.name, dataset.split, dataset.labels) == ("folder:pets", "all", ("cat", "dog"))
    assert data_files(spec) == (pets,)
    (batch,) = dataset.batches(SMALL, SPEC, 8)
    np.testing.assert_array_equal(batch.labels, [0, 0, 1, 1])
    np.testing.assert_allclose(batch.inputs.mean(axis=(1, 2, 3)), [10, 0, 20, 30], atol=1)


def test_a_divided_folder_gives_its_split(
    tmp_path: Path, write_files: Writer, png: Encode
) -> None:
    members = {"train/cat/1.png": png(), "train/dog/1.png": png(), "test/cat/1.png": png()}
    write_files(tmp_path / "pets", members)
    train = open_dataset(DataSpec(set=f"folder:{tmp_path}/pets", split="train"))
    assert (len(train), train.split, train.name) == (2, "train", "folder:pets")
    assert train.files == (tmp_path / "pets" / "train",)
    assert len(open_dataset(DataSpec(set=f"folder:{tmp_path}/pets", split="test"))) == 1
    (tmp_path / "pets" / "test").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="divided into train but has no folder 'test'"):
        open_dataset(DataSpec(set=f"folder:{tmp_path}/pets"))


def test_a_relative_path_is_also_looked_for_below_the_root(pets: Path) -> None:
    assert len(open_dataset(DataSpec(set="folder:pets", root=pets.parent))) == 4
    with pytest.raises(InputError, match=r"looked at absent, .*absent\. Give the folder"):
        open_dataset(DataSpec(set="folder:absent", root=pets.parent))


def test_a_damaged_image_is_named_when_it_is_reached(pets: Path) -> None:
    content = (pets / "dog" / "b.png").read_bytes()
    (pets / "dog" / "b.png").write_bytes(content[: len(content) // 2])
    batches = open_dataset(DataSpec(set=f"folder:{pets}")).batches(SMALL, SPEC, 1)
    for _ in range(3):
        next(batches)
    with pytest.raises(InputError, match=r"Image .*dog/b\.png cannot be decoded"):
        next(batches)


def test_empty_folders_are_refused(tmp_path: Path, pets: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing is empty: it holds no class folders"):
        open_dataset(DataSpec(set=f"folder:{tmp_path}/nothing"))
    (pets / "bird").mkdir()
    with pytest.raises(InputError, match="without a PNG or JPEG image: bird"):
        open_dataset(DataSpec(set=f"folder:{pets}"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="must be a folder of class folders, not a file"):
        open_dataset(DataSpec(set=f"folder:{tmp_path}/file"))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("1", (4, 5)), ("L", (4, 5)), ("LA", (4, 5)), ("P", (4, 5, 3)), ("RGBA", (4, 5, 3))],
)
def test_every_8_bit_mode_becomes_gray_or_rgb(mode: str, shape: tuple[int, ...]) -> None:
    image = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    decoded = decode_image(encoded(image), "x")
    assert decoded.dtype == np.uint8
    assert decoded.shape == shape
    assert (decoded == 255).all()


def test_16_bit_images_are_refused_rather_than_clipped() -> None:
    image = Image.fromarray(np.full((4, 4), 1000, dtype=np.uint16))
    with pytest.raises(InputError, match=r"Image x has more than 8 bits a channel \(mode I;16"):
        decode_image(encoded(image), "x")


@pytest.mark.parametrize("form", ["GIF", "BMP"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_image(encoded(Image.new("RGB", (4, 4)), form), "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Image gone\.png cannot be decoded"):
        decode_image(tmp_path / "gone.png", "gone.png")
