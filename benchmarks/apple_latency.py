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
import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

import edgekit.targets.coreml.estimate.published as figures
from edgekit.targets.coreml.estimate.features import Features, features_of_graph
from edgekit.targets.coreml.estimate.fit import (
    GIGA,
    MEGA,
    Fit,
    fit,
    published_fit,
    ratios_of,
    solve,
)
from edgekit.targets.coreml.estimate.latency import estimate, valid_range
from edgekit.targets.coreml.estimate.published import Published, PublishedLatency

RESULTS = Path(__file__).parent / "results"
STORED = Path(figures.__file__).parent / figures.FILE
COLUMNS = (
    "network",
    "role",
    "GMAC",
    "MB activations",
    "MB weights",
    "published ms",
    "estimate ms",
    "error",
    "unseen ms",
    "unseen error",
    "extrapolates",
)
OUTLIER = "MobileNetV2"
"""The family on which a fit of all others errs most."""


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


class Row(BaseModel):
    """One published figure beside its estimates; errors are shares of the published latency."""

    model: str
    family: str
    role: str
    device: str
    gmacs: float
    activation_mb: float
    weight_mb: float
    published_ms: float
    estimate_ms: float
    error: float
    unseen_ms: float
    unseen_error: float
    extrapolates: tuple[str, ...]


class Summary(BaseModel):
    """Errors of a fit, and on figures that no fit saw."""

    fit: Fit
    left_out_error: float
    largest_left_out_errors: tuple[float, float]
    check_error: float
    largest_check_error: float


def rows_of(published: Published) -> list[Row]:
    """All figures; those for checking are unseen by the whole fit."""
    points = published.of_role("fit")
    whole = solve(points)
    rows = []
    for item in published.latencies:
        unseen = solve([other for other in points if other.family != item.family])
        known, blind = (fitted.latency_ms(item.features) for fitted in (whole, unseen))
        rows.append(
            Row(
                model=item.model,
                family=item.family,
                role=item.role,
                device=item.device,
                gmacs=item.features.macs / GIGA,
                activation_mb=item.features.activation_bytes / MEGA,
                weight_mb=item.features.weight_bytes / MEGA,
                published_ms=item.latency_ms,
                estimate_ms=known,
                error=known / item.latency_ms - 1,
                unseen_ms=blind,
                unseen_error=blind / item.latency_ms - 1,
                extrapolates=estimate(item.features).extrapolates,
            )
        )
    return rows


def summary_of(points: Sequence[PublishedLatency], checks: Sequence[PublishedLatency]) -> Summary:
    """Fits figures and checks the fit on others."""
    fitted = fit(points)
    errors = [abs(ratio - 1) for ratio in ratios_of(fitted.coefficients, checks)]
    least, largest = fitted.ratio_range
    return Summary(
        fit=fitted,
        left_out_error=fitted.left_out_error,
        largest_left_out_errors=(least - 1, largest - 1),
        check_error=statistics.mean(errors),
        largest_check_error=max(errors),
    )


def sentences(summary: Summary) -> str:
    """A fit in words."""
    found = summary.fit.coefficients
    families = ", ".join(f"{item.family} {item.mean_error:.1%}" for item in summary.fit.families)
    least, largest = summary.largest_left_out_errors
    return (
        f"ms = {found.base_ms:.3f} + {found.ms_per_gmac:.4f} x GMAC + "
        f"{found.ms_per_activation_mb:.4f} x MB of activations + {found.ms_per_weight_mb:.4f} x "
        f"MB of weights. Mean absolute error on the fitted networks "
        f"{summary.fit.in_sample_error:.1%}. On a family that is left out "
        f"{summary.left_out_error:.1%} (mean over families: {families}), single networks from "
        f"{least:+.1%} to {largest:+.1%}. On the networks for checking {summary.check_error:.1%}, "
        f"at most {summary.largest_check_error:.1%}."
    )


def markdown(published: Published, rows: list[Row], whole: Summary, reduced: Summary) -> str:
    """The tables."""
    lines = [
        "# Latency estimate for the A14, beside published latencies",
        "",
        (
            "Published by the authors of the networks (addresses in "
            "targets/coreml/estimate/published.json), measured with Core ML in float16 at batch 1 "
            "on an iPhone 12 or 12 Pro; nothing was measured here. Features are counted on "
            "edgekit's canonical graphs of reparameterized timm networks. 'Unseen' is the "
            "estimate of a fit without the network's family. Repeated measurements of the same "
            "network by different authors differ by 5 to 15 %."
        ),
        "",
        f"All families: {sentences(whole)}",
        "",
        f"Without {OUTLIER}, for comparison only: {sentences(reduced)}",
        "",
        (
            "In the fitted networks multiply-accumulates and weights grow together, so their "
            "costs cannot be told apart, and a coefficient of 0 does not say that either is free. "
            "An estimate is good for networks within these ranges: "
            + "; ".join(valid_range())
            + "."
        ),
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        cells = (
            row.model, row.role, f"{row.gmacs:.2f}", f"{row.activation_mb:.1f}",
            f"{row.weight_mb:.1f}", f"{row.published_ms:.2f}", f"{row.estimate_ms:.2f}",
            f"{row.error:+.1%}", f"{row.unseen_ms:.2f}", f"{row.unseen_error:+.1%}",
            "yes" if row.extrapolates else "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Not used:", ""]
    lines += [
        f"- {item.model}, {item.latency_ms:.2f} ms: {item.reason}." for item in published.left_out
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keep-counts", action="store_true", help="take the counts of the file")
    arguments = parser.parse_args()
    published = figures.published()
    if not arguments.keep_counts:
        published = recount(published)
        STORED.write_text(json.dumps(published.model_dump(), indent=1) + "\n")
        figures.published.cache_clear()
        published_fit.cache_clear()
    points, checks = published.of_role("fit"), published.of_role("check")
    rows = rows_of(published)
    whole = summary_of(points, checks)
    reduced = summary_of([item for item in points if item.family != OUTLIER], checks)
    print(sentences(whole))
    content = {
        "all_families": whole.model_dump(),
        f"without_{OUTLIER}": reduced.model_dump(),
        "rows": [row.model_dump() for row in rows],
    }
    (RESULTS / "apple_latency.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "apple_latency.md").write_text(markdown(published, rows, whole, reduced))


if __name__ == "__main__":
    main()
