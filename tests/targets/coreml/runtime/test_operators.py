"""Operators that few ONNX graphs lead to, in saved packages, against independent references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Case:
    """A program of one operator and what it is to give.

    Attributes:
        body: Builds the program.
        shapes: Inputs.
        expected: From the inputs, in order.
        target: Deployment target.
        dtypes: MIL element types that are not fp32.
    """

    body: Callable[..., Any]
    shapes: Mapping[str, tuple[int, ...]]
    expected: Callable[..., Array]
    target: str = "iOS18"
    dtypes: Mapping[str, str] | None = None


IMAGE = {"x": (2, 3, 5, 6)}


def grid(size: int, length: int, mode: str) -> Array:
    """Places of samples, from the notes on sampling modes in coremltools' documentation."""
    i = np.arange(size)
    places: Array
    if mode == "STRICT_ALIGN_CORNERS":
        places = i * (length - 1) / (size - 1)
    elif mode == "DEFAULT":
        places = i * (length - length / size) / (size - 1)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, length - 1) / size
        places = 0.5 * delta + i * ((size - 1) * delta) / (size - 1)
    else:
        spacing = length / size
        places = i * spacing + 0.5 * spacing - 0.5
    return np.clip(places, 0, length - 1)


def bilinear(x: Array, rows: Array, columns: Array) -> Array:
    """Samples on a grid by two linear interpolations."""
    made = np.apply_along_axis(lambda v: np.interp(rows, np.arange(v.size), v), 2, x)
    return np.apply_along_axis(lambda v: np.interp(columns, np.arange(v.size), v), 3, made)


def resized(mode: str) -> Case:
    return Case(
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=8, target_size_width=9, sampling_mode=mode
        ),
        IMAGE,
        lambda x: bilinear(x, grid(8, 5, mode), grid(9, 6, mode)),
    )


def scattered(data: Array) -> Array:
    made = data.copy()
    made[[1, 3]] += np.array([[1, 2], [3, 4]], np.float32)
    return made


CASES = {
    **{f"resize_bilinear {mode}": resized(mode) for mode in
       ("STRICT_ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")},
    "upsample_bilinear": Case(
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False
        ),
        IMAGE,
        lambda x: F.interpolate(torch.from_numpy(x), scale_factor=(2, 3), mode="bilinear").numpy(),
    ),
    "upsample_bilinear neither": Case(
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False,
            half_pixel_centers=False,
        ),
        IMAGE,
        lambda x: bilinear(x, np.minimum(np.arange(10) / 2, 4), np.minimum(np.arange(12) / 2, 5)),
    ),
    "upsample_nearest_neighbor": Case(
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        IMAGE,
        lambda x: x.repeat(2, axis=2).repeat(3, axis=3),
    ),
    "resize_nearest_neighbor": Case(
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=10, target_size_width=3),
        IMAGE,
        lambda x: x.repeat(2, axis=2)[..., ::2],
    ),
    "crop_resize": Case(
        lambda x: mb.crop_resize(
            x=x, boxes=np.array([[0, 0, 2, 4], [1, 1, 4, 5]], np.float32),
            box_indices=np.array([1, 0], np.int32), target_height=3, target_width=5,
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        IMAGE,
        lambda x: np.concatenate([
            bilinear(x[1:], np.linspace(0, 2, 3), np.linspace(0, 4, 5)),
            bilinear(x[:1], np.linspace(1, 4, 3), np.linspace(1, 5, 5)),
        ]),
    ),
    "affine": Case(
        lambda x: mb.affine(
            x=x, transform_matrix=np.array([[0.5, 0.1, 0.2, -0.1, 0.8, 0.0]], np.float32),
            output_height=4, output_width=7, sampling_mode="bilinear", padding_mode="constant",
            padding_value=0.0, coordinates_mode="normalized_minus_one_to_one", align_corners=True,
        ),
        IMAGE,
        lambda x: F.grid_sample(
            torch.from_numpy(x),
            F.affine_grid(
                torch.tensor([[[0.5, 0.1, 0.2], [-0.1, 0.8, 0.0]]]).expand(2, 2, 3),
                [2, 3, 4, 7], align_corners=True,
            ),
            align_corners=True,
        ).numpy(),
    ),
    "concat interleaved": Case(
        lambda x, y: mb.concat(values=[x, y], axis=1, interleave=True),
        {"x": (2, 3, 4), "y": (2, 3, 4)},
        lambda x, y: np.stack([x, y], axis=2).reshape(2, 6, 4),
    ),
    "band_part": Case(
        lambda x: mb.band_part(x=x, lower=1, upper=0),
        {"x": (4, 5)},
        lambda x: np.tril(x) - np.tril(x, -2),
    ),
    "sliding_windows": Case(
        lambda x: mb.sliding_windows(x=x, axis=1, size=3, stride=2),
        {"x": (2, 7, 3)},
        lambda x: np.stack([x[:, at : at + 3] for at in (0, 2, 4)], axis=1),
    ),
    "gather batched": Case(
        lambda x: mb.gather(
            x=x, indices=np.array([[0, 2], [1, 1]], np.int32), axis=1, batch_dims=1
        ),
        {"x": (2, 3, 4)},
        lambda x: np.stack([x[0, [0, 2]], x[1, [1, 1]]]),
    ),
    "scatter": Case(
        lambda x: mb.scatter(
            data=x, indices=np.array([1, 3], np.int32),
            updates=np.array([[1, 2], [3, 4]], np.float32), axis=0, mode="add",
        ),
        {"x": (4, 2)},
        scattered,
    ),
    "space_to_batch": Case(
        lambda x: mb.space_to_batch(x=x, block_shape=[2, 2], paddings=[[0, 0], [0, 0]]),
        {"x": (1, 2, 4, 4)},
        lambda x: np.concatenate([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]),
    ),
    "batch_to_space": Case(
        lambda x: mb.batch_to_space(x=x, block_shape=[2, 2], crops=[[0, 0], [0, 0]]),
        {"x": (4, 1, 2, 2)},
        lambda x: x.reshape(2, 2, 2, 2).transpose(2, 0, 3, 1).reshape(1, 1, 4, 4),
    ),
    "pixel_unshuffle": Case(
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        {"x": (1, 2, 4, 6)},
        lambda x: F.pixel_unshuffle(torch.from_numpy(x), 2).numpy(),
    ),
    "reverse_sequence": Case(
        lambda x: mb.reverse_sequence(
            x=x, lengths=np.array([2, 3], np.int32), seq_axis=1, batch_axis=0
        ),
        {"x": (2, 4)},
        lambda x: np.array([[x[0, 1], x[0, 0], *x[0, 2:]], [*x[1, 2::-1], x[1, 3]]]),
    ),
    "slice_update": Case(
        lambda x, y: mb.slice_update(x=x, update=y, begin=[1, 0], end=[3, 4], stride=[1, 2]),
        {"x": (4, 4), "y": (2, 2)},
        lambda x, y: np.block([[x[:1]], [np.stack([y[:, 0], x[1:3, 1], y[:, 1], x[1:3, 3]], 1)],
                               [x[3:]]]),
    ),
    "squeeze by mask": Case(
        lambda x: mb.slice_by_index(
            x=x, begin=[0, 1, 0], end=[2, 2, 3], squeeze_mask=[False, True, False]
        ),
        {"x": (2, 3, 3)},
        lambda x: x[:, 1],
    ),
    "backwards": Case(
        lambda x: mb.slice_by_index(
            x=x, begin=[3], end=[0], stride=[-2], begin_mask=[False], end_mask=[True]
        ),
        {"x": (5,)},
        lambda x: x[3::-2],
    ),
    "attention": Case(
        lambda x, y: mb.scaled_dot_product_attention(query=x, key=y, value=y),
        {"x": (1, 2, 4, 8), "y": (1, 2, 6, 8)},
        lambda x, y: F.scaled_dot_product_attention(
            torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(y)
        ).numpy(),
    ),
    "local_response_norm": Case(
        lambda x: mb.local_response_norm(x=x, size=3, alpha=0.1, beta=0.6, k=1.5),
        IMAGE,
        lambda x: F.local_response_norm(torch.from_numpy(x), 3, 0.1, 0.6, 1.5).numpy(),
    ),
    "l2_norm": Case(
        lambda x: mb.l2_norm(x=x, epsilon=1e-6),
        IMAGE,
        lambda x: x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 1e-6),
    ),
    "instance_norm": Case(
        lambda x: mb.instance_norm(x=x, gamma=random((3,), 7), beta=random((3,), 8), epsilon=1e-3),
        IMAGE,
        lambda x: F.instance_norm(
            torch.from_numpy(x), weight=torch.from_numpy(random((3,), 7)),
            bias=torch.from_numpy(random((3,), 8)), eps=1e-3,
        ).numpy(),
    ),
    "layer_norm in the middle": Case(
        lambda x: mb.layer_norm(x=x, axes=[1], epsilon=1e-3),
        IMAGE,
        lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3),
    ),
    "l2_pool": Case(
        lambda x: mb.l2_pool(x=x, kernel_sizes=[2, 2], strides=[1, 2], pad_type="valid"),
        IMAGE,
        lambda x: F.lp_pool2d(torch.from_numpy(x), 2, (2, 2), (1, 2)).numpy(),
    ),
    "avg_pool same, padding excluded": Case(
        lambda x: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[1, 1], pad_type="same",
            exclude_padding_from_average=True,
        ),
        IMAGE,
        lambda x: F.avg_pool2d(
            torch.from_numpy(x), 3, 1, 1, count_include_pad=False
        ).numpy(),
    ),
    "conv same_lower": Case(
        lambda x: mb.conv(
            x=x, weight=random((4, 3, 2, 2), 3), pad_type="same_lower", strides=[2, 2]
        ),
        IMAGE,
        lambda x: F.conv2d(
            F.pad(torch.from_numpy(x), (0, 0, 1, 0)), torch.from_numpy(random((4, 3, 2, 2), 3)),
            stride=2,
        ).numpy(),
    ),
    "conv of three axes": Case(
        lambda x: mb.conv(x=x, weight=random((4, 2, 2, 2, 2), 3), pad_type="valid"),
        {"x": (1, 2, 4, 5, 6)},
        lambda x: F.conv3d(
            torch.from_numpy(x), torch.from_numpy(random((4, 2, 2, 2, 2), 3))
        ).numpy(),
    ),
    "conv_transpose with output shape": Case(
        lambda x: mb.conv_transpose(
            x=x, weight=random((3, 2, 3, 3), 3), strides=[2, 2], pad_type="custom",
            pad=[1, 0, 1, 0], output_shape=[2, 2, 10, 12],
        ),
        IMAGE,
        lambda x: F.conv_transpose2d(
            torch.from_numpy(x), torch.from_numpy(random((3, 2, 3, 3), 3)), stride=2, padding=1,
            output_padding=1,
        ).numpy(),
    ),
    "einsum": Case(
        lambda x, y: mb.einsum(values=[x, y], equation="bchw,bwhu->bchu"),
        {"x": (2, 3, 4, 5), "y": (2, 5, 4, 6)},
        lambda x, y: np.einsum("bchw,bwhu->bchu", x, y),
    ),
    "argsort": Case(
        lambda x: mb.argsort(x=x, axis=1, ascending=True),
        {"x": (3, 7)},
        lambda x: np.argsort(x, axis=1, kind="stable"),
    ),
    "topk of all": Case(
        lambda x: mb.topk(x=x, k=6, axis=0)[0],
        {"x": (6, 2)},
        lambda x: -np.sort(-x, axis=0),
    ),
    "cumsum exclusive backwards": Case(
        lambda x: mb.cumsum(x=x, axis=1, exclusive=True, reverse=True),
        {"x": (2, 4)},
        lambda x: np.cumsum(x[:, ::-1], axis=1)[:, ::-1] - x,
    ),
    "log with epsilon": Case(
        lambda x: mb.log(x=mb.abs(x=x), epsilon=0.5),
        {"x": (3,)},
        lambda x: np.log(np.abs(x) + 0.5),
    ),
    "inverse": Case(
        lambda x: mb.inverse(x=x, epsilon=0.25),
        {"x": (3,)},
        lambda x: 1 / (x + np.float32(0.25)),
    ),
    "threshold": Case(
        lambda x: mb.threshold(x=x, alpha=0.2), {"x": (9,)}, lambda x: np.maximum(x, 0.2)
    ),
    "clamped_relu": Case(
        lambda x: mb.clamped_relu(x=x, alpha=0.1, beta=0.5),
        {"x": (9,)},
        lambda x: np.minimum(np.where(x >= 0, x, 0.1 * x), 0.5),
    ),
    "softplus_parametric": Case(
        lambda x: mb.softplus_parametric(
            x=x, alpha=np.array([1, 2, 3], np.float32), beta=np.array([0.5, 1, 2], np.float32)
        ),
        {"x": (1, 3, 4)},
        lambda x: np.array([1, 2, 3]).reshape(3, 1)
        * np.log1p(np.exp(np.array([0.5, 1, 2]).reshape(3, 1) * x)),
    ),
    "scaled_tanh": Case(
        lambda x: mb.scaled_tanh(x=x, alpha=1.5, beta=0.3),
        {"x": (9,)},
        lambda x: 1.5 * np.tanh(0.3 * x),
    ),
    "gelu by sigmoid": Case(
        lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        {"x": (9,)},
        lambda x: x / (1 + np.exp(-1.702 * x)),
    ),
    "pad reflected": Case(
        lambda x: mb.pad(x=x, pad=[1, 2, 2, 1], mode="reflect"),
        IMAGE,
        lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], "reflect"),
    ),
    "pad replicated": Case(
        lambda x: mb.pad(x=x, pad=[1, 2, 2, 1], mode="replicate"),
        IMAGE,
        lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], "edge"),
    ),
    "crop": Case(
        lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 3]),
        IMAGE,
        lambda x: x[:, :, 1:3, :3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = tmp_path / "model.mlpackage"
    build(case.body, case.shapes, path, target=case.target, dtypes=case.dtypes)
    feeds = {key: random(shape, 11 + at) for at, (key, shape) in enumerate(case.shapes.items())}
    (found,) = MilModel(path).predict(feeds).values()
    expected = np.asarray(case.expected(*feeds.values()))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_lists(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        made = mb.make_list(init_length=2, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        made = mb.list_write(ls=made, index=1, value=x)
        made = mb.list_write(ls=made, index=0, value=mb.add(x=x, y=1.0))
        made = mb.list_scatter(
            ls=made, indices=np.array([2], np.int32), value=mb.expand_dims(x=x, axes=[0])
        )
        gathered = mb.list_gather(ls=made, indices=np.array([0, 1, 2], np.int32))
        return gathered, mb.list_read(ls=made, index=0)

    path = build(body, {"x": (3,)}, tmp_path / "model.mlpackage")
    x = random((3,))
    gathered, read = MilModel(path).predict({"x": x}).values()
    np.testing.assert_array_equal(gathered, [x + 1, x, x])
    np.testing.assert_array_equal(read, x + 1)


def test_loop_and_branch(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        def grown(value: Any) -> Any:
            return mb.less(x=mb.reduce_sum(x=value, axes=[0], keep_dims=False), y=100.0)

        doubled = mb.while_loop(
            _cond=grown, _body=lambda value: mb.mul(x=value, y=2.0), loop_vars=(x,)
        )
        large = mb.greater(x=mb.reduce_max(x=doubled, axes=[0], keep_dims=False), y=90.0)
        return mb.cond(
            pred=large,
            _true_fn=lambda: mb.add(x=doubled, y=0.5),
            _false_fn=lambda: mb.sub(x=doubled, y=0.5),
        )

    model = MilModel(build(body, {"x": (2,)}, tmp_path / "model.mlpackage"))
    (found,) = model.predict({"x": np.array([1, 2], np.float32)}).values()
    np.testing.assert_array_equal(found, [64.5, 128.5])
    (found,) = model.predict({"x": np.array([30, 30], np.float32)}).values()
    np.testing.assert_array_equal(found, [59.5, 59.5])


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_recurrent_layers(kind: str, tmp_path: Path) -> None:
    hidden, steps, size = 4, 5, 3
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    w, r = random((gates * hidden, size), 1), random((gates * hidden, hidden), 2)
    b = random((gates * hidden,), 3)

    def body(x: Any, h: Any) -> Any:
        more = {"initial_c": h} if kind == "lstm" else {}
        return getattr(mb, kind)(
            x=x, initial_h=h, weight_ih=w, weight_hh=r, bias=b, output_sequence=True, **more
        )[0]

    path = build(body, {"x": (steps, 2, size), "h": (2, hidden)}, tmp_path / "m.mlpackage")
    x, h = random((steps, 2, size), 4), random((2, hidden), 5)
    (found,) = MilModel(path).predict({"x": x, "h": h}).values()
    expected = _recurrent(kind, (x, h), (w, r, b))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def _recurrent(kind: str, given: tuple[Array, Array], weights: tuple[Array, ...]) -> Array:
    """The equations of coremltools' documentation, step by step in NumPy."""
    (x, h), (w, r, b) = given, weights
    c, found = h.copy(), []

    def sigmoid(value: Array) -> Array:
        return 1 / (1 + np.exp(-value))

    for step in x:
        if kind == "rnn":
            h = np.tanh(step @ w.T + h @ r.T + b)
        elif kind == "lstm":
            i, f, o, z = np.split(step @ w.T + h @ r.T + b, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(z)
            h = sigmoid(o) * np.tanh(c)
        else:
            (wr, wo, wz), (rr, ro, rz) = np.split(w, 3), np.split(r, 3)
            br, bo, bz = np.split(b, 3)
            reset = sigmoid(step @ wr.T + h @ rr.T + br)
            update = sigmoid(step @ wz.T + h @ rz.T + bz)
            new = np.tanh(step @ wo.T + (reset * h) @ ro.T + bo)
            h = (1 - update) * new + update * h
        found.append(h)
    return np.stack(found)


def test_random_numbers_repeat_with_their_seed(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return (
            mb.random_normal(shape=[2000], mean=1.0, stddev=2.0, seed=3),
            mb.random_uniform(shape=[2000], low=-1.0, high=3.0, seed=3),
            mb.random_bernoulli(shape=[2000], prob=0.25, seed=3),
            mb.add(x=x, y=1.0),
        )

    model = MilModel(build(body, {"x": (1,)}, tmp_path / "model.mlpackage"))
    first, second = (list(model.predict({"x": np.zeros(1, np.float32)}).values()) for _ in "ab")
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    normal, uniform, coin, _ = first
    assert abs(normal.mean() - 1) < 0.2
    assert abs(normal.std() - 2) < 0.2
    assert -1 <= uniform.min() < uniform.max() < 3
    assert 0.2 < coin.mean() < 0.3


def test_float16_is_rounded_after_each_operator(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        half = mb.cast(x=x, dtype="fp16")
        third = mb.mul(x=half, y=np.float16(1 / 3))
        return mb.cast(x=mb.add(x=third, y=np.float16(100)), dtype="fp32")

    path = build(body, {"x": (64,)}, tmp_path / "model.mlpackage")
    x = random((64,))
    (found,) = MilModel(path).predict({"x": x}).values()
    third = x.astype(np.float16).astype(np.float32) * np.float32(np.float16(1 / 3))
    expected = third.astype(np.float16).astype(np.float32) + 100
    np.testing.assert_array_equal(found, expected.astype(np.float16).astype(np.float32))
