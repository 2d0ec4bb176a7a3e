"""ONNX's own node tests: lowered, saved, executed. One an operator; all of them with `slow`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.onnx_node_coreml import RIGHT, TESTS, Case, run_edgekit
from edgekit.targets.coreml.lowering import ops
from edgekit.targets.coreml.lowering.registry import LOWERINGS

assert ops is not None
UNLIKE_ITS_DATA = "like ONNX Runtime, unlike the test's data"
RUNTIME_DIFFERS = {
    "test_l2normalization_axis_0": "0 / 0 is 0 for ONNX Runtime and NaN for ONNX",
    "test_resize_downsample_scales_cubic_align_corners": "size * scale is rounded down first",
    "test_resize_downsample_scales_linear_align_corners": "size * scale is rounded down first",
}
PER_OPERATOR = 1
REFUSING = {
    "Bernoulli", "ConvInteger", "CumProd", "DeformConv", "Det", "MatMulInteger", "Multinomial",
    "QLinearConv", "QLinearMatMul", "RandomNormal", "RandomUniform", "TensorScatter", "Unique",
}  # fmt: skip
"""Operators whose lowering is a refusal with its reason."""
NEVER_TESTED = {
    "Constant",
    "GlobalLpPool",
    "Loop",
    "RandomNormal",
    "RandomUniform",
    "Scatter",
    "Multinomial",
}
"""Operators that ONNX has no test of, or of obsolete opsets alone."""


def _folders() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in sorted(TESTS.iterdir()):
        found[Case(folder).op].append(folder)
    return found


FOLDERS = _folders()


@pytest.mark.parametrize("op", sorted(set(LOWERINGS) - REFUSING - NEVER_TESTED))
def test_operator_is_right(op: str, tmp_path: Path) -> None:
    right = 0
    for folder in FOLDERS[op]:
        case = Case(folder)
        verdict, reason = run_edgekit(case, tmp_path)
        if verdict == UNLIKE_ITS_DATA:
            assert case.name in RUNTIME_DIFFERS
        else:
            assert verdict in (*RIGHT, "refused"), f"{case.name}: {verdict} {reason}"
        assert verdict != "refused" or reason
        right += verdict in RIGHT
        if right == PER_OPERATOR:
            break
    assert right or op in {"Dropout"}, f"no test of {op} is right"


@pytest.mark.parametrize("op", sorted(REFUSING - NEVER_TESTED & set(FOLDERS)))
def test_operator_is_refused_with_a_reason(op: str, tmp_path: Path) -> None:
    if op not in FOLDERS:
        pytest.skip(f"ONNX has no node test of {op}")
    verdict, reason = run_edgekit(Case(FOLDERS[op][0]), tmp_path)
    assert verdict == "refused"
    assert len(reason) > 10


@pytest.mark.slow
def test_at_least_900_are_right_and_none_is_wrong(tmp_path: Path) -> None:
    right, bad = 0, []
    for folders in FOLDERS.values():
        for folder in folders:
            case = Case(folder)
            verdict, _ = run_edgekit(case, tmp_path)
            right += verdict in RIGHT
            if verdict == UNLIKE_ITS_DATA and case.name in RUNTIME_DIFFERS:
                continue
            if verdict not in (*RIGHT, "refused"):
                bad.append(f"{case.name}: {verdict}")
    assert not bad
    assert right >= 900
