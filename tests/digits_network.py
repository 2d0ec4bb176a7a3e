"""A small network that reads handwritten digits, fitted in a moment, with faults on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime

from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import DataSpec
from edgekit.data.datasets import open_dataset
from edgekit.graph.io import save_onnx, write_metadata
from tests.twin_graphs import make_model

type Array = npt.NDArray[Any]

PREPROCESSING = Preprocessing(channels="gray", scale=1 / 255, mean=(0.305,), std=(0.376,))
IMAGE = TensorSpec(name="image", shape=("batch", 1, 8, 8))
_FEATURES = """
g (float[batch, 1, 8, 8] image) => (float[batch, 256] features) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  [relu1] b = Relu (a)
  [conv2] c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, w2)
  [relu2] d = Relu (c)
  [flat] features = Flatten (d)
}
"""
_SELDOM, _OFTEN = 40, 4000
"""Values above 0 of a channel with outliers, in all training images together: some 90,000."""
_NET = _FEATURES.replace("float[batch, 256] features) {", "float[batch, 10] scores) {").replace(
    "Flatten (d)\n", "Flatten (d)\n  [fc] scores = Gemm <transB = 1> (features, w3, b3)\n"
)


def digits(split: Any) -> tuple[Array, Array]:
    """All images of a split as the network reads them, and their classes."""
    batches = list(
        open_dataset(DataSpec(set="digits", split=split)).batches(PREPROCESSING, IMAGE, 500)
    )
    images = np.concatenate([batch.inputs for batch in batches])
    return images, np.concatenate([batch.labels for batch in batches])


def write_net(
    path: Path, *, imbalance: float = 1.0, outliers: float = 0.0, heeded: bool = False
) -> None:
    """Two random convolutions and a readout fitted by ridge regression: about 97 % right.

    Args:
        path: The ONNX file.
        imbalance: One channel of the first activation is so many times larger, and its readers'
            weights are smaller: the function is the same.
        outliers: Largest value of another channel of it, which is 0 in most places; 0 leaves the
            channel as it is.
        heeded: Whether the readers need that channel, or hardly heed it.
    """
    rng = np.random.default_rng(0)
    weights = {
        "w1": (rng.standard_normal((8, 1, 3, 3)) / 3).astype(np.float32),
        "b1": np.zeros(8, np.float32),
        "w2": (rng.standard_normal((16, 8, 3, 3)) / 8).astype(np.float32),
    }
    images, labels = digits("train")
    if outliers:
        weights["w2"][:, 7] *= 1e-4
        if heeded:
            # A channel of its own reads it, so that no weights have to be small beside others.
            weights["w2"][:, 7] = 0
            weights["w2"][15] = 0
            weights["w2"][15, 7] = 2 / outliers
        found = np.sort(_convolved(images, weights["w1"][7, 0]).ravel())
        limit, highest = found[-_OFTEN if heeded else -_SELDOM], found[-1]
        gain = outliers / (highest - limit)
        weights["w1"][7] *= gain
        weights["b1"][7] = -limit * gain
    weights["w1"][0] *= imbalance
    weights["w2"][:, 0] /= imbalance
    session = onnxruntime.InferenceSession(
        ir.to_proto(make_model(_FEATURES, weights)).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    (features,) = session.run(None, {"image": images})
    with_one = np.hstack([features, np.ones((len(features), 1), np.float32)]).astype(np.float64)
    wanted = 2.0 * np.eye(10)[labels] - 1
    gram = with_one.T @ with_one + 5.0 * np.eye(with_one.shape[1])
    fitted = np.linalg.solve(gram, with_one.T @ wanted).T.astype(np.float32)
    model = make_model(_NET, {**weights, "w3": fitted[:, :-1], "b3": fitted[:, -1]})
    write_metadata(model, ModelMetadata(name="net", preprocessing=PREPROCESSING))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_onnx(model, path)


def _convolved(images: Array, kernel: Array) -> Array:
    """Each image with one kernel, zeros around it: ``[n, 8, 8]``."""
    padded = np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1)))
    rows, columns = kernel.shape
    height, width = images.shape[2:]
    parts = [
        kernel[i, j] * padded[:, i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
    ]
    return np.asarray(np.sum(parts, axis=0))
