"""Omniglot from its zips: splits, rotations, and what is said of damaged files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import DataSpec
from edgekit.data.omniglot import Characters, open_set, read_characters, set_files
from edgekit.errors import InputError

type Writer = Callable[[Path, Mapping[str, bytes]], Path]

REPOSITORY = Path(__file__).parents[3]
ROOT = Path(os.environ.get("EDGEKIT_DATA") or REPOSITORY.parent / "shared" / "data")
SMALL1 = "omniglot/images_background_small1.zip"
TESTED = ("Tagalog",)


def drawing(ink: npt.NDArray[np.bool_] | None = None, side: int = 105) -> bytes:
    """A PNG of one bit a pixel, as published: False is ink."""
    paper = np.ones((side, side), dtype=bool) if ink is None else ~ink
    stream = io.BytesIO()
    Image.fromarray(paper).save(stream, "PNG")
    return stream.getvalue()


def square(row: int, column: int) -> npt.NDArray[np.bool_]:
    """Ink in one square of 15 pixels, which are exactly 4 of the 28."""
    ink = np.zeros((105, 105), dtype=bool)
    ink[15 * row : 15 * row + 15, 15 * column : 15 * column + 15] = True
    return ink


def members(alphabets: Mapping[str, int], drawings: int = 2) -> dict[str, bytes]:
    """Characters of each alphabet; the square's place tells alphabet and character."""
    return {
        f"top/{alphabet}/character{number + 1:02}/{number:04}_{who:02}.png": drawing(
            square(position, number)
        )
        for position, (alphabet, count) in enumerate(alphabets.items())
        for number in range(count)
        for who in range(drawings)
    }


@pytest.fixture
def root(tmp_path: Path, write_zip: Writer) -> Path:
    folders = {"top/": b"", "top/Greek/": b"", "__MACOSX/top/Greek/x/._a.png": b"no image"}
    write_zip(tmp_path / SMALL1, {**folders, **members({"Greek": 3, "Latin": 2, "Tagalog": 2})})
    return tmp_path


def test_splits_divide_by_alphabet(root: Path) -> None:
    train = read_characters("train", root, test_alphabets=TESTED)
    test = read_characters("test", root, test_alphabets=TESTED)
    assert train.classes == (
        "Greek/character01",
        "Greek/character02",
        "Greek/character03",
        "Latin/character01",
        "Latin/character02",
    )
    assert test.classes == ("Tagalog/character01", "Tagalog/character02")
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert test.labels.dtype == np.int64
    assert test.files == (root / SMALL1,)


def test_ink_is_1_on_0_and_the_area_is_averaged(root: Path) -> None:
    images = read_characters("train", root, test_alphabets=TESTED).inputs()
    assert images.shape == (10, 1, 28, 28)
    assert images.dtype == np.float32
    # Latin is alphabet 1, its second character 1: ink in rows and columns 4 to 7 of 28.
    expected = np.zeros((28, 28), dtype=np.float32)
    expected[4:8, 4:8] = 1
    np.testing.assert_array_equal(images[-1, 0], expected)


def test_reduction_is_the_mean_over_each_pixels_area(tmp_path: Path, write_zip: Writer) -> None:
    ink = np.random.default_rng(0).random((105, 105)) < 0.3
    write_zip(tmp_path / SMALL1, {"Greek/character01/0001_01.png": drawing(ink)})
    (image,) = read_characters("train", tmp_path, test_alphabets=()).inputs()
    # 28 pixels of 15 quarter-pixels each over 105 pixels of 4.
    fine = np.repeat(np.repeat(ink, 4, axis=0), 4, axis=1).astype(np.float64)
    expected = fine.reshape(28, 15, 28, 15).mean(axis=(1, 3))
    # Rounded to 8 bits.
    np.testing.assert_allclose(image[0], expected, atol=0.501 / 255)


def test_rotations_are_further_classes(root: Path) -> None:
    plain = read_characters("test", root, test_alphabets=TESTED)
    turned = read_characters("test", root, test_alphabets=TESTED, rotations=True)
    assert turned.classes[2:4] == ("Tagalog/character01@90", "Tagalog/character02@90")
    assert len(turned.classes) == 8
    assert turned.labels.tolist() == sorted([*range(8), *range(8)])
    np.testing.assert_array_equal(turned.images[:4], plain.images)
    # A quarter turn against the clock brings the last column up to the first row.
    for image, original in zip(turned.images[4:8], plain.images, strict=True):
        np.testing.assert_array_equal(image, original.T[::-1])
    np.testing.assert_array_equal(turned.images[8:12], plain.images[:, ::-1, ::-1])


def test_a_character_of_two_zips_is_taken_once(root: Path, write_zip: Writer) -> None:
    other = {"Greek/character01/0001_01.png": drawing(), "Cree/character01/1_1.png": drawing()}
    second = write_zip(root / "omniglot" / "images_background_small2.zip", other)
    train = read_characters("train", root, test_alphabets=TESTED)
    assert train.files == (root / SMALL1, second)
    assert train.classes[:2] == ("Cree/character01", "Greek/character01")
    greek = train.images[train.labels == 1]
    assert len(greek) == 2
    assert greek.any()


def test_as_a_data_set_of_the_pipeline(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data.omniglot.read_characters", _with_tagalog)
    spec = DataSpec(set="omniglot", root=root, split="train", limit=5)
    dataset = open_set(spec)
    assert set_files(spec) == dataset.files == (root / SMALL1,)
    assert (dataset.name, dataset.split, len(dataset)) == ("omniglot", "train", 5)
    declared = Preprocessing(channels="gray")
    (batch,) = dataset.batches(declared, TensorSpec(name="image", shape=("batch", 1, 28, 28)), 8)
    assert batch.labels.tolist() == [0, 1, 2, 3, 4]
    expected = _with_tagalog("train", root).inputs()[::2]
    np.testing.assert_allclose(batch.inputs, expected, atol=1e-6)


def _with_tagalog(split: str, root: Path | None) -> Characters:
    wanted = DataSpec.model_validate({"set": "omniglot", "split": split}).split
    return read_characters(wanted, root, test_alphabets=TESTED)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'omniglot' was not found; looked in .*EDGEKIT_DATA"):
        read_characters("train", tmp_path)
    (tmp_path / "omniglot").mkdir()
    with pytest.raises(InputError, match=r"needs one of images_background_small1\.zip, .*none is"):
        read_characters("train", tmp_path)


def test_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "omniglot").mkdir()
    (tmp_path / SMALL1).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"small1\.zip is no readable zip: .*Fetch it again"):
        read_characters("train", tmp_path)


def test_a_zip_that_was_cut_off(root: Path) -> None:
    content = (root / SMALL1).read_bytes()
    (root / SMALL1).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="no readable zip"):
        read_characters("train", root)


def test_an_empty_zip(tmp_path: Path, write_zip: Writer) -> None:
    write_zip(tmp_path / SMALL1, {"top/Greek/": b"", "top/readme.txt": b"x"})
    with pytest.raises(InputError, match=r"small1\.zip is empty: it holds no drawing"):
        read_characters("train", tmp_path)


def test_a_member_with_changed_bytes(root: Path) -> None:
    content = bytearray((root / SMALL1).read_bytes())
    start = content.index(b"\x89PNG")
    content[start + 40] ^= 0xFF
    (root / SMALL1).write_bytes(content)
    with pytest.raises(
        InputError, match=r"Drawing top/Greek/character01/0000_00\.png in .* is damaged .*CRC"
    ):
        read_characters("train", root, test_alphabets=TESTED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", r"a\.png cannot be decoded"),
        (drawing(side=28), r"a\.png in .* is \[28, 28\], expected \[105, 105\]"),
    ],
)
def test_a_member_that_is_no_drawing(
    tmp_path: Path, write_zip: Writer, content: bytes, message: str
) -> None:
    write_zip(tmp_path / SMALL1, {"Greek/character01/a.png": content})
    with pytest.raises(InputError, match=message):
        read_characters("train", tmp_path, test_alphabets=())


def test_alphabets_that_are_not_there(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"Test alphabets Balinese, Early_Aramaic are not in .*Greek, Latin"
    ):
        read_characters("train", root)
    with pytest.raises(InputError, match=r"No alphabet is left for the split 'train'"):
        read_characters("train", root, test_alphabets=("Greek", "Latin", "Tagalog"))
    with pytest.raises(InputError, match=r"split 'test'.*test_alphabets are none"):
        read_characters("test", root, test_alphabets=())


def test_the_real_drawings() -> None:
    if not (ROOT / SMALL1).is_file():
        pytest.skip(f"no {SMALL1} in {ROOT}; set EDGEKIT_DATA")
    train, test = read_characters("train", ROOT), read_characters("test", ROOT)
    assert not {name.partition("/")[0] for name in train.classes} & {"Balinese", "Early_Aramaic"}
    assert len(test.classes) == 46  # 24 of Balinese, 22 of Early Aramaic
    for part in (train, test):
        assert (np.bincount(part.labels) == 20).all()
        # Strokes cover a few percent, and every drawing has some.
        assert 0.03 < float(part.inputs().mean()) < 0.15
        assert (part.images.reshape(len(part.images), -1).max(axis=1) > 128).all()
