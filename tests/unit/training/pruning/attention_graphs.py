"""Small ONNX graphs with attention, written in the ways that exporters and people write it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import Array
from tests.twin_graphs import make_model, weights

TOKENS, CHANNELS, HEADS, WIDTH = 6, 12, 4, 8
INNER = HEADS * WIDTH

_GRAPH = """
g (float[batch, 6, 12] tokens) => (float[batch, 5] logits) {{
  {attention}
  [project] p0 = MatMul (merged, wo)
  [project_bias] p = Add (p0, bo)
  [residual] r = Add (tokens, p)
  [wide] m0 = MatMul (r, w1)
  [wide_bias] m1 = Add (m0, b1)
  [relu] m2 = Relu (m1)
  [narrow] m3 = MatMul (m2, w2)
  [narrow_bias] m4 = Add (m3, b2)
  [second_residual] s = Add (r, m4)
  [pool] pooled = ReduceMean <keepdims = 0> (s, tokens_axis)
  [fc] logits = Gemm (pooled, wf, bf)
}}
"""

SCORES = """
  [scores] s0 = MatMul (q, k)
  [scaled] s1 = Mul (s0, scale)
  [soft] s2 = Softmax <axis = -1> (s1)
  [weighted] a = MatMul (s2, v)
  [back] at = Transpose <perm = [0, 2, 1, 3]> (a)
  [merge] merged = Reshape (at, merged_sizes)
"""
SEPARATE = (
    "".join(
        f"""
  [{name}] {name}0 = MatMul (tokens, w{name})
  [{name}_bias] {name}1 = Add ({name}0, b{name})
  [{name}_split] {name}2 = Reshape ({name}1, split_sizes)
  [{name}_turn] {name} = Transpose <perm = [{order}]> ({name}2)"""
        for name, order in (("q", "0, 2, 1, 3"), ("k", "0, 2, 3, 1"), ("v", "0, 2, 1, 3"))
    )
    + SCORES
)
"""Three layers, and a reshape for each."""

_FUSED = """
  [qkv] x0 = MatMul (tokens, wqkv)
  [qkv_bias] x1 = Add (x0, bqkv)
"""
FUSED = (
    _FUSED
    + """
  [split] x2 = Reshape (x1, fused_sizes)
  [turn] x3 = Transpose <perm = [2, 0, 3, 1, 4]> (x2)
  [qs] q = Gather <axis = 0> (x3, zero)
  [ks] k0 = Gather <axis = 0> (x3, one)
  [kt] k = Transpose <perm = [0, 1, 3, 2]> (k0)
  [vs] v = Gather <axis = 0> (x3, two)"""
    + SCORES
)
"""One layer, and one reshape for all, as in timm."""
SPLIT = (
    _FUSED
    + """
  [parts] q1, k1, v1 = Split <axis = 2> (x1, thirds)
  [q_split] q2 = Reshape (q1, split_sizes)
  [k_split] k2 = Reshape (k1, split_sizes)
  [v_split] v2 = Reshape (v1, split_sizes)
  [q_turn] q = Transpose <perm = [0, 2, 1, 3]> (q2)
  [k_turn] k = Transpose <perm = [0, 2, 3, 1]> (k2)
  [v_turn] v = Transpose <perm = [0, 2, 1, 3]> (v2)"""
    + SCORES
)
"""One layer whose channels are split before they are reshaped."""
INTERLEAVED = (
    _FUSED
    + """
  [split] x2 = Reshape (x1, interleaved_sizes)
  [turn] x3 = Transpose <perm = [0, 2, 1, 3]> (x2)
  [qs] q = Slice (x3, at0, at8, last)
  [ks] k0 = Slice (x3, at8, at16, last)
  [kt] k = Transpose <perm = [0, 1, 3, 2]> (k0)
  [vs] v = Slice (x3, at16, at24, last)"""
    + SCORES
)
"""One layer in which the channels of a head stand together, as in GPT-NeoX."""
GROUPED = SEPARATE.replace("(k0, bk)", "(k0, bk_few)").replace("(v0, bv)", "(v0, bv_few)")
for _name, _order in (("k", "0, 2, 3, 1"), ("v", "0, 2, 1, 3")):
    GROUPED = GROUPED.replace(f"(tokens, w{_name})", f"(tokens, w{_name}_few)").replace(
        f"{_name}2 = Reshape ({_name}1, split_sizes)",
        f"{_name}3 = Reshape ({_name}1, few_sizes)\n"
        f"  [{_name}_more] {_name}4 = Expand ({_name}3, expand_sizes)\n"
        f"  [{_name}_join] {_name}2 = Reshape ({_name}4, split_sizes)",
    )
"""Two heads of queries for each of keys and values."""


def attention(text: str = SEPARATE, **constants: Array) -> ir.Model:
    """A classifier of ``[batch, 6, 12]`` tokens with one attention of 4 heads of 8 channels.

    Args:
        text: Nodes from ``tokens`` to ``merged``.
        constants: More of them, or others.
    """
    shapes: dict[str, tuple[int, ...]] = {
        **{f"w{name}": (CHANNELS, INNER) for name in "qkv"},
        **{f"b{name}": (INNER,) for name in "qkv"},
        "wqkv": (CHANNELS, 3 * INNER), "bqkv": (3 * INNER,),
        "wk_few": (CHANNELS, INNER // 2), "bk_few": (INNER // 2,),
        "wv_few": (CHANNELS, INNER // 2), "bv_few": (INNER // 2,),
        "wo": (INNER, CHANNELS), "bo": (CHANNELS,),
        "w1": (CHANNELS, 24), "b1": (24,), "w2": (24, CHANNELS), "b2": (CHANNELS,),
        "wf": (CHANNELS, 5), "bf": (5,),
    }  # fmt: skip
    numbers = {
        "split_sizes": [-1, TOKENS, HEADS, WIDTH], "merged_sizes": [-1, TOKENS, INNER],
        "fused_sizes": [-1, TOKENS, 3, HEADS, WIDTH], "thirds": [INNER] * 3,
        "interleaved_sizes": [-1, TOKENS, HEADS, 3 * WIDTH],
        "few_sizes": [-1, TOKENS, HEADS // 2, 1, WIDTH],
        "expand_sizes": [1, TOKENS, HEADS // 2, 2, WIDTH],
        "at0": [0], "at8": [8], "at16": [16], "at24": [24], "last": [3], "tokens_axis": [1],
    }  # fmt: skip
    known: dict[str, Array] = {
        **weights(shapes),
        **{name: np.array(item, np.int64) for name, item in numbers.items()},
        **{name: np.array(at, np.int64) for at, name in enumerate(("zero", "one", "two"))},
        "scale": np.array(WIDTH**-0.5, np.float32),
        **constants,
    }
    graph = _GRAPH.format(attention=text)
    used = {name: array for name, array in known.items() if _reads(graph, name)}
    return make_model(graph, used)


def _reads(graph: str, name: str) -> bool:
    return any(f"{before}{name}{after}" in graph for before in "( " for after in ",)")


def error(found: Array, wanted: Array) -> float:
    """The largest difference as a share of the largest number."""
    left, right = found.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(left - right).max() / np.abs(right).max())
