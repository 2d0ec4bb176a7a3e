"""Digests identify content, not place or order of writing."""

from pathlib import Path

import pytest

from edgekit.core.hashing import canonical_json, digest_path, digest_value


def test_equal_values_have_equal_digests_whatever_the_key_order() -> None:
    assert digest_value({"b": 1, "a": [2.5, None]}) == digest_value({"a": [2.5, None], "b": 1})


def test_folder_digest_follows_names_and_contents_only(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "sub" / "x.bin").write_bytes(b"abc")
    assert digest_path(tmp_path / "one") == digest_path(tmp_path / "two")
    (tmp_path / "two" / "sub" / "x.bin").rename(tmp_path / "two" / "sub" / "y.bin")
    assert digest_path(tmp_path / "one") != digest_path(tmp_path / "two")


def test_digest_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_path(tmp_path / "absent")


def test_nan_has_no_canonical_json() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"x": float("nan")})
