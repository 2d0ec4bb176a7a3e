"""A teacher gives what its graph or file computes, as scores before softmax."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.signature import ModelSignature
from edgekit.core.target import RuntimeConfig, Target
from edgekit.errors import ConfigError, InputError, MissingToolError
from edgekit.graph.io import signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import TorchTwin
from edgekit.pipeline.registry import get_target
from edgekit.training.qat.losses import SMALLEST_PROBABILITY
from edgekit.training.samples import TensorSamples
from edgekit.training.teachers import open_teacher
from tests.twin_graphs import make_model, weights
from tests.unit.test_qat_stage import stored

SCORES = """
g (float[batch, 1, 8, 8] image) => (float[batch, 3] scores) {
  [flat] a = Flatten (image)
  [fc] scores = Gemm <transB = 1> (a, w, b)
}
"""
PROBABILITIES = SCORES.replace("scores = Gemm", "s = Gemm").replace(
    "(a, w, b)", "(a, w, b)\n  [soft] scores = Softmax <axis = 1> (s)"
)
SHAPES: dict[str, tuple[int, ...]] = {"w": (3, 64), "b": (3,)}


def model(text: str = SCORES) -> ir.Model:
    return make_model(text, weights(SHAPES))


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def graph(folder: Path, text: str = SCORES) -> Artifact:
    return stored(model(text), folder / "teacher.onnx", ArtifactKind.ONNX)


def computed(artifact: Artifact, inputs: Tensor) -> Tensor:
    with ReferenceSession(artifact.path) as session:
        return torch.from_numpy(session.run({"image": inputs.numpy()})["scores"])


STUDENT = signature_of(model())
SAMPLES = TensorSamples(images(6), torch.arange(6) % 3)


def test_a_graph_fixed_to_one_sample_is_run_once_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = graph(tmp_path, SCORES.replace("batch", "1"))
    teacher = open_teacher(artifact, None, None, STUDENT, SAMPLES)
    runs: list[int] = []
    outputs = TorchTwin.outputs

    def counted(twin: TorchTwin, *inputs: Tensor) -> tuple[Tensor, ...]:
        runs.append(len(inputs[0]))
        return outputs(twin, *inputs)

    monkeypatch.setattr(TorchTwin, "outputs", counted)
    (found,) = teacher.scores(images())
    assert runs == [5]
    expected = computed(graph(tmp_path), images())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_graph_teaches_its_scores(tmp_path: Path) -> None:
    artifact = graph(tmp_path)
    teacher = open_teacher(artifact, None, None, STUDENT, SAMPLES)
    assert teacher.name == "net (float graph)"
    expected = computed(artifact, images())
    torch.testing.assert_close(teacher.outputs(images())[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(teacher.scores(images())[0], expected, rtol=1e-5, atol=1e-5)


def test_probabilities_are_taken_back_to_scores(tmp_path: Path) -> None:
    artifact = graph(tmp_path, PROBABILITIES)
    by_graph = open_teacher(artifact, None, None, STUDENT, SAMPLES)
    target = get_target("onnxruntime")
    by_file = open_teacher(None, artifact.path, target, STUDENT, SAMPLES)
    probabilities = computed(artifact, images())
    expected = torch.log(probabilities.clamp(min=SMALLEST_PROBABILITY))
    for teacher in (by_graph, by_file):
        torch.testing.assert_close(
            teacher.outputs(images())[0], probabilities, rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(teacher.scores(images())[0], expected, rtol=1e-4, atol=1e-4)


def test_a_file_of_a_fixed_batch_is_run_in_pieces(tmp_path: Path) -> None:
    text = SCORES.replace("batch", "2")
    artifact = graph(tmp_path, text)
    teacher = open_teacher(None, artifact.path, get_target("onnxruntime"), STUDENT, SAMPLES)
    assert teacher.name.startswith("teacher.onnx (ONNX Runtime")
    inputs = images(5)
    flat, found = inputs.flatten(1).numpy(), teacher.scores(inputs)[0]
    given = weights(SHAPES)
    expected = flat @ given["w"].T + given["b"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_without_a_teacher_it_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Distillation needs a teacher: the graph before"):
        open_teacher(None, None, None, STUDENT, SAMPLES)
    with pytest.raises(ConfigError, match="is no graph, and no target runs it"):
        open_teacher(None, tmp_path / "a.bin", None, STUDENT, SAMPLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[batch, 3] scores", "[batch, 4] scores"), r"outputs \(.*4\]\) are not the student's"),
        (("[batch, 1, 8, 8]", "[batch, 1, 4, 16]"), r"inputs \(.*16\]\) are not the student's"),
    ],
    ids=["classes", "image size"],
)
def test_other_inputs_or_outputs_are_refused(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    shapes = {"w": (4, 64), "b": (4,)} if "4] scores" in change[1] else SHAPES
    teacher = make_model(SCORES.replace(*change), weights(shapes))
    artifact = stored(teacher, tmp_path / "teacher.onnx", ArtifactKind.ONNX)
    with pytest.raises(InputError, match=message):
        open_teacher(artifact, None, None, STUDENT, SAMPLES)
    with pytest.raises(InputError, match=message):
        open_teacher(None, artifact.path, get_target("onnxruntime"), STUDENT, SAMPLES)


class Absent:
    """A target whose runtime is not here."""

    def load(self, artifact: Path, config: RuntimeConfig) -> Unavailable:
        return Unavailable(reason="This runtime needs another machine.")


def test_a_runtime_that_is_not_here_is_one_error(tmp_path: Path) -> None:
    signature: ModelSignature = STUDENT
    with pytest.raises(MissingToolError, match="This runtime needs another machine"):
        open_teacher(None, tmp_path / "a.bin", cast(Target, Absent()), signature, SAMPLES)
