"""``edgekit sparsify`` on real digits, and a project that makes sparse and distils."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from typer.testing import Result

from edgekit.core.metrics import AccuracyReport
from edgekit.core.run_summary import RunSummary
from edgekit.graph.io import load_onnx
from edgekit.pipeline.registry import target_names
from edgekit.training.pruning.sparsity_gains import what_it_gains
from tests.digits_network import write_net

type Call = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float graph that reads digits."""
    folder = tmp_path_factory.mktemp("digits")
    write_net(folder / "net.onnx")
    return folder


def summary_of(out: Path) -> RunSummary:
    return RunSummary.model_validate_json((out / "report" / "report.json").read_text())


def weights_of(path: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    found = []
    for node in load_onnx(path).graph:
        if node.op_type in ("Conv", "Gemm"):
            weight = node.inputs[1]
            assert isinstance(weight, ir.Value)
            assert weight.const_value is not None
            found.append(weight.const_value.numpy())
    return found


def shares(summary: RunSummary) -> list[tuple[str, float]]:
    found = []
    for row in summary.ledger:
        assert isinstance(row.accuracy, AccuracyReport)
        found.append((row.stage, row.accuracy.top1.value))
    return found


def test_a_share_of_the_weights(call: Call, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(
        "sparsify", place / "net.onnx", "--data", "digits", "--sparsity", "0.8", "-o", out,
        "--target", "onnxruntime", "--target", "coreml", "--no-bench",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for weight in weights_of(out / "net.onnx"):
        assert (weight == 0).sum() == int(0.8 * weight.size)
    summary = summary_of(out)
    (item,) = summary.sparsifying
    assert item.dataset == "digits/train"
    assert [(gain.target, gain.text) for gain in item.gains] == [
        (name, what_it_gains(name)) for name in ("onnxruntime", "coreml")
    ]
    assert item.compressed_bytes[1] < 0.5 * item.compressed_bytes[0]
    assert [stage for stage, _ in shares(summary)] == ["float", "sparsified"]
    assert summary.ledger[1].paired is not None
    assert "are 0 (the smallest 80.00 % of each layer)" in result.stdout
    page = (out / "report" / "report.md").read_text()
    assert "What the zeros gain there" in page
    # What the report says of Core ML is what the command does.
    small = tmp_path / "small.mlpackage"
    packed = call("compress", out / "net.mlpackage", "-o", small, "--zeros")
    assert packed.exit_code == 0, packed.output
    assert "the same, random inputs" in packed.stdout


def test_a_pattern_without_data(call: Call, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(
        "sparsify", place / "net.onnx", "--pattern", "2:4", "--keep", "fc", "--no-bench", "-o", out
    )
    assert result.exit_code == 0, result.output
    first, second, last = weights_of(out / "net.onnx")
    assert np.all(first != 0)
    assert np.all((np.moveaxis(second, 1, -1).reshape(-1, 4) != 0).sum(1) == 2)
    assert np.array_equal(last, weights_of(place / "net.onnx")[2])
    (item,) = summary_of(out).sparsifying
    assert {reason.layers: reason.reason for reason in item.dense} == {
        ("conv1",): "its input channels in a group (1) are not a multiple of 4",
        ("fc",): "keep names it",
    }
    assert "statistics of the layers were not estimated anew" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--sparsity", "0.5", "--pattern", "2:4"), 2, "sparsity contradicts pattern 2:4"),
        (("--pattern", "4:2"), 2, "write N:M"),
        (("--sparsity", "1.5"), 2, "less than 1"),
        (("--keep", "conv9"), 2, "the layers are: conv1, conv2, fc"),
        (("--pattern", "1:512"), 3, "No layer has input channels in multiples of 512"),
    ],
)
def test_wrong_choices(
    call: Call, place: Path, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    result = call("sparsify", place / "net.onnx", "--no-bench", "-o", tmp_path / "out", *options)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_project_makes_sparse_and_distils(call: Call, place: Path, tmp_path: Path) -> None:
    project = tmp_path / "edgekit.toml"
    project.write_text(
        f'name = "net"\nstages = ["sparsify", "distill"]\n[model]\nsource = "{place}/net.onnx"\n'
        '[data]\nset = "digits"\nsplit = "test"\n[sparsify]\nsparsity = 0.9\n'
        '[distill]\nepochs = 2\nlr = 0.005\nthreads = 1\ndevice = "cpu"\nwarmup_epochs = 0\n'
    )
    result = call("run", project)
    assert result.exit_code == 0, result.output
    summary = summary_of(tmp_path / "out")
    (stage, whole), (sparse_stage, sparse), (last, taught) = shares(summary)
    assert (stage, sparse_stage, last) == ("float", "sparsified", "distilled")
    assert sparse < whole
    assert taught > sparse
    (course,) = summary.further_training
    # The graph before it lost its weights teaches.
    assert course.teacher == "net (float graph)"
    (item,) = summary.sparsifying
    assert item.zeros == sum(int(0.9 * layer.weights) for layer in item.layers)
    assert item.gains == ()


def test_every_target_has_a_word_on_zeros() -> None:
    for name in target_names():
        assert "knows of no sparse kernel" not in what_it_gains(name)
