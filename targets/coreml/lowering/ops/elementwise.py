"""Functions of one operand, element by element."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, required_input, text_attribute
from edgekit.targets.coreml.lowering.emitter import Emitter, dtype_name, kind_of
from edgekit.targets.coreml.lowering.registry import Var, lowers

_SAME_NAME = {
    "Acos": "acos", "Asin": "asin", "Atan": "atan", "Atanh": "atanh", "Ceil": "ceil",
    "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor",
    "Round": "round", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
_OF_INTEGERS_ITSELF = {"Ceil", "Floor", "Round"}
_INFINITY = np.float32(np.inf)


@lowers(*_SAME_NAME, accepts="floats")
def lower_function(e: Emitter, node: ir.Node) -> Var:
    """A function that MIL has by the same name."""
    x = e.input(node, 0)
    if kind_of(x) == "int" and node.op_type in _OF_INTEGERS_ITSELF:
        return x
    if node.op_type == "Round":
        return _round_half_even(e, x)
    return e(_SAME_NAME[node.op_type], x=x)


def _round_half_even(e: Emitter, x: Var) -> Var:
    """MIL's round, which ties to even as ONNX demands (coremltools evaluates it by np.round)."""
    return e("round", x=x)


@lowers("Abs", "Sign", accepts="floats and signed integers")
def lower_sign(e: Emitter, node: ir.Node) -> Var:
    """Magnitude or sign."""
    x = e.input(node, 0)
    result = e("abs" if node.op_type == "Abs" else "sign", x=x)
    return e.wrapped(result, node.outputs[0])


@lowers("Neg", accepts="floats and signed integers")
def lower_neg(e: Emitter, node: ir.Node) -> Var:
    """``-x``; the lowest integer stays itself."""
    x = e.input(node, 0)
    one = np.int32(-1) if kind_of(x) == "int" else np.float32(-1)
    return e.wrapped(e("mul", x=x, y=one), node.outputs[0])


@lowers("Log", accepts="floats")
def lower_log(e: Emitter, node: ir.Node) -> Var:
    """Natural logarithm; MIL adds an epsilon by default, ONNX none."""
    return e("log", x=e.input(node, 0), epsilon=np.float32(0))


@lowers("Reciprocal", accepts="floats")
def lower_reciprocal(e: Emitter, node: ir.Node) -> Var:
    """``1 / x``: MIL's inverse adds an epsilon to x, so a division it is."""
    return e("real_div", x=np.float32(1), y=e.input(node, 0))


@lowers("Asinh", accepts="floats")
def lower_asinh(e: Emitter, node: ir.Node) -> Var:
    """``sign(x) * log(|x| + sqrt(x^2 + 1))``: exact for large x of either sign."""
    x = e.input(node, 0)
    magnitude = e("abs", x=x)
    root = e("sqrt", x=e("add", x=e("mul", x=x, y=x), y=np.float32(1)))
    log = e("log", x=e("add", x=magnitude, y=root), epsilon=np.float32(0))
    return e("mul", x=e("sign", x=x), y=log)


@lowers("Acosh", accepts="floats")
def lower_acosh(e: Emitter, node: ir.Node) -> Var:
    """``log(x + sqrt(x^2 - 1))``."""
    x = e.input(node, 0)
    root = e("sqrt", x=e("sub", x=e("mul", x=x, y=x), y=np.float32(1)))
    return e("log", x=e("add", x=x, y=root), epsilon=np.float32(0))


@lowers("IsNaN", accepts="floats")
def lower_is_nan(e: Emitter, node: ir.Node) -> Var:
    """A NaN is the only number that is not equal to itself."""
    x = e.input(node, 0)
    return e("not_equal", x=x, y=x)


@lowers("IsInf", accepts="floats")
def lower_is_inf(e: Emitter, node: ir.Node) -> Var:
    """Compares with the infinities that are asked for."""
    x = e.input(node, 0)
    found = []
    if int_attribute(node, "detect_positive", 1):
        found.append(e("equal", x=x, y=_INFINITY))
    if int_attribute(node, "detect_negative", 1):
        found.append(e("equal", x=x, y=-_INFINITY))
    if not found:
        return e("not_equal", x=e("mul", x=x, y=np.float32(0)), y=e("mul", x=x, y=np.float32(0)))
    return found[0] if len(found) == 1 else e("logical_or", x=found[0], y=found[1])


@lowers("Not", accepts="booleans")
def lower_not(e: Emitter, node: ir.Node) -> Var:
    """Logical negation."""
    return e("logical_not", x=e.input(node, 0))


@lowers("Identity", accepts="tensors")
def lower_identity(e: Emitter, node: ir.Node) -> Var:
    """The same variable."""
    return e.raw(required_input(node, 0))


_CAST_KINDS = {"float": "fp32", "int": "int32", "bool": "bool"}
_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


@lowers("Cast", accepts="floats, integers of up to 32 bits and booleans")
def lower_cast(e: Emitter, node: ir.Node) -> Var:
    """Conversion of the element type; float types are one in the program."""
    return convert(e, e.input(node, 0), required_input(node, 0), node.outputs[0])


@lowers("CastLike", accepts="as Cast")
def lower_cast_like(e: Emitter, node: ir.Node) -> Var:
    """A cast whose type the second input names."""
    return convert(e, e.input(node, 0), required_input(node, 0), required_input(node, 1))


def convert(e: Emitter, x: Var, source: ir.Value, like: ir.Value) -> Var:
    """Brings ``x`` to the element type of ``like``."""
    made, wanted = dtype_name(source), dtype_name(like)
    target = _mil_kind(wanted)
    if target == "float":
        _mind_narrower_float(e, made, wanted)
        return x if kind_of(x) == "float" else e("cast", x=x, dtype="fp32")
    if target == "bool":
        if kind_of(x) == "bool":
            return x
        zero = np.int32(0) if kind_of(x) == "int" else np.float32(0)
        return e("not_equal", x=x, y=zero)
    if kind_of(x) == "bool":
        return e("cast", x=x, dtype="int32")
    if kind_of(x) == "float":
        # ONNX leaves fractions to the language; all runtimes cut them off, as MIL's cast does.
        x = e("cast", x=x, dtype="int32")
    if wanted in _RANGES and made != wanted:
        return e.wrapped(x, like)
    if wanted in {"uint32", "uint64"} and not made.startswith("u") and made != "bool":
        raise Refusal(f"a cast from {made} to {wanted}, which Core ML does not have")
    return x


def _mil_kind(name: str) -> str:
    if name in {"float32", "float64", "float16", "bfloat16"}:
        return "float"
    if name == "bool":
        return "bool"
    if name in {"int8", "uint8", "int16", "uint16", "int32", "int64", "uint32", "uint64"}:
        return "int"
    raise Refusal(f"element type {name or 'unknown'}, which MIL does not have")


def _mind_narrower_float(e: Emitter, made: str, wanted: str) -> None:
    """The program has one float type, wider than or equal to what the graph says."""
    if wanted == "bfloat16" and made not in {"bfloat16", "bool"}:
        raise Refusal(
            "a cast to bfloat16, which Core ML does not have",
            "casts to float32; choose the precision of the whole artifact instead",
        )
    if wanted == "float16" and made in {"float32", "float64"}:
        e.note("casts to float16 within the graph do not round: the program has one float type")


@lowers("Gelu", accepts="both forms")
def lower_gelu(e: Emitter, node: ir.Node) -> Var:
    """Exact (erf) or by tanh."""
    form = text_attribute(node, "approximate", "none")
    mode = "TANH_APPROXIMATION" if form == "tanh" else "EXACT"
    return e("gelu", x=e.input(node, 0), mode=mode)


@lowers("Softsign", "Relu", "Sigmoid", accepts="floats")
def lower_plain_activation(e: Emitter, node: ir.Node) -> Var:
    """An activation without parameters."""
    x = e.input(node, 0)
    if kind_of(x) == "int":
        return e("maximum", x=x, y=np.int32(0))
    return e(node.op_type.lower(), x=x)


@lowers("Softplus", accepts="floats")
def lower_softplus(e: Emitter, node: ir.Node) -> Var:
    """``log(1 + exp(x))``."""
    return e("softplus", x=e.input(node, 0))


@lowers("Mish", accepts="floats")
def lower_mish(e: Emitter, node: ir.Node) -> Var:
    """``x * tanh(softplus(x))``."""
    x = e.input(node, 0)
    return e("mul", x=x, y=e("tanh", x=e("softplus", x=x)))


@lowers("Swish", accepts="floats")
def lower_swish(e: Emitter, node: ir.Node) -> Var:
    """``x * sigmoid(alpha * x)``."""
    attribute = node.attributes.get("alpha")
    alpha = 1.0 if attribute is None else attribute.as_float()
    x = e.input(node, 0)
    if alpha == 1.0:
        return e("silu", x=x)
    return e("mul", x=x, y=e("sigmoid", x=e("mul", x=x, y=np.float32(alpha))))
