"""The second engine: a stand-in for onnx2tf plays every fault; the real one converts."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered, RuntimeConfig
from edgekit.errors import MissingToolError, UnsupportedError
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.graph.reference import ReferenceSession
from edgekit.measure.difference import compare_outputs
from edgekit.measure.feeds import random_feeds
from edgekit.targets.tflite.engines import onnx2tf as engine
from edgekit.targets.tflite.engines.onnx2tf import lower_with_onnx2tf
from edgekit.targets.tflite.model_file import parse_model
from edgekit.targets.tflite.runtime import LiteRTSession
from edgekit.targets.tflite.target import create_target
from tests.targets.tflite.file_builder import FileBuilder, weights

MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[batch, 3, 8, 8] image) => (float[batch, 6, 6, 6] features) {
    c = Conv <kernel_shape = [3, 3]> (image, w, b)
    features = Relu(c)
}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A canonical graph whose output is square with as many channels as rows."""
    folder = tmp_path_factory.mktemp("graph")
    proto = onnx.parser.parse_model(MODEL)
    for name, shape in {"w": (6, 3, 3, 3), "b": (6,)}.items():
        proto.graph.initializer.append(
            numpy_helper.from_array(weights(*shape, seed=ord(name)), name)
        )
    onnx.save(proto, folder / "raw.onnx")
    path = folder / "model.onnx"
    save_onnx(canonicalize(load_onnx(folder / "raw.onnx")).model, path)
    return path


class StandIn:
    """A module ``onnx2tf`` whose ``convert`` runs the given lines."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "onnx2tf", raising=False)
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0-stand-in")

    def behave(self, body: str) -> None:
        """Writes the module; ``source`` and ``output`` are the paths it is given."""
        lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
        (self._folder / "onnx2tf.py").write_text(
            "import os, signal, sys, time\n"
            "def convert(input_onnx_file_path, output_folder_path, **options):\n"
            "    source, output = input_onnx_file_path, output_folder_path\n"
            "    assert options['tflite_backend'] == 'flatbuffer_direct'\n"
            f"{lines}\n"
        )

    def give(self, data: bytes, *, precision: str = "float32") -> None:
        """Writes a module that leaves ``data`` as its result and spoils its input."""
        result = self._folder / "result.bin"
        result.write_bytes(data)
        self.behave(
            f"""
            os.makedirs(output)
            stem = os.path.splitext(os.path.basename(source))[0]
            with open({str(result)!r}, 'rb') as stream:
                content = stream.read()
            with open(f'{{output}}/{{stem}}_{precision}.tflite', 'wb') as stream:
                stream.write(content)
            with open(source, 'wb') as stream:
                stream.write(b'spoilt')
            """
        )


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path, monkeypatch)


def _converted(*, renamed: bool = False, dtype: str = "float32") -> bytes:
    """What a converter makes of MODEL: NHWC inside and out."""
    file = FileBuilder()
    name = "serving_default_image:0" if renamed else "image"
    x, y = file.tensor(name, (-1, 8, 8, 3), dtype), file.tensor("features", (-1, 6, 6, 6), dtype)
    kernel = weights(6, 3, 3, 3, seed=ord("w")).transpose(0, 2, 3, 1).copy()
    inputs = (x, file.constant("k", kernel), file.constant("b", weights(6, seed=ord("b"))))
    options = {
        "padding": 1,
        "strideH": 1,
        "strideW": 1,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": 1,
    }
    file.op("CONV_2D", inputs, (y,), options, options_type="Conv2DOptions")
    return file.finish((x,), (y,))


def test_a_file_is_matched_named_and_agrees(
    source: Path, stand_in: StandIn, tmp_path: Path
) -> None:
    before = source.read_bytes()
    stand_in.give(_converted(renamed=True))
    lowered = lower_with_onnx2tf(load_onnx(source), "float32")
    assert source.read_bytes() == before
    assert lowered.signature.inputs[0].stored_axes == (0, 2, 3, 1)
    assert lowered.signature.outputs[0].stored_axes == (0, 2, 3, 1)
    assert lowered.notes[0] == "Lowered by onnx2tf 0.0-stand-in (flatbuffer_direct)."
    assert any("'serving_default_image:0' is 'image'" in note for note in lowered.notes)
    assert any("The axis order of 'features'" in note for note in lowered.notes)
    assert parse_model(lowered.data, "m").named_inputs() == (("image", 0),)


def test_the_target_embeds_its_metadata(source: Path, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.give(_converted())
    artifact = Artifact.of(ArtifactKind.ONNX, source)
    lowered = create_target().lower(artifact, LowerConfig(engine="onnx2tf"), tmp_path)
    assert isinstance(lowered, Lowered)
    session = LiteRTSession(lowered.artifact.path, RuntimeConfig())
    for batch in (1, 2):
        feeds = random_feeds(session.signature, 0, batch)
        (difference,) = compare_outputs(ReferenceSession(source).run(feeds), session.run(feeds))
        assert difference.relative < 1e-5


def test_a_missing_file_is_told_with_what_there_is(source: Path, stand_in: StandIn) -> None:
    stand_in.give(_converted(), precision="dynamic_range_quant")
    with pytest.raises(
        UnsupportedError,
        match=r"without model_float32\.tflite \(its \.tflite files: \['model_dynamic_range_quant",
    ):
        lower_with_onnx2tf(load_onnx(source), "float32")


def test_a_file_that_litert_refuses_is_of_no_use(source: Path, stand_in: StandIn) -> None:
    stand_in.give(_converted(dtype="float16"), precision="float16")
    with pytest.raises(
        UnsupportedError,
        match=r"made a float16 file, but it is of no use here: .* or --precision float32\.$",
    ):
        lower_with_onnx2tf(load_onnx(source), "float16")


def test_an_exception_is_told_with_its_last_line(source: Path, stand_in: StandIn) -> None:
    stand_in.behave(
        """
        sys.stdout.write('\\x1b[31mERROR:\\x1b[0m op Foo\\n 10%|# | 1/9 [00:01, 3.1it/s]\\n')
        raise NotImplementedError('Foo is not supported')
        """
    )
    with pytest.raises(UnsupportedError, match="Foo is not supported") as caught:
        lower_with_onnx2tf(load_onnx(source), "float32")
    message = str(caught.value)
    assert message.startswith("onnx2tf cannot convert this graph (exit code 1).")
    assert message.endswith("Use --engine edgekit.")
    assert "it/s" not in message
    assert "\x1b" not in message


def test_a_crash_is_told_by_its_signal(source: Path, stand_in: StandIn) -> None:
    stand_in.behave("os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UnsupportedError, match=r"cannot convert this graph \(signal SIGSEGV\)"):
        lower_with_onnx2tf(load_onnx(source), "float32")


def test_a_hanging_conversion_is_ended_with_its_children(
    source: Path, stand_in: StandIn, tmp_path: Path
) -> None:
    note = tmp_path / "child.pid"
    stand_in.behave(
        f"""
        import subprocess
        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
        with open({str(note)!r}, 'w') as stream:
            stream.write(str(child.pid))
        time.sleep(60)
        """
    )
    with pytest.raises(UnsupportedError, match="did not end within 3 s"):
        lower_with_onnx2tf(load_onnx(source), "float32", timeout_s=3)
    child = int(note.read_text())
    for _ in range(100):
        if not _runs(child):
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child of the conversion survived it")


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_missing_dependency_of_onnx2tf_is_named(source: Path, stand_in: StandIn) -> None:
    stand_in.behave("import module_that_is_absent")
    with pytest.raises(
        MissingToolError, match=r"module_that_is_absent is not installed.*edgekit\[onnx2tf\]"
    ):
        lower_with_onnx2tf(load_onnx(source), "float32")


def test_without_onnx2tf_the_extra_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PACKAGE", "onnx2tf_absent")
    with pytest.raises(MissingToolError, match=r"pip install 'edgekit\[onnx2tf\]'"):
        lower_with_onnx2tf(load_onnx(source), "float32")


def _real_onnx2tf() -> bool:
    return all(
        importlib.util.find_spec(name) for name in ("onnx2tf", "sng4onnx", "onnxsim", "psutil")
    )


@pytest.mark.slow
@pytest.mark.skipif(not _real_onnx2tf(), reason="onnx2tf is not installed")
def test_the_real_onnx2tf_converts(source: Path, tmp_path: Path) -> None:
    artifact = Artifact.of(ArtifactKind.ONNX, source)
    lowered = create_target().lower(artifact, LowerConfig(engine="onnx2tf"), tmp_path)
    assert isinstance(lowered, Lowered)
    session = LiteRTSession(lowered.artifact.path, RuntimeConfig())
    feeds = random_feeds(session.signature, 0)
    (difference,) = compare_outputs(ReferenceSession(source).run(feeds), session.run(feeds))
    assert difference.relative < 1e-5
