"""What an import is asked for, and what it gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import Field

from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import DType
from edgekit.core.stage import Note
from edgekit.errors import UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

_SHAPE = re.compile(r"\d+(x\d+)*")


class InputRequest(FrozenModel):
    """Name, shape and dtype that an input of the imported graph shall have.

    Attributes:
        name: Name in the canonical graph.
        shape: Sizes with the batch first; empty for a scalar.
        dtype: NumPy name of the element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType = "float32"

    def __str__(self) -> str:
        """The form that `parse_input` reads."""
        return f"{self.name}:{'x'.join(map(str, self.shape))}:{self.dtype}"


def parse_input(text: str) -> InputRequest:
    """Reads ``NAME:1x3x224x224`` or ``NAME:1x16:int64``.

    Raises:
        UsageError: If the text has another form, a size of 0, or an unknown dtype.
    """
    form = "expected NAME:1x3x224x224 or NAME:1x16:int64"
    # Names that exporters give may hold colons; shape and dtype never do.
    head, _, last = text.rpartition(":")
    dtype: DType = "float32"
    if last in get_args(DType):
        dtype = last  # type: ignore[assignment]  # mypy does not narrow by get_args
        head, _, last = head.rpartition(":")
    elif not _SHAPE.fullmatch(last) and _SHAPE.fullmatch(head.rpartition(":")[2]):
        raise UsageError(
            f"Input {text!r} has the unknown dtype {last!r}; accepted: "
            f"{', '.join(get_args(DType))}"
        )
    if not head or not _SHAPE.fullmatch(last):
        raise UsageError(f"Input {text!r} cannot be read; {form}")
    shape = tuple(int(size) for size in last.split("x"))
    if 0 in shape:
        raise UsageError(f"Input {text!r} has a size of 0; every size must be at least 1")
    return InputRequest(name=head, shape=shape, dtype=dtype)


class ImportRequest(FrozenModel):
    """What to import and how.

    Attributes:
        source: ``file.onnx``, ``file.pt2``, ``file.py:factory``, ``package.module:factory``,
            ``timm:NAME``, ``timm:NAME@pretrained`` or ``torchvision:NAME``.
        weights: State dict for a torch module (.pth, .pt, .th or .safetensors).
        inputs: Names, shapes and dtypes; needed for torch modules whose source does not
            know them, and for ONNX files with symbolic dims besides the batch.
        dynamic_batch: Keep the batch dim symbolic; otherwise it is 1, or what ``inputs`` say.
        preprocessing: Stored with the model; overrides what the source knows.
        labels: Class names, stored with the model.
        name: Short name; derived from the source when None.
    """

    source: str = Field(description="Model: FILE.onnx, FILE.pt2, FILE.py:FACTORY, "
                        "PACKAGE.MODULE:FACTORY, timm:NAME or torchvision:NAME.")  # fmt: skip
    weights: Path | None = Field(None, description="State dict of a torch module.")
    inputs: tuple[InputRequest, ...] = Field((), description="Input names, shapes and dtypes.")
    dynamic_batch: bool = Field(False, description="Keep the batch dim symbolic.")
    preprocessing: AnyPreprocessing | None = Field(
        None, description="How an image or a recording becomes the input."
    )
    labels: tuple[str, ...] = Field((), description="Class names by index.")
    name: str | None = Field(None, description="Short name; derived from the source by default.")


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A canonical graph with its metadata written into it.

    Attributes:
        model: The graph; belongs to the caller.
        notes: Reasons for the report.
    """

    model: ir.Model
    notes: tuple[Note, ...]
