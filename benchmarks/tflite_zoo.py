"""edgekit's TFLite lowering beside onnx2tf's, on a fixed zoo of convolutional networks.

Every network (random weights, BatchNorm calibrated) is exported once with torch's own ONNX
exporter; both converters get that file. Conversion runs in a fresh process each: wall time of
the conversion call without imports (edgekit's includes the verification of every pass in ONNX
Runtime), and peak resident memory of that process (not of the onnxsim that onnx2tf starts). The
reference is ONNX
Runtime on the exported file; beside it stands how far torch's own float32 result lies from its
float64 result, since no converter can be held to less.
Latency is measured in this process with both files loaded, run in random order in pairs
(`edgekit.measure.latency.interleaved`), one thread; the ratio is edgekit's time over
onnx2tf's. Run from the repository root:

    python -m benchmarks.tflite_zoo [NAME ...] [--pairs 60]

It writes benchmarks/results/tflite_zoo.json and tflite_zoo.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

RESULTS = Path(__file__).parent / "results"
SHOWN_ERROR_CHARACTERS = 300
COLUMNS = (
    "network",
    "torch float32 noise",
    "difference to ONNX Runtime",
    "TRANSPOSE",
    "operators",
    "conversion s",
    "peak MiB",
    "latency ms",
    "latency ratio [95 %]",
)
type Array = npt.NDArray[Any]


class Conversion(BaseModel):
    """One converter on one network; figures are None where it failed.

    Attributes:
        seconds: Wall time of the conversion call.
        peak_mib: Peak resident memory of the process, in MiB.
        relative: Largest difference to ONNX Runtime over the output's range.
        transposes: TRANSPOSE operators in the file.
        operators: All operators in the file.
        size_kib: Size of the file, in KiB.
        error: Why it failed.
    """

    seconds: float | None = None
    peak_mib: float | None = None
    relative: float | None = None
    transposes: int | None = None
    operators: int | None = None
    size_kib: float | None = None
    error: str = ""


class Row(BaseModel):
    """One network: both conversions and the latency ratio with its 95 % interval."""

    network: str
    float32_noise: float
    edgekit: Conversion
    onnx2tf: Conversion
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    edgekit_ms: float | None = None
    onnx2tf_ms: float | None = None


def convert_with_edgekit(source: Path, folder: Path) -> Callable[[], Path]:
    """Prepares edgekit's conversion; the returned call is what is timed."""
    from edgekit.graph.canonicalize import canonicalize
    from edgekit.graph.io import load_onnx
    from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph

    def run() -> Path:
        made = folder / "model.tflite"
        graph = canonicalize(load_onnx(source)).model
        made.write_bytes(lower_graph(graph, LoweringOptions()).data)
        return made

    return run


def convert_with_onnx2tf(source: Path, folder: Path) -> Callable[[], Path]:
    """Prepares onnx2tf's conversion of a copy (it rewrites its input)."""
    import onnx2tf

    copy = folder / "model.onnx"
    shutil.copy(source, copy)

    def run() -> Path:
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
            output_folder_path=str(folder),
            tflite_backend="flatbuffer_direct",
            non_verbose=True,
            verbosity="error",
        )
        return next(folder.glob("*_float32.tflite"))

    return run


CONVERTERS = {"edgekit": convert_with_edgekit, "onnx2tf": convert_with_onnx2tf}


def worker(converter: str, source: Path, folder: Path) -> None:
    """Body of the fresh process: converts and prints one JSON line."""
    reset_peak()
    run = CONVERTERS[converter](source, folder)
    started = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - started
    print(json.dumps({"file": str(made), "seconds": seconds, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Highest resident memory of this process since `reset_peak`, in MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def reset_peak() -> None:
    """Forgets the peak that the kernel hands down from the parent process."""
    Path("/proc/self/clear_refs").write_text("5")


def convert(converter: str, source: Path, folder: Path) -> tuple[Conversion, Path | None]:
    """Converts in a fresh process."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tflite_zoo", "--worker", converter, source, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Conversion(error=reason[:SHOWN_ERROR_CHARACTERS]), None
    answer = json.loads(lines[-1])
    made = Path(answer["file"])
    return (
        Conversion(
            seconds=answer["seconds"],
            peak_mib=answer["peak_mib"],
            size_kib=made.stat().st_size / 1024,
        ),
        made,
    )


class LiteRt:
    """A TFLite file with one image input, in LiteRT with XNNPACK and one thread."""

    def __init__(self, path: Path) -> None:
        """Loads the file."""
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]

    def feed(self, image: Array) -> None:
        """Sets the input from ``[N, C, H, W]``; the files store NHWC."""
        stored = image.transpose(0, 2, 3, 1)
        self.interpreter.set_tensor(self.input["index"], np.ascontiguousarray(stored))

    def outputs(self) -> list[Array]:
        """Copies of the outputs of the last run."""
        return [
            self.interpreter.get_tensor(detail["index"])
            for detail in self.interpreter.get_output_details()
        ]


def examine(conversion: Conversion, path: Path, image: Array, reference: Array) -> None:
    """Fills in operators and the difference to the reference."""
    from edgekit.targets.tflite.inspection import inspect

    inspection = inspect(path)
    counts = {item.op: item.count for item in inspection.ops}
    conversion.transposes = counts.get("TRANSPOSE", 0)
    conversion.operators = sum(counts.values())
    runtime = LiteRt(path)
    runtime.feed(image)
    runtime.interpreter.invoke()
    (made,) = runtime.outputs()
    if made.shape != reference.shape:
        made = made.transpose(0, 3, 1, 2)
    conversion.relative = float(np.abs(made - reference).max() / np.ptp(reference))


def export(name: str, path: Path) -> tuple[Array, float]:
    """Exports a network with torch's exporter.

    Returns:
        An image, and torch's largest float32 error on it over the output's range.
    """
    import torch

    from tests.zoo_models import zoo_model

    network = zoo_model(name)
    image = np.random.default_rng(0).standard_normal(network.shape).astype(np.float32)
    tensor = torch.from_numpy(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network.module, (tensor,), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path))
    with torch.no_grad():
        single = network.module(tensor).double()
        double = network.module.double()(tensor.double())
    return image, float((single - double).abs().max() / (double.max() - double.min()))


def measure(name: str, scratch: Path, pairs: int) -> Row:
    """One network: export, convert twice, compare, time."""
    from edgekit.graph.reference import ReferenceSession
    from edgekit.measure.latency import interleaved

    source = scratch / f"{name}.onnx"
    image, noise = export(name, source)
    session = ReferenceSession(source)
    (spec,) = session.signature.inputs
    reference = np.asarray(next(iter(session.run({spec.name: image}).values())))
    made = {}
    conversions = {}
    for converter in CONVERTERS:
        conversion, path = convert(converter, source, scratch / f"{name}-{converter}")
        conversions[converter] = conversion
        if path is not None:
            made[converter] = path
            examine(conversion, path, image, reference)
    row = Row(network=name, float32_noise=noise, **conversions)
    if len(made) == len(CONVERTERS):
        runtimes = {converter: LiteRt(path) for converter, path in made.items()}
        for runtime in runtimes.values():
            runtime.feed(image)
        found = interleaved(
            runtimes["edgekit"].interpreter.invoke,
            runtimes["onnx2tf"].interpreter.invoke,
            runs=pairs,
        )
        row.ratio, row.low, row.high = found.median_ratio, found.low, found.high
        row.edgekit_ms, row.onnx2tf_ms = found.a_p50_ms, found.b_p50_ms
    return row


def markdown(rows: list[Row], conditions: str) -> str:
    """The table."""

    def number(value: float | None, form: str) -> str:
        return "failed" if value is None else format(value, form)

    def pair(row: Row, field: str, form: str) -> str:
        mine, theirs = getattr(row.edgekit, field), getattr(row.onnx2tf, field)
        return f"{number(mine, form)} / {number(theirs, form)}"

    lines = [
        "# TFLite float32: edgekit beside onnx2tf",
        "",
        f"Each pair is edgekit / onnx2tf. {conditions}",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        ratio = (
            "failed" if row.ratio is None else f"{row.ratio:.3f} [{row.low:.3f}, {row.high:.3f}]"
        )
        latency = f"{number(row.edgekit_ms, '.2f')} / {number(row.onnx2tf_ms, '.2f')}"
        cells = [
            row.network,
            format(row.float32_noise, ".1e"),
            pair(row, "relative", ".1e"),
            pair(row, "transposes", "d"),
            pair(row, "operators", "d"),
            pair(row, "seconds", ".2f"),
            pair(row, "peak_mib", ".0f"),
            latency,
            ratio,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--worker", nargs=3, metavar=("CONVERTER", "SOURCE", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.worker:
        converter, source, folder = arguments.worker
        worker(converter, Path(source), Path(folder))
        return
    from edgekit.measure.device import device_name
    from tests.zoo_models import ZOO

    rows: list[Row] = []
    RESULTS.mkdir(exist_ok=True)
    conditions = (
        f"{device_name()}, 1 thread, batch 1, {arguments.pairs} interleaved pairs in one process; "
        "versions in constraints.txt."
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.networks or ZOO:
            rows.append(measure(name, Path(scratch), arguments.pairs))
            print(rows[-1].model_dump_json(), flush=True)
            content = json.dumps([row.model_dump() for row in rows], indent=1)
            (RESULTS / "tflite_zoo.json").write_text(content + "\n")
            (RESULTS / "tflite_zoo.md").write_text(markdown(rows, conditions))


if __name__ == "__main__":
    main()
