"""Matching of class names."""

from __future__ import annotations

import pytest

from edgekit.measure.class_names import match_classes

ABC = ("a", "b", "c")


@pytest.mark.parametrize("model", [(), ABC, (*ABC, "d"), ("A", "b", "C")])
def test_equal_order_needs_no_map(model: tuple[str, ...]) -> None:
    assert match_classes(ABC, model) == (None, ())


def test_spelling_of_separators_and_case_does_not_matter() -> None:
    mapped, warnings = match_classes(("polar_bear", "Red-Fox"), ("red fox", "x", "Polar  bear"))
    assert mapped is not None
    assert mapped.tolist() == [2, 0]
    assert warnings == ()


def test_a_subset_is_matched_to_its_places() -> None:
    mapped, _ = match_classes(("b", "d"), ("a", "b", "c", "d"))
    assert mapped is not None
    assert mapped.tolist() == [1, 3]


def test_unknown_names_are_told_and_matched_by_index() -> None:
    mapped, warnings = match_classes(("a", "x", "y"), ABC)
    assert mapped is None
    assert "2 of 3 classes" in warnings[0]
    assert "first: x, y" in warnings[0]


def test_names_that_are_not_unique_are_not_matched() -> None:
    # Both data classes would fall on the same model class.
    mapped, warnings = match_classes(("A", "a"), ("a", "b"))
    assert mapped is None
    assert warnings
