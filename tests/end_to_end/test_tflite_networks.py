"""Real networks through import, canonical graph, TFLite lowering and LiteRT."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.signature import ModelSignature
from edgekit.core.target import Inspection, LowerConfig, Lowered, RuntimeConfig, Session
from edgekit.data.datasets import DataSpec, open_dataset
from edgekit.graph.importers import ImportRequest, import_model
from edgekit.graph.io import read_metadata, save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.targets.tflite.target import create_target
from tests.end_to_end.shared_data import shared_file
from tests.zoo_models import ZOO, export_zoo_onnx

type Array = npt.NDArray[Any]

SMALL_IMAGE = {"unet": 64}
SHUFFLES = {"shufflenet_v2_x1_0": 16}
"""Channel shuffles in the network: each is one TRANSPOSE, which no layout avoids."""
NOISY = {"mobileone_s0"}
"""With random weights torch's own float32 result lies 1.3e-5 from its float64 result."""


def lower(path: Path, signature: ModelSignature, folder: Path) -> tuple[Session, Inspection]:
    """Lowers a canonical graph to TFLite float32 and loads it."""
    target = create_target()
    source = Artifact.of(ArtifactKind.ONNX, path, signature=signature)
    lowered = target.lower(source, LowerConfig(), folder)
    assert isinstance(lowered, Lowered)
    session = target.load(lowered.artifact.path, RuntimeConfig())
    assert not isinstance(session, Unavailable)
    return session, target.inspect(lowered.artifact.path)


def largest_difference(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> float:
    """Largest absolute difference over the range of the output, of all outputs."""
    assert list(actual) == list(expected)
    return max(
        float(np.abs(actual[name] - reference).max() / np.ptp(reference))
        for name, reference in expected.items()
    )


def operators(inspection: Inspection) -> dict[str, int]:
    return {item.op: item.count for item in inspection.ops}


SLOW = {"efficientnet_lite0", "mnasnet1_0", "mobileone_s0", "regnetx_002", "repvit_m0_9"}
"""Exported by torch in 10 seconds and more; the others cover every kind of block but one."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ZOO],
)
def test_zoo_network_matches_onnxruntime_without_transposes(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    export_zoo_onnx(name, path, SMALL_IMAGE.get(name, 96))
    reference = ReferenceSession(path)
    session, inspection = lower(path, reference.signature, tmp_path)
    (spec,) = reference.signature.inputs
    image = np.random.default_rng(5).standard_normal(spec.concrete_shape()).astype(np.float32)
    difference = largest_difference(
        reference.run({spec.name: image}), session.run({spec.name: image})
    )
    assert difference <= (5e-5 if name in NOISY else 1e-5)
    counts = operators(inspection)
    assert counts.get("TRANSPOSE", 0) == SHUFFLES.get(name, 0)
    assert "CUSTOM" not in counts


@pytest.mark.parametrize(
    "name", ["ultraface/version-RFB-320.onnx", "mnist/mnist.onnx"], ids=["ultraface", "mnist"]
)
def test_published_onnx_file_matches_and_stays_untouched(name: str, tmp_path: Path) -> None:
    original = shared_file(f"models/{name}")
    before = hashlib.sha256(original.read_bytes()).hexdigest()
    imported = import_model(ImportRequest(source=str(original)))
    path = tmp_path / "canonical.onnx"
    save_onnx(imported.model, path)
    session, inspection = lower(path, signature_of(imported.model), tmp_path)
    reference = ReferenceSession(original)
    (spec,) = reference.signature.inputs
    image = np.random.default_rng(5).uniform(0, 255, spec.concrete_shape()).astype(np.float32)
    if name.startswith("ultraface"):
        image = (image - np.float32(127)) / np.float32(128)
    assert (
        largest_difference(reference.run({spec.name: image}), session.run({spec.name: image}))
        <= 1e-4
    )
    assert operators(inspection).get("TRANSPOSE", 0) == 0
    assert hashlib.sha256(original.read_bytes()).hexdigest() == before


def test_resnet20_predicts_every_cifar10_image_alike(tmp_path: Path) -> None:
    import torch

    from edgekit.core.metadata import Preprocessing
    from edgekit.graph.importers import InputRequest
    from edgekit.graph.importers.torch_module import build_module
    from edgekit.graph.importers.weights import load_weights

    weights = shared_file("models/resnet20-cifar10/resnet20-12fca82f.th")
    images = shared_file("cifar10/dev_subset.zip")
    model_file = Path(__file__).resolve().parents[2] / "sample_models/resnet_cifar/model.py"
    source = f"{model_file}:resnet20"
    preprocessing = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    imported = import_model(
        ImportRequest(
            source=source,
            weights=weights,
            inputs=(InputRequest(name="image", shape=(1, 3, 32, 32)),),
            dynamic_batch=True,
            preprocessing=preprocessing,
        )
    )
    assert read_metadata(imported.model).preprocessing == preprocessing
    path = tmp_path / "resnet20.onnx"
    save_onnx(imported.model, path)
    reference = ReferenceSession(path)
    session, inspection = lower(path, reference.signature, tmp_path)
    assert operators(inspection).get("TRANSPOSE", 0) == 0
    module = build_module(source).eval()
    load_weights(module, weights)

    dataset = open_dataset(DataSpec(set="cifar10", root=images.parent.parent, split="test"))
    assert len(dataset) == 4800
    (spec,) = reference.signature.inputs
    correct = {"torch": 0, "onnxruntime": 0, "tflite": 0}
    for batch in dataset.batches(preprocessing, spec, 64):
        with torch.no_grad():
            torch_best = module(torch.from_numpy(batch.inputs)).numpy().argmax(1)
        (ort_output,) = reference.run({"image": batch.inputs}).values()
        (tflite_output,) = session.run({"image": batch.inputs}).values()
        assert np.array_equal(torch_best, ort_output.argmax(1))
        assert np.array_equal(torch_best, tflite_output.argmax(1))
        for name, best in (
            ("torch", torch_best),
            ("onnxruntime", ort_output.argmax(1)),
            ("tflite", tflite_output.argmax(1)),
        ):
            correct[name] += int((best == batch.labels).sum())
    assert set(correct.values()) == {4408}  # 91.83 %; the authors state 91.73 % on all 10,000


@pytest.mark.parametrize("number", [1, 2])
def test_dtln_matches_without_transposes(number: int, tmp_path: Path) -> None:
    """A published noise suppressor: LSTMs as such and unrolled, convolutions over one axis."""
    original = shared_file(f"models/dtln/model_{number}.onnx")
    imported = import_model(ImportRequest(source=str(original)))
    path = tmp_path / "canonical.onnx"
    save_onnx(imported.model, path)
    session, inspection = lower(path, signature_of(imported.model), tmp_path)
    reference = ReferenceSession(original)
    random = np.random.default_rng(number)
    feeds = {
        spec.name: random.uniform(-1, 1, spec.concrete_shape()).astype(np.float32)
        for spec in reference.signature.inputs
    }
    assert largest_difference(reference.run(feeds), session.run(feeds)) <= 1e-5
    counts = operators(inspection)
    assert counts.get("TRANSPOSE", 0) == 0
    assert "CUSTOM" not in counts


def test_a_vision_transformer_transposes_only_its_heads(tmp_path: Path) -> None:
    from edgekit.graph.importers import InputRequest

    model_file = Path(__file__).resolve().parents[2] / "sample_models/tiny_vit/model.py"
    imported = import_model(
        ImportRequest(
            source=f"{model_file}:tiny_vit",
            inputs=(InputRequest(name="image", shape=(1, 1, 28, 28)),),
        )
    )
    path = tmp_path / "tiny_vit.onnx"
    save_onnx(imported.model, path)
    reference = ReferenceSession(path)
    session, inspection = lower(path, reference.signature, tmp_path)
    feeds = {"image": np.random.default_rng(5).standard_normal((1, 1, 28, 28), np.float32)}
    assert largest_difference(reference.run(feeds), session.run(feeds)) <= 1e-5
    counts = operators(inspection)
    # Query, key, value and result of each of the four blocks.
    assert counts["TRANSPOSE"] == 16
    assert counts["BATCH_MATMUL"] == 8
