"""Models known only as ONNX files are fine-tuned on unlabelled inputs and lowered exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from edgekit.api import ConvertOptions, ConvertResult, quantize
from edgekit.core.exactness import ExactnessReport
from edgekit.core.metrics import Unavailable
from edgekit.core.target import RuntimeConfig
from edgekit.graph.reference import ReferenceSession
from edgekit.quantization.options import QuantizeOptions
from edgekit.targets.onnxruntime.target import create_target as create_onnxruntime
from edgekit.targets.tflite.target import create_target as create_tflite
from edgekit.training.qat.config import QatConfig
from tests.end_to_end.shared_data import shared_file

type Images = npt.NDArray[np.float32]


def trained(
    source: Path, images: Images, folder: Path, targets: tuple[str, ...], batch: int
) -> ConvertResult:
    """Fine-tunes on images without labels; the last epoch is kept, so that something changes."""
    np.savez(folder / "images.npz", x=images)
    qat = QatConfig(epochs=1, batch_size=batch, threads=1, keep="last")
    calibration = QuantizeOptions(method="minmax", samples=16, batch=4)
    return quantize(
        source,
        data=str(folder / "images.npz"),
        targets=targets,
        output=folder / "out",
        options=ConvertOptions(qat=qat, quantize=calibration, bench=None),
    )


def test_a_classifier_of_digits_is_exact_in_tflite(tmp_path: Path) -> None:
    source = shared_file("models/mnist/mnist.onnx")
    small = load_digits().images[:160].astype(np.float32) * (255 / 16)
    images = np.kron(small, np.ones((1, 3, 3), np.float32))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, np.newaxis]
    made = trained(source, images, tmp_path, ("tflite", "onnxruntime"), 16)
    (summary,) = made.summary.qat
    assert summary.task == "imitate"
    assert summary.best_epoch == 1
    assert summary.curve[1].score > summary.curve[0].score - 3
    tflite = next(item for item in made.summary.targets if item.target == "tflite")
    assert isinstance(tflite.exactness, ExactnessReport)
    assert tflite.exactness.differing_tensors == 0
    assert tflite.exactness.max_lsb is not None
    assert tflite.exactness.max_lsb <= 1
    feeds = {"Input3": images[100:101]}
    with ReferenceSession(made.qdq_graph, optimization="disabled") as session:
        (expected,) = session.run(feeds).values()
    for target, name in ((create_tflite(), "tflite"), (create_onnxruntime(), "onnxruntime")):
        loaded = target.load(made.artifact(name, "int8"), RuntimeConfig())
        assert not isinstance(loaded, Unavailable)
        (actual,) = loaded.run(feeds).values()
        # A rounding in a kernel may move the end by a few steps of 1/255 of its range.
        assert np.abs(np.subtract(actual, expected)).max() <= 0.02 * float(np.ptp(expected)), name
        loaded.close()


@pytest.mark.slow
def test_a_detector_with_two_outputs_is_fine_tuned(tmp_path: Path) -> None:
    source = shared_file("models/ultraface/version-RFB-320.onnx")
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-1, 1, (20, 3, 15, 20)).astype(np.float32)
    images = np.kron(coarse, np.ones((1, 1, 16, 16), np.float32))
    made = trained(source, images, tmp_path, ("onnxruntime",), 4)
    (summary,) = made.summary.qat
    assert summary.task == "imitate"
    before, after = summary.curve[0].score, summary.curve[1].score
    assert after > before - 3
    with ReferenceSession(source) as session:
        expected = session.run({"input": images[:1]})
    loaded = create_onnxruntime().load(made.artifact("onnxruntime", "int8"), RuntimeConfig())
    assert not isinstance(loaded, Unavailable)
    actual = loaded.run({"input": images[:1]})
    loaded.close()
    for name, reference in expected.items():
        wide, made_of_it = (item.astype(np.float64) for item in (reference, actual[name]))
        assert np.sqrt(np.mean((made_of_it - wide) ** 2)) < 0.1 * np.std(wide), name
