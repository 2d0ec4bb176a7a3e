"""Operators without a definition of their value in coremltools, against NumPy and torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.targets.coreml.runtime import MilModel
from edgekit.targets.coreml.toolchain import mb
from tests.targets.coreml.mil_packages import build, random

type Array = Any
IMAGE = random((2, 4, 6, 8), 1)
CENTRES = np.array([[0.5, 0.5], [0.55, 0.5], [0.9, 0.9], [0.1, 0.2]], np.float32)
BOXES = np.concatenate([CENTRES, np.full((4, 2), 0.4, np.float32)], axis=1)
SCORES = np.array([[0.8, 0.1], [0.9, 0.2], [0.05, 0.7], [0.3, 0.6]], np.float32)
PLACES = np.random.default_rng(3).uniform(-1.4, 1.4, (2, 3, 5, 2)).astype(np.float32)
ROWS = random((4, 3), 2)
INDICES = np.array([[0, 2], [3, 1]], np.int32)


def once(
    body: Callable[..., Any], feeds: dict[str, Array], path: Path, **more: Any
) -> list[Array]:
    shapes = {name: value.shape for name, value in feeds.items()}
    dtypes = {name: "int32" for name, value in feeds.items() if value.dtype == np.int32}
    build(body, shapes, path / "model.mlpackage", dtypes=dtypes, **more)
    return list(MilModel(path / "model.mlpackage").predict(feeds).values())


def torch_of(function: Callable[..., torch.Tensor], *arrays: Array, **options: Any) -> Array:
    return function(*map(torch.from_numpy, arrays), **options).numpy()


def blocks(x: Array, size: int) -> Array:
    """space_to_depth by loops: the place within the block is the slower index."""
    parts = [x[:, :, i::size, j::size] for i in range(size) for j in range(size)]
    return np.concatenate(parts, axis=1)


ONE_INPUT: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "batch_norm": (
        lambda x: mb.batch_norm(
            x=x, mean=random((4,), 2), variance=np.abs(random((4,), 3)), gamma=random((4,), 4),
            beta=random((4,), 5), epsilon=1e-3),
        lambda x: (x - random((4,), 2)[:, None, None])
        / np.sqrt(np.abs(random((4,), 3)) + 1e-3)[:, None, None] * random((4,), 4)[:, None, None]
        + random((4,), 5)[:, None, None]),
    "silu": (lambda x: mb.silu(x=x), lambda x: x / (1 + np.exp(-x))),
    "max_pool": (
        lambda x: mb.max_pool(
            x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="custom", pad=[1, 0, 0, 1]),
        lambda x: torch_of(
            F.max_pool2d, np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 1)], constant_values=-np.inf),
            kernel_size=(3, 2), stride=2)),
    "max_pool rounded up": (
        lambda x: mb.max_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="valid", ceil_mode=True),
        lambda x: torch_of(F.max_pool2d, x, kernel_size=3, stride=2, ceil_mode=True)),
    "depth_to_space": (
        lambda x: mb.depth_to_space(x=x, block_size=2),
        lambda x: x.reshape(2, 2, 2, 6, 8).transpose(0, 3, 1, 4, 2).reshape(2, 1, 12, 16)),
    "space_to_depth": (lambda x: mb.space_to_depth(x=x, block_size=2), lambda x: blocks(x, 2)),
    "pixel_shuffle": (
        lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: torch_of(F.pixel_shuffle, x, upscale_factor=2)),
    "reshape_like": (
        lambda x: mb.reshape_like(
            x=x, ref_tensors=[np.zeros((2, 24), np.float32), np.zeros((9, 8), np.float32)],
            begins=[0, 1], ends=[2, 0], end_masks=[False, True]),
        lambda x: x.reshape(2, 24, 8)),
    "fill_like": (
        lambda x: mb.fill_like(ref_tensor=x, value=0.5), lambda x: np.full(x.shape, 0.5)),
    "resize": (
        lambda x: mb.resize(
            x=x, shape=[0, 9, 11], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"),
        lambda x: torch_of(F.interpolate, x, size=(9, 11), mode="bilinear")),
    "resize by neighbours": (
        lambda x: mb.resize(
            x=x, shape=[3, 16], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
        lambda x: x[:, :, ::2].repeat(2, axis=3)),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_INPUT)
def test_operator_of_an_image(name: str, tmp_path: Path) -> None:
    body, expected = ONE_INPUT[name]
    (found,) = once(body, {"x": IMAGE}, tmp_path)
    np.testing.assert_allclose(found, expected(IMAGE), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("mode", ["constant", "border", "symmetric"])
@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_resample(mode: str, sampling: str, tmp_path: Path) -> None:
    def body(x: Any, places: Any) -> Any:
        return mb.resample(
            x=x, coordinates=places, sampling_mode=sampling, padding_mode=mode,
            padding_value=0.0, coordinates_mode="normalized_minus_one_to_one",
            align_corners=False,
        )  # fmt: skip

    (found,) = once(body, {"x": IMAGE, "places": PLACES}, tmp_path)
    # torch's reflection without aligned corners is at the pixels' edges.
    padding = {"constant": "zeros", "border": "border", "symmetric": "reflection"}[mode]
    expected = torch_of(
        F.grid_sample, IMAGE, PLACES, mode=sampling, padding_mode=padding, align_corners=False
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
@pytest.mark.parametrize("by_class", [False, True])
def test_suppression(target: str, by_class: bool, tmp_path: Path) -> None:
    from torchvision.ops import batched_nms, nms

    newer = target == "iOS17"

    def body(boxes: Any, scores: Any) -> Any:
        return mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=0.5, max_boxes=3,
            per_class_suppression=by_class, **({} if newer else {"score_threshold": 0.0}),
        )  # fmt: skip

    feeds = {"boxes": BOXES[None], "scores": SCORES[None]}
    if newer:
        feeds = {name: np.ascontiguousarray(v.transpose(0, 2, 1)) for name, v in feeds.items()}
    found = once(body, feeds, tmp_path, target=target)
    corners = torch.from_numpy(
        np.concatenate([BOXES[:, :2] - BOXES[:, 2:] / 2, BOXES[:, :2] + BOXES[:, 2:] / 2], 1)
    )
    best, classes = torch.from_numpy(SCORES).max(dim=1)
    kept = (batched_nms(corners, best, classes, 0.5) if by_class else nms(corners, best, 0.5))[:3]
    assert len(kept) == 3
    boxes, scores = (item.transpose(0, 2, 1) if newer else item for item in found[:2])
    np.testing.assert_array_equal(found[2], kept[None])
    np.testing.assert_array_equal(boxes[0], BOXES[kept])
    np.testing.assert_array_equal(scores[0], SCORES[kept])
    assert len(found) == (3 if newer else 4)


def test_gather_and_scatter_at_tuples(tmp_path: Path) -> None:
    updates = np.array([10, 20], np.float32)

    def body(x: Any, at: Any) -> Any:
        modes = ("add", "sub", "mul", "div", "max", "min", "update")
        made = [
            mb.scatter_nd(data=x, indices=at, updates=updates, mode=mode, name=mode)
            for mode in modes
        ]
        return [mb.gather_nd(x=x, indices=at, name="picked"), *made]

    picked, *found = once(body, {"x": ROWS, "at": INDICES}, tmp_path)
    places = tuple(INDICES.T)
    np.testing.assert_array_equal(picked, ROWS[places])
    old = ROWS[places]
    new = [old + updates, old - updates, old * updates, old / updates, np.maximum(old, updates),
           np.minimum(old, updates), updates]  # fmt: skip
    for one, values in zip(found, new, strict=True):
        expected = ROWS.copy()
        expected[places] = values
        np.testing.assert_allclose(one, expected, rtol=1e-6)


def test_scatter_adds_to_one_place_twice(tmp_path: Path) -> None:
    def body(x: Any, at: Any) -> Any:
        return mb.scatter_nd(data=x, indices=at, updates=np.ones((2, 3), np.float32), mode="add")

    at = np.array([[1], [1]], np.int32)
    (found,) = once(body, {"x": ROWS, "at": at}, tmp_path)
    expected = ROWS.copy()
    expected[1] += 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_one_hot_and_non_zero(tmp_path: Path) -> None:
    def body(at: Any) -> Any:
        return (
            mb.one_hot(indices=at, one_hot_vector_size=4, axis=1, on_value=7, off_value=-1),
            mb.one_hot(indices=at, one_hot_vector_size=4),
            mb.non_zero(x=at),
        )

    first, second, places = once(body, {"at": INDICES}, tmp_path)
    np.testing.assert_array_equal(second, np.eye(4)[INDICES])
    np.testing.assert_array_equal(first, np.where(np.eye(4)[INDICES] > 0, 7, -1).swapaxes(1, 2))
    np.testing.assert_array_equal(places, np.argwhere(INDICES))


def test_random_categories_follow_their_chances(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return mb.random_categorical(x=x, mode="probs", size=4000, seed=1)

    chances = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]], np.float32)
    (found,) = once(body, {"x": chances}, tmp_path)
    shares = np.stack([np.bincount(row.astype(int), minlength=3) for row in found]) / 4000
    np.testing.assert_allclose(shares, chances, atol=0.04)


def test_length_of_a_list(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        made = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        made = mb.list_write(ls=made, index=4, value=x)
        return mb.mul(x=mb.list_length(ls=made), y=1)

    (found,) = once(body, {"x": ROWS[0]}, tmp_path)
    assert found.item() == 5
