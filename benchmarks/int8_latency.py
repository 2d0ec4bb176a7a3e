"""Latency of int8 TFLite files: edgekit's beside its own float file and those of two peers.

Every network (random weights, BatchNorm calibrated) is quantized from the same canonical graph
with the same eight random images: by edgekit, by ai-edge-quantizer (from edgekit's float file)
and by onnx2tf with TensorFlow's converter. The peers run in environments of their own, which are
made on the first run below ``--environments`` (about 4 GB). All files are then run in this
process by one version of LiteRT with XNNPACK, one thread, in pairs in random order within each of
several fresh loads (`edgekit.measure.latency_loads`). A ratio is edgekit's time over the other's,
below 1 where edgekit is faster; ai-edge-quantizer's file has int8 inputs and outputs, so it is
compared with edgekit's ``--io int8``, the others with float32 inputs and outputs. Run from the
repository root:

    python -m benchmarks.int8_latency [NAME ...] [--loads 12] [--pairs 20]

It writes benchmarks/results/int8_latency.json and int8_latency.md; networks that are in the
former already are measured anew only when they are named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from edgekit.core.load_plan import LoadPlan

RESULTS = Path(__file__).parent / "results"
PEERS = Path(__file__).parent / "peers"
NETWORKS = (
    "mobilenet_v2", "mobilenetv3_small_100", "resnet18", "efficientnet_lite0", "mnasnet1_0",
    "shufflenet_v2_x1_0", "ghostnet_100", "unet",
)  # fmt: skip
REQUIREMENTS = {
    "aeq": ("ai-edge-quantizer==0.10.0",),
    "tensorflow": ("tensorflow==2.21.0", "onnx2tf==2.6.9", "tf_keras", "psutil==5.9.5"),
}
COLUMNS = (
    "network",
    "own float32",
    "ai-edge-quantizer 0.10.0, int8 I/O",
    "onnx2tf 2.6.9 + TensorFlow 2.21, float32 I/O",
    "float operators",
)
SAMPLES = 8
SHOWN_ERROR_CHARACTERS = 200


class Ratio(BaseModel):
    """Paired ratio over loads with its 95 % interval, and both medians in ms."""

    ratio: float
    low: float
    high: float
    edgekit_ms: float
    other_ms: float


class Row(BaseModel):
    """One network.

    Attributes:
        float32: edgekit's int8 file against its float32 file.
        aeq: Against ai-edge-quantizer, int8 inputs and outputs; or why there is no file.
        tensorflow: Against TensorFlow's converter, float32 inputs and outputs; or why not.
        float_operators: Operators that compute in float in each int8 file, by maker.
    """

    network: str
    float32: Ratio
    aeq: Ratio | str
    tensorflow: Ratio | str
    float_operators: dict[str, int]


class Results(BaseModel):
    """All rows with the conditions under which they were measured."""

    conditions: str
    rows: list[Row]


def environment(name: str, folder: Path) -> Path:
    """Python of a peer's environment, which is made if need be."""
    place = folder / name
    python, stamp = place / "bin" / "python", place / ".installed"
    if not stamp.exists():
        print(f"making {place}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True
        )
        stamp.touch()
    return python


def quantized_graph(source: Path, images: npt.NDArray[np.float32]) -> Path:
    """Makes the QDQ graph beside ``source``."""
    from edgekit.core.quant import named_scheme
    from edgekit.graph.io import load_onnx, save_onnx
    from edgekit.quantization.ptq import PtqOptions, quantize_ptq

    graph = load_onnx(source)
    name = str(graph.graph.inputs[0].name)
    feeds = [{name: image[None]} for image in images]
    result = quantize_ptq(
        graph, lambda: iter(feeds), named_scheme("int8"), PtqOptions(method="minmax")
    )
    path = source.with_suffix(".qdq.onnx")
    save_onnx(result.model, path)
    return path


def lowered(source: Path, precision: str, io: str, folder: Path) -> Path:
    """The file that edgekit makes of a graph."""
    from edgekit.core.artifact import Artifact, ArtifactKind
    from edgekit.core.target import LowerConfig
    from edgekit.pipeline.registry import get_target

    folder.mkdir()
    config = LowerConfig.model_validate({"precision": precision, "io": io})
    made = get_target("tflite").lower(Artifact.of(ArtifactKind.ONNX, source), config, folder)
    return Path(made.artifact.path)  # type: ignore[union-attr]


def by_peer(command: list[str | Path], output: Path) -> Path | str:
    """Runs a peer; its file, or the last line of what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not output.exists():
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return last[:SHOWN_ERROR_CHARACTERS]
    return output


def runner(path: Path) -> Callable[[], object]:
    """One inference of a file with random inputs of its own type."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    random = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        values = random.standard_normal(detail["shape"])
        if detail["dtype"] != np.float32:
            values = np.clip(values * 40, -128, 127)
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
    return interpreter.invoke  # type: ignore[no-any-return]


def compared(mine: Path, other: Path | str, plan: LoadPlan) -> Ratio | str:
    """Latency of two files over fresh loads; the reason where there is no second one."""
    from edgekit.measure.latency_loads import compare_loads

    if isinstance(other, str):
        return other
    theirs = other
    try:
        runner(theirs)
    except RuntimeError as error:
        return f"its file does not run: {' '.join(str(error).split())[:SHOWN_ERROR_CHARACTERS]}"
    found = compare_loads(
        lambda: nullcontext(runner(mine)), lambda: nullcontext(runner(theirs)), plan
    )
    return Ratio(
        ratio=found.median_ratio,
        low=found.low,
        high=found.high,
        edgekit_ms=found.a_p50_ms,
        other_ms=found.b_p50_ms,
    )


def float_operators(path: Path) -> int:
    """Operators that compute in float, besides QUANTIZE and DEQUANTIZE."""
    from edgekit.targets.tflite.model_file import read_model_file

    graph = read_model_file(path).main
    found = 0
    for op in graph.operators:
        touched = [graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0]
        found += op.name not in {"QUANTIZE", "DEQUANTIZE"} and any(
            not tensor.constant and tensor.dtype == "float32" for tensor in touched
        )
    return found


def measure(name: str, scratch: Path, pythons: dict[str, Path], plan: LoadPlan) -> Row:
    """Quantizes one network three times and times the files."""
    from tests.zoo_models import export_zoo_onnx

    source = scratch / f"{name}.onnx"
    shape = export_zoo_onnx(name, source).shape
    images = np.random.default_rng(0).standard_normal((SAMPLES, *shape[1:])).astype(np.float32)
    samples = scratch / f"{name}.npz"
    np.savez(samples, x=images.transpose(0, 2, 3, 1))
    graph = quantized_graph(source, images)
    plain = lowered(source, "float32", "float32", scratch / f"{name}-float32")
    mine = lowered(graph, "int8", "float32", scratch / f"{name}-int8")
    mine_int8 = lowered(graph, "int8", "int8", scratch / f"{name}-int8-io")
    aeq, tensorflow = scratch / f"{name}.aeq.tflite", scratch / f"{name}.tf.tflite"
    work = scratch / f"{name}-tf"
    work.mkdir()
    peers = {
        "aeq": by_peer(
            [pythons["aeq"], PEERS / "quantize_with_aeq.py", plain, samples, aeq], aeq
        ),
        "tensorflow": by_peer(
            [
                pythons["tensorflow"], PEERS / "quantize_with_tensorflow.py",
                source, samples, tensorflow, work,
            ],
            tensorflow,
        ),
    }  # fmt: skip
    against_float = compared(mine, plain, plan)
    assert isinstance(against_float, Ratio)
    return Row(
        network=name,
        float32=against_float,
        aeq=compared(mine_int8, peers["aeq"], plan),
        tensorflow=compared(mine, peers["tensorflow"], plan),
        float_operators={
            maker: float_operators(path)
            for maker, path in (("edgekit", mine), *peers.items())
            if isinstance(path, Path)
        },
    )


def markdown(results: Results) -> str:
    """The table."""

    def cell(found: Ratio | str) -> str:
        if isinstance(found, str):
            return f"no figure: {found.replace('|', '/')}"
        times = f"{found.edgekit_ms:.2f} / {found.other_ms:.2f} ms"
        return f"**{found.ratio:.2f}** [{found.low:.2f}, {found.high:.2f}], {times}"

    meaning = "Time of edgekit's int8 file over the other's, below 1 where edgekit is faster."
    lines = [
        "# TFLite int8: edgekit beside float32 and two peers",
        "",
        f"{meaning} {results.conditions}",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in results.rows:
        floats = ", ".join(f"{maker} {count}" for maker, count in row.float_operators.items())
        cells = (row.network, cell(row.float32), cell(row.aeq), cell(row.tensorflow), floats)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--loads", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=20, help="in each load")
    default = Path.home() / ".cache" / "edgekit-benchmarks"
    parser.add_argument("--environments", type=Path, default=default)
    arguments = parser.parse_args()
    from edgekit.measure.device import device_name

    plan = LoadPlan(loads=arguments.loads, pairs=arguments.pairs)
    pythons = {name: environment(name, arguments.environments) for name in REQUIREMENTS}
    stored = RESULTS / "int8_latency.json"
    conditions = (
        f"{device_name()}, LiteRT 2.1.2, 1 thread, batch 1, {plan.loads} fresh loads of both with "
        f"{plan.pairs} interleaved pairs each, in brackets the 95 % interval over loads."
    )
    known = Results.model_validate_json(stored.read_text()) if stored.exists() else None
    kept = known.rows if known is not None and known.conditions == conditions else []
    rows = {row.network: row for row in kept}
    wanted = arguments.networks or [name for name in NETWORKS if name not in rows]
    with tempfile.TemporaryDirectory() as scratch:
        for name in wanted:
            rows[name] = measure(name, Path(scratch), pythons, plan)
            print(rows[name].model_dump_json(), flush=True)
            ordered = [rows[item] for item in (*NETWORKS, *rows) if item in rows]
            results = Results(
                conditions=conditions, rows=list({row.network: row for row in ordered}.values())
            )
            stored.write_text(json.dumps(results.model_dump(), indent=1) + "\n")
            (RESULTS / "int8_latency.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
