"""Time of a step of quantization-aware training beside a float training step.

Both steps are those of the same canonical graph as a torch twin, with the same batch, loss and
optimizer (AdamW): forward, cross-entropy, backward, update. The quantized step has all
quantizers that training puts in, with learned scales; a third step also runs the float model
that is learned from. Steps of the float and the quantized twin are run in pairs in random order
(`edgekit.measure.latency.interleaved`) in one process; the ratio is that of the pairs' median,
with its 95 % interval. Run from the repository root:

    python -m benchmarks.qat_step_time [NAME ...] [--pairs 40] [--threads 1 2]

It writes benchmarks/results/qat_step_time.json and qat_step_time.md; rows of networks or thread
counts that are not asked for are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch.nn import functional

from edgekit.core.quant import named_scheme
from edgekit.graph.importers import ImportRequest, import_model, parse_input
from edgekit.graph.torch_twin import TorchTwin, build_twin
from edgekit.measure.device import device_name
from edgekit.measure.latency import interleaved
from edgekit.quantization.ptq import quantize_ptq
from edgekit.quantization.ptq_types import PtqOptions
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.course import Machinery
from edgekit.training.qat.losses import QatLoss
from edgekit.training.qat.train import make_trainable

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = (
    "network", "input", "batch", "threads", "float step ms", "QAT step ms", "QAT / float [95 %]",
    "with the float model / float [95 %]",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """What is trained.

    Attributes:
        source: As `edgekit convert` takes it.
        shape: Of one sample.
        batch: Samples in a step.
    """

    source: str
    shape: tuple[int, ...]
    batch: int


def sample(folder: str, factory: str) -> str:
    """Source of a sample model."""
    return f"{ROOT / 'sample_models' / folder / 'model.py'}:{factory}"


NETWORKS = {
    "resnet20": Network(sample("resnet_cifar", "resnet20"), (3, 32, 32), 128),
    "mobilenet_v2": Network("torchvision:mobilenet_v2", (3, 96, 96), 16),
    "fashion_cnn": Network(sample("fashion_cnn", "fashion_cnn"), (1, 28, 28), 128),
    "tiny_vit": Network(sample("tiny_vit", "tiny_vit"), (1, 28, 28), 128),
}


class Row(BaseModel):
    """Figures of one network with one number of threads."""

    network: str
    shape: tuple[int, ...]
    batch: int
    threads: int
    pairs: int
    device: str
    float_ms: float
    qat_ms: float
    ratio: float
    low: float
    high: float
    taught_ratio: float
    taught_low: float
    taught_high: float


def step_of(
    twin: TorchTwin, network: Network, *, quantized: bool, teacher: TorchTwin | None = None
) -> Callable[[], None]:
    """One training step that can be repeated."""
    config = QatConfig(task="classify", distillation=0.5 if teacher is not None else 0.0)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(network.batch, *network.shape, generator=generator)
    loss_of = QatLoss(config, twin, distils=teacher is not None)
    if quantized:
        make_trainable(twin, config)
    twin.train()
    machinery = Machinery.of(twin, config, 10**6, ())
    machinery.phases.before_step()
    with torch.no_grad():
        labels = twin.outputs(inputs)[0].argmax(dim=1)

    def step() -> None:
        taught = None
        if teacher is not None:
            with torch.no_grad():
                taught = teacher.outputs(inputs)
        outputs = twin.outputs(inputs)
        loss = loss_of(outputs, labels, taught)
        if not quantized:
            loss = functional.cross_entropy(outputs[0], labels)
        machinery.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        machinery.optimizer.step()

    return step


def measure(name: str, threads: int, pairs: int) -> Row:
    """Float and quantized steps of one network."""
    network = NETWORKS[name]
    torch.set_num_threads(threads)
    size = "x".join(map(str, (1, *network.shape)))
    request = ImportRequest(
        source=network.source, inputs=(parse_input(f"image:{size}"),), dynamic_batch=True
    )
    model = import_model(request).model
    images = np.random.default_rng(0).standard_normal((8, *network.shape)).astype(np.float32)
    input_name = model.graph.inputs[0].name or ""
    quantized = quantize_ptq(
        model,
        lambda: iter([{input_name: images}]),
        named_scheme("int8"),
        PtqOptions(method="minmax"),
    ).model
    plain = step_of(build_twin(model), network, quantized=False)
    trained = step_of(build_twin(quantized), network, quantized=True)
    taught = step_of(
        build_twin(quantized), network, quantized=True, teacher=build_twin(model).eval()
    )
    for warm_up in (plain, trained, taught, plain, trained, taught):
        warm_up()
    alone = interleaved(trained, plain, runs=pairs, warmup_runs=2)
    together = interleaved(taught, plain, runs=pairs, warmup_runs=2)
    return Row(
        network=name, shape=network.shape, batch=network.batch, threads=threads, pairs=pairs,
        device=device_name(), float_ms=alone.b_p50_ms, qat_ms=alone.a_p50_ms,
        ratio=alone.median_ratio, low=alone.low, high=alone.high,
        taught_ratio=together.median_ratio, taught_low=together.low, taught_high=together.high,
    )  # fmt: skip


def markdown(rows: list[Row]) -> str:
    """The table."""
    device, pairs = rows[0].device, min(row.pairs for row in rows)
    conditions = (
        f"{device}, {pairs} interleaved pairs in one process; versions in constraints.txt. The "
        "quantized step learns weights and all scales; the last column adds the forward pass of "
        "the float model that is learned from."
    )
    lines = [
        "# Step time of quantization-aware training",
        "",
        conditions,
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        cells = [
            row.network,
            "x".join(map(str, row.shape)),
            str(row.batch),
            str(row.threads),
            f"{row.float_ms:.1f}",
            f"{row.qat_ms:.1f}",
            f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]",
            f"{row.taught_ratio:.2f} [{row.taught_low:.2f}, {row.taught_high:.2f}]",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    path = RESULTS / "qat_step_time.json"
    kept = (
        [Row.model_validate(item) for item in json.loads(path.read_text())]
        if path.exists()
        else []
    )
    rows = {(row.network, row.threads): row for row in kept}
    for name in arguments.networks:
        for threads in arguments.threads:
            row = measure(name, threads, arguments.pairs)
            rows[name, threads] = row
            print(f"{name}, {threads} threads: {row.ratio:.2f}, taught {row.taught_ratio:.2f}")
            ordered = sorted(
                rows.values(), key=lambda item: (list(NETWORKS).index(item.network), item.threads)
            )
            path.write_text(json.dumps([item.model_dump() for item in ordered], indent=1) + "\n")
            path.with_suffix(".md").write_text(markdown(ordered))


if __name__ == "__main__":
    main()
