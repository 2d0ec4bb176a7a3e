"""Counts the networks of published iPhone latencies, and checks what an estimate is worth.

Each architecture of targets/coreml/estimate/published.json is built by timm with random weights,
reparameterized where its design asks for that, exported, brought to edgekit's canonical form and
counted; the counts are written back to that file, from which the coefficients of the estimate
follow. The table sets every published latency beside the estimate, and beside the estimate of a
fit that saw no network of the same family. Nothing is measured on a device here.

Run from the repository root:

    python -m benchmarks.apple_latency [--keep-counts]

It writes benchmarks/results/apple_latency.json and apple_latency.md. `--keep-counts` takes the
counts from the file as they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import edgekit.targets.coreml.estimate.published as figures
from edgekit.targets.coreml.estimate.features import Features, features_of_graph
from edgekit.targets.coreml.estimate.published import Published, PublishedLatency

RESULTS = Path(__file__).parent / "results"
STORED = Path(figures.__file__).parent / figures.FILE


def counted(item: PublishedLatency) -> Features:
    """Counts one architecture as it is deployed."""
    import timm
    import torch
    from timm.utils.model import reparameterize_model

    from edgekit.graph.canonicalize import canonicalize
    from edgekit.graph.importers import InputRequest
    from edgekit.graph.importers.torch_export import export_module

    torch.manual_seed(0)
    module = reparameterize_model(timm.create_model(item.architecture, pretrained=False).eval())
    request = InputRequest(name="image", shape=(1, 3, item.input_size, item.input_size))
    graph = export_module(module, (request,), dynamic_batch=False, where=item.architecture)
    return features_of_graph(canonicalize(graph).model)


def recount(published: Published) -> Published:
    """Counts all architectures."""
    latencies = []
    for item in published.latencies:
        features = counted(item)
        print(f"{item.model:22} {features}", flush=True)
        latencies.append(item.model_copy(update={"features": features}))
    return published.model_copy(update={"latencies": tuple(latencies)})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keep-counts", action="store_true", help="take the counts of the file")
    arguments = parser.parse_args()
    if not arguments.keep_counts:
        fresh = recount(figures.published())
        STORED.write_text(json.dumps(fresh.model_dump(), indent=1) + "\n")


if __name__ == "__main__":
    main()
