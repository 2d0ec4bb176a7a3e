"""Finding what is to be checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.hashing import digest_path
from edgekit.errors import InputError
from edgekit.gate.candidates import find_candidates, precision_of


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())
    return path


def write_report(folder: Path, *targets: dict[str, Any]) -> None:
    path = folder / "report" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema_version": 9, "targets": targets, "more": 1}))


def made(target: str, path: Path, digest: str = "") -> dict[str, Any]:
    found = digest or digest_path(path)
    artifact = {"file_name": path.name, "digest": found, "size_bytes": 3}
    return {"target": target, "precision": "int8", "artifact": artifact}


def test_single_artifacts_go_by_their_suffix(tmp_path: Path) -> None:
    found = find_candidates([touch(tmp_path / "b.tflite"), touch(tmp_path / "a.onnx")])
    assert [(item.name, item.target) for item in found.artifacts] == [
        ("b.tflite", "tflite"),
        ("a.onnx", "onnxruntime"),
    ]
    assert found.folder is None


def test_a_package_is_one_artifact(tmp_path: Path) -> None:
    touch(tmp_path / "net.mlpackage" / "Manifest.json")
    (only,) = find_candidates([tmp_path / "net.mlpackage"]).artifacts
    assert (only.name, only.target) == ("net.mlpackage", "coreml")


def test_the_report_says_what_a_folder_holds(tmp_path: Path) -> None:
    net = touch(tmp_path / "net.int8.tflite")
    touch(tmp_path / "other.tflite")
    missing = {"status": "unavailable", "reason": "coremltools is not installed"}
    write_report(
        tmp_path,
        made("tflite", net),
        {"target": "coreml", "precision": "int8", "artifact": missing},
        made("onnxruntime", tmp_path / "net.int8.onnx", "0" * 64),
    )
    found = find_candidates([tmp_path])
    assert [item.name for item in found.artifacts] == ["net.int8.tflite"]
    assert found.missing == {
        "coreml int8": "coremltools is not installed",
        "net.int8.onnx": "report.json names it, but it is not in the folder",
    }
    assert (found.folder, found.notes) == (tmp_path, ())


def test_a_file_that_the_report_does_not_know_is_told(tmp_path: Path) -> None:
    net = touch(tmp_path / "net.tflite")
    write_report(tmp_path, made("tflite", net, "0" * 64))
    found = find_candidates([tmp_path])
    assert len(found.artifacts) == 1
    assert "net.tflite is not the file that report.json tells of" in found.notes[0]


def test_a_folder_without_report(tmp_path: Path) -> None:
    for name in ("net.tflite", "net.int8.qdq.onnx", "net.onnx", "readme.txt"):
        touch(tmp_path / name)
    assert [item.name for item in find_candidates([tmp_path]).artifacts] == [
        "net.onnx",
        "net.tflite",
    ]


def test_two_artifacts_of_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.onnx").touch()
    paths = [tmp_path / "a" / "net.onnx", tmp_path / "b" / "net.onnx"]
    with pytest.raises(InputError, match=r"Several artifacts are called net\.onnx"):
        find_candidates(paths)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("net.tflite", "float32"),
        ("net.v2.tflite", "float32"),
        ("net.int8.tflite", "int8"),
        ("net.tflite.int8-weights.mlpackage", "int8-weights"),
        ("int8.tflite", "float32"),
    ],
)
def test_precision_of_a_name(name: str, precision: str) -> None:
    assert precision_of(name) == precision


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        find_candidates([tmp_path / "none"])
    with pytest.raises(InputError, match="holds no artifact: neither report"):
        find_candidates([tmp_path])
    with pytest.raises(InputError, match=r"'\.txt' belongs to no target. Known: .*tflite"):
        find_candidates([touch(tmp_path / "a.txt")])
    net = touch(tmp_path / "net.tflite")
    with pytest.raises(InputError, match="check one such folder at a time"):
        find_candidates([tmp_path, net])
    write_report(tmp_path)
    with pytest.raises(InputError, match="names no artifact"):
        find_candidates([tmp_path])
    (tmp_path / "report" / "report.json").write_text("{")
    with pytest.raises(InputError, match="is damaged or of another version"):
        find_candidates([tmp_path])
