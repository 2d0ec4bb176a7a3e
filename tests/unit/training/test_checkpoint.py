"""A training that was interrupted goes on and ends with the same bits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgekit.core.run_summary import QatEpoch
from edgekit.errors import InputError
from edgekit.graph.torch_twin import build_twin
from edgekit.training.checkpoint import Checkpoint
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.train import train_qat
from tests.qat_models import badly_quantized, float_model, stripes

CONFIG = QatConfig(
    task="classify", epochs=3, batch_size=32, lr=1e-3, scale_lr=2e-2, validation=0.25, threads=1,
    shift_px=1, flip=True,
)  # fmt: skip


def trained(
    config: QatConfig, folder: Path | None = None, seed: int = 5
) -> tuple[dict[str, Tensor], tuple[QatEpoch, ...]]:
    twin = build_twin(badly_quantized())
    result = train_qat(
        twin, stripes(), config, teacher=build_twin(float_model()), seed=seed, checkpoints=folder
    )
    return dict(twin.state_dict()), result.curve


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Checkpoint.save, []

    def watched(self: Checkpoint, state: dict[str, Any]) -> None:
        save(self, state)
        saved.append(state)
        if len(saved) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", watched)


VARIANTS: dict[str, dict[str, object]] = {
    "learned": {},
    "observing": {"activation_ranges": "ema", "weight_scales": "minmax", "observer_epochs": 1.5},
    "extremes": {"activation_ranges": "minmax", "observer_epochs": 2.5, "optimizer": "sgd"},
    "last": {"keep": "last", "frozen_share": 0.5},
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("epochs", [1, 2])
def test_it_ends_with_the_same_bits(
    name: str, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = QatConfig.model_validate({**CONFIG.model_dump(), **VARIANTS[name]})
    calm, curve = trained(config)
    with monkeypatch.context() as patch:
        stop_after(epochs, patch)
        with pytest.raises(KeyboardInterrupt):
            trained(config, tmp_path)
    resumed, its_curve = trained(config, tmp_path)
    assert its_curve == curve
    assert calm.keys() == resumed.keys()
    assert all(torch.equal(item, resumed[key]) for key, item in calm.items())


def test_it_really_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(CONFIG, tmp_path)
    # The third epoch alone is left: one more state is saved.
    stop_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(CONFIG, tmp_path)
    saved = (tmp_path / "training.pt").read_bytes().partition(b"\n")[2]
    state = torch.load(io.BytesIO(saved), weights_only=True)["state"]
    assert [point["epoch"] for point in state["curve"]] == [0, 1, 2, 3]


def test_a_damaged_state_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "training.pt").write_bytes(b"half a file")
    assert Checkpoint(tmp_path, {}).load() is None
    assert Checkpoint(tmp_path / "nowhere", {}).load() is None


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    trained(CONFIG, tmp_path)
    with pytest.raises(InputError, match=r"\.pt is the state of another training: other opt"):
        trained(CONFIG, tmp_path, seed=6)
