"""Graphs whose batch is fixed are run on any number of samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.graph.torch_twin import TorchTwin, build_twin
from edgekit.training.qat.batching import BatchRunner, batch_runner
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.samples import UnlabelledSamples
from edgekit.training.qat.train import train_qat
from tests.qdq_graphs import insert_qdq
from tests.twin_graphs import make_model, weights

SHAPES: dict[str, tuple[int, ...]] = {"w": (3, 1, 3, 3), "v": (4, 12)}
NET = """
g (float[{batch}, 1, 4, 4] image) => (float[{batch}, 4] scores) {{
  c = Conv (image, w)
  f = {flat}
  scores = Gemm <transB = 1> (f, v)
}}
"""
FREE, BOUND = "Flatten (c)", "Reshape (c, shape)"


def twin(batch: int | str, flat: str = FREE) -> TorchTwin:
    parameters = weights(SHAPES)
    if flat == BOUND:
        parameters["shape"] = np.array([batch, 12], np.int64)
    return build_twin(make_model(NET.format(batch=batch, flat=flat), parameters))


def images(count: int = 10) -> UnlabelledSamples:
    generator = torch.Generator().manual_seed(0)
    return UnlabelledSamples((torch.randn(count, 1, 4, 4, generator=generator),))


@pytest.mark.parametrize(
    ("model", "fixed"),
    [
        (twin("batch"), None),
        (twin(1), None),
        (twin(3), None),
        (twin(1, BOUND), 1),
        (twin(3, BOUND), 3),
    ],
)
def test_a_batch_is_fixed_only_where_the_nodes_demand_it(
    model: TorchTwin, fixed: int | None
) -> None:
    assert batch_runner((model,), images()).fixed == fixed


def test_one_model_that_is_bound_binds_all() -> None:
    assert batch_runner((twin(3), twin(3, BOUND)), images()).fixed == 3
    # Too few samples to find out.
    assert batch_runner((twin(3),), images(5)).fixed == 3


def test_a_short_batch_is_filled_and_cut() -> None:
    (x,) = images(5).inputs
    free, bound = twin("batch"), twin(3, BOUND)
    runner = BatchRunner(3)
    (expected,) = free.outputs(x[:2])
    (actual,) = runner.outputs(bound, (x[:2],))
    torch.testing.assert_close(actual, expected)
    assert runner.piece(64) == 3
    assert BatchRunner(None).piece(64) == 64


def test_a_bound_batch_trains_like_a_free_one() -> None:
    """Gradients of several runs add up to those of one."""
    config = QatConfig(
        task="imitate", epochs=2, batch_size=4, lr=1e-3, validation=0.25, threads=1, keep="last"
    )
    states = []
    for batch, flat in (("batch", FREE), (2, BOUND)):
        parameters = weights(SHAPES)
        if flat == BOUND:
            parameters["shape"] = np.array([batch, 12], np.int64)
        model = make_model(NET.format(batch=batch, flat=flat), parameters)
        feeds = {"image": images(2).inputs[0].numpy()}
        trained = build_twin(insert_qdq(model, feeds))
        result = train_qat(trained, images(16), config, teacher=build_twin(model))
        assert result.held_out == 4
        states.append(trained.state_dict())
    free, bound = states
    for name, item in free.items():
        torch.testing.assert_close(bound[name], item, rtol=1e-4, atol=1e-6)
