"""Tables as data: Markdown, HTML and the terminal render the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.core.metrics import Unavailable

Tone = Literal["plain", "strong", "muted", "good", "warn", "missing"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: The figure or word.
        detail: A smaller second line with its conditions; may be empty.
        tone: How it is shown; ``"missing"`` marks a figure that was not measured.
        span: Number of columns that it fills.
    """

    text: str
    detail: str = ""
    tone: Tone = "plain"
    span: int = 1

    @property
    def one_line(self) -> str:
        """Text and detail on one line."""
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: What stands above it.
        figures: True when its cells are figures, which are aligned to the right.
    """

    title: str
    figures: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption.

    Attributes:
        columns: What its cells mean.
        rows: Cells that fill all columns.
        caption: The conditions that hold for all of it; may be empty.
        title: Heading, where a section has several tables.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        """Refuses rows of another length than the header."""
        for row in self.rows:
            filled = sum(cell.span for cell in row)
            if filled != len(self.columns):
                name = row[0].text if row else ""
                raise ValueError(
                    f"row {name!r} fills {filled} columns, the table has {len(self.columns)}"
                )


def not_measured(answer: Unavailable, span: int = 1) -> Cell:
    """The cell that stands for figures which do not exist, with the reason."""
    return Cell("not measured", detail=answer.reason, tone="missing", span=span)


def texts(*values: str) -> tuple[Cell, ...]:
    """Plain cells."""
    return tuple(Cell(value) for value in values)


def facts(rows: Sequence[tuple[str, str]], title: str = "") -> Table:
    """A table of names and values."""
    columns = (Column("Fact"), Column("Value"))
    return Table(columns, tuple(texts(*row) for row in rows), title=title)
