"""Trains the encoder on episodes of the training alphabets, and writes calibration data.

    python -m sample_models.omniglot_protonet.train [--calibration-only]

from the repository root, with Omniglot in EDGEKIT_DATA. It writes omniglot_protonet.safetensors
here, and out/omniglot_calibration.npz, which edgekit.toml calibrates with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from edgekit.cli.progress import shown_progress
from edgekit.data.image_set import spread
from edgekit.data.omniglot import Characters, read_characters
from edgekit.training.few_shot import prototypes
from edgekit.training.few_shot.episodes import EpisodeShape
from edgekit.training.few_shot.training import EpisodeTrainConfig, train_on_episodes
from sample_models.omniglot_protonet.model import Encoder, omniglot_protonet

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "omniglot_protonet.safetensors"
SEED = 0
CALIBRATION_SAMPLES = 256

CONFIG = EpisodeTrainConfig(episode=EpisodeShape(ways=20, shots=1, queries=5), steps=1200)


def train_encoder(characters: Characters) -> Encoder:
    """The encoder, trained from scratch; the same weights every time on the same machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        encoder = omniglot_protonet()
    inputs = torch.from_numpy(characters.inputs())
    with shown_progress() as progress:
        train_on_episodes(
            encoder, prototypes.loss, inputs, characters.labels, CONFIG, SEED, progress
        )
    return encoder


def write_calibration(path: Path) -> None:
    """Drawings of the training alphabets, ``image`` of ``float32[256, 1, 28, 28]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    characters = read_characters("train")
    chosen = spread(len(characters.labels), CALIBRATION_SAMPLES)
    np.savez_compressed(path, image=characters.inputs()[chosen])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calibration-only", action="store_true", help="do not train")
    arguments = parser.parse_args()
    write_calibration(FOLDER / "out" / "omniglot_calibration.npz")
    if not arguments.calibration_only:
        encoder = train_encoder(read_characters("train", rotations=True))
        save_file(encoder.state_dict(), WEIGHTS)


if __name__ == "__main__":
    main()
