from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekit.core.signature import DType
from edgekit.errors import UsageError
from edgekit.graph.importers import ImportRequest, InputRequest, parse_input


@pytest.mark.parametrize(
    ("text", "name", "shape", "dtype"),
    [
        ("image:1x3x224x224", "image", (1, 3, 224, 224), "float32"),
        ("ids:1x16:int64", "ids", (1, 16), "int64"),
        ("x:7", "x", (7,), "float32"),
        ("serving_default:0:1x2:uint8", "serving_default:0", (1, 2), "uint8"),
        ("input:0:1x2", "input:0", (1, 2), "float32"),
    ],
)
def test_inputs_are_read(text: str, name: str, shape: tuple[int, ...], dtype: DType) -> None:
    assert parse_input(text) == InputRequest(name=name, shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image", "cannot be read; expected NAME:1x3x224x224"),
        ("1x3x224x224", "cannot be read"),
        (":1x3", "cannot be read"),
        ("image:1x3x-1", "cannot be read"),
        ("image:1,3,4", "cannot be read"),
        ("image:", "cannot be read"),
        ("image:1x0x4", "size of 0"),
        ("image:1x3:float", "unknown dtype 'float'; accepted: float32, float16"),
        ("image:1x3:Int64", "unknown dtype 'Int64'"),
    ],
)
def test_mistakes_say_what_is_expected(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_input(text)


@given(
    name=st.text(min_size=1).filter(lambda text: text.strip() == text and text != ""),
    shape=st.lists(st.integers(1, 10_000), min_size=1, max_size=6),
    dtype=st.sampled_from(get_args(DType)),
)
def test_what_is_printed_is_read_again(name: str, shape: list[int], dtype: DType) -> None:
    request = InputRequest(name=name, shape=tuple(shape), dtype=dtype)
    assert parse_input(str(request)) == request


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        request = parse_input(text)
    except UsageError:
        return
    assert request.name
    assert all(size > 0 for size in request.shape)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="weight"):
        ImportRequest(source="a.onnx", weight="b")  # type: ignore[call-arg]


def test_declaring_options_loads_no_framework() -> None:
    code = (
        "import sys; import edgekit.graph.importers, edgekit.stages.import_model; "
        "print([n for n in ('torch', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
