"""Trains the encoder on episodes of the training alphabets.

    python -m sample_models.omniglot_protonet.train

from the repository root, with Omniglot in EDGEKIT_DATA. It writes omniglot_protonet.safetensors
here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from edgekit.cli.progress import shown_progress
from edgekit.data.omniglot import Characters, read_characters
from edgekit.training.few_shot import prototypes
from edgekit.training.few_shot.episodes import EpisodeShape
from edgekit.training.few_shot.training import EpisodeTrainConfig, train_on_episodes
from sample_models.omniglot_protonet.model import Encoder, omniglot_protonet

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "omniglot_protonet.safetensors"
SEED = 0

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


def main() -> None:
    """Command line."""
    encoder = train_encoder(read_characters("train", rotations=True))
    save_file(encoder.state_dict(), WEIGHTS)


if __name__ == "__main__":
    main()
