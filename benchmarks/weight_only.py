"""Integer weights with float activations: what they save and cost, beside float32 and float16.

Each network is lowered from one graph in float32, float16, int8-weights and int4-weights; to
TFLite both ways of computing (dynamic, exact), to ONNX Runtime the one that it has. Shown are the
size of the file, the largest difference of the outputs to the float32 graph and to the QDQ graph
as a share of the output's range, on four random inputs; top-1 where the network is trained;
latency as a ratio to the same target's float32 file, both in one interleaved run
(`edgekit.measure.latency.interleaved`), one thread, batch 1; and peak memory of a fresh process
that loads and runs the file.

mobilenet_v2, resnet18 and vit_tiny_patch16_224 have random weights (BatchNorm calibrated);
resnet20 the published ones for CIFAR-10; fashion_cnn is trained here for three epochs. Run from
the repository root:

    python -m benchmarks.weight_only [NAME ...] [--pairs 40]

It writes benchmarks/results/weight_only.json and weight_only.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.quant import named_scheme
from edgekit.core.target import (
    QUANTIZED,
    LowerConfig,
    Lowered,
    Precision,
    RuntimeConfig,
    Target,
    WeightCompute,
)
from edgekit.data.contract import DataSpec
from edgekit.data.root import find_path

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "network",
    "target",
    "form",
    "size KiB",
    "top-1 %",
    "to float32",
    "to QDQ graph",
    "latency ms",
    "ratio to float32 [95 %]",
    "peak MiB",
)
INPUTS = 4
FASHION_EPOCHS = 3
FORMS: dict[str, tuple[tuple[Precision, WeightCompute | None], ...]] = {
    "tflite": (
        ("float32", None),
        ("float16", None),
        ("int8-weights", "dynamic"),
        ("int8-weights", "exact"),
        ("int4-weights", "dynamic"),
        ("int4-weights", "exact"),
    ),
    "onnxruntime": (("float32", None), ("int8-weights", None), ("int4-weights", None)),
}
type Array = npt.NDArray[Any]


class Network(BaseModel):
    """A float graph to lower.

    Attributes:
        name: Of the network.
        graph: Canonical ONNX file.
        data: Test set of a trained network.
    """

    name: str
    graph: Path
    data: DataSpec | None = None


class Row(BaseModel):
    """One artifact of one network; figures are None where they do not apply."""

    network: str
    target: str
    form: str
    size_kib: float = 0.0
    top1: float | None = None
    samples: int = 0
    to_float: float | None = None
    to_graph: float | None = None
    latency_ms: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    peak_mib: float | None = None
    error: str = ""


def exported(name: str, module: Any, shape: tuple[int, ...], folder: Path) -> Path:
    """The canonical graph of a module in evaluation mode."""
    from edgekit.core.metadata import ModelMetadata
    from edgekit.graph.canonicalize import canonicalize
    from edgekit.graph.importers import InputRequest
    from edgekit.graph.importers.torch_export import export_module
    from edgekit.graph.io import save_onnx, write_metadata

    request = InputRequest(name="image", shape=shape)
    graph = export_module(module.eval(), (request,), dynamic_batch=False, where=name)
    model = canonicalize(graph).model
    write_metadata(model, ModelMetadata(name=name, preprocessing=PREPROCESSING.get(name)))
    save_onnx(model, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


def zoo(name: str, folder: Path) -> Network:
    """A network of the test zoo with random weights."""
    from tests.zoo_models import zoo_model

    model = zoo_model(name)
    return Network(name=name, graph=exported(name, model.module, model.shape, folder))


def vision_transformer(name: str, folder: Path) -> Network:
    """A vision transformer of timm with random weights."""
    import timm
    import torch

    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False)
    return Network(name=name, graph=exported(name, module, (1, 3, 224, 224), folder))


def resnet20(name: str, folder: Path) -> Network:
    """ResNet-20 with the published weights of akamaster/pytorch_resnet_cifar10."""
    import torch

    from sample_models.resnet_cifar.model import resnet20 as build

    data = DataSpec(set="cifar10", split="test", limit=2400)
    file = find_path(data, "models/resnet20-cifar10/resnet20-12fca82f.th")
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    module = build()
    module.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return Network(
        name=name,
        graph=exported(name, module, (1, 3, 32, 32), folder),
        data=data,
    )


def fashion_cnn(name: str, folder: Path) -> Network:
    """The sample model, trained for a few epochs."""
    from edgekit.api import run_project
    from edgekit.pipeline.project import ProjectConfig

    data = {"set": "fashion-mnist"}
    project = ProjectConfig.model_validate(
        {
            "name": name,
            "output": folder,
            "stages": ["train"],
            "model": {
                "source": "sample_models/fashion_cnn/model.py:fashion_cnn",
                "inputs": ["image:1x1x28x28"],
                "preprocessing": PREPROCESSING[name],
            },
            "data": data,
            "train": {"epochs": FASHION_EPOCHS, "batch_size": 128, "lr": 4e-3, "threads": 1},
            "targets": {"onnxruntime": {}},
            "benchmark": {"enabled": False},
            "evaluate": {"enabled": False},
        }
    )
    run_project(project, store=folder / "store")
    spec = DataSpec(set="fashion-mnist", split="test", limit=2000)
    return Network(name=name, graph=folder / f"{name}.onnx", data=spec)


PREPROCESSING: dict[str, Any] = {
    "resnet20": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255},
    "fashion_cnn": {"channels": "gray", "mean": (0.286,), "std": (0.353,), "scale": 1 / 255},
}
NETWORKS: dict[str, Callable[[str, Path], Network]] = {
    "mobilenet_v2": zoo,
    "resnet18": zoo,
    "vit_tiny_patch16_224": vision_transformer,
    "resnet20": resnet20,
    "fashion_cnn": fashion_cnn,
}


def sources(network: Network, folder: Path) -> dict[str, Artifact]:
    """The graph that each precision is lowered from."""
    from edgekit.graph.io import load_onnx, save_onnx, signature_of
    from edgekit.quantization.ptq import quantize_ptq

    model = load_onnx(network.graph)
    signature = signature_of(model)
    plain = Artifact.of(ArtifactKind.ONNX, network.graph, signature=signature)
    made = {"float32": plain, "float16": plain}
    for scheme in ("int8-weights", "int4-weights"):
        path = folder / f"{network.name}.{scheme}.qdq.onnx"
        save_onnx(quantize_ptq(model, lambda: iter(()), named_scheme(scheme)).model, path)
        made[scheme] = Artifact.of(ArtifactKind.QDQ_ONNX, path, signature=signature)
    return made


def measure(network: Network, pairs: int, folder: Path) -> Iterator[Row]:
    """All artifacts of one network; a target's float32 file comes first."""
    from edgekit.pipeline.registry import get_target

    graphs = sources(network, folder)
    for name, forms in FORMS.items():
        target = get_target(name)
        float_file: Path | None = None
        for precision, compute in forms:
            label = precision if compute is None else f"{precision}, {compute}"
            row = Row(network=network.name, target=name, form=label)
            place = folder / f"{network.name}-{name}-{label}".replace(", ", "-")
            place.mkdir()
            config = LowerConfig(precision=precision, weight_compute=compute)
            lowered = target.lower(graphs[precision], config, place)
            assert isinstance(lowered, Lowered)
            path = lowered.artifact.path
            float_file = float_file or path
            row.size_kib = path.stat().st_size / 1024
            compare(row, target, path, graphs)
            time_it(row, target, (path, float_file), pairs)
            row.top1, row.samples = accuracy(network, target, path)
            yield row


def compare(row: Row, target: Target, path: Path, graphs: dict[str, Artifact]) -> None:
    """Fills in the differences to the float graph and, where there is one, the QDQ graph."""
    from edgekit.graph.reference import ReferenceSession
    from edgekit.measure.feeds import random_feeds

    precision = row.form.split(",")[0]
    session: Any = target.load(path, RuntimeConfig())
    plain = ReferenceSession(graphs["float32"].path, optimization="disabled")
    source = ReferenceSession(graphs[precision].path, optimization="disabled")
    found = []
    for seed in range(INPUTS):
        feeds = random_feeds(session.signature, seed)
        made = session.run(feeds)
        found.append(
            [
                max(float(np.abs(made[k] - other[k]).max() / np.ptp(other[k])) for k in other)
                for other in (plain.run(feeds), source.run(feeds))
            ]
        )
    row.to_float, graph = (max(column) for column in zip(*found, strict=True))
    row.to_graph = graph if precision in QUANTIZED else None
    session.close()


def time_it(row: Row, target: Target, files: tuple[Path, Path], pairs: int) -> None:
    """Fills in the latency beside the float32 file, and the peak memory."""
    from edgekit.measure.feeds import random_feeds
    from edgekit.measure.latency import interleaved
    from edgekit.measure.memory import peak_memory

    sessions: list[Any] = [target.load(path, RuntimeConfig()) for path in files]
    runs = [session.prepare(random_feeds(session.signature, 0)) for session in sessions]
    found = interleaved(runs[0], runs[1], runs=pairs)
    row.latency_ms = found.a_p50_ms
    row.ratio, row.low, row.high = found.median_ratio, found.low, found.high
    for session in sessions:
        session.close()
    module = f"edgekit.targets.{target.info.name}"
    preload = ("numpy", "ai_edge_litert.interpreter")
    if target.info.name == "onnxruntime":
        preload = (f"{module}.runtime", "numpy")
    memory = peak_memory(f"{module}.target:create_target", files[0], preload=preload)
    if memory.peak_bytes is not None:
        row.peak_mib = memory.peak_bytes / 2**20


def accuracy(network: Network, target: Target, path: Path) -> tuple[float | None, int]:
    """Top-1 of a trained network, and the number of samples."""
    if network.data is None:
        return None, 0
    from edgekit.core.metadata import Preprocessing
    from edgekit.data.datasets import open_dataset
    from edgekit.measure.accuracy import evaluate_session

    session: Any = target.load(path, RuntimeConfig())
    preprocessing = Preprocessing.model_validate(PREPROCESSING[network.name])
    report = evaluate_session(session, open_dataset(network.data), preprocessing)
    session.close()
    return report.top1.value, report.top1.n


def markdown(rows: list[Row], conditions: str) -> str:
    """The table."""

    def cell(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    lines = [
        "# Integer weights, float activations",
        "",
        conditions,
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        cells = [
            row.network,
            row.target,
            row.form,
            format(row.size_kib, ".0f"),
            "" if row.top1 is None else f"{100 * row.top1:.2f}",
            cell(row.to_float, ".1e"),
            cell(row.to_graph, ".1e"),
            cell(row.latency_ms, ".3f"),
            "" if row.ratio is None else f"{row.ratio:.3f} [{row.low:.3f}, {row.high:.3f}]",
            cell(row.peak_mib, ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    from edgekit.measure.device import device_name

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="*", metavar="NAME")
    parser.add_argument("--pairs", type=int, default=40)
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    conditions = (
        f"{device_name()}, 1 thread, batch 1, {arguments.pairs} interleaved pairs; versions in "
        "constraints.txt. Top-1 on 2,400 images of CIFAR-10 (resnet20) and 2,000 of Fashion-MNIST "
        f"(fashion_cnn, {FASHION_EPOCHS} epochs); the other networks are random."
    )
    rows: list[Row] = []
    for name in arguments.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            network = NETWORKS[name](name, Path(scratch))
            for row in measure(network, arguments.pairs, Path(scratch)):
                rows.append(row)
                print(row.model_dump_json(exclude_defaults=True), flush=True)
        content = json.dumps([row.model_dump() for row in rows], indent=1)
        (RESULTS / "weight_only.json").write_text(content + "\n")
        (RESULTS / "weight_only.md").write_text(markdown(rows, conditions))


if __name__ == "__main__":
    main()
