"""Heads of attention in imported graphs go as a whole, and the graph follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.target import LowerConfig, RuntimeConfig
from edgekit.graph.equivalence import random_feeds
from edgekit.graph.io import save_onnx
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import TorchTwin, build_twin
from edgekit.graph.values import Array, constant_ints, input_at
from edgekit.pipeline.registry import get_target
from edgekit.training.pruning.channel_graph import ChannelGraph, ChannelGroup, remove_channels
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.report import PruneReport
from edgekit.training.pruning.structured import prune_structured
from edgekit.training.pruning.verification import fault_of
from edgekit.training.pruning.write_pruned import write_pruned
from tests.unit.training.pruning.attention_graphs import (
    FUSED,
    GROUPED,
    HEADS,
    INTERLEAVED,
    SEPARATE,
    SPLIT,
    TOKENS,
    WIDTH,
    attention,
    error,
)

TABLE = np.random.default_rng(1).standard_normal((1, HEADS, TOKENS, TOKENS)).astype(np.float32)
MASK = np.triu(np.full((TOKENS, TOKENS), -1e4, np.float32), 1)


def biased(text: str = SEPARATE) -> str:
    """With one number for each pair of tokens, or also for each head."""
    return text.replace("Softmax <axis = -1> (s1)", "Softmax <axis = -1> (s3)").replace(
        "[soft]", "[bias] s3 = Add (s1, table)\n  [soft]"
    )


def inputs_of(twin: TorchTwin) -> tuple[Tensor, ...]:
    feeds = random_feeds(twin.signature.inputs, seed=3)
    return tuple(torch.from_numpy(feeds[spec.name]) for spec in twin.signature.inputs)


def heads_of(twin: TorchTwin) -> ChannelGroup:
    groups = ChannelGraph(twin, inputs_of(twin)).groups()
    (group,) = [group for group in groups if group.heads is not None]
    return group


def logits(model: ir.Model) -> Array:
    session = ReferenceSession(model)
    return session.run(random_feeds(session.signature.inputs, seed=5, batch=3))["logits"]


def reasons(report: PruneReport) -> dict[str, str]:
    return {layer: item.reason for item in report.kept_whole for layer in item.layers}


def pruned(model: ir.Model, **options: object) -> tuple[PruneReport, ir.Model]:
    twin = build_twin(model)
    config = PruneConfig.model_validate({"macs_ratio": 0.9, "round_to": 4, **options})
    report = prune_structured(twin, inputs_of(twin), config)
    return report, write_pruned(twin, model)


@pytest.mark.parametrize("gone", [(1,), (0, 3), (0, 1, 2)])
@pytest.mark.parametrize(
    "text",
    [SEPARATE, FUSED, SPLIT, INTERLEAVED, biased(), biased(FUSED)],
    ids=["separate", "fused", "split", "interleaved", "bias", "fused-bias"],
)
def test_a_graph_without_heads_computes_what_it_does_when_nothing_reads_them(
    text: str, gone: tuple[int, ...]
) -> None:
    model = attention(text, table=TABLE)
    twin = build_twin(model)
    group = heads_of(twin)
    assert (group.positions, group.width) == (HEADS, WIDTH)
    remove_channels(twin, {group.root: (group, group.channels_at(gone))})
    found = logits(write_pruned(twin, model))
    stored = model.graph.initializers["wo"].const_value
    assert stored is not None
    weight = stored.numpy().copy()
    for head in gone:
        weight[head * WIDTH : (head + 1) * WIDTH] = 0
    model.graph.initializers["wo"].const_value = ir.tensor(weight, name="wo")
    wanted = logits(model)
    assert error(found, wanted) <= 1e-4


def test_heads_may_alternate_in_what_the_projection_reads() -> None:
    """The channels of all heads beside each other."""
    text = SEPARATE.replace(
        "Transpose <perm = [0, 2, 1, 3]> (a)", "Transpose <perm = [0, 2, 3, 1]> (a)"
    )
    model = attention(text)
    twin = build_twin(model)
    group = heads_of(twin)
    (projection,) = [member for member in group.members if not member.outputs]
    assert projection.at(group.channels_at([1])) == list(range(1, HEADS * WIDTH, HEADS))
    remove_channels(twin, {group.root: (group, group.channels_at([1]))})
    feeds = random_feeds(twin.signature.inputs, seed=5, batch=3)
    found = logits(write_pruned(twin, model))
    assert error(found, twin.run(feeds)["logits"]) <= 1e-4


def test_queries_that_share_keys_go_together() -> None:
    model = attention(GROUPED)
    twin = build_twin(model)
    group = heads_of(twin)
    assert (group.positions, group.width) == (HEADS // 2, 2 * WIDTH)
    assert fault_of(twin, inputs_of(twin), group, seed=0) is None
    remove_channels(twin, {group.root: (group, group.channels_at([0]))})
    names = ("q", "k", "v", "project")
    layers = [twin.graph_module.get_submodule(twin.layers[name]) for name in names]
    assert [layer.out_features for layer in layers] == [16, 8, 8, 12]
    written = write_pruned(twin, model)
    expand = next(node for node in written.graph if node.op_type == "Expand")
    assert constant_ints(input_at(expand, 1)) == (1, TOKENS, 1, 2, WIDTH)


def test_reshapes_state_the_heads_that_are_left_and_others_keep_theirs() -> None:
    report, written = pruned(attention(SEPARATE), keep=("wide",))
    cut = {item.layer: item.after for item in report.channels if item.after != item.before}
    kept = cut["q"] // WIDTH
    assert cut == dict.fromkeys(("q", "k", "v"), kept * WIDTH)
    sizes = {
        node.name: constant_ints(input_at(node, 1))
        for node in written.graph
        if node.op_type == "Reshape"
    }
    split = (-1, TOKENS, kept, WIDTH)
    assert sizes == {
        "q_split": split, "k_split": split, "v_split": split,
        "merge": (-1, TOKENS, kept * WIDTH),
    }  # fmt: skip
    assert written.graph.initializers["wo"].shape == ir.Shape([kept * WIDTH, 12])


def test_one_head_stays_and_heads_that_do_nothing_go_first() -> None:
    model = attention(FUSED)
    stored = model.graph.initializers["wo"].const_value
    assert stored is not None
    weight = stored.numpy().copy()
    weight[: 2 * WIDTH] *= 1e-3
    weight[3 * WIDTH :] *= 1e-3
    model.graph.initializers["wo"].const_value = ir.tensor(weight, name="wo")
    report, written = pruned(model, macs_ratio=0.45, keep=("wide",))
    (qkv,) = [item for item in report.channels if item.layer == "qkv"]
    assert (qkv.before, qkv.after) == (3 * HEADS * WIDTH, 3 * WIDTH)
    left = written.graph.initializers["wo"].const_value
    assert left is not None
    np.testing.assert_array_equal(left.numpy(), weight[2 * WIDTH : 3 * WIDTH])


def test_several_rounds_end_at_one_head() -> None:
    report, written = pruned(attention(FUSED), macs_ratio=0.45, keep=("wide",), iterations=3)
    (qkv,) = [item for item in report.channels if item.layer == "qkv"]
    assert qkv.after == 3 * WIDTH
    assert written.graph.initializers["wo"].shape == ir.Shape([WIDTH, 12])
    twin = build_twin(attention(FUSED))
    config = PruneConfig(macs_ratio=0.35, round_to=4, iterations=4)
    rest = prune_structured(twin, inputs_of(twin), config)
    (qkv,) = [item for item in rest.channels if item.layer == "qkv"]
    assert qkv.after % (3 * WIDTH) == 0
    assert rest.macs_ratio <= 0.35


def test_what_all_heads_share_stays_and_what_each_has_goes() -> None:
    shared = pruned(attention(biased(), table=MASK))[1]
    assert shared.graph.initializers["table"].shape == ir.Shape([TOKENS, TOKENS])
    report, own = pruned(attention(biased(), table=TABLE))
    kept = next(item.after for item in report.channels if item.layer == "q") // WIDTH
    assert kept < HEADS
    assert own.graph.initializers["table"].shape == ir.Shape([1, kept, TOKENS, TOKENS])


def test_heads_that_a_softmax_compares_are_kept_whole() -> None:
    report, _ = pruned(attention(SEPARATE.replace("axis = -1", "axis = 1")), macs_ratio=0.95)
    assert "computes something else without its channels" in reasons(report)["q"]
    assert {item.layer for item in report.channels if item.after != item.before} == {"wide"}


SUMMED = SEPARATE.replace(
    "[back]", "[sum] total = ReduceSum (s2, heads_axis)\n  [use] b = Mul (a, total)\n  [back]"
).replace("(a)\n  [merge]", "(b)\n  [merge]")
UNTURNED = SEPARATE.replace("Transpose <perm = [0, 2, 1, 3]> (a)", "Relu (a)")
BETWEEN = SEPARATE.replace("[back]", "[inner] b = MatMul (a, wl)\n  [back]").replace(
    "(a)\n  [merge]", "(b)\n  [merge]"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SUMMED, "read where no heads are told apart (reduce"),
        (UNTURNED, "a reshape of its attention, from [1, 4, 6, 8] to [1, 6, 32], mixes heads"),
        (BETWEEN, "its attention has one head, or none that can be told apart"),
    ],
    ids=["sum", "unturned", "layer-between"],
)
def test_other_attention_keeps_its_heads_and_says_why(text: str, reason: str) -> None:
    constants: dict[str, Array] = {
        "heads_axis": np.array([1, 3], np.int64), "wl": np.eye(WIDTH, dtype=np.float32)
    }  # fmt: skip
    report, _ = pruned(attention(text, **constants), macs_ratio=0.95)
    assert {item.layer for item in report.channels if item.after != item.before} == {"wide"}
    assert reason in reasons(report)["q"]


def test_a_single_head_is_kept_and_told() -> None:
    sizes = np.array([-1, TOKENS, 1, HEADS * WIDTH], np.int64)
    report, _ = pruned(attention(SEPARATE, split_sizes=sizes), macs_ratio=0.95)
    assert {item.layer for item in report.channels if item.after != item.before} == {"wide"}
    assert reasons(report)["q"] == "its attention has one head, or none that can be told apart"


def test_what_is_lowered_computes_the_same_with_fewer_heads(tmp_path: Path) -> None:
    _, written = pruned(attention(biased(FUSED), table=TABLE))
    path = tmp_path / "model.onnx"
    save_onnx(written, path)
    target = get_target("tflite")
    source = Artifact.of(ArtifactKind.ONNX, path)
    lowered = target.lower(source, LowerConfig().settled_for(target.info), tmp_path)
    assert not isinstance(lowered, Unavailable)
    session = target.load(lowered.artifact.path, RuntimeConfig())
    assert not isinstance(session, Unavailable)
    feeds = random_feeds(build_twin(written).signature.inputs, seed=5)
    wanted = ReferenceSession(written).run(feeds)["logits"]
    found = next(iter(session.run(feeds).values()))
    session.close()
    assert error(found, wanted) <= 1e-4
