"""The weights that are stored here do what their cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import open_dataset
from edgekit.errors import InputError
from edgekit.graph.importers.torch_module import build_module
from edgekit.graph.importers.weights import load_weights
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import load_project

SAMPLES = Path(__file__).parents[3] / "sample_models"
SUBSET = 1000


@pytest.mark.parametrize(("name", "hits"), [("fashion_cnn", 935), ("tiny_vit", 915)])
def test_a_thousand_test_images_give_the_stated_accuracy(name: str, hits: int) -> None:
    project = load_project(SAMPLES / name / "edgekit.toml")
    assert project.data is not None
    try:
        dataset = open_dataset(project.data.model_copy(update={"limit": SUBSET}))
    except InputError as error:
        pytest.skip(str(error))
    weights = SAMPLES / name / f"{name}.safetensors"
    assert weights.stat().st_size < 1_000_000
    module = build_module(project.model.source).eval()
    load_weights(module, weights)
    spec = TensorSpec(name="image", shape=("batch", 1, 28, 28))
    found = 0
    for batch in dataset.batches(project.model.preprocessing, spec, 250):
        with torch.no_grad():
            scores = module(torch.from_numpy(np.array(batch.inputs)))
        found += int((scores.numpy().argmax(axis=1) == batch.labels).sum())
    # Another processor may add up otherwise and tip an image that lies on the edge.
    assert abs(found - hits) <= 2


@pytest.mark.parametrize("name", ["digits_resnet", "fashion_cnn", "resnet_cifar", "tiny_vit"])
def test_every_project_can_be_planned(name: str) -> None:
    project = load_project(SAMPLES / name / "edgekit.toml")
    plan = build_plan(project)
    assert plan.step("lower-tflite-int8").inputs["model"].step in ("quantize", "qat")
    assert project.data is not None
    try:
        dataset = open_dataset(project.data)
    except InputError as error:
        pytest.skip(str(error))
    assert project.model.labels == dataset.labels
