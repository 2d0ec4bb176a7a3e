"""Figures as text, the same in every form of the report."""

from __future__ import annotations

from edgekit.core.metrics import OutputDifference, Proportion

_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_COUNT_UNITS = ("", " k", " M", " G", " T")


def format_bytes(size_bytes: int) -> str:
    """Three significant digits with a binary unit: ``305 KiB``."""
    value = float(size_bytes)
    for unit in _BINARY_UNITS:
        if round(value) < 1024 or unit == _BINARY_UNITS[-1]:
            return f"{size_bytes} B" if unit == "B" else f"{_three_digits(value)} {unit}"
        value /= 1024
    raise AssertionError("unreachable: the last unit takes every size")


def format_count(count: int) -> str:
    """Three significant digits with a decimal unit: ``12.3 M``."""
    value = float(count)
    for unit in _COUNT_UNITS:
        if round(value) < 1000 or unit == _COUNT_UNITS[-1]:
            return str(count) if not unit else f"{_three_digits(value)}{unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit takes every count")


def format_ms(milliseconds: float) -> str:
    """Three significant digits with the unit: ``0.0421 ms``."""
    return f"{_three_digits(milliseconds)} ms"


def format_seconds(seconds: float) -> str:
    """Tenths of a second, or hundredths below one: ``12.3 s``."""
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def format_share(share: float) -> str:
    """A share of 0..1 in percent: ``98.61 %``."""
    return f"{100 * share:.2f} %"


def format_interval(proportion: Proportion) -> str:
    """The interval of a proportion in percent: ``96.8-99.4``, with an en dash."""
    return f"{100 * proportion.low:.1f}–{100 * proportion.high:.1f}"


def format_agreement(agreement: Proportion) -> str:
    """How many predictions are the same: ``all predictions`` or ``359 of 360 predictions``."""
    if agreement.hits == agreement.n:
        return "all predictions"
    return f"{agreement.hits} of {agreement.n} predictions"


def format_points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign: ``-0.28``."""
    points = 100 * difference
    return "±0" if round(points, 2) == 0 else f"{points:+.2f}".replace("-", "−")


def format_difference(value: float) -> str:
    """An absolute or relative difference: ``3.1e-07``."""
    return "0" if value == 0 else f"{value:.1e}"


def worst_relative(differences: tuple[OutputDifference, ...]) -> float:
    """The largest relative difference of all outputs."""
    return max((item.relative for item in differences), default=0.0)


def _three_digits(value: float) -> str:
    """``value`` with three significant digits and no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    for decimals, bound in ((1, 9.995), (2, 0.9995), (3, 0.09995), (4, 0.009995)):
        if abs(value) >= bound:
            return f"{value:.{decimals}f}"
    return f"{value:.3g}"
