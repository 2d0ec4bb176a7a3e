"""Core ML packages of the zoo, executed: float32 and float16 against ONNX Runtime, and speed.

Every network is converted to Core ML in both precisions; the saved packages run in the edgekit
MIL runtime (not on the Neural Engine) on seeded inputs. For mobilenet_v2 and resnet18 the float32
package runs in random order in pairs with ONNX Runtime in this process, one thread
(`edgekit.measure.latency.interleaved`). Run from the repository root:

    python -m benchmarks.coreml_zoo [NAME ...] [--pairs 40]

It writes benchmarks/results/coreml_zoo.json and .md after each network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from edgekit.api import ConvertOptions, convert
from edgekit.core.signature import ModelSignature
from edgekit.core.target import RuntimeConfig, Session
from edgekit.graph.io import load_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.measure.device import device_name
from edgekit.measure.difference import compare_outputs
from edgekit.measure.feeds import random_feeds
from edgekit.measure.latency import interleaved
from edgekit.targets.coreml.inspection import inspect
from edgekit.targets.coreml.session import MilSession
from tests.zoo_models import ZOO, export_zoo_onnx

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("EDGEKIT_DATA", "../shared/data"))
SHARED = {
    "UltraFace RFB-320": "models/ultraface/version-RFB-320.onnx",
    "DTLN 1": "models/dtln/model_1.onnx",
    "DTLN 2": "models/dtln/model_2.onnx",
    "nnsplit": "models/nnsplit/en-model.onnx",
    "mnist": "models/mnist/mnist.onnx",
}
INPUTS = {"nnsplit": ("input:1x100:uint8",)}
"""Inputs whose open sizes have to be fixed."""
TIMED = ("mobilenet_v2", "resnet18")
SAMPLES = 4

CONDITIONS = (
    "{}; versions in constraints.txt. Saved packages in the edgekit MIL runtime, **not on the "
    "Neural Engine**, against ONNX Runtime on the canonical graph: largest difference over the "
    "output's range on {} seeded inputs. Weights of the zoo are random with calibrated "
    "BatchNorm, those of the last networks trained. The noise of float32 is how far ONNX Runtime "
    "is from itself without its optimizations. Conversion is that of both precisions with import "
    "and verification."
)


def source_of(name: str, folder: Path) -> Path:
    """The ONNX file of a network."""
    if name in SHARED:
        return DATA / SHARED[name]
    path = folder / f"{name}.onnx"
    export_zoo_onnx(name, path)
    return path


def convert_canonical(source: Path, path: Path, name: str) -> None:
    """Writes the canonical graph of an ONNX file, which packages are lowered from."""
    made = convert(
        source,
        targets=("onnxruntime",),
        precisions=["float32"],
        output=path.parent / "reference",
        options=ConvertOptions(name="network", bench=None, inputs=INPUTS.get(name, ())),
    )
    shutil.copyfile(made.artifact("onnxruntime", "float32"), path)


def compare(package: Path, graph: Path) -> float:
    """Largest difference from ONNX Runtime over the range of its output."""
    signature = signature_of(load_onnx(graph))
    session = MilSession(package, RuntimeConfig())
    with ReferenceSession(graph) as reference:
        found = largest(signature, reference, session)
    session.close()
    return found


def noise(graph: Path) -> float:
    """How far ONNX Runtime is from itself without its optimizations: what float32 leaves open."""
    signature = signature_of(load_onnx(graph))
    with ReferenceSession(graph) as one, ReferenceSession(graph, optimization="disabled") as other:
        return largest(signature, one, other)


def largest(signature: ModelSignature, reference: Session, other: Session) -> float:
    """Largest difference of two runtimes over all samples."""
    worst = 0.0
    for seed in range(SAMPLES):
        feeds = random_feeds(signature, seed)
        items = compare_outputs(reference.run(feeds), other.run(feeds))
        worst = max([worst, *(item.relative for item in items)])
    return worst


def speed(package: Path, graph: Path, pairs: int) -> dict[str, Any]:
    """Times of the MIL runtime and of ONNX Runtime in one run, and their ratio."""
    feeds = random_feeds(signature_of(load_onnx(graph)), 0)
    session = MilSession(package, RuntimeConfig())
    with ReferenceSession(graph) as reference:
        found = interleaved(
            lambda: session.run(feeds), lambda: reference.run(feeds), runs=pairs, warmup_runs=5
        )
    session.close()
    return {
        "mil_ms": found.a_p50_ms, "ort_ms": found.b_p50_ms, "ratio": found.median_ratio,
        "low": found.low, "high": found.high,
    }  # fmt: skip


def measure(name: str, folder: Path, pairs: int) -> dict[str, Any]:
    """One network."""
    source = source_of(name, folder)
    start = time.perf_counter()
    made = convert(
        source,
        targets=("coreml",),
        precisions=["float32", "float16"],
        output=folder / "out",
        options=ConvertOptions(name="network", bench=None, inputs=INPUTS.get(name, ())),
    )
    row: dict[str, Any] = {"network": name, "seconds": time.perf_counter() - start}
    graph = folder / "out" / "canonical.onnx"
    convert_canonical(source, graph, name)
    row["noise"] = noise(graph)
    for precision in ("float32", "float16"):
        package = made.artifact("coreml", precision)
        row[precision] = compare(package, graph)
        row[f"{precision} MB"] = inspect(package).size_bytes / 1e6
    row["operators"] = sum(item.count for item in inspect(package).ops)
    if name in TIMED:
        row["speed"] = speed(made.artifact("coreml", "float32"), graph, pairs)
    return row


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "# Core ML packages of the zoo",
        "",
        CONDITIONS.format(device_name(), SAMPLES),
        "",
        (
            "| network | float32 | float16 | noise of float32 | operators | MB float32, float16 | "
            "conversion s |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["network"],
            f"{row['float32']:.1e}",
            f"{row['float16']:.1e}",
            f"{row['noise']:.1e}",
            str(row["operators"]),
            f"{row['float32 MB']:.1f}, {row['float16 MB']:.1f}",
            f"{row['seconds']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    timed = [row for row in rows if "speed" in row]
    if timed:
        lines += ["", "| network | MIL runtime ms | ONNX Runtime ms | ratio [95 %] |",
                  "|---|---|---|---|"]  # fmt: skip
        for row in timed:
            found = row["speed"]
            lines.append(
                f"| {row['network']} | {found['mil_ms']:.1f} | {found['ort_ms']:.1f} | "
                f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}] |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="*", default=[*ZOO, *SHARED])
    parser.add_argument("--pairs", type=int, default=40)
    arguments = parser.parse_args()
    path = RESULTS / "coreml_zoo.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    order = [*ZOO, *SHARED]
    for name in arguments.networks:
        with tempfile.TemporaryDirectory(prefix="edgekit-zoo-") as folder:
            row = measure(name, Path(folder), arguments.pairs)
        print(row, flush=True)
        rows = [item for item in rows if item["network"] != name] + [row]
        rows.sort(key=lambda item: order.index(item["network"]))
        path.write_text(json.dumps(rows, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
