from __future__ import annotations

import onnx_ir as ir
import pytest

from edgekit.errors import UsageError
from edgekit.graph.importers import parse_input
from edgekit.graph.importers.input_shapes import fix_inputs
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.signature import dims_of
from tests.unit.graph.onnx_text import proto

_IMAGE = "(float[N,3,height,width] x) => (float[N,3,height,width] y) { a = Abs (x) y = Neg (a) }"


def _fixed(text: str, *inputs: str, dynamic_batch: bool = False) -> ir.Model:
    model = ir.from_proto(proto(text))
    fix_inputs(model, [parse_input(item) for item in inputs], dynamic_batch=dynamic_batch)
    InferShapes()(model)
    return model


def _shapes(model: ir.Model) -> list[tuple[int | str, ...] | None]:
    return [dims_of(value) for value in (*model.graph.inputs, *model.graph.outputs)]


def test_given_shapes_replace_symbols_everywhere() -> None:
    model = _fixed(_IMAGE, "x:2x3x8x9")
    assert _shapes(model) == [(2, 3, 8, 9), (2, 3, 8, 9)]
    assert [dims_of(node.outputs[0]) for node in model.graph] == [(2, 3, 8, 9)] * 2


def test_a_dynamic_batch_is_called_batch() -> None:
    model = _fixed(_IMAGE, "x:1x3x8x9", dynamic_batch=True)
    assert _shapes(model) == [("batch", 3, 8, 9), ("batch", 3, 8, 9)]


def test_a_symbolic_batch_is_one_by_default() -> None:
    assert _shapes(_fixed("(float[N,3] x) => (float[N,3] y) { y = Abs (x) }")) == [(1, 3), (1, 3)]


def test_a_symbol_that_one_input_fixes_is_fixed_in_others() -> None:
    model = _fixed(
        "(float[N,length] x, float[N,length] z) => (float[N,length] y) { y = Add (x, z) }",
        "x:1x7",
    )
    assert _shapes(model) == [(1, 7), (1, 7), (1, 7)]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), r"x: \[1, 3, height, width\]. Fix the shapes, .*--input x:1x3x224x224"),
        (("z:1x3x8x8",), "no input 'z'; its inputs are 'x'"),
        (("x:1x3x8",), r"x:1x3x8:float32 has another rank than the model's x: \[N, 3, h"),
        (("x:1x4x8x8",), "contradicts .*: 3 is fixed in the file"),
        (("x:1x3x8x8:uint8",), "contradicts the model's dtype float32"),
    ],
)
def test_contradictions_say_what_the_model_has(inputs: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _fixed(_IMAGE, *inputs)


def test_only_the_batch_may_stay_symbolic() -> None:
    with pytest.raises(UsageError, match="Only the batch of an input may be symbolic"):
        _fixed(_IMAGE, dynamic_batch=True)


def test_a_batch_that_the_file_fixes_is_noted() -> None:
    model = ir.from_proto(proto("(float[4,3] x) => (float[4,3] y) { y = Abs (x) }"))
    (note,) = fix_inputs(model, [], dynamic_batch=True)
    assert note.level == "warning"
    assert "file fixes the batch" in note.text
    assert _shapes(model) == [(4, 3), (4, 3)]


def test_an_input_of_unknown_rank_needs_a_shape() -> None:
    text = "(float[N,3] x) => (float[N,3] y) { y = Abs (x) }"
    model = ir.from_proto(proto(text))
    model.graph.inputs[0].shape = None
    with pytest.raises(UsageError, match="rank of input 'x' is unknown"):
        fix_inputs(model, [], dynamic_batch=False)
    fix_inputs(model, [parse_input("x:5x3")], dynamic_batch=False)
    assert dims_of(model.graph.inputs[0]) == (5, 3)
