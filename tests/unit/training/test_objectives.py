"""Objectives against their closed forms, and what does not fit each other."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.core.progress import SilentProgress
from edgekit.errors import InputError, MissingToolError
from edgekit.training.config import TrainConfig
from edgekit.training.devices import MixedPrecision, chosen_device
from edgekit.training.objectives import (
    DistillationObjective,
    ImitationObjective,
    LabelObjective,
    StepBatch,
    as_outputs,
    label_loss_of,
    module_teacher,
    teacher_variances,
)
from edgekit.training.samples import TensorSamples
from edgekit.training.teacher_cache import cache_teacher, stays_the_same
from edgekit.training.trainer import train
from tests.unit.training.test_trainer import CONFIG, network, stripes, weights


def scores(seed: int, classes: int = 5) -> Tensor:
    return torch.randn(7, classes, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


def test_labels_alone() -> None:
    batch = StepBatch(torch.zeros(7, 1), LABELS)
    found = LabelObjective().loss((scores(0),), batch, smoothing=0.1)
    logs = functional.log_softmax(scores(0), dim=1)
    wanted = -(0.9 * logs[torch.arange(7), LABELS] + 0.1 * logs.mean(dim=1)).mean()
    torch.testing.assert_close(found, wanted)


def test_labels_and_a_teacher() -> None:
    own, wanted = scores(0), scores(1)
    objective = DistillationObjective(module_teacher(nn.Identity()), alpha=0.3, temperature=2.0)
    batch = StepBatch(torch.zeros(7, 1), LABELS, (wanted,))
    found = objective.loss((own,), batch, smoothing=0.0)
    p, q = (wanted / 2).softmax(1), (own / 2).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    hard = -own.log_softmax(1)[torch.arange(7), LABELS].mean()
    torch.testing.assert_close(found, 0.3 * hard + 0.7 * 4 * divergence)


def test_the_loss_of_labels_is_the_one_that_is_named() -> None:
    focal = label_loss_of(TrainConfig(loss="focal", focal_gamma=3.0))
    batch = StepBatch(torch.zeros(7, 1), LABELS, (scores(1),))
    p = scores(0).softmax(1)[torch.arange(7), LABELS]
    wanted = -((1 - p) ** 3 * p.log()).mean()
    found = LabelObjective(label_loss=focal).loss((scores(0),), batch, smoothing=0.0)
    torch.testing.assert_close(found, wanted)
    teacher = module_teacher(nn.Identity())
    alone = DistillationObjective(teacher, alpha=1.0, label_loss=focal)
    torch.testing.assert_close(alone.loss((scores(0),), batch, smoothing=0.0), wanted)
    plain = label_loss_of(TrainConfig())
    torch.testing.assert_close(
        plain(scores(0), LABELS, 0.0), functional.cross_entropy(scores(0), LABELS)
    )


def test_a_training_takes_it() -> None:
    samples, model = stripes(), network()
    curve = train(model, samples, CONFIG.model_copy(update={"loss": "focal"}), seed=3).curve
    assert (curve[-1].val_accuracy or 0) > 0.9
    plain = train(network(), samples, CONFIG, seed=3).curve
    assert curve[0].loss < plain[0].loss  # every term is smaller by (1 - p)^gamma


def test_of_several_outputs_the_mean_counts() -> None:
    objective = DistillationObjective(module_teacher(nn.Identity()), alpha=0.0)
    batch = StepBatch(torch.zeros(7, 1), LABELS, (scores(1), scores(2, 3)))
    both = objective.loss((scores(3), scores(4, 3)), batch, 0.0)
    parts = [
        objective.loss((own,), StepBatch(batch.inputs, LABELS, (wanted,)), 0.0)
        for own, wanted in ((scores(3), scores(1)), (scores(4, 3), scores(2, 3)))
    ]
    torch.testing.assert_close(both, (parts[0] + parts[1]) / 2)


def test_a_teacher_alone() -> None:
    teacher = module_teacher(nn.Linear(4, 2))
    inputs = [torch.randn(50, 4), torch.randn(30, 4)]
    variances = teacher_variances(teacher, inputs)
    everything = torch.cat([teacher(item)[0] for item in inputs])
    assert variances[0] == pytest.approx(float(everything.double().var(correction=0)), rel=1e-6)
    wanted = teacher(inputs[0])
    own = (wanted[0] + 0.5,)
    batch = StepBatch(inputs[0], LABELS, wanted)
    found = ImitationObjective(teacher, variances).loss(own, batch, 0.0)
    assert float(found) == pytest.approx(0.25 / float(variances[0] or 0), rel=1e-5)


@pytest.mark.parametrize(
    ("own", "wanted"), [((7, 5), (7, 4)), ((7, 5), None)], ids=["classes", "no teacher"]
)
def test_a_mismatch_is_one_error(own: tuple[int, int], wanted: tuple[int, int] | None) -> None:
    batch = StepBatch(
        torch.zeros(7, 1), LABELS, None if wanted is None else (torch.zeros(wanted),)
    )
    objective = DistillationObjective(module_teacher(nn.Identity()))
    with pytest.raises(InputError, match=r"The student gives .* \[5\] a sample and the teacher"):
        objective.loss((torch.zeros(own),), batch, 0.0)


def test_outputs_have_to_be_tensors() -> None:
    assert len(as_outputs(torch.zeros(1))) == 1
    with pytest.raises(InputError, match="needs a model that gives tensors; this one gives str"):
        as_outputs("scores")


class Counting:
    """A teacher that counts what it is asked."""

    def __init__(self) -> None:
        self.module = network().eval()
        self.samples = 0

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        self.samples += len(inputs)
        found: Tensor = self.module(inputs)
        return (found,)


def test_the_teacher_is_asked_once_where_samples_stay_the_same(tmp_path: Path) -> None:
    samples = stripes(96)
    config = CONFIG.model_copy(update={"shift_px": 0, "flip": False, "epochs": 3})
    assert stays_the_same(config)
    assert not stays_the_same(CONFIG)
    cached, asked = Counting(), Counting()
    first, second = network(), network()
    train(first, samples, config, 3, folder=tmp_path, objective=DistillationObjective(cached))
    # Once to see what is kept, and once for all.
    assert cached.samples <= 2 * len(samples)
    assert (tmp_path / "teacher-0.npy").stat().st_size > 4 * 3 * len(samples)
    moved = config.model_copy(update={"progressive_from": 0.999})
    train(second, samples, moved, 3, objective=DistillationObjective(asked))
    assert asked.samples > 2 * len(samples)
    for name, item in weights(second).items():
        torch.testing.assert_close(item, weights(first)[name], rtol=1e-4, atol=1e-5)


def test_what_is_kept_of_a_teacher_is_used_only_if_it_is_his(tmp_path: Path) -> None:
    samples, cpu, silent = stripes(300), torch.device("cpu"), SilentProgress()
    teacher = Counting()
    cache = cache_teacher(teacher, samples, cpu, silent, tmp_path)
    order = [5, 299, 0]
    wanted = teacher.module(samples.inputs[order])
    torch.testing.assert_close(cache.outputs(order, cpu)[0], wanted, rtol=1e-5, atol=1e-6)
    teacher.samples = 0
    cache_teacher(teacher, samples, cpu, silent, tmp_path)
    assert teacher.samples == 256
    other = Counting()
    with torch.no_grad():
        other.module.get_parameter("6.bias").add_(1.0)
    found = cache_teacher(other, samples, cpu, silent, tmp_path).outputs(order, cpu)[0]
    torch.testing.assert_close(found, wanted + 1.0, rtol=1e-5, atol=1e-5)
    (tmp_path / "teacher-0.npy").write_bytes(b"damaged")
    found = cache_teacher(other, samples, cpu, silent, tmp_path).outputs(order, cpu)[0]
    torch.testing.assert_close(found, wanted + 1.0, rtol=1e-5, atol=1e-5)


def test_a_student_learns_from_a_teacher_without_labels() -> None:
    samples = stripes()
    teacher = network()
    train(teacher, samples, CONFIG, seed=1)
    blind = TensorSamples(samples.inputs, torch.full_like(samples.labels, -1))
    student = network()
    outputs = module_teacher(copy.deepcopy(teacher))
    variances = teacher_variances(outputs, [samples.inputs])
    objective = ImitationObjective(outputs, variances)
    config = CONFIG.model_copy(update={"epochs": 8, "keep": "best"})
    found = train(student, blind, config, seed=2, objective=objective)
    assert found.curve[0].train_accuracy is None
    assert found.curve[0].val_accuracy is None
    assert found.kept_epoch is not None
    losses = [point.val_loss or 0.0 for point in found.curve]
    assert losses[found.kept_epoch - 1] == min(losses) < 0.3
    agree = teacher(samples.inputs).argmax(1) == student(samples.inputs).argmax(1)
    assert float(agree.float().mean()) > 0.9


def test_the_state_before_may_be_the_best() -> None:
    samples, model = stripes(), network()
    train(model, samples, CONFIG, seed=1)
    before = weights(model)
    config = CONFIG.model_copy(update={"lr": 30.0, "clip_norm": None, "keep": "best", "epochs": 1})
    found = train(model, samples, config, seed=1)
    assert found.kept_epoch == 0
    assert all(torch.equal(item, before[name]) for name, item in weights(model).items())


def test_a_gpu_that_is_not_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device(TrainConfig()).type == "cpu"
    with pytest.raises(MissingToolError, match="torch finds no GPU on this machine"):
        chosen_device(TrainConfig(device="cuda"))


@pytest.mark.parametrize("form", ["off", "bfloat16"])
def test_products_are_computed_in_the_chosen_format(form: str) -> None:
    config = TrainConfig.model_validate({"mixed_precision": form})
    with MixedPrecision(config, torch.device("cpu")).products():
        found = nn.Linear(4, 4)(torch.zeros(1, 4))
    assert found.dtype is (torch.float32 if form == "off" else torch.bfloat16)


def test_sixteen_bits_learn_as_well() -> None:
    model, samples = network(), stripes()
    config = CONFIG.model_copy(update={"mixed_precision": "bfloat16"})
    curve = train(model, samples, config, seed=3).curve
    assert model.get_parameter("0.weight").dtype is torch.float32
    assert (curve[-1].val_accuracy or 0) > 0.9


def test_overflow_leaves_a_step_out() -> None:
    """Gradients beyond float16 are not applied, and the scale of the loss falls."""
    model = nn.Linear(1, 1)
    config = TrainConfig(mixed_precision="float16")
    precision = MixedPrecision(config, torch.device("cpu"))
    before, scale = model.weight.detach().clone(), precision.scaler.get_scale()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = model(torch.ones(1, 1)).sum() * 1e38
    precision.step(loss, optimizer, model, clip=1.0)
    assert torch.equal(model.weight.detach(), before)
    assert precision.scaler.get_scale() < scale
