"""LiteRT sessions against NumPy and ONNX Runtime, and everything that can go wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekit.core.metadata import ModelMetadata
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, MissingToolError, UnsupportedError, UsageError
from edgekit.measure.feeds import random_feeds
from edgekit.targets.tflite import runtime as runtime_module
from edgekit.targets.tflite.metadata import embed_metadata
from edgekit.targets.tflite.runtime import LiteRTSession, runtime_missing
from tests.targets.tflite.data_files import dtln
from tests.targets.tflite.file_builder import (
    FileBuilder,
    classifier,
    classifier_reference,
    weights,
)

NCHW = ModelSignature(
    inputs=(TensorSpec(name="image", shape=("batch", 3, 8, 8), stored_axes=(0, 2, 3, 1)),),
    outputs=(TensorSpec(name="scores", shape=("batch", 4)),),
)


def _open(folder: Path, data: bytes, config: RuntimeConfig | None = None) -> LiteRTSession:
    path = folder / "m.tflite"
    path.write_bytes(data)
    return LiteRTSession(path, config or RuntimeConfig())


def test_a_file_of_another_tool_is_fed_in_its_own_order(tmp_path: Path) -> None:
    session = _open(tmp_path, classifier())
    images = weights(1, 8, 8, 3, seed=9)
    found = session.run({"image": images})
    assert list(found) == ["scores"]
    np.testing.assert_allclose(found["scores"], classifier_reference(images), atol=1e-5)


def test_edgekits_files_are_fed_in_the_canonical_order(tmp_path: Path) -> None:
    session = _open(tmp_path, embed_metadata(classifier(), ModelMetadata(), NCHW, {}))
    assert session.signature == NCHW
    images = weights(2, 3, 8, 8, seed=9)
    before = images.copy()
    found = session.run({"image": images})["scores"]
    reference = classifier_reference(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, reference, atol=1e-5)
    np.testing.assert_array_equal(images, before)


def test_outputs_come_in_the_canonical_order(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (1, 4, 5, 3)), file.tensor("y", (1, 4, 5, 3))
    file.op("ABS", (x,), (y,))
    spec = TensorSpec(name="x", shape=(1, 3, 4, 5), stored_axes=(0, 2, 3, 1))
    signature = ModelSignature(inputs=(spec,), outputs=(spec.model_copy(update={"name": "y"}),))
    data = embed_metadata(file.finish((x,), (y,)), ModelMetadata(), signature, {})
    values = weights(1, 3, 4, 5)
    found = _open(tmp_path, data).run({"x": values})["y"]
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.abs(values))


def test_the_batch_may_change_from_run_to_run(tmp_path: Path) -> None:
    session = _open(tmp_path, classifier())
    for batch in (1, 5, 2, 2):
        images = weights(batch, 8, 8, 3, seed=batch)
        found = session.run({"image": images})["scores"]
        np.testing.assert_allclose(found, classifier_reference(images), atol=1e-5)


def test_outputs_belong_to_the_caller(tmp_path: Path) -> None:
    session = _open(tmp_path, classifier())
    first = session.run({"image": weights(1, 8, 8, 3, seed=1)})["scores"]
    kept = first.copy()
    session.run({"image": weights(1, 8, 8, 3, seed=2)})
    np.testing.assert_array_equal(first, kept)
    first += 1.0


def test_threads_do_not_change_the_result(tmp_path: Path) -> None:
    images = weights(1, 8, 8, 3)
    one = _open(tmp_path, classifier()).run({"image": images})["scores"]
    two = _open(tmp_path, classifier(), RuntimeConfig(threads=2)).run({"image": images})["scores"]
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_prepared_runs_give_stored_outputs(tmp_path: Path) -> None:
    session = _open(tmp_path, embed_metadata(classifier(), ModelMetadata(), NCHW, {}))
    images = weights(1, 3, 8, 8)
    run = session.prepare({"image": images})
    expected = session.run({"image": images})["scores"]
    for _ in range(2):
        np.testing.assert_array_equal(run()[0], expected)


def test_an_int64_input_stored_as_int32_is_converted(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (3,), "int32"), file.tensor("y", (3,), "int32")
    file.op("ABS", (x,), (y,))
    signature = ModelSignature(
        inputs=(TensorSpec(name="x", shape=(3,), dtype="int64"),),
        outputs=(TensorSpec(name="y", shape=(3,), dtype="int64"),),
    )
    data = embed_metadata(file.finish((x,), (y,)), ModelMetadata(), signature, {})
    session = _open(tmp_path, data)
    found = session.run({"x": np.array([-1, 2, -3], np.int64)})["y"]
    assert found.dtype == np.int64
    assert found.tolist() == [1, 2, 3]
    with pytest.raises(InputError, match=r"'x' holds values outside -2147483648\.\.2147483647"):
        session.run({"x": np.array([0, 2**40, 0], np.int64)})


def test_the_runtime_names_its_version_and_xnnpack(tmp_path: Path) -> None:
    session = _open(tmp_path, classifier())
    import ai_edge_litert

    assert session.runtime == f"LiteRT {ai_edge_litert.__version__} (XNNPACK)"
    assert session.delegation.complete


def test_builtin_kernels_are_named_where_xnnpack_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(classifier())
    session = LiteRTSession(path, RuntimeConfig(), "builtin")
    assert session.runtime.endswith("(builtin kernels)")
    images = weights(1, 8, 8, 3)
    np.testing.assert_allclose(
        session.run({"image": images})["scores"], classifier_reference(images), atol=1e-5
    )


def test_nothing_is_written_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = _open(tmp_path, classifier())
    session.run({"image": weights(3, 8, 8, 3)})
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({}, "input 'image' is missing"),
        (
            {"image": weights(1, 8, 8, 3), "other": weights(1)},
            "there is no input called 'other'",
        ),
        (
            {"image": weights(1, 8, 8, 3).astype(np.float64)},
            "input 'image' is float64 instead of float32",
        ),
        ({"image": weights(1, 3, 8, 8)}, r"the shape \[1, 3, 8, 8\], which does not fit"),
        ({"image": weights(0, 8, 8, 3)}, r"the shape \[0, 8, 8, 3\], which does not fit"),
        ({"image": weights(8, 8, 3)}, r"the shape \[8, 8, 3\], which does not fit"),
    ],
)
def test_wrong_feeds_are_named(
    tmp_path: Path,
    feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]],
    reason: str,
) -> None:
    session = _open(tmp_path, classifier())
    with pytest.raises(InputError, match=reason) as caught:
        session.run(feeds)
    assert "The model takes image: float32[batch, 8, 8, 3]." in str(caught.value)


def test_one_symbolic_dim_has_one_size(tmp_path: Path) -> None:
    file = FileBuilder()
    a, b = file.tensor("a", (-1, 2)), file.tensor("b", (-1, 2))
    y = file.tensor("y", (-1, 2))
    file.op("ADD", (a, b), (y,), options_type="AddOptions")
    session = _open(tmp_path, file.finish((a, b), (y,)))
    assert session.run({"a": weights(3, 2), "b": weights(3, 2)})["y"].shape == (3, 2)
    with pytest.raises(InputError, match=r"'b' has the shape \[1, 2\]"):
        session.run({"a": weights(3, 2), "b": weights(1, 2)})


def test_a_batch_that_the_file_fixes_stays_fixed(tmp_path: Path) -> None:
    # The metadata says "batch", but the file was written for 1.
    data = embed_metadata(classifier(batch=1), ModelMetadata(), NCHW, {})
    session = _open(tmp_path, data)
    with pytest.raises(UnsupportedError, match=r"cannot take the input shapes \[\(2, 8, 8, 3\)\]"):
        session.run({"image": weights(2, 3, 8, 8)})
    # The session is still good for what the file allows.
    images = weights(1, 3, 8, 8)
    np.testing.assert_allclose(
        session.run({"image": images})["scores"],
        classifier_reference(images.transpose(0, 2, 3, 1)),
        atol=1e-5,
    )


def test_custom_operators_are_refused_by_name(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (2,)), file.tensor("y", (2,))
    file.op("MyDetection", (x,), (y,), custom=True)
    with pytest.raises(
        UnsupportedError, match=r"LiteRT cannot load m\.tflite: .*MyDetection.*edgekit inspect"
    ):
        _open(tmp_path, file.finish((x,), (y,)))


@pytest.mark.parametrize("kept", [0, 7, 500, 1500])
def test_truncated_files_are_refused_before_litert_sees_them(tmp_path: Path, kept: int) -> None:
    # LiteRT 2.1.2 ends the process with a segmentation fault on some of these.
    with pytest.raises(InputError, match=r"m\.tflite (is empty|is not a|is damaged)"):
        _open(tmp_path, classifier()[:kept])


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    data = classifier().replace(b"image\0", b"im\xffge\0")
    with pytest.raises(InputError, match="the name of a tensor or operator in it is no UTF-8"):
        _open(tmp_path, data)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.tflite does not exist"):
        LiteRTSession(tmp_path / "absent.tflite", RuntimeConfig())


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    session = _open(tmp_path, classifier())
    session.close()
    with pytest.raises(UsageError, match=r"The session of m\.tflite is closed"):
        session.run({"image": weights(1, 8, 8, 3)})


def test_without_litert_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingToolError, match=r"pip install 'edgekit\[tflite\]'"):
        _open(tmp_path, classifier())


def test_missing_litert_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_missing() == ""
    monkeypatch.setattr(runtime_module, "RUNTIME_PACKAGE", "ai_edge_litert_absent")
    assert "is not installed, which is needed to run a .tflite file" in runtime_missing()


@pytest.mark.parametrize("number", [1, 2])
def test_dtln_agrees_with_its_onnx_file(number: int) -> None:
    session = LiteRTSession(dtln(f"model_{number}.tflite"), RuntimeConfig())
    feeds = random_feeds(session.signature, seed=0)
    found = list(session.run(feeds).values())
    oracle = onnxruntime.InferenceSession(
        dtln(f"model_{number}.onnx"), providers=["CPUExecutionProvider"]
    )
    by_shape = {array.shape: array for array in feeds.values()}
    expected = oracle.run(
        None, {item.name: by_shape[tuple(item.shape)] for item in oracle.get_inputs()}
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(np.ptp(theirs)))
    assert "XNNPACK for" in session.runtime
    assert 0 < session.delegation.delegated < session.delegation.total
