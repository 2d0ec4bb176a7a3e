"""A linear classifier as an ONNX file, worse ones, and samples for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.gate.check import CheckRequest
from edgekit.gate.options import Budget
from edgekit.gate.update import Updated, update_baseline
from edgekit.graph.io import save_onnx, write_metadata

CLASSES, FEATURES, SAMPLES = 10, 16, 1000
type Array = npt.NDArray[Any]


def centres() -> Array:
    return np.random.default_rng(0).standard_normal((CLASSES, FEATURES)).astype(np.float32)


def write_samples(path: Path, count: int = SAMPLES, seed: int = 1) -> Path:
    """Points around the centres; the classifier has about nine of ten right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    points = centres()[labels] + 1.1 * rng.standard_normal((count, FEATURES))
    np.savez(path, x=points.astype(np.float32), y=labels)
    return path


def write_classifier(
    path: Path,
    *,
    spoilt: float = 0.0,
    name: str = "lines",
    extra_features: int = 0,
    log: bool = False,
    preprocessing: Preprocessing | None = None,
) -> Path:
    """``scores = x W + b`` with the centres' linear discriminant.

    Args:
        path: The file.
        spoilt: Standard deviation of what is added to the weights.
        name: Name of the model.
        extra_features: Makes it a model with another input.
        log: Gives the logarithm of the scores, which is NaN for negative ones.
        preprocessing: What the metadata declare; samples from a file are fed as they are.
    """
    rng = np.random.default_rng(5)
    weights = centres() + spoilt * rng.standard_normal((CLASSES, FEATURES))
    bias = -0.5 * (centres() ** 2).sum(axis=1)
    weights = np.pad(weights, ((0, 0), (0, extra_features))).astype(np.float32)
    last = "product" if log else "scores"
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], [last], transB=1, name="gemm")]
    if log:
        nodes.append(helper.make_node("Log", ["product"], ["scores"], name="log"))
    shape = [1, FEATURES + extra_features]
    graph = helper.make_graph(
        nodes,
        "lines",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    model = ir.from_proto(proto)
    metadata = ModelMetadata(name=name, source=f"spoilt by {spoilt}", preprocessing=preprocessing)
    write_metadata(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_onnx(model, path)
    return path


@dataclass(frozen=True)
class Bench:
    """A folder with a good artifact, its baseline, and the samples."""

    folder: Path

    @property
    def artifact(self) -> Path:
        return self.folder / "lines.onnx"

    @property
    def baseline(self) -> Path:
        return self.folder / "baseline.json"

    @property
    def data(self) -> str:
        return f"npz:{self.folder / 'samples.npz'}"

    def request(self, **more: Any) -> CheckRequest:
        """The check of the artifact, without the slower gates unless they are asked for."""
        given: dict[str, Any] = {
            "paths": (self.artifact,),
            "baseline": self.baseline,
            "changes": (("latency", False), ("memory", False)),
            "budget": Budget(seconds=5),
        }
        return CheckRequest(**{**given, **more})

    def update(self, **more: Any) -> Updated:
        return update_baseline(self.request(**{"data": self.data, **more}))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A good artifact and samples, without a baseline."""
    made = Bench(tmp_path)
    write_samples(tmp_path / "samples.npz")
    write_classifier(made.artifact)
    return made
