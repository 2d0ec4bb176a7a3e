"""Digests identify content, not place or order of writing."""

import os
from pathlib import Path

import pytest

from edgekit.core.hashing import canonical_json, digest_path, digest_value, has_digest
from edgekit.errors import InputError


def test_equal_values_have_equal_digests_whatever_the_key_order() -> None:
    assert digest_value({"b": 1, "a": [2.5, None]}) == digest_value({"a": [2.5, None], "b": 1})


def test_folder_digest_follows_names_and_contents_only(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "sub" / "x.bin").write_bytes(b"abc")
    assert digest_path(tmp_path / "one") == digest_path(tmp_path / "two")
    (tmp_path / "two" / "sub" / "x.bin").rename(tmp_path / "two" / "sub" / "y.bin")
    assert digest_path(tmp_path / "one") != digest_path(tmp_path / "two")


def test_folder_digest_counts_empty_folders_and_refuses_links(tmp_path: Path) -> None:
    place = tmp_path / "net.mlpackage"
    (place / "Data").mkdir(parents=True)
    (place / "Data" / "weights.bin").write_bytes(b"abc")
    before = digest_path(place)
    (place / "Empty").mkdir()
    assert digest_path(place) != before
    (place / "Empty").rmdir()
    assert digest_path(place) == before
    (tmp_path / "link.mlpackage").symlink_to(place)
    assert digest_path(tmp_path / "link.mlpackage") == before
    assert has_digest(place, before)
    assert not has_digest(place, digest_path(place / "Data"))
    assert not has_digest(tmp_path / "absent", before)
    (place / "more.bin").symlink_to(place / "Data" / "weights.bin")
    with pytest.raises(InputError, match=r"net\.mlpackage holds a link, more\.bin, and what"):
        digest_path(place)
    assert not has_digest(place, before)
    linked = digest_path(place, follow_links=True)
    (place / "more.bin").unlink()
    (place / "more.bin").write_bytes(b"abc")
    assert digest_path(place) == linked


def test_folder_digest_refuses_what_has_no_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe, which is neither file nor folder"):
        digest_path(tmp_path)


def test_digest_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_path(tmp_path / "absent")


def test_nan_has_no_canonical_json() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"x": float("nan")})
