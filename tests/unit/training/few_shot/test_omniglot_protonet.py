"""The sample encoder: its form, its project, and what its stored weights do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgekit.data.omniglot import read_characters
from edgekit.graph.importers.torch_module import build_module
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import load_project
from edgekit.training.few_shot import prototypes
from edgekit.training.few_shot.episodes import EpisodeSampler, EpisodeShape

REPOSITORY = Path(__file__).parents[4]
SAMPLE = REPOSITORY / "sample_models" / "omniglot_protonet"
ROOT = Path(os.environ.get("EDGEKIT_DATA") or REPOSITORY.parent / "shared" / "data")


def test_four_blocks_of_64_channels_give_64_numbers() -> None:
    encoder = build_module(f"{SAMPLE / 'model.py'}:omniglot_protonet").eval()
    # 3x3 kernels of 1 and three times 64 inputs, and two vectors of 64 for each BatchNorm.
    expected = 9 * 64 * (1 + 3 * 64) + 4 * 2 * 64
    assert sum(item.numel() for item in encoder.parameters()) == expected
    with torch.no_grad():
        found = encoder(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert found.shape == (3, 64)
    assert float(found.min()) >= 0


def test_the_project_can_be_planned() -> None:
    project = load_project(SAMPLE / "edgekit.toml")
    plan = build_plan(project)
    assert plan.step("lower-tflite-int8").inputs["model"].step == "quantize"


def test_stored_weights_tell_new_characters_apart() -> None:
    if not (ROOT / "omniglot").is_dir():
        pytest.skip(f"no omniglot in {ROOT}; set EDGEKIT_DATA")
    encoder = build_module(f"{SAMPLE / 'model.py'}:omniglot_protonet").eval()
    encoder.load_state_dict(load_file(SAMPLE / "omniglot_protonet.safetensors"))
    test = read_characters("test", ROOT)
    inputs = torch.from_numpy(test.inputs())
    sampler = EpisodeSampler(test.labels, EpisodeShape(ways=5, shots=5, queries=15), 1)
    with torch.no_grad():
        embeddings = encoder(inputs)
    scores = []
    for number in range(100):
        positions = sampler.positions(number)
        learnt = prototypes.predict(torch.nn.Identity(), positions.gather(embeddings))
        pixels = prototypes.predict(torch.nn.Identity(), positions.gather(inputs.flatten(1)))
        labels = positions.gather(inputs).query_labels
        scores.append([float((found == labels).float().mean()) for found in (learnt, pixels)])
    learnt_share, pixel_share = np.mean(scores, axis=0)
    assert learnt_share > 0.9
    assert learnt_share > pixel_share + 0.1
