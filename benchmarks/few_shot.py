"""Few-shot classification of Omniglot, and what integers cost the encoder.

Prototypical networks, matching networks and MAML against the nearest neighbour in pixels, on
characters of alphabets that were not trained with; then the stored encoder of omniglot_protonet
as artifacts of three targets, classified by the NumPy reference of an application. Run from the
repository root, with Omniglot in EDGEKIT_DATA:

    python -m benchmarks.few_shot [--part methods|artifacts]

Matching networks and MAML are trained in a few minutes each on one core and kept in
.edgekit/few_shot; the prototypical network is the stored one, which
`python -m sample_models.omniglot_protonet.train` makes. It writes
benchmarks/results/few_shot.json and .md; methods that stand in the first are not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgekit.api import ConvertOptions, ConvertResult, convert
from edgekit.cli.progress import shown_progress
from edgekit.core.metrics import Unavailable
from edgekit.core.target import RuntimeConfig
from edgekit.data.datasets import DataSpec
from edgekit.data.omniglot import TEST_ALPHABETS, Characters, read_characters
from edgekit.measure.device import device_name
from edgekit.pipeline.registry import get_target
from edgekit.quantization.options import QuantizeOptions
from edgekit.training.few_shot import matching, prototypes, reference
from edgekit.training.few_shot.episodes import Episode, EpisodeSampler, EpisodeShape
from edgekit.training.few_shot.maml import Maml
from edgekit.training.few_shot.training import (
    EpisodeTrainConfig,
    train_on_episodes,
)
from sample_models.omniglot_protonet import train as protonet
from sample_models.omniglot_protonet.model import omniglot_protonet

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "few_shot.json"
WORK = ROOT / ".edgekit" / "few_shot"

EPISODES = 600
EPISODE_SEED = 1
TRAIN_SEED = 0
SHOTS = (1, 5)

MATCHING = EpisodeTrainConfig(episode=EpisodeShape(ways=20, shots=1, queries=5), steps=2000)
MATCHING_SHARP = MATCHING.model_copy(update={"steps": 1200})
SHARPNESS = 10
MAML_CONFIG = EpisodeTrainConfig(
    episode=EpisodeShape(ways=5, shots=1, queries=5), steps=800, episodes_per_step=4, lr=1e-3
)
# The paper takes 3 steps in the test; with weights trained this briefly the second and third
# overshoot also on characters that were trained with (5 shots: 91 % instead of 97 %).
MAML = Maml(inner_steps=1, inner_lr=0.4)

type Floats = npt.NDArray[np.float32]
type EpisodeMethod = Callable[[nn.Module, Episode], torch.Tensor]
type Prepare = Callable[[torch.Tensor], tuple[torch.Tensor, Predict]]
type Predict = Callable[[Episode], torch.Tensor]

ARTIFACTS: tuple[tuple[str, str], ...] = (
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
    ("tflite", "float32"),
    ("tflite", "int8"),
    ("coreml", "float16"),
    ("coreml", "int8"),
)

CONDITIONS = (
    "{device}; versions in constraints.txt. {episodes} episodes of 5 ways and 15 queries a class "
    "(seed {seed}), the same for every row, from the {characters} characters of {alphabets}; "
    "trained once (seed {train_seed}) on the other alphabets of `images_background_small1.zip` "
    "with rotations as further classes ({train_classes} classes), without a validation set. "
    "Mean accuracy over episodes with a 95 % interval, 1.96 standard errors: it "
    "covers the choice of episodes, not that of alphabets or of training seeds."
)
NOTES = (
    "Trained with one shot, also for the row of 5: prototypical networks for {steps_prototypes} "
    "and matching networks for {steps_matching} episodes of 20 ways, MAML for {steps_maml} steps "
    "of {episodes_maml} episodes of 5 ways (1 inner step of rate 0.4). Two choices were made "
    "after first results: MAML takes 1 inner step in the test, too, as the paper's 3 overshot, on "
    "training characters as well; and matching "
    "networks with sharper attention ({steps_sharp} episodes) were added after the published form "
    "had been seen to do badly; the factor is the only one tried. The papers "
    "state 98 to 99 % for 5 ways and 1 shot, with some 1,200 characters of many alphabets to "
    "train with instead of {trained} of three. MAML normalises with the statistics of a batch: "
    "as published, of all queries, so that its predictions of a query depend on the others; "
    "'alone' is a batch of the support and one query, as on a device."
)
ARTIFACT_CONDITIONS = (
    "The stored encoder, quantized once (PTQ with 256 training drawings, scales that float16 "
    "represents), lowered by `edgekit.api.convert`; prototypes and distances by "
    "`edgekit.training.few_shot.reference`. Core ML ran in the edgekit MIL runtime, **not on the "
    "Neural Engine**. 'Difference' is paired by episode against the torch encoder, with its 95 % "
    "interval; the bound is 1 point."
)


def test_episodes(characters: Characters, shots: int) -> EpisodeSampler:
    """The sampler of test episodes."""
    shape = EpisodeShape(ways=5, shots=shots, queries=15)
    return EpisodeSampler(characters.labels, shape, EPISODE_SEED)


def accuracies(sampler: EpisodeSampler, inputs: torch.Tensor, predict: Predict) -> Floats:
    """Accuracy of each episode."""
    found = []
    for number in range(EPISODES):
        episode = sampler.positions(number).gather(inputs)
        hits = predict(episode) == episode.query_labels
        found.append(float(hits.float().mean()))
    return np.array(found, dtype=np.float32)


def interval(values: Floats) -> dict[str, float]:
    """Mean and half the width of its 95 % interval, in percent."""
    error = values.std(ddof=1, dtype=np.float64) / np.sqrt(len(values))
    return {
        "mean": round(100 * float(values.mean(dtype=np.float64)), 3),
        "half_width": round(100 * 1.96 * float(error), 3),
    }


def nearest_pixels(episode: Episode) -> torch.Tensor:
    """Class of the nearest shot by Euclidean distance of the pixels."""
    distances = torch.cdist(episode.queries.flatten(1), episode.support.flatten(1))
    return episode.support_labels[distances.argmin(dim=1)]


def embedded(encoder: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Embeddings in evaluation mode, ``[n, width]``."""
    encoder.eval()
    with torch.inference_mode():
        return torch.cat([encoder(part) for part in torch.split(inputs, 256)]).clone()


def trained(name: str) -> nn.Module:
    """A model in evaluation mode: the stored one, or one trained here and kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRAIN_SEED)
        encoder = omniglot_protonet()
        model = nn.Sequential(encoder, nn.Linear(64, 5)) if name == "maml" else encoder
    path = protonet.WEIGHTS if name == "prototypes" else WORK / f"{name}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    loss, config = {
        "matching": (matching.loss, MATCHING),
        "matching_sharp": (sharp(matching.loss), MATCHING_SHARP),
        "maml": (MAML.loss, MAML_CONFIG),
    }[name]
    train_set = read_characters("train", rotations=True)
    inputs = torch.from_numpy(train_set.inputs())
    start = time.monotonic()
    with shown_progress() as progress:
        losses = train_on_episodes(
            model, loss, inputs, train_set.labels, config, TRAIN_SEED, progress
        )
    seconds = time.monotonic() - start
    print(f"{name}: last 50 losses {np.mean(losses[-50:]):.3f}, {seconds:.0f} s", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path)
    return model


def method_rows(kept: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Accuracy of each method, 1 and 5 shots; rows in ``kept`` are not measured again.

    Gives all rows that there are after each method.
    """
    test_set = read_characters("test")
    pixels = torch.from_numpy(test_set.inputs())
    by_name = {row["method"]: row for row in kept}
    for name, prepare in METHODS.items():
        if name in by_name:
            continue
        inputs, predict = prepare(pixels)
        row: dict[str, Any] = {"method": name}
        for shots in SHOTS:
            found = accuracies(test_episodes(test_set, shots), inputs, predict)
            row[f"shots_{shots}"] = interval(found)
        print(row, flush=True)
        by_name[name] = row
        yield [by_name[name] for name in METHODS if name in by_name]


def metric(name: str, predict: EpisodeMethod) -> Prepare:
    """A method that classifies embeddings, which are made once."""
    return lambda pixels: (embedded(trained(name), pixels), bound(predict, nn.Identity()))


def adapting(maml: Maml) -> Prepare:
    """MAML in training mode: statistics of the batch, see `Maml`."""
    return lambda pixels: (pixels, bound(maml.predict, trained("maml").train()))


def sharp(method: Callable[..., torch.Tensor]) -> EpisodeMethod:
    """Loss or prediction of matching networks, with sharper attention."""
    return lambda model, episode: method(model, episode, SHARPNESS)


def bound(method: EpisodeMethod, model: nn.Module) -> Predict:
    """The method with its model."""
    return lambda episode: method(model, episode)


def converted() -> ConvertResult:
    """The stored encoder as files of all targets."""
    calibration = WORK / "calibration.npz"
    protonet.write_calibration(calibration)
    options = ConvertOptions(
        weights=protonet.WEIGHTS,
        inputs=("image:1x1x28x28",),
        name="omniglot_protonet",
        calibration=DataSpec(set=f"npz:{calibration}", split="train"),
        quantize=QuantizeOptions(scale_format="float16"),
        bench=None,
    )
    return convert(
        f"{protonet.WEIGHTS.with_name('model.py')}:omniglot_protonet",
        targets=("onnxruntime", "tflite", "coreml"),
        precisions=("float32", "float16", "int8"),
        output=WORK / "converted",
        options=options,
    )


def run_artifact(path: Path, target: str, images: Floats) -> tuple[Floats, str]:
    """Embeddings ``float32[n, 64]`` by a target's runtime, one image a run, and its name."""
    session = get_target(target).load(path, RuntimeConfig())
    if isinstance(session, Unavailable):
        raise SystemExit(f"{target}: {session.reason}")
    try:
        (name,) = [item.name for item in session.signature.inputs]
        runs = [session.run({name: image[None]}) for image in images]
        rows = [next(iter(run.values())).reshape(-1) for run in runs]
        return np.stack(rows).astype(np.float32), session.runtime
    finally:
        session.close()


def on_device(episode: Episode) -> torch.Tensor:
    """Classes of an episode of embeddings, by the reference of an application."""
    support = episode.support.numpy()
    means = reference.class_means(support, episode.support_labels.numpy(), episode.ways)
    shares = reference.classify(episode.queries.numpy(), means)
    return torch.from_numpy(shares.argmax(axis=1))


def artifact_rows() -> list[dict[str, Any]]:
    """Accuracy of the encoder by each runtime, and its difference from torch."""
    test_set = read_characters("test")
    encoder = omniglot_protonet()
    encoder.load_state_dict(load_file(protonet.WEIGHTS))
    embeddings = {"torch": embedded(encoder, torch.from_numpy(test_set.inputs())).numpy()}
    sizes: dict[str, int] = {}
    runtimes = {"torch": f"torch {torch.__version__}"}
    result = converted()
    for target, precision in ARTIFACTS:
        path = result.artifact(target, precision)  # type: ignore[arg-type]
        label = f"{target} {precision}"
        embeddings[label], runtimes[label] = run_artifact(path, target, test_set.inputs())
        files = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
        sizes[label] = sum(item.stat().st_size for item in files)
    rows: list[dict[str, Any]] = []
    base: dict[int, Floats] = {}
    for label, values in embeddings.items():
        row: dict[str, Any] = {"artifact": label, "runtime": runtimes[label]}
        row["size_bytes"] = sizes.get(label)
        for shots in SHOTS:
            sampler = test_episodes(test_set, shots)
            found = accuracies(sampler, torch.from_numpy(values), on_device)
            row[f"shots_{shots}"] = interval(found)
            row[f"difference_{shots}"] = interval(found - base.setdefault(shots, found))
        print(row, flush=True)
        rows.append(row)
    return rows


def conditions(devices: Sequence[str]) -> dict[str, Any]:
    """What the figures hold for, measured on these machines."""
    train_set, test_set = read_characters("train", rotations=True), read_characters("test")
    return {
        "device": " and ".join(dict.fromkeys(devices)),
        "episodes": EPISODES,
        "seed": EPISODE_SEED,
        "train_seed": TRAIN_SEED,
        "alphabets": " and ".join(TEST_ALPHABETS),
        "characters": len(test_set.classes),
        "train_classes": len(train_set.classes),
        "trained": len(train_set.classes) // 4,
        "archives": [path.name for path in test_set.files],
        "steps_prototypes": protonet.CONFIG.steps,
        "steps_matching": MATCHING.steps,
        "steps_sharp": MATCHING_SHARP.steps,
        "steps_maml": MAML_CONFIG.steps,
        "episodes_maml": MAML_CONFIG.episodes_per_step,
        "maml": MAML.model_dump(),
    }


def cell(figure: dict[str, float], sign: str = "") -> str:
    """Mean and half width."""
    return f"{figure['mean']:{sign}.2f} ± {figure['half_width']:.2f}"


def markdown(results: dict[str, Any]) -> str:
    """Both tables."""
    facts = results["conditions"]
    lines = ["# Few-shot classification of Omniglot", "", CONDITIONS.format(**facts), ""]
    lines += ["| method | 5-way 1-shot, % | 5-way 5-shot, % |", "|---|---|---|"]
    lines += [
        f"| {row['method']} | {cell(row['shots_1'])} | {cell(row['shots_5'])} |"
        for row in results.get("methods", ())
    ]
    measured = {row["method"] for row in results.get("methods", ())}
    lines += [f"| {name} | not measured | not measured |" for name in METHODS.keys() - measured]
    lines += ["", NOTES.format(**facts), "", "## The encoder on three targets", ""]
    lines += [ARTIFACT_CONDITIONS, ""]
    lines += [
        "| artifact | size, bytes | 1-shot, % | difference | 5-shot, % | difference | in bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results.get("artifacts", ()):
        within = all(abs(row[f"difference_{shots}"]["mean"]) <= 1 for shots in SHOTS)
        figures = (
            row["artifact"],
            str(row["size_bytes"] or "–"),
            cell(row["shots_1"]),
            cell(row["difference_1"], "+"),
            cell(row["shots_5"]),
            cell(row["difference_5"], "+"),
            "yes" if within else "no",
        )
        lines.append(f"| {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--part", choices=("methods", "artifacts"), help="both by default")
    part = parser.parse_args().part
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    before = results.get("conditions", {}).get("device", "").split(" and ")
    # Rows that are there already were measured where they were made.
    kept = [device for device in before if device] if part == "methods" else []
    results["conditions"] = conditions([*kept, device_name()])
    if part in (None, "artifacts"):
        results["artifacts"] = artifact_rows()
    write(results)
    if part in (None, "methods"):
        for rows in method_rows(results.get("methods", ())):
            results["methods"] = rows
            write(results)


def write(results: dict[str, Any]) -> None:
    """Both files."""
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(markdown(results))


METHODS: dict[str, Prepare] = {
    "nearest pixels": lambda pixels: (pixels, nearest_pixels),
    "prototypical networks": metric("prototypes", prototypes.predict),
    "matching networks": metric("matching", matching.predict),
    f"matching networks, cosines times {SHARPNESS}": metric(
        "matching_sharp", sharp(matching.predict)
    ),
    "MAML, queries as one batch": adapting(MAML),
    "MAML, queries alone": adapting(MAML.model_copy(update={"queries_alone": True})),
}

if __name__ == "__main__":
    main()
