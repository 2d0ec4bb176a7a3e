"""The baseline's file: what is written is read again, and damage is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.metrics import Unavailable
from edgekit.errors import InputError, UsageError
from edgekit.gate.baseline import (
    Baseline,
    KeptArtifact,
    KeptData,
    keep_accuracy,
    pack,
    read_baseline,
    unpack,
    write_baseline,
)
from edgekit.gate.options import GateOptions


def baseline() -> Baseline:
    predictions = [n * 7 % 10 for n in range(500)]
    targets = [n % 10 for n in range(500)]
    kept = KeptArtifact(
        target="tflite",
        digest="a" * 64,
        size_bytes=1234,
        inputs=("image: float32[1, 1, 8, 8]",),
        outputs=("scores: float32[1, 10]",),
        runtime="LiteRT 2.1.2 (XNNPACK)",
        accuracy=keep_accuracy(predictions, targets),
        latency=None,
        memory_bytes=Unavailable(reason="turned off"),
    )
    return Baseline(
        model="net",
        edgekit_version="0.1.0",
        device="CPU",
        options=GateOptions(),
        data=KeptData(set="digits", split="test", limit=None, files_digest=""),
        artifacts={"z.tflite": kept, "a.tflite": kept},
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "baseline.json"
    write_baseline(path, baseline())
    assert read_baseline(path) == baseline()
    text = path.read_text()
    assert text.index("a.tflite") < text.index("z.tflite")
    assert len(text) < 6000


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_packed_classes_come_back(classes: list[int]) -> None:
    assert unpack(pack(classes)).tolist() == classes


def test_predictions_of_a_usual_set_are_small() -> None:
    assert len(pack([n * 7919 % 10 for n in range(10_000)])) < 8000


def test_classes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="class indices lie in"):
        pack([-1])


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8=", "eJwDAAAAAAE="])
def test_damaged_predictions(text: str) -> None:
    with pytest.raises(ValueError, match="packed classes are damaged"):
        unpack(text)


def test_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no baseline\. Make one .* with --update"):
        read_baseline(tmp_path / "baseline.json")


def damaged(value: dict[str, Any], key: str) -> str:
    accuracy = value["artifacts"]["a.tflite"]["accuracy"]
    if key == "truncated":
        return json.dumps(value)[:-30]
    if key == "other kind":
        return json.dumps({"kind": "package", "version": 1})
    if key == "list":
        return "[]"
    if key == "unknown key":
        value["surprise"] = 1
    if key == "missing key":
        del value["device"]
    if key == "tolerance":
        value["options"]["latency_tolerance"] = 0.001
    if key == "digest":
        value["artifacts"]["a.tflite"]["digest"] = "../../etc/passwd"
    if key == "one prediction":
        accuracy["predictions"] = pack([1, *unpack(accuracy["predictions"])[1:].tolist()])
    if key == "fewer predictions":
        accuracy["predictions"] = pack(unpack(accuracy["predictions"])[1:].tolist())
    if key == "garbled predictions":
        accuracy["predictions"] = accuracy["predictions"][:-9] + "AAAAAAAA="
    return json.dumps(value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("truncated", "is damaged: it cannot be read as JSON"),
        ("other kind", 'is no baseline: it does not say "kind"'),
        ("list", "is no baseline"),
        ("unknown key", "surprise: unknown key"),
        ("missing key", "device: is required and not given"),
        ("tolerance", "options.latency_tolerance: input should be greater than or equal to 0.02"),
        ("digest", "digest: string should match pattern"),
        ("one prediction", "the predictions of a.tflite have another digest"),
        ("fewer predictions", "of 500 samples and holds 499 predictions"),
        ("garbled predictions", "of a.tflite, packed classes are damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, key: str, message: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(damaged(baseline().model_dump(mode="json"), key))
    with pytest.raises(InputError, match=message):
        read_baseline(path)
