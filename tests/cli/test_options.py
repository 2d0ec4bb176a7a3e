"""Options that come from models, and values that are read from text."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from edgekit.cli.options import checked, help_of, parse_precisions
from edgekit.cli.preprocessing_flags import parse_number, parse_numbers, parse_size
from edgekit.core.target import BenchConfig
from edgekit.errors import ConfigError, InternalError, UsageError


class Example(BaseModel):
    described: int = Field(1, ge=1, description="A number.")
    bare: int = 2


def test_help_is_the_description_of_the_field() -> None:
    assert help_of(Example, "described") == "A number."
    assert help_of(BenchConfig, "runs") == "Measured runs."


def test_an_option_without_help_is_a_defect() -> None:
    with pytest.raises(InternalError, match=r"Example\.bare has no description"):
        help_of(Example, "bare")
    with pytest.raises(InternalError, match="no field 'other'"):
        help_of(Example, "other")


def test_values_out_of_range_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*described.*bare"):
        checked(Example, described=0, bare="x")


def test_precisions_keep_one_order_and_no_doubles() -> None:
    assert parse_precisions(["float16", "float32", "float16"]) == ("float32", "float16")
    with pytest.raises(UsageError, match="Did you mean 'float16'"):
        parse_precisions(["flaot16"])


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("240x320", (240, 320))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "0", "3x", "3x4x5", "-3", "3.5", "²"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="HEIGHTxWIDTH"):
        parse_size(text)


@settings(max_examples=50)
@given(st.floats(-1e6, 1e6), st.floats(0.1, 1e6))
def test_numbers_and_fractions(value: float, divisor: float) -> None:
    assert parse_number(repr(value)) == value
    assert parse_number(f"{value!r}/{divisor!r}") == value / divisor
    assert parse_numbers(f"{value!r}, {divisor!r}") == (value, divisor)


@settings(max_examples=50)
@given(st.text(max_size=8))
def test_any_text_is_a_finite_number_or_a_usage_error(text: str) -> None:
    value = 0.0
    with suppress(UsageError):
        value = parse_number(text)
    assert math.isfinite(value)


@pytest.mark.parametrize("text", ["", "nan", "1/nan", "inf", "1/0", "1e999", "half", "1/2/3"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no number; write 0\.5 or a fraction"):
        parse_number(text)
