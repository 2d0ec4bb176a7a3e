"""What a training can do besides plain steps: courses, blending, growing, means, early stops."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, StepLR

from edgekit.core.progress import SilentProgress
from edgekit.errors import GateError, InputError, UnsupportedError
from edgekit.training.config import TrainConfig
from edgekit.training.keeping import WeightMean
from edgekit.training.mixing import Mixing
from edgekit.training.optimizer import make_optimizer, parameter_groups
from edgekit.training.progressive import growth, resized
from edgekit.training.samples import TensorSamples
from edgekit.training.schedule import rate_factor
from edgekit.training.trainer import accuracy, train
from tests.unit.training.test_trainer import network, stripes, weights


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {"epochs": 4, "batch_size": 16, "lr": 0.02, "warmup_epochs": 0, "threads": 1, **fields}
    )


def stepped(peer: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(float(peer.get_last_lr()[0]))
        optimizer.step()
        peer.step()
    return found


def test_courses_equal_those_of_torch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    peer: Any = StepLR(optimizer, step_size=6, gamma=0.3)
    options = config(epochs=10, schedule="step", step_epochs=2, step_factor=0.3)
    found = [rate_factor(step, 3, options) for step in range(30)]
    assert found == pytest.approx(stepped(peer, optimizer, 30), abs=1e-12)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = CosineAnnealingWarmRestarts(optimizer, T_0=6, T_mult=2)
    options = config(epochs=14, schedule="restarts", restart_epochs=2, restart_growth=2)
    found = [rate_factor(step, 3, options) for step in range(42)]
    assert found == pytest.approx(stepped(peer, optimizer, 42), abs=1e-12)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_follows_its_paper(kind: str) -> None:
    """Kingma and Ba 2015, with L2 in the gradient; Loshchilov and Hutter 2019, decoupled."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 2))
    layer = nn.Linear(2, 3, bias=False).double()
    layer.weight.data = torch.from_numpy(w.copy())
    optimizer = make_optimizer(layer, config(optimizer=kind, lr=0.1, weight_decay=0.05))
    m = v = np.zeros_like(w)
    for step in range(1, 101):
        gradient = rng.standard_normal(w.shape)
        layer.weight.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        if kind == "adam":
            gradient = gradient + 0.05 * w
        else:
            w = w - 0.1 * 0.05 * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(layer.weight.detach().numpy(), w, atol=1e-12)


def test_vectors_decay_when_asked() -> None:
    assert parameter_groups(network(), 0.1)[1]["weight_decay"] == 0
    assert parameter_groups(network(), 0.1, decay_vectors=True)[1]["weight_decay"] == 0.1


@given(st.integers(0, 10_000))
def test_mixup_blends_inputs_and_targets_alike(seed: int) -> None:
    inputs = torch.eye(6)[:, None, None, :].expand(6, 1, 4, 6).clone()
    labels = torch.arange(6)
    blended, target = Mixing(0.4, 0.0, seed)(inputs, labels, 6)
    # Each row of the input is the one-hot of its class, so both have to be the same.
    torch.testing.assert_close(blended[:, 0, 0], target)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(6))


@given(st.integers(0, 10_000))
def test_cutmix_pastes_a_box_and_tells_its_area(seed: int) -> None:
    inputs = torch.arange(5.0)[:, None, None, None].expand(5, 2, 8, 6).clone()
    labels = torch.arange(5)
    pasted, target = Mixing(0.0, 1.0, seed)(inputs, labels, 5)
    for row in range(5):
        shares = torch.stack([(pasted[row, 0] == label).float().mean() for label in range(5)])
        torch.testing.assert_close(shares, target[row])
    torch.testing.assert_close(pasted[:, 0], pasted[:, 1])
    torch.testing.assert_close(inputs[:, 0, 0, 0], torch.arange(5.0))


def test_the_shares_of_mixup_are_beta_distributed() -> None:
    mixing = Mixing(0.3, 0.0, 1)
    one, two = torch.ones(1, 1), torch.zeros(1, 1)
    inputs, labels = torch.cat([one, two]), torch.tensor([1, 0])
    shares = []
    for _ in range(4000):
        blended, _ = mixing(inputs, labels, 2)
        shares.append(float(blended[0, 0]))
    # Half of the orders leave a pair as it is; Beta(a, a) has mean 1/2 and variance
    # 1 / (4 (2a + 1)).
    mixed = np.array([share for share in shares if share not in (0.0, 1.0)])
    assert mixed.mean() == pytest.approx(0.5, abs=0.03)
    assert mixed.var() == pytest.approx(1 / (4 * 1.6), abs=0.01)


def test_nothing_is_blended_by_default() -> None:
    inputs, labels = torch.ones(2, 1, 4, 4), torch.tensor([0, 1])
    blended, target = Mixing(0.0, 0.0, 0)(inputs, labels, 2)
    assert blended is inputs
    assert target is labels


def test_images_grow_in_stages() -> None:
    options = config(epochs=8, progressive_from=0.5, progressive_stages=4)
    images = torch.rand(2, 1, 16, 12)
    sizes = [tuple(resized(images, epoch, options).shape[2:]) for epoch in range(8)]
    assert sizes == [(8, 6)] * 2 + [(11, 8)] * 2 + [(13, 10)] * 2 + [(16, 12)] * 2
    assert [growth(epoch, options) for epoch in (0, 2, 7)] == pytest.approx([0, 1 / 3, 1])
    assert growth(0, config()) == 1
    assert resized(images, 0, config()) is images


def test_the_mean_of_weights() -> None:
    model = nn.Linear(2, 1)
    mean = WeightMean(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model.weight += 0.1
        mean.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(mean.model.weight.detach(), expected)  # type: ignore[operator]


@pytest.mark.parametrize(
    "fields",
    [
        {"mixup": 0.2, "label_smoothing": 0.1},
        {"cutmix": 1.0, "optimizer": "adam", "schedule": "step", "step_epochs": 2},
        {"ema": 0.9, "schedule": "restarts", "restart_epochs": 2},
        {"progressive_from": 0.5, "progressive_stages": 2, "mixup": 0.1},
        {"patience": 2, "epochs": 8},
    ],
)
def test_every_recipe_learns_and_repeats(fields: dict[str, Any]) -> None:
    runs = []
    for _ in range(2):
        model = network()
        curve = train(model, stripes(), config(**{"epochs": 6, **fields}), seed=3).curve
        runs.append((curve, weights(model)))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], item) for name, item in runs[1][1].items())
    assert accuracy(model, stripes(), range(160)) > 0.9


def test_early_stop_keeps_the_best_epoch() -> None:
    model = network()
    curve = train(model, stripes(), config(epochs=40, patience=3), seed=3).curve
    assert len(curve) < 40
    reached = [point.val_accuracy or 0.0 for point in curve]
    best = reached.index(max(reached))
    assert len(curve) == best + 1 + 3
    with pytest.raises(ValidationError, match="patience needs samples kept back"):
        config(patience=2, validation=0)


class Killed(SilentProgress):
    """Stops the training like a kill, in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch

    def start(self, task: str, total: int | None = None) -> None:
        self.left -= 1

    def advance(self, steps: int = 1, detail: str = "") -> None:
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("killed_in", [1, 2, 4])
@pytest.mark.parametrize(
    "fields", [{}, {"ema": 0.9, "mixup": 0.3}, {"patience": 3, "optimizer": "sgd", "cutmix": 1.0}]
)
def test_a_killed_training_ends_with_the_same_bits(
    killed_in: int, fields: dict[str, Any], tmp_path: Path
) -> None:
    options = config(epochs=5, shift_px=1, flip=True, **fields)
    whole = network()
    expected = train(whole, stripes(), options, seed=3)
    first = network()
    with pytest.raises(KeyboardInterrupt):
        train(first, stripes(), options, 3, Killed(killed_in), tmp_path)
    resumed = network()
    found = train(resumed, stripes(), options, seed=3, folder=tmp_path)
    assert found == expected
    for name, item in whole.state_dict().items():
        assert torch.equal(item, resumed.state_dict()[name])


def test_another_trainings_state_is_refused(tmp_path: Path) -> None:
    train(network(), stripes(), config(epochs=1), seed=3, folder=tmp_path)
    with pytest.raises(InputError, match="state of another training"):
        train(network(), stripes(), config(epochs=1), seed=4, folder=tmp_path)


def test_a_diverging_training_leaves_the_last_good_state(tmp_path: Path) -> None:
    samples = stripes()
    poisoned = TensorSamples(samples.inputs.clone(), samples.labels)
    model = network()
    train(copy.deepcopy(model), samples, config(epochs=1), seed=3, folder=tmp_path / "good")
    poisoned.inputs[:] = float("nan")
    with pytest.raises(GateError, match="epoch 1, step"):
        train(model, poisoned, config(), seed=3, folder=tmp_path / "bad")
    assert (tmp_path / "good").exists()
    assert not (tmp_path / "bad").exists()


def test_the_penalty_on_norm_scales_makes_them_small_and_is_part_of_the_loss() -> None:
    plain, slim = network(), network()
    before = float(plain.get_parameter("1.weight").detach().abs().sum())
    options = {"epochs": 1, "lr": 1e-6}
    first = train(plain, stripes(), config(**options), seed=3).curve[0]
    second = train(network(), stripes(), config(bn_l1=0.25, **options), seed=3).curve[0]
    assert second.loss - first.loss == pytest.approx(0.25 * before, rel=1e-3)
    train(plain, stripes(), config(epochs=4), seed=3)
    train(slim, stripes(), config(epochs=4, bn_l1=0.25), seed=3)
    sizes = [float(item.get_parameter("1.weight").detach().abs().sum()) for item in (plain, slim)]
    assert sizes[1] < 0.8 * sizes[0]


def test_a_penalty_on_scales_that_are_not_there_is_refused_at_once() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    with pytest.raises(UnsupportedError, match="no BatchNorm with a scale"):
        train(model, stripes(), config(epochs=1, bn_l1=1e-4), seed=3)
