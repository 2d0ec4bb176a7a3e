from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.errors import InternalError, UnsupportedError
from edgekit.graph import canonicalize as module
from edgekit.graph.canonicalize import FINISH, SIMPLIFY, canonicalize
from edgekit.graph.io import signature_of
from edgekit.graph.passes.convert_opset import CANONICAL_IR_VERSION, CANONICAL_OPSET
from edgekit.graph.passes.graph_pass import GraphPass
from tests.unit.graph.onnx_text import graph, ops, proto, random

_TEXT = (
    "(float[batch,3,8,8] image) => (float[batch,5,8,8] output) { c = Conv (image, w) "
    "s = Mul (c, k) i = Identity (s) output = Relu (i) }"
)


def _model() -> ir.Model:
    return graph(_TEXT, w=random(5, 3, 1, 1), k=random(5, 1, 1))


def test_the_canonical_form_is_valid_named_and_says_how_close_it_is() -> None:
    result = canonicalize(_model())
    assert ops(result.model) == {"Conv": 1, "Relu": 1}
    assert str(signature_of(result.model).inputs[0]) == "image: float32[batch, 3, 8, 8]"
    assert str(signature_of(result.model).outputs[0]) == "output: float32[batch, 5, 8, 8]"
    assert result.model.opset_imports == {"": CANONICAL_OPSET}
    assert result.model.ir_version == CANONICAL_IR_VERSION
    assert "largest difference" in result.notes[-1].text
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)


def test_the_given_graph_is_not_modified() -> None:
    model = _model()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    canonicalize(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_canonical_graph_stays_as_it_is() -> None:
    once = canonicalize(_model()).model
    twice = canonicalize(once).model
    assert ir.to_proto(once).SerializeToString(deterministic=True) == ir.to_proto(
        twice
    ).SerializeToString(deterministic=True)


class _Breaks(GraphPass):
    """Replaces Relu by Abs."""

    def rewrite(self, model: ir.Model) -> bool:
        """Changes what the graph computes."""
        for node in model.graph:
            if node.op_type == "Relu":
                node.op_type = "Abs"
        return True


class _Destroys(GraphPass):
    """Leaves an op that no runtime knows."""

    def rewrite(self, model: ir.Model) -> bool:
        """Changes the op of the first node."""
        next(iter(model.graph)).op_type = "Frobnicate"
        return True


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_Breaks, r"Pass _Breaks changed output 'output' by .* of its range \(accepted: 1e-04\)"),
        (_Destroys, r"Pass _Destroys left a graph that does not run: .*Frobnicate"),
    ],
)
def test_a_pass_that_breaks_the_graph_is_named(
    broken: type[GraphPass], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISH", (*FINISH, broken))
    with pytest.raises(InternalError, match=message):
        canonicalize(_model())


class _NeverSettles(GraphPass):
    """Says that it changed the graph whenever it runs."""

    def rewrite(self, model: ir.Model) -> bool:
        """Changes nothing."""
        return True


def test_passes_that_do_not_settle_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIMPLIFY", (*SIMPLIFY, _NeverSettles))
    notes = canonicalize(_model(), verify=False).notes
    assert "still changed the graph after 10 rounds" in notes[-1].text


def test_without_verification_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISH", (*FINISH, _Breaks))
    result = canonicalize(_model(), verify=False)
    assert ops(result.model) == {"Conv": 1, "Abs": 1}
    assert not result.notes


def test_reasons_of_passes_are_kept_once() -> None:
    model = graph(
        "(float[1,3,4,4] x, float low) => (float[1,3,4,4] y) { y = Clip (x, low) }",
    )
    texts = [note.text for note in canonicalize(model).notes]
    assert texts.count("Clip has bounds that are not constant") == 1


def test_a_graph_that_onnx_runtime_cannot_run_is_unsupported() -> None:
    model = ir.from_proto(
        proto("(float[2,2] x, int64[2] s) => (float[a,b] y) { y = Reshape (x, s) }")
    )
    with pytest.raises(UnsupportedError, match=r"ONNX Runtime .* cannot run the graph"):
        canonicalize(model)


def test_a_symbolic_batch_that_does_not_work_says_with_which_it_was_run() -> None:
    model = graph(
        "(float[N,3] x) => (float[N,3] y) { z = Reshape (x, s) y = Abs (z) }", s=np.array([1, 3])
    )
    with pytest.raises(UnsupportedError, match="was run with batch 2, since its batch is symbol"):
        canonicalize(model)


def test_shapes_that_depend_on_data_are_noted() -> None:
    model = ir.from_proto(proto("(float[4] x) => (int64[1,n] y) { z = NonZero (x) y = Neg (z) }"))
    result = canonicalize(model)
    (note,) = [note for note in result.notes if note.level == "warning"]
    assert note.text == "The shape of 'z' and 1 more is known only when the model runs"


def test_functions_are_inlined() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 20, "local": 1]> '
            "main (float[2] x) => (float[2] y) { y = local.Twice (x) } "
            '<domain: "local", opset_import: ["": 20]> Twice (a) => (b) { b = Add (a, a) }'
        )
    )
    result = canonicalize(model).model
    assert ops(result) == {"Add": 1}
    assert not result.functions
    assert result.opset_imports == {"": CANONICAL_OPSET}
