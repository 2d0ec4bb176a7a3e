from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import UnsupportedGraphError
from edgekit.targets.coreml.package import read_package
from tests.targets.coreml.lowering.graphs import assert_like_the_runtime, lower_text

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'

BRANCH = f"""{HEAD}
g (float[3] x, bool flag) => (float[3] y) {{
  y = If (flag) <
    then_branch = yes () => (float[3] a) {{ a = Add (x, x) }},
    else_branch = no () => (float[3] b) {{ b = Neg (x) }}
  >
}}
"""

LOOP = f"""{HEAD}
g (float[3] x) => (float[3] y, float[4, 3] steps)
<int64 rounds = {{4}}, bool go = {{1}}> {{
  y, steps = Loop (rounds, go, x) <
    body = round (int64 i, bool c, float[3] s) => (bool d, float[3] t, float[3] scan) {{
      d = Identity (c)
      f = Cast <to = 1> (i)
      t = Add (s, f)
      scan = Mul (t, t)
    }}
  >
}}
"""

WHILE = f"""{HEAD}
g (float[2] x, int64 rounds) => (float[2] y)
<bool go = {{1}}, float limit = {{20.0}}> {{
  y = Loop (rounds, go, x) <
    body = round (int64 i, bool c, float[2] s) => (bool d, float[2] t) {{
      t = Add (s, s)
      m = ReduceMax <keepdims = 0> (t)
      d = Less (m, limit)
    }}
  >
}}
"""


@pytest.mark.parametrize("flag", [True, False])
def test_a_branch_chosen_while_it_runs(flag: bool, tmp_path: Path) -> None:
    feeds = {"x": np.array([1, 2, 3], np.float32), "flag": np.array(flag)}
    lowered = assert_like_the_runtime(BRANCH, feeds, tmp_path)
    operations = read_package(lowered.artifact.path).program.functions["main"].block.operations
    assert "cond" in {operation.type for operation in operations}


def test_a_loop_of_known_length_is_unrolled(tmp_path: Path) -> None:
    lowered = assert_like_the_runtime(LOOP, {"x": np.array([1, -2, 3], np.float32)}, tmp_path)
    operations = read_package(lowered.artifact.path).program.functions["main"].block.operations
    assert not any(operation.blocks for operation in operations)


@pytest.mark.parametrize("rounds", [1, 3, 50])
def test_a_loop_of_open_length(rounds: int, tmp_path: Path) -> None:
    feeds = {"x": np.array([1, 1.5], np.float32), "rounds": np.array(rounds)}
    assert_like_the_runtime(WHILE, feeds, tmp_path)


def test_stacked_outputs_of_open_length_are_refused(tmp_path: Path) -> None:
    text = LOOP.replace("float[3] x)", "float[3] x, int64 rounds)").replace(
        "<int64 rounds = {4}, bool go", "<bool go"
    )
    with pytest.raises(UnsupportedGraphError, match="stacked outputs of a loop of open length"):
        lower_text(text, tmp_path)
