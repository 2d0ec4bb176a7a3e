"""Counterparts of tensors by name and by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.observation import ObservedTensor, Steps
from edgekit.measure.tensor_matching import Matching, match_tensors

type Array = npt.NDArray[Any]

_RANDOM = np.random.default_rng(0)


def tensor(name: str, canonical: str = "", **more: Any) -> ObservedTensor:
    fields = {"stored": name, "operators": ("Conv",), **more}
    return ObservedTensor(name=name, canonical=canonical or name, **fields)


def noise(*shape: int) -> Array:
    return _RANDOM.standard_normal(shape).astype(np.float32)


def matched(
    reference: list[tuple[ObservedTensor, Array]],
    artifact: list[tuple[ObservedTensor, Array]],
    hidden: dict[str, str] | None = None,
) -> Matching:
    def side(items: list[tuple[ObservedTensor, Array]]) -> Any:
        return [item for item, _ in items], {item.name: array for item, array in items}

    return match_tensors(side(reference), side(artifact), hidden or {})


def pairs(found: Matching) -> dict[str, str]:
    return {match.tensor.name: match.reference.name for match in found.matches}


def reasons(found: Matching) -> dict[str, str]:
    return {item.tensor: item.reason for item in found.unmatched}


def test_by_canonical_name_through_a_pair() -> None:
    array = noise(1, 4)
    steps = Steps(0.1, 0, "int8")
    found = matched(
        [(tensor("conv"), array), (tensor("relu"), array)],
        [(tensor("conv/int8", "conv", steps=steps), array)],
    )
    assert pairs(found) == {"conv/int8": "conv"}
    assert reasons(found) == {
        "relu": "the artifact has no tensor of that name: it is fused into the operators of "
        "another"
    }


def test_of_two_forms_the_one_that_is_quantized_alike() -> None:
    array = noise(2)
    steps = Steps(0.1, 0, "int8")
    reference = [(tensor("x"), array), (tensor("x/int8", "x", steps=steps), array)]
    assert pairs(matched(reference, [(tensor("x"), array)])) == {"x": "x"}
    quantized = tensor("y", "x", steps=steps)
    assert pairs(matched(reference, [(quantized, array)])) == {"y": "x/int8"}


def test_by_another_name_that_the_reference_knows() -> None:
    array = noise(2)
    reference = [(tensor("q", "conv", aliases=("conv_QuantizeLinear_Output",)), array)]
    artifact = [(tensor("conv_QuantizeLinear_Output"), array)]
    assert pairs(matched(reference, artifact)) == {"conv_QuantizeLinear_Output": "q"}


def test_by_the_letters_that_core_ml_leaves() -> None:
    array = noise(2)
    found = matched(
        [(tensor("/features.0/Conv:0"), array), (tensor("7"), array)],
        [(tensor("_features_0_Conv_0"), array), (tensor("v_7"), array)],
    )
    assert pairs(found) == {"_features_0_Conv_0": "/features.0/Conv:0", "v_7": "7"}


def test_letters_that_several_values_have() -> None:
    array = noise(2)
    found = matched([(tensor("a.b"), array), (tensor("a/b"), array)], [(tensor("a_b"), array)])
    assert pairs(found) == {}
    assert reasons(found)["a_b"] == "several values of the reference may be it: a.b, a/b"


def test_another_shape_is_no_counterpart() -> None:
    found = matched([(tensor("x"), noise(1, 4))], [(tensor("x"), noise(1, 5))])
    assert pairs(found) == {}
    assert reasons(found)["x"] == "its shape is [1, 5], but [1, 4] in the reference"


def test_axes_of_one_do_not_matter() -> None:
    wanted = noise(1, 4, 1)
    found = matched([(tensor("x"), wanted)], [(tensor("x"), wanted.reshape(1, 4))])
    (match,) = found.matches
    np.testing.assert_array_equal(match.to_artifact(wanted, (1, 4)), wanted.reshape(1, 4))
    np.testing.assert_array_equal(match.to_reference(wanted[..., 0], wanted.shape), wanted)


def test_axes_in_another_order_under_one_name() -> None:
    for shape in ((1, 4, 5, 3), (1, 4, 4, 3)):
        wanted = noise(*shape)
        moved = wanted.transpose(0, 2, 1, 3)
        (match,) = matched([(tensor("x"), wanted)], [(tensor("x"), moved)]).matches
        np.testing.assert_array_equal(match.to_artifact(wanted, moved.shape), moved)
        np.testing.assert_array_equal(match.to_reference(moved, wanted.shape), wanted)


def test_a_spoilt_tensor_keeps_its_axes() -> None:
    wanted = noise(1, 4, 4)
    (match,) = matched([(tensor("x"), wanted)], [(tensor("x"), noise(1, 4, 4))]).matches
    assert match.axes is None


def test_a_name_that_is_nowhere() -> None:
    found = matched([(tensor("x"), noise(2))], [(tensor("y"), noise(2))], {"x": "it is int64"})
    assert reasons(found) == {"y": "the reference has no value 'y'", "x": "it is int64"}


def test_by_values_in_another_order_of_axes() -> None:
    a, b = noise(1, 3, 4, 5), noise(1, 3, 4, 5)
    found = matched(
        [(tensor("a"), a), (tensor("b"), b)],
        [
            (tensor("t#1", named=False), b.transpose(0, 2, 3, 1) * np.float32(1.01)),
            (tensor("t#2", named=False), noise(1, 4, 5, 3)),
        ],
    )
    (match,) = found.matches
    assert (match.reference.name, match.by_values) == ("b", True)
    np.testing.assert_array_equal(match.to_artifact(b, (1, 4, 5, 3)), b.transpose(0, 2, 3, 1))
    stored = b.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(match.to_reference(stored, b.shape), b)
    assert reasons(found)["t#2"] == (
        "the artifact does not say which value it holds, and no value looks like it"
    )


def test_values_that_look_like_several() -> None:
    a = noise(1, 20)
    near = a + noise(1, 20) * np.float32(0.02)
    found = matched(
        [(tensor("a"), a), (tensor("near"), near)],
        [(tensor("t", named=False), a + (near - a) * np.float32(0.45))],
    )
    assert pairs(found) == {}
    assert "several look like it: a, near" in reasons(found)["t"]


def test_equal_values_go_by_order() -> None:
    a = noise(1, 20)
    found = matched(
        [(tensor("x"), a), (tensor("reshaped"), a.reshape(20))],
        [(tensor("t1", named=False), a), (tensor("t2", named=False), a.reshape(20))],
    )
    assert pairs(found) == {"t1": "x", "t2": "reshaped"}


def test_few_elements_must_be_equal() -> None:
    found = matched(
        [(tensor("x"), np.array([1.0], np.float32))],
        [(tensor("t", named=False), np.array([1.05], np.float32))],
    )
    assert pairs(found) == {}
