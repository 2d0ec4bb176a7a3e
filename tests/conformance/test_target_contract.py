"""What every target must do, run over all folders of `edgekit.targets`.

A new target is covered by being there. What a machine cannot do is skipped with the target's
own reason.
"""

from __future__ import annotations

import math
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest

import edgekit.targets
from edgekit.core.artifact import Artifact, ArtifactKind, size_on_disk
from edgekit.core.hashing import digest_path
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.quant import SCHEMES, QuantConstraints
from edgekit.core.target import (
    QUANTIZED,
    BenchConfig,
    Inspection,
    LowerConfig,
    Lowered,
    Precision,
    RuntimeConfig,
    Session,
    Target,
    TargetInfo,
)
from edgekit.errors import ConfigError, EdgekitError, InputError, UnsupportedGraphError
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import save_onnx, signature_of, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import add_initializer
from edgekit.measure.difference import compare_outputs, random_feeds
from edgekit.quantization.ptq import PtqOptions, quantize_ptq

NAMES = sorted(module.name for module in pkgutil.iter_modules(edgekit.targets.__path__))
PRECISIONS = [
    (name, precision)
    for name in NAMES
    for precision in import_module(f"edgekit.targets.{name}").INFO.precisions
]
TOLERANCE = {
    "float32": 1e-5, "float16": 1e-2, "int8": 0.1, "int16x8": 1e-3, "int8-weights": 0.03,
    "int4-weights": 0.03,
}  # fmt: skip
"""Largest difference from the reference, as a share of the output's range.

Of a small random network the four scores span some 40 integers, so one step is 2.5 %.
"""

HEAVY = frozenset(
    {"torch", "onnx", "onnx_ir", "onnxruntime", "tensorflow", "coremltools", "ai_edge_litert"}
)

METADATA = ModelMetadata(
    name="conformance",
    preprocessing=Preprocessing(size=(16, 16), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)),
    labels=("cat", "dog", "äöü", "last"),
)

CLASSIFIER = """
<ir_version: 10, opset_import: ["" : 20]>
classifier (float[BATCH, 3, 16, 16] image, float[8, 3, 3, 3] k1, float[8] b1,
            float[8, 1, 3, 3] k2, float[8] b2, float[8, 4] w, float[4] b)
  => (float[BATCH, 4] scores) {
  [stem] c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (image, k1, b1)
  [act1] a1 = Relu (c1)
  [dw] c2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8> (a1, k2, b2)
  [skip] s = Add (a1, c2)
  [act2] a2 = Relu (s)
  [pool] p = GlobalAveragePool (a2)
  [flat] f = Flatten <axis = 1> (p)
  [head] scores = Gemm (f, w, b)
}
"""

FOREIGN = """
<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>
foreign (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y)
  <float[1, 3, 4, 4] a, float[1, 3, 4, 4] b>
{
  [first] a = com.example.Twist (x)
  [fine] b = Relu (a)
  [second] y = com.example.Twist (b)
}
"""


def build(batch: int | str = 1) -> ir.Model:
    """A small CNN with fixed random weights."""
    model = ir.from_onnx_text(CLASSIFIER.replace("BATCH", str(batch)))
    graph = model.graph
    rng = np.random.default_rng(0)
    for value in list(graph.inputs)[1:]:
        assert value.shape is not None
        array = (rng.standard_normal(value.shape.numpy()) * 0.4).astype(np.float32)
        graph.inputs.remove(value)
        made = add_initializer(graph, f"{value.name}_weight", array)
        ir.convenience.replace_all_uses_with(value, made)
    write_metadata(model, METADATA)
    return canonicalize(model, verify=False).model


def save(model: ir.Model, folder: Path) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "source.onnx"
    save_onnx(model, path)
    return Artifact.of(ArtifactKind.ONNX, path, signature=signature_of(model), metadata=METADATA)


def source_for(precision: Precision, folder: Path, batch: int | str = 1) -> Artifact:
    """The graph that a precision is lowered from: a QDQ graph where there are integers."""
    model = build(batch)
    if precision not in QUANTIZED:
        return save(model, folder)
    signature = signature_of(model)
    feeds = [random_feeds(signature, seed) for seed in range(4)]
    quantized = quantize_ptq(
        model, lambda: iter(feeds), SCHEMES[precision], PtqOptions(method="minmax")
    )
    source = save(quantized.model, folder)
    return source.model_copy(update={"kind": ArtifactKind.QDQ_ONNX})


def make(name: str) -> Target:
    return cast("Target", import_module(f"edgekit.targets.{name}.target").create_target())


def require(unavailable: Unavailable | None, name: str) -> None:
    if unavailable is not None:
        pytest.skip(f"{name}: {unavailable.reason}")


def lower(target: Target, source: Artifact, precision: Precision, folder: Path) -> Lowered:
    require(target.capabilities().convertible, target.info.name)
    folder.mkdir(parents=True, exist_ok=True)
    lowered = target.lower(source, LowerConfig(precision=precision), folder)
    assert isinstance(lowered, Lowered)
    return lowered


def load(target: Target, path: Path, threads: int = 1) -> Session:
    require(target.capabilities().runnable, target.info.name)
    session = target.load(path, RuntimeConfig(threads=threads))
    assert not isinstance(session, Unavailable)
    return session


@pytest.fixture(params=NAMES)
def target(request: pytest.FixtureRequest) -> Target:
    return make(request.param)


@pytest.fixture
def source(tmp_path: Path) -> Artifact:
    return save(build(), tmp_path / "source")


@pytest.fixture
def artifact(target: Target, source: Artifact, tmp_path: Path) -> Artifact:
    return lower(target, source, "float32", tmp_path / "lowered").artifact


@pytest.fixture
def session(target: Target, artifact: Artifact) -> Iterator[Session]:
    loaded = load(target, artifact.path)
    yield loaded
    loaded.close()


def test_there_are_targets() -> None:
    assert {"onnxruntime", "tflite"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_facts_need_no_toolchain(name: str) -> None:
    code = (
        "import sys\n"
        f"from edgekit.targets.{name} import INFO\n"
        f"from edgekit.targets.{name}.target import create_target\n"
        "target = create_target()\n"
        f"assert target.info == INFO and INFO.name == {name!r}, INFO\n"
        f"sys.exit(' '.join(sorted({set(HEAVY)!r} & set(sys.modules))) or 0)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert done.returncode == 0


def test_facts_are_complete(target: Target) -> None:
    info = target.info
    assert isinstance(info, TargetInfo)
    assert info.title
    assert info.suffix.startswith(".")
    assert info.precisions
    assert info.engines
    assert info.extra == info.extra.strip()


def test_reasons_are_typed_and_say_something(target: Target, artifact: Artifact) -> None:
    capabilities = target.capabilities()
    given = [capabilities.convertible, capabilities.runnable, capabilities.measurable]
    given.append(target.integrate(artifact, artifact.path.parent))
    for unavailable in given:
        assert unavailable is None or len(unavailable.reason) > 20


def test_placement_satisfies_every_target(target: Target) -> None:
    """There is one QDQ graph for all targets, placed by the default constraints."""
    demanded = target.quant_constraints()
    if isinstance(demanded, Unavailable):
        assert len(demanded.reason) > 20
        return
    placed = QuantConstraints()
    assert placed.integer_ops <= demanded.integer_ops
    assert placed.int16_ops <= demanded.int16_ops
    assert demanded.fixed_outputs.items() <= placed.fixed_outputs.items()
    assert demanded.symmetric_inputs.items() <= placed.symmetric_inputs.items()


def test_a_supported_graph_is_checked_without_being_changed(target: Target) -> None:
    require(target.capabilities().convertible, target.info.name)
    model = build()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert target.check(model).unsupported == ()
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_all_unsupported_nodes_are_listed(target: Target) -> None:
    require(target.capabilities().convertible, target.info.name)
    unsupported = target.check(ir.from_onnx_text(FOREIGN)).unsupported
    assert [node.node for node in unsupported] == ["first", "second"]
    for node in unsupported:
        assert "Twist" in node.op
        assert node.reason
    error = UnsupportedGraphError(target.info.name, unsupported)
    assert "first" in str(error)
    assert "second" in str(error)


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
@pytest.mark.parametrize("batch", [1, "batch"])
def test_the_artifact_computes_what_the_graph_computes(
    name: str, precision: Precision, batch: int | str, tmp_path: Path
) -> None:
    target, source = make(name), source_for(precision, tmp_path / "source", batch)
    artifact = lower(target, source, precision, tmp_path / "lowered").artifact
    # ONNX Runtime's fused integer kernels round unlike the Q/DQ nodes.
    reference = ReferenceSession(
        source.path, optimization="disabled" if precision in QUANTIZED else "all"
    )
    session = load(target, artifact.path)
    for seed, count in ((0, 1), (1, 1 if batch == 1 else 3)):
        feeds = random_feeds(reference.signature, seed, batch=count)
        (difference,) = compare_outputs(reference.run(feeds), session.run(feeds))
        assert difference.relative < TOLERANCE[precision]
    session.close()


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_signature_metadata_and_identity_are_kept(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    target, source = make(name), source_for(precision, tmp_path / "source")
    artifact = lower(target, source, precision, tmp_path / "lowered").artifact
    assert artifact.kind is target.info.artifact_kind
    assert artifact.precision == precision
    assert artifact.path.suffix == target.info.suffix
    assert artifact.path.is_dir() == target.info.folder
    assert artifact.path.parent == tmp_path / "lowered"
    assert artifact.digest == digest_path(artifact.path)
    assert artifact.metadata == METADATA
    assert list((tmp_path / "lowered").iterdir()) == [artifact.path]
    session = load(target, artifact.path)
    assert source.signature is not None
    assert artifact.signature is not None
    for signature in (artifact.signature, session.signature):
        for ours, theirs in (
            (source.signature.inputs, signature.inputs),
            (source.signature.outputs, signature.outputs),
        ):
            assert [(spec.name, spec.shape, spec.dtype) for spec in ours] == [
                (spec.name, spec.shape, spec.dtype) for spec in theirs
            ]
    session.close()


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_lowering_is_deterministic_and_leaves_its_source_alone(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    target, source = make(name), source_for(precision, tmp_path / "source")
    first = lower(target, source, precision, tmp_path / "a").artifact
    second = lower(target, source, precision, tmp_path / "b").artifact
    assert first.digest == second.digest
    assert digest_path(source.path) == source.digest


def test_an_unknown_engine_is_refused(target: Target, source: Artifact, tmp_path: Path) -> None:
    require(target.capabilities().convertible, target.info.name)
    with pytest.raises(ConfigError, match="there is no engine 'none'"):
        target.lower(source, LowerConfig(engine="none"), tmp_path)


def test_choices_that_are_not_offered_are_all_refused_before_anything_else(
    target: Target, tmp_path: Path
) -> None:
    nothing = Artifact(kind=ArtifactKind.ONNX, digest="", path=tmp_path / "absent.onnx")
    config = LowerConfig(engine="none", deployment_target="none")
    with pytest.raises(ConfigError, match=r"(?s)engine 'none'.*deployment_target: none is not"):
        target.lower(nothing, config, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unsupported_graph_is_refused_and_nothing_is_written(
    target: Target, tmp_path: Path
) -> None:
    require(target.capabilities().convertible, target.info.name)
    path = tmp_path / "foreign.onnx"
    ir.save(ir.from_onnx_text(FOREIGN), path)
    (tmp_path / "out").mkdir()
    with pytest.raises(EdgekitError, match=r"(?s)Twist"):
        target.lower(Artifact.of(ArtifactKind.ONNX, path), LowerConfig(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_feeds_name_expected_and_got(session: Session) -> None:
    good = random_feeds(session.signature, seed=0)["image"]
    for feeds, got in (
        ({}, "image"),
        ({"image": good[:, :, :8]}, r"1, 3, 8, 16"),
        ({"image": good.transpose(0, 2, 3, 1)}, r"1, 16, 16, 3"),
        ({"image": good.astype(np.float64)}, "float64"),
        ({"image": good, "other": good}, "other"),
    ):
        with pytest.raises(InputError, match=got) as caught:
            session.run(cast("dict[str, Any]", feeds))
        assert "image" in str(caught.value)
    assert session.run({"image": good})["scores"].shape == (1, 4)


def test_feeds_are_not_changed_and_outputs_belong_to_the_caller(session: Session) -> None:
    feeds = random_feeds(session.signature, seed=0)
    kept_feed = feeds["image"].copy()
    outputs = session.run(feeds)
    kept_output = outputs["scores"].copy()
    np.testing.assert_array_equal(feeds["image"], kept_feed)
    session.run(random_feeds(session.signature, seed=1))
    np.testing.assert_array_equal(outputs["scores"], kept_output)
    outputs["scores"][...] = math.pi
    np.testing.assert_array_equal(session.run(feeds)["scores"], kept_output)


def test_feeds_need_not_be_contiguous(session: Session) -> None:
    feeds = random_feeds(session.signature, seed=0)
    strided = np.ascontiguousarray(feeds["image"].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(
        session.run({"image": strided})["scores"], session.run(feeds)["scores"]
    )


def test_threads_do_not_change_the_answer(target: Target, artifact: Artifact) -> None:
    one, two = load(target, artifact.path), load(target, artifact.path, threads=2)
    feeds = random_feeds(one.signature, seed=0)
    (difference,) = compare_outputs(one.run(feeds), two.run(feeds))
    assert difference.relative < TOLERANCE["float32"]


def test_a_closed_session_refuses_to_run(target: Target, artifact: Artifact) -> None:
    session = load(target, artifact.path)
    feeds = random_feeds(session.signature, seed=0)
    assert session.runtime
    session.close()
    with pytest.raises(EdgekitError, match="closed"):
        session.run(feeds)


def break_as(damage: str, artifact: Path, path: Path) -> None:
    """Puts at ``path`` what is left of an artifact, which is a file or a folder."""
    if damage == "text" or (damage == "empty" and artifact.is_file()):
        path.write_bytes(b"this is no model, however long this may be" * (9 * (damage == "text")))
    elif damage == "empty":
        path.mkdir()
    elif damage == "truncated" and artifact.is_file():
        path.write_bytes(artifact.read_bytes()[: artifact.stat().st_size * 2 // 3])
    elif damage == "truncated":
        shutil.copytree(artifact, path)
        files = (item for item in path.rglob("*") if item.is_file())
        largest = max(files, key=lambda item: item.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size * 2 // 3])


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
@pytest.mark.parametrize("action", ["load", "inspect", "measure"])
def test_a_damaged_file_is_an_input_error_that_names_it(
    target: Target, artifact: Artifact, tmp_path: Path, damage: str, action: str
) -> None:
    capabilities = target.capabilities()
    require(
        {"load": capabilities.runnable, "measure": capabilities.measurable}.get(action), action
    )
    path = tmp_path / f"damaged{target.info.suffix}"
    break_as(damage, artifact.path, path)
    actions: dict[str, Callable[[], object]] = {
        "load": lambda: target.load(path, RuntimeConfig()),
        "inspect": lambda: target.inspect(path),
        "measure": lambda: target.measure(path, BenchConfig(runs=1, warmup_runs=0)),
    }
    with pytest.raises(InputError, match=path.name):
        actions[action]()


def test_a_measurement_bears_its_conditions(target: Target, artifact: Artifact) -> None:
    require(target.capabilities().measurable, target.info.name)
    stats = target.measure(artifact.path, BenchConfig(runs=7, warmup_runs=2, memory=False))
    assert isinstance(stats, LatencyStats)
    assert 0 < stats.min_ms <= stats.p50_ms <= stats.p90_ms
    assert (stats.runs, stats.threads, stats.batch) == (7, 1, 1)
    assert stats.warmup_runs >= 2
    assert any(character.isdigit() for character in stats.runtime)
    assert stats.device
    assert stats.peak_memory_bytes is None


def test_peak_memory_is_measured_or_its_absence_explained(
    target: Target, artifact: Artifact
) -> None:
    require(target.capabilities().measurable, target.info.name)
    stats = target.measure(artifact.path, BenchConfig(runs=1, warmup_runs=0))
    assert isinstance(stats, LatencyStats)
    if stats.peak_memory_bytes is None:
        assert any("memory" in note for note in stats.notes)
    else:
        assert 0 < stats.peak_memory_bytes < 1 << 29


def test_inspection_tells_the_facts(target: Target, artifact: Artifact) -> None:
    facts = target.inspect(artifact.path)
    assert isinstance(facts, Inspection)
    assert facts.path == artifact.path
    assert facts.format
    assert facts.size_bytes == size_on_disk(artifact.path)
    assert facts.signature.input("image").shape == (1, 3, 16, 16)
    assert facts.signature.output("scores").shape == (1, 4)
    # Convolutions 8*8*8*27 and 8*8*8*9, and the head 8*4; targets may count an addition too.
    assert facts.macs is not None
    assert facts.macs == pytest.approx(8 * 8 * 8 * 36 + 32, rel=0.03)
    assert facts.parameters == pytest.approx(8 * 27 + 8 + 8 * 9 + 8 + 8 * 4 + 4, abs=16)
    counts = [op.count for op in facts.ops]
    assert counts == sorted(counts, reverse=True)
    assert facts.integer_ops == 0
    assert 0 < facts.float_ops <= sum(counts)
