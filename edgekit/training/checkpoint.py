"""What an interrupted training goes on from, in one file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from edgekit.core.hashing import digest_value
from edgekit.errors import InputError
from edgekit.store.durable import write_bytes

_FILE_NAME = "training.pt"


class Checkpoint:
    """The state of a training after its last complete epoch.

    It is written beside its place and renamed, so that a kill leaves the state of one epoch or
    of the one before.
    """

    def __init__(self, folder: Path, identity: object) -> None:
        """Names the place.

        Args:
            folder: Made when the first state is saved.
            identity: JSON value that tells this training from all others.
        """
        self.folder = folder
        self._path = folder / _FILE_NAME
        self._identity = digest_value(identity)

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last; None when there is none or it is damaged.

        Raises:
            InputError: If it belongs to another training.
        """
        try:
            digest, _, saved = self._path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(saved).hexdigest().encode() != digest:
            return None
        content = torch.load(io.BytesIO(saved), weights_only=True)
        if content["identity"] != self._identity:
            raise InputError(
                f"{self._path} is the state of another training: other options, seed, data or "
                "model. Delete it or name another folder"
            )
        state: dict[str, Any] = content["state"]
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Takes the place of what was saved before.

        Args:
            state: Tensors, numbers, strings and containers of them.
        """
        buffer = io.BytesIO()
        torch.save({"identity": self._identity, "state": state}, buffer)
        saved = buffer.getvalue()
        digest = hashlib.sha256(saved).hexdigest().encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self._path, digest + b"\n" + saved)

    def write_weights(self, name: str) -> Path:
        """Writes the weights of the state that was saved last into a file of their own.

        Args:
            name: Of the file in the folder, a ``.safetensors`` that importers and
                ``model.weights`` take.
        """
        from safetensors.torch import save

        state = self.load()
        assert state is not None
        mean = state["mean"]
        weights = state["model"] if mean is None else mean["model"]
        # Cloned, because safetensors refuses tensors that share memory (tied weights).
        whole = {key: item.detach().cpu().clone().contiguous() for key, item in weights.items()}
        path = self.folder / name
        write_bytes(path, save(whole))
        return path
