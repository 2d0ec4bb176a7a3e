"""A twin in the trainer's form computes what its graph computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgekit.graph.torch_twin import build_twin
from edgekit.training.qat.batching import BatchRunner
from edgekit.training.qat.losses import SMALLEST_PROBABILITY
from edgekit.training.twin_student import TwinStudent
from tests.twin_graphs import make_model, weights

GRAPH = """
g (float[batch, 1, 8, 8] image) => (float[batch, 4] boxes, float[batch, 3, 1, 1] scores) {
  [flat] a = Flatten (image)
  [box] boxes = Gemm <transB = 1> (a, v, c)
  [conv] s = Conv (image, w, b)
  LAST
}
"""
SHAPES: dict[str, tuple[int, ...]] = {"v": (4, 64), "c": (4,), "w": (3, 1, 8, 8), "b": (3,)}


def student(last: str, fixed: int | None = None, *, classifies: bool = True) -> TwinStudent:
    # Without class scores among the outputs, a classifier's twin is of one output.
    text = GRAPH.replace("LAST", last)
    if classifies:
        text = text.replace("float[batch, 4] boxes, ", "").replace("boxes = Gemm", "_ = Gemm")
        text = "\n".join(line for line in text.splitlines() if "[box]" not in line)
    names = SHAPES if not classifies else {k: SHAPES[k] for k in ("w", "b")}
    twin = build_twin(make_model(text, weights(names)))
    return TwinStudent(twin, BatchRunner(fixed), classifies=classifies)


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def scores(inputs: Tensor) -> Tensor:
    given = weights({k: SHAPES[k] for k in ("w", "b")})
    kernel, bias = torch.from_numpy(given["w"]), torch.from_numpy(given["b"])
    return torch.einsum("nchw,ochw->no", inputs, kernel) + bias


def test_class_scores_lose_their_axes_of_one() -> None:
    found = student("[same] scores = Identity (s)")(images())
    torch.testing.assert_close(found, scores(images()), rtol=1e-4, atol=1e-5)


def test_a_softmax_is_taken_back() -> None:
    found = student("[soft] scores = Softmax <axis = 1> (s)")(images())
    expected = torch.log(scores(images()).softmax(1).clamp(min=SMALLEST_PROBABILITY))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_all_outputs_are_given_where_nothing_is_classified() -> None:
    found = student("[same] scores = Identity (s)", classifies=False)(images())
    assert isinstance(found, tuple)
    assert [list(item.shape) for item in found] == [[5, 4], [5, 3, 1, 1]]
    given = weights(SHAPES)
    expected = images().flatten(1) @ torch.from_numpy(given["v"]).T + torch.from_numpy(given["c"])
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fixed", [1, 2, 5, 8])
def test_a_fixed_batch_is_run_in_pieces_that_are_filled_up(fixed: int) -> None:
    whole, pieces = (student("[same] scores = Identity (s)", size) for size in (None, fixed))
    inputs = images()
    first, second = whole(inputs), pieces(inputs)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    first.square().mean().backward()
    second.square().mean().backward()
    for one, two in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)
