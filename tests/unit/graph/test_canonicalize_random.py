"""Canonicalization of random graphs: whatever the passes do, the outputs stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.graph.canonicalize import canonicalize
from tests.unit.graph.onnx_text import proto, random

_CONSTANTS: dict[str, npt.NDArray[Any]] = {
    "w1": random(4, 4, 1, 1, seed=1),
    "w3": random(4, 4, 3, 3, seed=2),
    "d3": random(4, 1, 3, 3, seed=3),
    "bias": random(4, seed=4),
    "gain": random(1, 4, 1, 1, seed=5),
    "shift": random(4, 1, 1, seed=6),
    "plane": random(1, 1, 6, 6, seed=7),
    "zero": np.asarray(0, np.float32),
    "half": np.asarray(0.5, np.float32),
    "one": np.asarray(1, np.float32),
    "three": np.asarray(3, np.float32),
    "six": np.asarray(6, np.float32),
    "var": np.abs(random(4, seed=8)) + 0.1,
    "hw": np.array([2, 3]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "crop0": np.array([1]),
    "crop1": np.array([-1]),
    "axis2": np.array([2]),
    "axis3": np.array([3]),
    "flat": np.array([0, -1]),
    "square": np.array([-1, 4, 6, 6]),
    "root": np.asarray(2**-0.5, np.float32),
}
"""Constants of the operators below; all values are [N, 4, 6, 6]."""

_STEPS = (
    "{o} = Conv ({a}, w1)",
    "{o} = Conv ({a}, w1, bias)",
    "{o} = Conv <pads = [1,1,1,1]> ({a}, w3, bias)",
    "{o} = Conv <pads = [1,1,1,1], group = 4> ({a}, d3)",
    "{o}p = Pad ({a}, pads) {o} = Conv ({o}p, w3)",
    "{o}p = Pad ({a}, pads, one) {o} = Conv ({o}p, w3)",
    "{o} = BatchNormalization ({a}, bias, shift1, bias, var)",
    "{o} = Mul ({a}, gain)",
    "{o} = Mul (half, {a})",
    "{o} = Add ({a}, shift)",
    "{o} = Sub ({a}, gain)",
    "{o} = Sub (one, {a})",
    "{o} = Div ({a}, three)",
    "{o} = Mul ({a}, plane)",
    "{o} = Mul ({a}, one)",
    "{o} = Add (zero, {a})",
    "{o} = Add ({a}, {b})",
    "{o} = Mul ({a}, {b})",
    "{o} = Relu ({a})",
    "{o}m = Max ({a}, zero) {o} = Min ({o}m, six)",
    "{o} = Clip ({a}, zero, six)",
    "{o}a = Add ({a}, three) {o}c = Clip ({o}a, zero, six) {o} = Div ({o}c, six)",
    (
        "{o}a = Add ({a}, three) {o}c = Clip ({o}a, zero, six) {o}d = Div ({o}c, six) "
        "{o} = Mul ({o}d, {a})"
    ),
    (
        "{o}d = Mul ({a}, root) {o}e = Erf ({o}d) {o}a = Add ({o}e, one) {o}m = Mul ({a}, {o}a) "
        "{o} = Mul ({o}m, half)"
    ),
    "{o}g = ReduceMean <keepdims = 1> ({a}, hw) {o} = Mul ({a}, {o}g)",
    "{o} = Identity ({a})",
    "{o} = Dropout ({a})",
    "{o}t = Transpose <perm = [0,2,3,1]> ({a}) {o} = Transpose <perm = [0,3,1,2]> ({o}t)",
    "{o}t = Transpose <perm = [0,1,3,2]> ({a}) {o} = Transpose <perm = [0,1,3,2]> ({o}t)",
    "{o}f = Flatten ({a}) {o} = Reshape ({o}f, square)",
    "{o}f = Reshape ({a}, flat) {o} = Reshape ({o}f, square)",
    (
        "{o}s = Slice ({a}, crop0, crop1, axis2) {o}u = Slice ({o}s, crop0, crop1, axis3) "
        "{o} = Pad ({o}u, pads)"
    ),
    "{o}p, {o}q = Split <axis = 1, num_outputs = 2> ({a}) {o} = Concat <axis = 1> ({o}q, {o}p)",
    "{o} = Softmax <axis = 1> ({a})",
)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(_STEPS), st.integers(0, 99), st.integers(0, 99)),
        min_size=1,
        max_size=12,
    ),
    batch=st.sampled_from(["1", "2", "N"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_graphs_compute_the_same_in_canonical_form(
    steps: list[tuple[str, int, int]], batch: str
) -> None:
    values, lines = ["x"], []
    for index, (step, left, right) in enumerate(steps):
        name = f"v{index}"
        # Mostly the last value, so that chains arise for the passes to match.
        first = values[-1] if left % 3 else values[left % len(values)]
        lines.append(step.format(o=name, a=first, b=values[right % len(values)]))
        values.append(name)
    shape = f"float[{batch},4,6,6]"
    outputs = f"{shape} y, {shape} {values[len(values) // 2]}" if len(values) > 4 else f"{shape} y"
    text = f"({shape} x) => ({outputs}) {{ {' '.join(lines)} y = Neg ({values[-1]}) }}"
    model = ir.from_proto(proto(text, shift1=random(4, seed=9), **_CONSTANTS))
    result = canonicalize(model)
    assert [value.name for value in result.model.graph.outputs] == [
        value.name for value in model.graph.outputs
    ]
    again = canonicalize(result.model).model
    assert ir.to_proto(again).SerializeToString(deterministic=True) == ir.to_proto(
        result.model
    ).SerializeToString(deterministic=True)
