"""Reference kernels in their own process, and the death of that process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.metadata import ModelMetadata
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, UnsupportedError
from edgekit.targets.tflite.metadata import embed_metadata
from edgekit.targets.tflite.reference_session import ReferenceSession
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


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceSession]:
    path = tmp_path_factory.mktemp("reference") / "m.tflite"
    path.write_bytes(embed_metadata(classifier(), ModelMetadata(), NCHW, {}))
    opened = ReferenceSession(path, RuntimeConfig())
    yield opened
    opened.close()


def test_reference_kernels_agree_with_numpy(session: ReferenceSession) -> None:
    assert session.runtime.endswith("(reference kernels)")
    assert session.signature == NCHW
    for batch in (1, 3):
        images = weights(batch, 3, 8, 8, seed=batch)
        found = session.run({"image": images})["scores"]
        expected = classifier_reference(images.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_errors_come_through_and_leave_the_session_usable(session: ReferenceSession) -> None:
    with pytest.raises(InputError, match="input 'image' is missing"):
        session.run({})
    assert session.run({"image": weights(1, 3, 8, 8)})["scores"].shape == (1, 4)


def test_a_refused_file_is_told_with_its_reason(tmp_path: Path) -> None:
    file = FileBuilder()
    x, y = file.tensor("x", (2,)), file.tensor("y", (2,))
    file.op("MyDetection", (x,), (y,), custom=True)
    path = tmp_path / "m.tflite"
    path.write_bytes(file.finish((x,), (y,)))
    with pytest.raises(UnsupportedError, match="MyDetection"):
        ReferenceSession(path, RuntimeConfig())


def test_the_death_of_the_worker_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(classifier())
    session = ReferenceSession(path, RuntimeConfig())
    os.kill(session._worker.pid, signal.SIGSEGV)
    session._worker.wait()
    with pytest.raises(UnsupportedError, match=r"ended their process \(signal SIGSEGV\)"):
        session.run({"image": weights(1, 8, 8, 3)})
    session.close()
