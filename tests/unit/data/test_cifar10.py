"""CIFAR-10 from a zip and from a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.cifar10 import CLASS_NAMES
from edgekit.data.datasets import Dataset, DataSpec, open_dataset
from edgekit.errors import InputError

type Writer = Callable[[Path, Mapping[str, bytes]], Path]
type Encode = Callable[..., bytes]

SPEC = TensorSpec(name="image", shape=("batch", 3, 32, 32))
RAW = Preprocessing(scale=1.0)


def read_all(dataset: Dataset) -> tuple[list[float], list[int]]:
    batches = list(dataset.batches(RAW, SPEC, 6))
    values = [float(image.mean()) for batch in batches for image in batch.inputs]
    return values, [int(label) for batch in batches for label in batch.labels]


@pytest.mark.parametrize("prefix", ["", "cifar10/", "a/b/"])
def test_a_zip_is_read_in_class_order(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer, prefix: str
) -> None:
    # A zip keeps the order of writing; the data set must not.
    members = {prefix + name: cifar_members[name] for name in reversed(cifar_members)}
    noise = {"__MACOSX/test/cat/._0.png": b"x", "README.txt": b"x", "test/": b""}
    archive = write_zip(tmp_path / "cifar10" / "any.zip", {**members, **noise})
    dataset = open_dataset(DataSpec(set="cifar10", root=tmp_path))
    assert (len(dataset), dataset.labels, dataset.files) == (20, CLASS_NAMES, (archive,))
    values, labels = read_all(dataset)
    assert labels == [label for label in range(10) for _ in range(2)]
    assert values == [label * 10 for label in labels]


def test_a_folder_gives_the_same_as_a_zip(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer, write_files: Writer
) -> None:
    write_zip(tmp_path / "zip" / "cifar10" / "any.zip", cifar_members)
    write_files(tmp_path / "folder" / "cifar10", cifar_members)
    of_zip = open_dataset(DataSpec(set="cifar10", root=tmp_path / "zip", split="train"))
    of_folder = open_dataset(DataSpec(set="cifar10", root=tmp_path / "folder", split="train"))
    assert read_all(of_zip) == read_all(of_folder)
    assert of_folder.files == (tmp_path / "folder" / "cifar10" / "train",)


def test_one_zip_a_split(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer
) -> None:
    for split in ("train", "test"):
        members = {
            name.removeprefix(f"{split}/"): content
            for name, content in cifar_members.items()
            if name.startswith(split)
        }
        write_zip(tmp_path / "cifar10" / f"{split}.zip", members)
    dataset = open_dataset(DataSpec(set="cifar10", root=tmp_path, split="train"))
    assert len(dataset) == 20
    assert dataset.files == (tmp_path / "cifar10" / "train.zip",)


def test_a_limit_keeps_the_classes_in_balance(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer
) -> None:
    write_zip(tmp_path / "cifar10" / "any.zip", cifar_members)
    dataset = open_dataset(DataSpec(set="cifar10", root=tmp_path, limit=10))
    assert read_all(dataset)[1] == list(range(10))


def test_two_zips_are_ambiguous(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer
) -> None:
    for name in ("one.zip", "two.zip"):
        write_zip(tmp_path / "cifar10" / name, cifar_members)
    with pytest.raises(InputError, match=r"exactly one \.zip .*found one\.zip, two\.zip"):
        open_dataset(DataSpec(set="cifar10", root=tmp_path))


def test_an_empty_folder_says_what_belongs_there(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(InputError, match=r"needs a folder test/ .*found no \.zip"):
        open_dataset(DataSpec(set="cifar10", root=tmp_path))


def test_missing_and_unknown_classes_are_named(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer
) -> None:
    members = {name.replace("/cat/", "/lynx/"): value for name, value in cifar_members.items()}
    write_zip(tmp_path / "cifar10" / "any.zip", members)
    with pytest.raises(InputError, match="missing cat; unknown lynx"):
        open_dataset(DataSpec(set="cifar10", root=tmp_path))


def test_a_zip_without_images_is_empty(tmp_path: Path, write_zip: Writer) -> None:
    write_zip(tmp_path / "cifar10" / "any.zip", {"README.txt": b"nothing"})
    with pytest.raises(InputError, match=r"any\.zip is empty: it holds no image below test/"):
        open_dataset(DataSpec(set="cifar10", root=tmp_path))


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "any.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match=r"any\.zip is no readable zip"):
        open_dataset(DataSpec(set="cifar10", root=tmp_path))


def test_a_damaged_member_is_named(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer
) -> None:
    archive = write_zip(tmp_path / "cifar10" / "any.zip", cifar_members)
    content = bytearray(archive.read_bytes())
    victim = "test/dog/1.png"
    # The first mention of the name is the member's local header; its data follow.
    content[content.index(victim.encode()) + len(victim) + 40] ^= 0xFF
    archive.write_bytes(bytes(content))
    dataset = open_dataset(DataSpec(set="cifar10", root=tmp_path))
    with pytest.raises(
        InputError, match=r"Image test/dog/1\.png in .*any\.zip cannot be read.*CRC"
    ):
        read_all(dataset)


def test_an_image_of_another_size_is_named(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer, png: Encode
) -> None:
    members = {**cifar_members, "test/frog/0.png": png(0, 16, 16)}
    write_zip(tmp_path / "cifar10" / "any.zip", members)
    dataset = open_dataset(DataSpec(set="cifar10", root=tmp_path))
    with pytest.raises(
        InputError, match=r"test/frog/0\.png is \[16, 16, 3\], expected \[32, 32, 3\]"
    ):
        read_all(dataset)


def test_leaving_early_closes_the_archive(
    tmp_path: Path, cifar_members: dict[str, bytes], write_zip: Writer
) -> None:
    write_zip(tmp_path / "cifar10" / "any.zip", cifar_members)
    batches = open_dataset(DataSpec(set="cifar10", root=tmp_path)).batches(RAW, SPEC, 2)
    assert np.array_equal(next(batches).labels, [0, 0])
    del batches  # an open file left behind would be a ResourceWarning, and so an error
