"""Figures as text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.metrics import OutputDifference, Proportion
from edgekit.report import figures


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (318_432, "311 KiB"),
        (1024 * 1024 - 1, "1.00 MiB"),
        (7_340_032, "7.00 MiB"),
        (3 * 1024**5, "3072 TiB"),
    ],
)
def test_bytes(size_bytes: int, text: str) -> None:
    assert figures.format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (999_999, "1.00 M"),
        (2_654_208, "2.65 M"),
        (10**13, "10.0 T"),
    ],
)
def test_counts(count: int, text: str) -> None:
    assert figures.format_count(count) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0.0, "0 ms"),
        (0.00123456, "0.00123 ms"),
        (0.0421, "0.0421 ms"),
        (0.4211, "0.421 ms"),
        (0.99996, "1.00 ms"),
        (9.999, "10.0 ms"),
        (12.345, "12.3 ms"),
        (99.96, "100 ms"),
        (1234.5, "1234 ms"),
    ],
)
def test_milliseconds_have_three_digits(milliseconds: float, text: str) -> None:
    assert figures.format_ms(milliseconds) == text


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_milliseconds_are_right_to_three_digits(milliseconds: float) -> None:
    text = figures.format_ms(milliseconds).removesuffix(" ms")
    assert float(text) == pytest.approx(milliseconds, rel=0.0051)


def test_shares_and_points() -> None:
    assert figures.format_share(355 / 360) == "98.61 %"
    assert figures.format_interval(Proportion.of(355, 360)) == "96.8–99.4"
    assert figures.format_points(-1 / 360) == "−0.28"
    assert figures.format_points(1 / 360) == "+0.28"
    assert figures.format_points(-1e-9) == "±0"


def test_durations_and_differences() -> None:
    assert figures.format_seconds(0.214) == "0.21 s"
    assert figures.format_seconds(41.27) == "41.3 s"
    assert figures.format_difference(0.0) == "0"
    assert figures.format_difference(3.14e-7) == "3.1e-07"


def test_worst_relative_is_over_all_outputs() -> None:
    outputs = tuple(
        OutputDifference(output=f"o{i}", max_abs=1.0, reference_range=1.0, relative=value)
        for i, value in enumerate((1e-7, 3e-6, 2e-6))
    )
    assert figures.worst_relative(outputs) == 3e-6
    assert figures.worst_relative(()) == 0.0


@given(st.integers(min_value=0, max_value=10**15))
def test_a_size_is_never_long(size_bytes: int) -> None:
    assert re.fullmatch(r"[\d.]{1,4} ([KMGT]i)?B", figures.format_bytes(size_bytes))
