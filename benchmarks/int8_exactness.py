"""Int8 files of both targets against the QDQ graph they were lowered from, network by network.

Zoo networks have random weights and calibrated BatchNorm and are quantized with random images, the
models of EDGEKIT_DATA with random images (UltraFace) or with the features of spoken digits as they
run through the network (DTLN). Every network goes through `edgekit.convert` and is verified as
`edgekit verify` does, on samples that it was not calibrated with. Run from the repository root:

    python -m benchmarks.int8_exactness [NAME ...]

It writes benchmarks/results/int8_exactness.json and int8_exactness.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import wave
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

type Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("EDGEKIT_DATA", "../shared/data"))
ZOO = (
    "mobilenet_v2", "mobilenetv3_small_100", "resnet18", "shufflenet_v2_x1_0",
    "efficientnet_lite0", "mnasnet1_0", "ghostnet_100", "unet",
)  # fmt: skip
SHARED = {
    "UltraFace RFB-320": "models/ultraface/version-RFB-320.onnx",
    "DTLN model_1": "models/dtln/model_1.onnx",
    "DTLN model_2": "models/dtln/model_2.onnx",
}
MUST_BE_INTEGER = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED", "MAX_POOL_2D", "MEAN", "MUL", "TRANSPOSE_CONV",
    }
)  # fmt: skip
CALIBRATION, VERIFICATION = 32, 16
COLUMNS = (
    "network", "target", "integer layers", "float operators", "tensors compared", "differing",
    "max LSB", "outputs agree",
)  # fmt: skip
SUMMARY = (
    "Integer layers are the operators of the kinds Conv, ConvTranspose, FullyConnected, Add, "
    "Mul, Concat, Mean and Pool that compute on integers. A differing tensor has other integers, "
    "scales or zero points than the graph. Max LSB is the largest error of an operator that was "
    "given the graph's own integers, in steps of its output. Outputs agree where the best class "
    "is the same (networks with random weights have 1,000 scores that lie close together), or "
    "without classes in the elements that are within one step, end to end."
)
RATE, FRAME, HOP = 16_000, 512, 128
SHARE_KEPT = 0.1


class Row(BaseModel):
    """One file.

    Attributes:
        layers: Operators of `MUST_BE_INTEGER`; None for other targets than tflite.
        integer_layers: Those that compute on integers.
        float_ops: Operators that compute in float, by type.
        agreement: Share of samples with the same best class, or without classes of the elements
            within one step.
    """

    network: str
    target: str
    layers: int | None
    integer_layers: int | None
    float_ops: dict[str, int]
    compared: int
    differing: int
    max_lsb: int | None
    agreement: float | None
    samples: int


def random_inputs(source: Path, count: int) -> Arrays:
    """Standard normal values for every input of a model."""
    from edgekit.graph.io import load_onnx, signature_of
    from edgekit.measure.feeds import random_feeds

    signature = signature_of(load_onnx(source))
    feeds = [random_feeds(signature, seed) for seed in range(count)]
    return {name: np.stack([feed[name] for feed in feeds]) for name in feeds[0]}


def dtln_inputs(count: int) -> tuple[Arrays, Arrays]:
    """What both networks of DTLN read while they clean spoken digits with noise.

    Magnitudes of 32 ms frames go through the first, whose mask gives the frames for the second;
    both carry their state along (github.com/breizhn/DTLN, real_time_processing_onnx.py).
    """
    import onnxruntime

    first, second = (
        onnxruntime.InferenceSession(DATA / SHARED[f"DTLN model_{number}"]) for number in (1, 2)
    )
    names = [[item.name for item in session.get_inputs()] for session in (first, second)]
    random = np.random.default_rng(0)
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    for speech in recordings(random):
        noisy = speech + random.normal(0, random.uniform(0.001, 0.03), speech.size)
        states = [np.zeros((1, 2, 128, 2), np.float32) for _ in range(2)]
        for start in range(0, noisy.size - FRAME, HOP):
            spectrum = np.fft.rfft(noisy[start : start + FRAME])
            magnitude = np.abs(spectrum).astype(np.float32).reshape(1, 1, -1)
            keep = random.random() < SHARE_KEPT
            if keep:
                kept[0].append((magnitude, states[0]))
            given = (magnitude, states[0])
            mask, states[0] = first.run(None, dict(zip(names[0], given, strict=True)))
            frame = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32).reshape(1, 1, -1)
            if keep:
                kept[1].append((frame, states[1]))
            given = (frame, states[1])
            _, states[1] = second.run(None, dict(zip(names[1], given, strict=True)))
        if len(kept[0]) >= count:
            break
    made = [
        {name: np.stack([item[place] for item in part[:count]]) for place, name in enumerate(both)}
        for part, both in zip(kept, names, strict=True)
    ]
    return made[0], made[1]


def recordings(random: np.random.Generator) -> Iterator[np.ndarray]:
    """Spoken digits at 16 kHz in random order, float64 within -1..1."""
    with zipfile.ZipFile(DATA / "fsdd" / "recordings.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".wav"))
        for name in random.permutation(names):
            with wave.open(io.BytesIO(archive.read(str(name)))) as recording:
                rate = recording.getframerate()
                samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
            places = np.arange(0, samples.size, rate / RATE)
            yield np.interp(places, np.arange(samples.size), samples / 32768)


def prepare(name: str, folder: Path) -> tuple[Path, Arrays]:
    """The ONNX file of a network, and inputs for calibration and verification."""
    count = CALIBRATION + VERIFICATION
    if name in SHARED:
        source = DATA / SHARED[name]
        if name.startswith("DTLN"):
            return source, dtln_inputs(count)[int(name[-1]) - 1]
        return source, random_inputs(source, count)
    from tests.zoo_models import export_zoo_onnx

    source = folder / f"{name}.onnx"
    export_zoo_onnx(name, source)
    return source, random_inputs(source, count)


def measure(name: str, folder: Path) -> list[Row]:
    """Converts one network to all targets and verifies the artifacts."""
    from edgekit.api import ConvertOptions, convert
    from edgekit.core.exactness import ExactnessReport
    from edgekit.data.contract import DataSpec
    from edgekit.pipeline.registry import get_target

    source, arrays = prepare(name, folder)
    samples = folder / f"{name}.npz"
    calibration = {key: array[:CALIBRATION] for key, array in arrays.items()}
    np.savez(samples, allow_pickle=False, **calibration)
    held_out = [
        {key: array[index] for key, array in arrays.items()}
        for index in range(CALIBRATION, CALIBRATION + VERIFICATION)
    ]
    options = ConvertOptions(
        name="network", calibration=DataSpec(set=f"npz:{samples}"), bench=None
    )
    targets = ("tflite", "onnxruntime", "coreml")
    made = convert(
        source, targets=targets, precisions=["int8"], output=folder / name, options=options
    )
    graph = folder / name / "network.qdq.onnx"
    rows = []
    for target in targets:
        artifact = made.artifact(target, "int8")
        report = get_target(target).verify(artifact, graph, held_out)
        assert isinstance(report, ExactnessReport)
        layers, integers = layers_of(artifact) if target == "tflite" else (None, None)
        rows.append(
            Row(
                network=name,
                target=target,
                layers=layers,
                integer_layers=integers,
                float_ops=dict(Counter(item.split(" ")[0] for item in report.float_ops)),
                compared=report.compared_tensors,
                differing=report.differing_tensors,
                max_lsb=report.max_lsb,
                agreement=report.agreement,
                samples=report.samples,
            )
        )
    return rows


def layers_of(artifact: Path) -> tuple[int, int]:
    """Operators of `MUST_BE_INTEGER` in a .tflite file, and those of them on integers."""
    from edgekit.targets.tflite.model_file import read_model_file

    graph = read_model_file(artifact).main
    layers = [op for op in graph.operators if op.name in MUST_BE_INTEGER]
    on_floats = [
        op
        for op in layers
        if any(
            not graph.tensors[index].constant and graph.tensors[index].dtype == "float32"
            for index in (*op.inputs, *op.outputs)
            if index >= 0
        )
    ]
    return len(layers), len(layers) - len(on_floats)


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "# Int8 files against their QDQ graphs",
        "",
        f"{SUMMARY} Versions: {versions()}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        layers = "" if row.layers is None else f"{row.integer_layers} of {row.layers}"
        floats = ", ".join(f"{count} {op}" for op, count in row.float_ops.items()) or "0"
        agreement = "" if row.agreement is None else f"{row.agreement:.1%} of {row.samples}"
        cells = (
            row.network, row.target, layers, floats, str(row.compared), str(row.differing),
            str(row.max_lsb), agreement,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def versions() -> str:
    """Of the runtimes."""
    names = ("ai-edge-litert", "onnxruntime")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="*")
    wanted = parser.parse_args().networks or [*ZOO, *SHARED]
    stored = RESULTS / "int8_exactness.json"
    known = json.loads(stored.read_text()) if stored.exists() else []
    rows = {(row.network, row.target): row for row in map(Row.model_validate, known)}
    for name in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            for row in measure(name, Path(scratch)):
                rows[row.network, row.target] = row
                print(row.model_dump_json(), flush=True)
        stored.write_text(json.dumps([row.model_dump() for row in rows.values()], indent=1) + "\n")
        (RESULTS / "int8_exactness.md").write_text(markdown(list(rows.values())))


if __name__ == "__main__":
    main()
