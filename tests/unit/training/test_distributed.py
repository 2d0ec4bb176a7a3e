"""Two processes train what one process trains, also after a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, MissingToolError
from edgekit.training.distributed import joined
from edgekit.training.processes import Alone, Rows, own_rows
from edgekit.training.synchronised_norms import running_statistics, synchronised_norms
from tests.unit.training.test_trainer import network

pytest.importorskip("accelerate")

COURSES = ("plain", "blended", "sgd", "taught", "unequal")
MODEL = """
import torch
from torch import nn

def create():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of all processes; see `training_processes`."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "model.py").write_text(MODEL)
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.training.training_processes", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = torch.load(folder / "codes.pt")
    killed = codes.pop("killed")
    # The second ends because the first does not answer any more, or is ended as by torchrun.
    assert killed[0] == -9
    assert killed[1] != 0
    assert not any(code for ended in codes.values() for code in ended), done.stderr
    return folder


def read(place: Path, name: str) -> tuple[dict[str, Tensor], Any]:
    state, curve = torch.load(place / f"{name}.pt", weights_only=False)
    return state, curve


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("name", COURSES)
def test_two_processes_equal_one(name: str, place: Path) -> None:
    alone, its_curve = read(place / "alone", f"{name}-0")
    first, curve = read(place, f"{name}-0")
    second, other_curve = read(place, f"{name}-1")
    assert difference(first, second) == 0
    assert difference(first, alone) < 1e-5
    assert curve == other_curve
    for ours, theirs in zip(curve, its_curve, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-5)
        assert ours.val_accuracy == theirs.val_accuracy
        assert ours.train_accuracy == theirs.train_accuracy


def test_normalised_by_shares_it_learns_the_same_and_not_bit_by_bit(place: Path) -> None:
    """BatchNorm on a CPU sees the share of its process alone, and dropout draws by process."""
    alone, its_curve = read(place / "alone", "normalised-0")
    first, curve = read(place, "normalised-0")
    second, _ = read(place, "normalised-1")
    assert difference(first, second) == 0
    assert difference(first, alone) > 1e-3
    assert curve[-1].val_accuracy == pytest.approx(its_curve[-1].val_accuracy, abs=0.1)
    for name in ("1.running_mean", "1.running_var"):
        ours, theirs = first[name], alone[name]
        # Two trainings that part ways: alike as a whole, not channel by channel.
        assert float(nn.functional.cosine_similarity(ours, theirs, dim=0)) > 0.8
        assert 0.6 < float(ours.norm() / theirs.norm()) < 1.6


def test_killed_processes_go_on_to_the_same_bits(place: Path) -> None:
    for rank in (0, 1):
        calm, curve = read(place, f"calm-{rank}")
        resumed, its_curve = read(place, f"resumed-{rank}")
        assert difference(calm, resumed) == 0
        assert curve == its_curve
    # Only the first process keeps something.
    assert [path.name for path in (place / "resumed").iterdir()] == ["training.pt"]


def test_what_is_wrong_is_said_by_both(place: Path) -> None:
    first, second = (torch.load(place / f"refusals-{rank}.pt") for rank in (0, 1))
    assert first == second
    diverged, small, one_class, another = first
    assert diverged.startswith("GateError: Training diverged: the loss is nan in epoch 1, step")
    assert "A step of 1 samples cannot be divided among 2 processes" in small
    assert "All training samples are of class 1" in one_class
    assert "is the state of another training" in another


def test_a_stage_of_a_pipeline_is_divided(place: Path) -> None:
    notes, weights, reused = torch.load(place / "shared.pt")
    assert any(note.startswith("Trained by 2 processes") for note in notes)
    assert reused  # without the other process
    own_notes, own_weights, _ = torch.load(place / "alone" / "own.pt")
    assert not own_notes
    ours, own = (safetensors.torch.load(item) for item in (weights, own_weights))
    assert difference(ours, own) < 1e-5


def test_alone_nothing_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert (processes.rank, processes.count) == (0, 1)
        values = torch.ones(2)
        assert processes.sum(values) is values
        assert processes.gathered("a") == ["a"]
        assert processes.from_first(lambda: 3) == 3
        assert own_rows(processes, 7) == Rows(0, 7, 7)


@pytest.mark.parametrize("total", [5, 6, 16])
def test_shares_are_equal_and_cover_the_batch(total: int) -> None:
    shares = []
    for rank in range(5):
        processes = Alone()
        processes.rank, processes.count = rank, 5
        shares.append(own_rows(processes, total))
    batch = list(range(total))
    assert [row for share in shares for row in share.of(batch)] == batch
    counts = [share.count for share in shares]
    assert max(counts) - min(counts) <= 1
    with pytest.raises(ConfigError, match="4 samples cannot be divided among 5 processes"):
        own_rows(processes, 4)


def test_too_few_gpus_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = r"2 processes on this machine need as many GPUs, and torch finds 0\. Start fewer"
    with pytest.raises(MissingToolError, match=message), joined("cuda"):
        pass


def test_a_missing_accelerate_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    message = r"pip install 'edgekit\[train\]'"
    with pytest.raises(MissingToolError, match=message), joined("cpu"):
        pass


def test_on_a_cpu_normalisations_stay_as_they_are() -> None:
    model = network()
    before = list(model.modules())
    with synchronised_norms(model):
        assert list(model.modules()) == before
    assert len(list(running_statistics(model))) == 2
