"""The session: signature and metadata from the file, and its checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact
from edgekit.core.signature import DType
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, UnsupportedError, UsageError
from edgekit.graph.io import save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.measure.difference import compare_outputs, random_feeds
from edgekit.targets.onnxruntime.runtime import OrtSession

ONE = RuntimeConfig(threads=1)


def save_text(path: Path, text: str) -> Path:
    header = '<ir_version: 10, opset_import: ["" : 20]>\n'
    save_onnx(ir.from_onnx_text(header + text), path)
    return path


def test_signature_and_metadata_are_those_of_the_artifact(source: Artifact) -> None:
    session = OrtSession(source.path, ONE)
    assert session.signature == source.signature
    assert session.metadata == source.metadata
    assert session.runtime.startswith("ONNX Runtime 1.")


@pytest.mark.parametrize("dtype", get_args(DType))
def test_every_dtype_of_a_signature_is_read(dtype: str, tmp_path: Path) -> None:
    onnx_name = {"float32": "float", "float64": "double"}.get(dtype, dtype)
    path = save_text(
        tmp_path / "m.onnx",
        f"g ({onnx_name}[n, 2] x) => ({onnx_name}[n, 2] y) {{ y = Identity (x) }}",
    )
    session = OrtSession(path, ONE)
    (spec,) = session.signature.inputs
    assert (spec.name, spec.shape, spec.dtype) == ("x", ("n", 2), dtype)
    # ONNX Runtime 1.26 takes no bfloat16 from numpy, and no random strings are made.
    if dtype not in ("bfloat16", "string"):
        feeds = random_feeds(session.signature, seed=0, batch=3)
        np.testing.assert_array_equal(session.run(feeds)["y"], feeds["x"])


def test_a_dim_without_a_name_is_a_question_mark(tmp_path: Path) -> None:
    path = save_text(tmp_path / "m.onnx", "g (float[?, 2] x) => (float[?, 2] y) { y = Relu (x) }")
    session = OrtSession(path, ONE)
    assert session.signature.inputs[0].shape == ("?", 2)


def test_it_computes_what_the_reference_computes(source: Artifact) -> None:
    session, reference = (
        OrtSession(source.path, RuntimeConfig(threads=2)),
        ReferenceSession(source.path),
    )
    feeds = random_feeds(session.signature, seed=0, batch=5)
    before = feeds["image"].copy()
    got = session.run(feeds)["scores"]
    (difference,) = compare_outputs(reference.run(feeds), {"scores": got})
    assert difference.relative < 1e-6
    np.testing.assert_array_equal(feeds["image"], before)
    kept = got.copy()
    session.run(random_feeds(session.signature, seed=1, batch=5))
    np.testing.assert_array_equal(got, kept)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"No value for input 'image'.*expects image: float32\[batch, 1, 8, 8\]"),
        ({"x": np.zeros(1)}, "No value for input 'image'"),
        (
            {"image": np.zeros((1, 1, 8, 8), np.float32), "x": np.zeros(1)},
            "The model has no input 'x'; it expects image",
        ),
        (
            {"image": np.zeros((1, 1, 8, 9), np.float32)},
            r"expects image: float32\[batch, 1, 8, 8\], got float32\[1, 1, 8, 9\]",
        ),
        ({"image": np.zeros((1, 1, 8, 8))}, r"got float64\[1, 1, 8, 8\]"),
        ({"image": np.zeros((1, 8, 8), np.float32)}, r"got float32\[1, 8, 8\]"),
    ],
)
def test_wrong_feeds_name_expected_and_got(
    source: Artifact, feeds: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OrtSession(source.path, ONE).run(feeds)


def test_a_failure_while_running_is_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save_text(
        tmp_path / "m.onnx",
        "g (float[3] x, int64[n] i) => (float[n] y) { y = Gather (x, i) }",
    )
    session = OrtSession(path, ONE)
    feeds = {"x": np.zeros(3, np.float32), "i": np.array([7])}
    with pytest.raises(UnsupportedError, match=r"cannot run m\.onnx: .*idx=7 must be within"):
        session.run(feeds)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No ONNX file at"),
        (b"", "is empty"),
        (b"this is a text, not a model", "is no ONNX file"),
    ],
)
def test_a_wrong_file_is_an_input_error(
    tmp_path: Path, content: bytes | None, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        OrtSession(path, ONE)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_file_is_an_input_error(source: Artifact) -> None:
    source.path.write_bytes(source.path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"tiny\.onnx"):
        OrtSession(source.path, ONE)


def test_a_sound_file_that_the_runtime_refuses_is_unsupported(tmp_path: Path) -> None:
    path = save_text(tmp_path / "m.onnx", "g (double[2, 2] x) => (double y) { y = Det (x) }")
    with pytest.raises(UnsupportedError, match=r"ONNX Runtime .* cannot load .*m\.onnx: .*Det"):
        OrtSession(path, ONE)


def test_a_model_of_sequences_is_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 20]>\n'
        "g (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct (x) }"
    )
    save_onnx(model, path)
    with pytest.raises(UnsupportedError, match=r"'y' is seq\(tensor\(float\)\)"):
        OrtSession(path, ONE)


def test_a_closed_session_says_so(source: Artifact) -> None:
    session = OrtSession(source.path, ONE)
    session.close()
    with pytest.raises(UsageError, match=r"session of tiny\.onnx is closed; load it again"):
        session.run(random_feeds(session.signature, seed=0))
    session.close()


def test_the_signature_is_that_of_the_graph_reader(tmp_path: Path) -> None:
    path = save_text(
        tmp_path / "m.onnx",
        "g (float[batch, 3, h, w] a, int64[batch] b) => (float[batch, 3, h, w] y, int64[batch] z)"
        " { y = Relu (a)\n z = Identity (b) }",
    )
    assert OrtSession(path, ONE).signature == signature_of(ir.load(path))


def test_the_package_and_the_target_load_no_toolchain() -> None:
    code = (
        "import sys\n"
        "from edgekit.targets.onnxruntime import INFO\n"
        "from edgekit.targets.onnxruntime.target import create_target\n"
        "create_target().capabilities()\n"
        "heavy = {'onnx', 'onnx_ir', 'onnxruntime', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
