"""Structural faults are found by name before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import VerificationError
from edgekit.targets.tflite import verification
from edgekit.targets.tflite.verification import StructureReport, verify_structure
from tests.targets.tflite.file_builder import FileBuilder, classifier, weights


def _write(folder: Path, data: bytes) -> Path:
    path = folder / "m.tflite"
    path.write_bytes(data)
    return path


def test_a_sound_file_has_nothing_to_tell(tmp_path: Path) -> None:
    report = verify_structure(_write(tmp_path, classifier()))
    assert report == StructureReport(
        operators=3,
        transposes=0,
        transposes_between_convolutions=0,
        layout_transposes_between_convolutions=0,
        delegate_partitions=1,
        delegated_operators=3,
    )
    assert report.notes() == ()


def test_all_faults_are_listed(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y, z, never = (file.tensor(name, (2,)) for name in ("x", "y", "z", "never"))
    file.op("Detect", (x,), (y,), custom=True)
    file.op("ADD", (y, never), (z,))
    lost = file.tensor("lost", (2,))
    with pytest.raises(VerificationError) as caught:
        verify_structure(_write(tmp_path, file.finish((x,), (z, lost))))
    message = str(caught.value)
    assert "m.tflite is not a valid model for LiteRT:" in message
    assert "operator 0 is the custom operator 'Detect'" in message
    assert "operator 1 (ADD) reads tensor 3 ('never'), which nothing has written" in message
    assert "output 'lost' (tensor 4) is written by nothing" in message


def test_operators_out_of_order_are_found(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y, z = (file.tensor(name, (2,)) for name in ("x", "y", "z"))
    file.op("ABS", (y,), (z,))
    file.op("NEG", (x,), (y,))
    with pytest.raises(VerificationError, match=r"operator 0 \(ABS\) reads tensor 1 \('y'\)"):
        verify_structure(_write(tmp_path, file.finish((x,), (z,))))


def test_empty_constants_count_as_written(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (1,)), file.tensor("y", ())
    shape = file.tensor("scalar shape", (0,), "int32")
    file.op("RESHAPE", (x, shape), (y,))
    assert verify_structure(_write(tmp_path, file.finish((x,), (y,)))).operators == 1


def test_transposes_between_convolutions_are_told(tmp_path: Path) -> None:
    file = FileBuilder()
    x = file.tensor("x", (1, 4, 4, 2))
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    kernel = file.constant("kernel", weights(2, 1, 1, 2))
    bias = file.constant("bias", weights(2))
    second = file.constant("second", weights(2, 1, 1, 4))
    first, moved = file.tensor("a", (1, 4, 4, 2)), file.tensor("b", (1, 2, 4, 4))
    last = file.tensor("c", (1, 2, 4, 2))
    file.op("CONV_2D", (x, kernel, bias), (first,), options, options_type="Conv2DOptions")
    order = file.constant("order", np.array([0, 3, 1, 2], np.int32))
    file.op("TRANSPOSE", (first, order), (moved,), options_type="TransposeOptions")
    file.op("CONV_2D", (moved, second, bias), (last,), options, options_type="Conv2DOptions")
    report = verify_structure(_write(tmp_path, file.finish((x,), (last,))))
    assert report.layout_transposes_between_convolutions == 1
    (note,) = report.notes()
    assert note == (
        "1 TRANSPOSE operators change the layout between convolutions; they cost time and "
        "compute nothing."
    )


def test_operators_outside_the_delegate_are_told(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (2, 3)), file.tensor("y", (2, 3))
    z = file.tensor("z", (2, 3))
    file.op("ABS", (x,), (y,))
    file.op("CUMSUM", (y, file.constant("axis", np.array(0, np.int32))), (z,))
    report = verify_structure(_write(tmp_path, file.finish((x,), (z,))))
    assert report.operators == 2
    assert report.delegated_operators == 1
    assert report.notes() == (
        "XNNPACK runs 1 of 2 operators in 1 partitions; the others run on builtin kernels.",
    )


def test_a_channel_shuffle_is_told_as_part_of_the_model() -> None:
    report = StructureReport(
        operators=9,
        transposes=2,
        transposes_between_convolutions=2,
        layout_transposes_between_convolutions=0,
        delegate_partitions=1,
        delegated_operators=9,
    )
    (note,) = report.notes()
    assert note == (
        "2 TRANSPOSE operators between convolutions are part of the model (as in a channel "
        "shuffle or attention)."
    )


def test_without_litert_the_delegates_share_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "runtime_missing", lambda: "not installed")
    report = verify_structure(_write(tmp_path, classifier()))
    assert report.delegate_partitions is None
    assert report.notes() == (
        "The share that XNNPACK runs is not known: LiteRT is not installed.",
    )


def test_a_dynamic_batch_that_fails_is_told(tmp_path: Path) -> None:
    # The RESHAPE says 24 elements whatever the batch is.
    file = FileBuilder()
    x, y = file.tensor("x", (-1, 4, 6)), file.tensor("y", (1, 24))
    file.op("RESHAPE", (x, file.constant("shape", np.array([1, 24], np.int32))), (y,))
    report = verify_structure(_write(tmp_path, file.finish((x,), (y,))))
    assert report.batch_problem != ""
    assert report.notes()[0].startswith("The batch is dynamic, but batch 2 fails: LiteRT cannot")
