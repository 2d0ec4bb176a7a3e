"""ONNX's own node tests, for every operator that the twin has.

Each test runs twice: with all inputs computed, as ONNX ships it, and with every input but
the first as a constant, which is how models hold weights, axes and shapes.
"""

from __future__ import annotations

import collections
import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from edgekit.errors import UnsupportedGraphError
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin
from edgekit.graph.torch_twin.builder import OLDEST_OPSET
from edgekit.graph.torch_twin.registry import TWIN_OPS
from edgekit.graph.values import Array

_FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "node"
_RTOL, _ATOL = 1e-3, 1e-7
"""Tolerances of ONNX's own backend test runner."""
_RUNTIME_DIFFERS = {
    "test_l2normalization_axis_0": "0 / 0 is 0 for the runtime and NaN for ONNX",
    "test_resize_downsample_scales_cubic_align_corners": "size * scale is rounded down first",
    "test_resize_downsample_scales_linear_align_corners": "size * scale is rounded down first",
}
"""Tests that ONNX Runtime does not pass either; the twin has to agree with the runtime."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    proto: onnx.ModelProto
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


@functools.cache
def _cases() -> tuple[Case, ...]:
    found = []
    for folder in sorted(_FOLDER.iterdir()):
        proto = onnx.load(folder / "model.onnx")
        graph = proto.graph
        if proto.functions or any(
            node.domain or node.op_type not in TWIN_OPS for node in graph.node
        ):
            continue
        if not all(value.type.HasField("tensor_type") for value in (*graph.input, *graph.output)):
            continue
        _raise_opset(proto)
        data = folder / "test_data_set_0"
        inputs = tuple(_tensor(data / f"input_{index}.pb") for index in range(len(graph.input)))
        outputs = tuple(_tensor(data / f"output_{index}.pb") for index in range(len(graph.output)))
        found.append(Case(folder.name, proto, inputs, outputs))
    return tuple(found)


def _raise_opset(proto: onnx.ModelProto) -> None:
    """Declares the canonical opset where all operators mean the same in it.

    The tests declare the version that introduced what they test.
    """
    entry = next(item for item in proto.opset_import if item.domain == "")
    if entry.version >= OLDEST_OPSET:
        return
    if all(
        onnx.defs.get_schema(node.op_type, entry.version).since_version
        == onnx.defs.get_schema(node.op_type, OLDEST_OPSET).since_version
        for node in proto.graph.node
    ):
        entry.version = OLDEST_OPSET


def _tensor(path: Path) -> Array:
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def _with_constants(case: Case) -> onnx.ModelProto:
    """The model with every input but the first as an initializer."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.proto)
    graph = proto.graph
    for value, array in zip(list(graph.input)[1:], case.inputs[1:], strict=True):
        graph.initializer.append(numpy_helper.from_array(array, value.name))
        graph.input.remove(value)
    return proto


def _verdict(case: Case, proto: onnx.ModelProto) -> str:
    """``"right"``, ``"refused: ..."`` or ``"wrong: ..."``."""
    try:
        twin = build_twin(ir.from_proto(proto))
    except UnsupportedGraphError as error:
        return f"refused: {error.nodes[0].op}: {error.nodes[0].reason}"
    names = [value.name for value in proto.graph.input]
    feeds = dict(zip(names, case.inputs, strict=False))
    results = twin.run(feeds)
    expectations, verdict = case.outputs, "right"
    if case.name in _RUNTIME_DIFFERS:
        known = ReferenceSession(proto).run(feeds)
        expectations = tuple(known[value.name] for value in proto.graph.output)
        verdict = "as ONNX Runtime"
    for value, expected in zip(proto.graph.output, expectations, strict=True):
        found = results[value.name]
        if found.dtype != expected.dtype or found.shape != expected.shape:
            return f"wrong: {found.dtype}{found.shape}, not {expected.dtype}{expected.shape}"
        if not np.allclose(
            found.astype(np.float64), expected.astype(np.float64), _RTOL, _ATOL, equal_nan=True
        ):
            return f"wrong: {value.name} differs"
    return verdict


@pytest.mark.parametrize("constants", [False, True], ids=["computed", "constant"])
def test_node_tests_are_right_or_refused(
    constants: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts: dict[str, str] = {}
    for case in _cases():
        proto = _with_constants(case) if constants else case.proto
        try:
            verdicts[case.name] = _verdict(case, proto)
        except Exception as error:
            verdicts[case.name] = f"wrong: {type(error).__name__}: {str(error)[:200]}"
    counts = collections.Counter(text.partition(":")[0] for text in verdicts.values())
    with capsys.disabled():
        kind = "constant" if constants else "computed"
        total = f"{len(TWIN_OPS)} operators: {dict(counts)}"
        sys.stdout.write(f"\nONNX node tests, {kind} inputs, {total}\n")
    wrong = {name: text for name, text in verdicts.items() if text.startswith("wrong")}
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in wrong.items())
    assert counts["right"] > 700
    assert counts["as ONNX Runtime"] == len(_RUNTIME_DIFFERS)
