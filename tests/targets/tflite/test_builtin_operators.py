"""The lists of names agree with the schema that LiteRT ships."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.builtin_operators import (
    CUSTOM_CODE,
    OPERATOR_NAMES,
    TYPE_NAMES,
    operator_name,
)


def _names_by_code(enum: type) -> dict[int, str]:
    return {code: name for name, code in vars(enum).items() if not name.startswith("_")}


def test_operator_names_are_those_of_the_schema() -> None:
    # A newer LiteRT may append operators; what is listed must stay where it is.
    known = _names_by_code(schema.BuiltinOperator)
    assert [known[code] for code in range(len(OPERATOR_NAMES))] == list(OPERATOR_NAMES)
    assert OPERATOR_NAMES[CUSTOM_CODE] == "CUSTOM"


def test_type_names_are_those_of_the_schema() -> None:
    known = _names_by_code(schema.TensorType)
    assert [known[code].lower() for code in range(len(TYPE_NAMES))] == list(TYPE_NAMES)


def test_operators_newer_than_the_list_keep_their_code() -> None:
    assert operator_name(0) == "ADD"
    assert operator_name(len(OPERATOR_NAMES)) == f"BUILTIN_{len(OPERATOR_NAMES)}"
    assert operator_name(-1) == "BUILTIN_-1"
