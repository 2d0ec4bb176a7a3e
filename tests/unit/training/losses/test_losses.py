"""Every loss against its closed form, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.errors import InputError
from edgekit.training.losses import (
    attention_transfer_loss,
    binary_focal_loss,
    contrastive_loss,
    distillation_loss,
    focal_loss,
    hint_loss,
    knowledge_distillation,
    semi_hard_triplets,
    smoothed_cross_entropy,
    triplet_loss,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def softmax(scores: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = grown / grown.sum(axis=1, keepdims=True)  # type: ignore[type-arg]
    return shares


LABELS = torch.tensor([0, 2, 1, 2])


@given(st.floats(0, 0.9))
def test_smoothing(smoothing: float) -> None:
    scores = random(4, 3)
    target = (1 - smoothing) * np.eye(3)[LABELS.numpy()] + smoothing / 3
    expected = -(target * np.log(softmax(scores.numpy()))).sum(axis=1).mean()
    assert float(smoothed_cross_entropy(scores, LABELS, smoothing)) == pytest.approx(expected)


@given(st.floats(0, 5))
def test_focal(gamma: float) -> None:
    scores = random(4, 3)
    p = softmax(scores.numpy())[np.arange(4), LABELS.numpy()]
    expected = (-((1 - p) ** gamma) * np.log(p)).mean()
    assert float(focal_loss(scores, LABELS, gamma)) == pytest.approx(expected)
    alpha = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    weighted = (-alpha.numpy()[LABELS.numpy()] * (1 - p) ** gamma * np.log(p)).mean()
    assert float(focal_loss(scores, LABELS, gamma, alpha)) == pytest.approx(weighted)


def test_focal_without_focus_is_cross_entropy() -> None:
    scores = random(4, 3)
    plain = nn.functional.cross_entropy(scores, LABELS)
    torch.testing.assert_close(focal_loss(scores, LABELS, 0.0), plain)


@given(st.floats(0, 5), st.floats(0, 0.9))
def test_focal_of_shares(gamma: float, smoothing: float) -> None:
    """Blended samples and smoothed labels weigh the terms of their classes."""
    scores = random(4, 3)
    shares = torch.softmax(random(4, 3, seed=1), dim=1)
    p = softmax(scores.numpy())
    target = (1 - smoothing) * shares.numpy() + smoothing / 3
    expected = (-target * (1 - p) ** gamma * np.log(p)).sum(axis=1).mean()
    found = focal_loss(scores, shares, gamma, smoothing=smoothing)
    assert float(found) == pytest.approx(expected)


@settings(deadline=None)  # imports torchvision
@given(st.floats(0, 4), st.floats(0.1, 0.9))
def test_binary_focal(gamma: float, alpha: float) -> None:
    scores, targets = random(5), torch.tensor([0.0, 1, 1, 0, 1], dtype=torch.float64)
    y = targets.numpy()
    p = 1 / (1 + np.exp(-scores.numpy()))
    right = np.where(y == 1, p, 1 - p)
    weight = np.where(y == 1, alpha, 1 - alpha)
    expected = (-weight * (1 - right) ** gamma * np.log(right)).mean()
    assert float(binary_focal_loss(scores, targets, gamma, alpha)) == pytest.approx(expected)


@given(st.floats(0.1, 3))
def test_contrastive(margin: float) -> None:
    first, second = random(4, 5), random(4, 5, seed=1)
    same = torch.tensor([True, False, True, False])
    d = np.linalg.norm(first.numpy() - second.numpy(), axis=1)
    expected = np.where(same.numpy(), d**2, np.maximum(0, margin - d) ** 2).mean() / 2
    assert float(contrastive_loss(first, second, same, margin)) == pytest.approx(expected)


def test_contrastive_of_equal_points_has_a_gradient() -> None:
    first = torch.zeros(2, 3, requires_grad=True)
    loss = contrastive_loss(first, torch.zeros(2, 3), torch.tensor([1, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


@given(st.floats(0.01, 2))
def test_triplet(margin: float) -> None:
    a, p, n = (random(6, 4, seed=seed) for seed in range(3))
    near, far = (((a - other) ** 2).sum(dim=1).numpy() for other in (p, n))
    expected = np.maximum(0, near - far + margin).mean()
    assert float(triplet_loss(a, p, n, margin)) == pytest.approx(expected)
    plain = nn.TripletMarginLoss(margin=margin, eps=0)(a, p, n)
    torch.testing.assert_close(triplet_loss(a, p, n, margin, squared=False), plain)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 2))
def test_semi_hard_triplets(seed: int, margin: float) -> None:
    embeddings = random(9, 3, seed=seed)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, 9))
    distances = torch.cdist(embeddings, embeddings).numpy() ** 2
    found = [item.tolist() for item in semi_hard_triplets(embeddings, labels, margin)]
    for anchor, positive, negative in zip(*found, strict=True):
        assert anchor != positive
        assert labels[anchor] == labels[positive] != labels[negative]
        near, far = distances[anchor, positive], distances[anchor, negative]
        others = distances[anchor][(labels != labels[anchor]).numpy()]
        fitting = others[(others > near) & (others < near + margin)]
        assert far == pytest.approx(fitting.min() if fitting.size else others.max())
    pairs = sum(int((labels == label).sum()) - 1 for label in labels.tolist())
    assert len(found[0]) == (pairs if len(set(labels.tolist())) > 1 else 0)


@given(st.floats(0.5, 20))
def test_distillation(temperature: float) -> None:
    student, teacher = random(4, 3), random(4, 3, seed=1)
    t, s = softmax(teacher.numpy() / temperature), softmax(student.numpy() / temperature)
    expected = temperature**2 * (t * np.log(t / s)).sum(axis=1).mean()
    assert float(distillation_loss(student, teacher, temperature)) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 100.0])
def test_the_gradient_keeps_its_size(temperature: float) -> None:
    """For high temperatures it tends to (student - teacher) / (N * classes), both centred."""
    student, teacher = random(4, 3).requires_grad_(), random(4, 3, seed=1)
    distillation_loss(student, teacher, temperature).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    t, s = (softmax(item.detach().numpy() / temperature) for item in (teacher, student))
    np.testing.assert_allclose(student.grad.numpy(), temperature * (s - t) / 4, rtol=1e-6)
    if temperature == 100:
        centred = [item.detach() - item.detach().mean(dim=1, keepdim=True)
                   for item in (student, teacher)]  # fmt: skip
        wanted = (centred[0] - centred[1]) / (4 * 3)
        torch.testing.assert_close(student.grad, wanted, rtol=0.1, atol=2e-3)


def test_distillation_of_several_outputs() -> None:
    students = [random(4, 3), random(4, 2, seed=2)]
    teachers = [random(4, 3, seed=1), random(4, 2, seed=3)]
    soft = sum(distillation_loss(a, b) for a, b in zip(students, teachers, strict=True)) / 2
    hard = nn.functional.cross_entropy(students[0], LABELS)
    found = knowledge_distillation(students, teachers, LABELS, alpha=0.3)
    torch.testing.assert_close(found, 0.3 * hard + 0.7 * soft)
    torch.testing.assert_close(knowledge_distillation(students, teachers, None), soft)


def test_features() -> None:
    student, teacher = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    expected = ((student - teacher) ** 2).mean() / 2
    torch.testing.assert_close(hint_loss(student, teacher), expected)
    wide = random(2, 7, 4, 5, seed=2)
    maps = [(item.numpy() ** 2).sum(axis=1).reshape(2, -1) for item in (student, wide)]
    unit = [item / np.linalg.norm(item, axis=1, keepdims=True) for item in maps]
    wanted = ((unit[0] - unit[1]) ** 2).sum(axis=1).mean()
    assert float(attention_transfer_loss(student, wide)) == pytest.approx(wanted)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = random(4, 3).requires_grad_(), random(4, 3, seed=1).requires_grad_()
    knowledge_distillation([student], [teacher], LABELS).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert teacher.grad is None


def test_outputs_that_do_not_match() -> None:
    with pytest.raises(InputError, match=r"student gives \[4, 3\] and the teacher \[4, 5\]"):
        distillation_loss(random(4, 3), random(4, 5))
    with pytest.raises(InputError, match="2 outputs and the teacher 1"):
        knowledge_distillation([random(4, 3)] * 2, [random(4, 3)], LABELS)
    with pytest.raises(InputError, match="cannot be compared"):
        attention_transfer_loss(random(2, 3, 4, 5), random(2, 3, 5, 5))
