"""The graphs that `benchmarks.compression` trains: parents, and what pruning leaves of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compression import (
    ALLOCATION_LATENCY,
    DATA,
    DIGITS,
    FASHION,
    IMITATION_MACS,
    PARENT_TRAINING,
    RESNET,
    ROOT,
    STUDENT_MACS,
    TRAINED_HERE,
    ULTRAFACE,
    ULTRAFACE_FILE,
    WORK,
    graph,
)
from edgekit.api import run_project
from edgekit.core.load_plan import LoadPlan
from edgekit.core.metrics import Unavailable
from edgekit.core.target import RuntimeConfig, Session
from edgekit.data.contract import DataSpec
from edgekit.data.root import find_path
from edgekit.measure.artifact_latency import compare_latency
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.registry import get_target

RUNS = 40
PLAN = LoadPlan(loads=16, pairs=40)
STEPS = 6
"""MACs goals that are tried to bring uniform pruning to the latency of the other."""


def models() -> dict[str, Mapping[str, Any]]:
    """Both networks with their stored weights."""
    weights = find_path(DataSpec(set="cifar10"), "models/resnet20-cifar10/resnet20-12fca82f.th")
    return {
        "digits": DIGITS,
        "fashion": {
            **FASHION,
            "weights": ROOT / "sample_models" / "fashion_cnn" / "fashion_cnn.safetensors",
        },
        "resnet": {**RESNET, "weights": weights},
    }


def prepare() -> None:
    """Makes what is not there yet."""
    graph("x").parent.mkdir(parents=True, exist_ok=True)
    for network, model in models().items():
        if not graph(network).exists():
            _made(network, model, network, None)
        if network in STUDENT_MACS and not graph(f"{network}-student").exists():
            _made(network, model, f"{network}-student", {"macs_ratio": STUDENT_MACS[network]})
    _prepare_imitation()
    if not graph("resnet-uniform").exists():
        _prepare_allocations(models()["resnet"])


def _prepare_imitation() -> None:
    spec = DataSpec(set=DATA["ultraface"])
    model = {**ULTRAFACE, "source": str(find_path(spec, ULTRAFACE_FILE))}
    goals: dict[str, dict[str, Any] | None] = {
        "ultraface": None,
        "ultraface-pruned": {"macs_ratio": IMITATION_MACS, "statistics_samples": 128},
    }
    for name, prune in goals.items():
        if not graph(name).exists():
            _made("ultraface", model, name, prune)


def lowered(source: Path, folder: Path) -> Path:
    """Its float32 TFLite file."""
    from edgekit.core.artifact import Artifact, ArtifactKind
    from edgekit.core.target import LowerConfig

    target = get_target("tflite")
    folder.mkdir(parents=True, exist_ok=True)
    config = LowerConfig().settled_for(target.info)
    made = target.lower(Artifact.of(ArtifactKind.ONNX, source), config, folder)
    return Path(made.artifact.path)  # type: ignore[union-attr]


def latency_share(file: Path, base: Path) -> float:
    """Latency of a file as a share of another's, over fresh loads of both, one thread."""

    def opened(path: Path) -> Session:
        session = get_target("tflite").load(path, RuntimeConfig(threads=1))
        assert not isinstance(session, Unavailable)
        return session

    return compare_latency(partial(opened, file), partial(opened, base), PLAN).median_ratio


def _made(network: str, model: Mapping[str, Any], name: str, prune: dict[str, Any] | None) -> Path:
    """Runs a project that prunes, or only imports where ``prune`` is None.

    A network without stored weights is trained first.
    """
    folder = WORK / "prepared" / name
    targets = {"onnxruntime": {"precision": "float32"}, "tflite": {"precision": "float32"}}
    stages: tuple[str, ...] = () if prune is None else ("prune",)
    if network in TRAINED_HERE:
        stages = stages or ("train",)
        model = model if prune is None else {"source": str(graph(network)), "dynamic_batch": True}
    project = {
        "name": network,
        "stages": stages,
        "model": model,
        "data": {"set": DATA[network]},
        "train": PARENT_TRAINING,
        "prune": prune or {},
        "targets": targets if prune is None else {"tflite": targets["tflite"]},
        "benchmark": {"enabled": False},
        "evaluate": {"enabled": False},
        "output": folder,
    }
    run_project(ProjectConfig.model_validate(project))
    shutil.copy(folder / f"{network}.onnx", graph(name))
    print(f"made {name}", flush=True)
    return folder


def _prepare_allocations(model: Mapping[str, Any]) -> None:
    """Prunes by latency, then uniformly until it is measured to be as fast."""
    by_latency = {
        "allocation": "latency", "latency_ratio": ALLOCATION_LATENCY, "latency_runs": RUNS,
    }  # fmt: skip
    if not graph("resnet-latency").exists():
        _made("resnet", model, "resnet-latency", by_latency)
    work = WORK / "prepared" / "tflite"
    wanted = lowered(graph("resnet-latency"), work / "latency")
    low, high = 0.3, 0.6
    shares: dict[float, float] = {}
    for _ in range(STEPS):
        ratio = round((low + high) / 2, 4)
        made = _made("resnet", model, "resnet-uniform", {"macs_ratio": ratio})
        shares[ratio] = latency_share(made / "resnet.tflite", wanted)
        low, high = (ratio, high) if shares[ratio] < 1 else (low, ratio)
    nearest = min(shares, key=lambda ratio: abs(shares[ratio] - 1))
    made = _made("resnet", model, "resnet-uniform", {"macs_ratio": nearest})
    base = lowered(graph("resnet"), work / "base")
    found = {
        "latency": latency_share(wanted, base),
        "uniform": latency_share(made / "resnet.tflite", base),
        "uniform_macs_ratio": nearest,
        "uniform_beside_latency": latency_share(made / "resnet.tflite", wanted),
    }
    (WORK / "graphs" / "allocation.json").write_text(json.dumps(found) + "\n")
    print(found, flush=True)
