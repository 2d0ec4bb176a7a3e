"""A student learns from its teacher's features besides its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError
from edgekit.graph.torch_twin import TorchTwin, build_twin
from edgekit.training.hints import (
    HintedNetwork,
    HintObjective,
    make_regressors,
    matched_layers,
    require_maps,
)
from edgekit.training.losses.distillation import attention_transfer_loss, hint_loss
from edgekit.training.objectives import DistillationObjective, StepBatch
from edgekit.training.restored_norms import restore_norms
from tests.qat_models import float_model, stripes
from tests.unit.test_distill_stage import run, summary_of
from tests.unit.test_qat_stage import stripes_file


def hinted(twin: TorchTwin, *layers: str) -> HintedNetwork:
    return HintedNetwork(twin, twin, layers)


def test_features_come_behind_the_outputs() -> None:
    twin, images = build_twin(float_model()), stripes(8).inputs
    first = twin.graph_module.get_submodule(twin.layers["conv1"])
    scores, features = hinted(twin, "conv1")(images)
    assert torch.equal(scores, twin(images))
    assert torch.equal(features, first(images))


def test_features_are_taken_behind_a_restored_norm() -> None:
    twin, images = build_twin(float_model()), stripes(64).inputs
    before = hinted(twin, "conv2")(images)[1]
    restore_norms(twin, lambda network: network(images))
    twin.train()
    features = hinted(twin, "conv2")(images)[1]
    # Restored from these images, the norm changes nothing, in training mode either.
    torch.testing.assert_close(features, before, rtol=1e-3, atol=1e-3)
    convolution = twin.graph_module.get_submodule(twin.layers["conv2"])
    with torch.no_grad():
        convolution.get_parameter("weight").mul_(2)
    features = hinted(twin, "conv2")(images)[1]
    # A norm takes out a factor, the convolution's own output does not.
    torch.testing.assert_close(
        features.std(dim=(0, 2, 3)), before.std(dim=(0, 2, 3)), rtol=0.1, atol=0.05
    )


@pytest.mark.parametrize("kind", ["attention", "features"])
def test_the_loss_is_that_of_the_outputs_and_the_weighted_mean_of_the_layers(kind: str) -> None:
    torch.manual_seed(0)
    own = (torch.randn(4, 3), torch.randn(4, 6, 5, 5), torch.randn(4, 8, 2, 2))
    wanted = (torch.randn(4, 3), torch.randn(4, 6, 5, 5), torch.randn(4, 8, 2, 2))
    batch = StepBatch(torch.zeros(4, 1), torch.tensor([0, 1, 2, 0]), wanted)

    def teacher(_: Tensor) -> tuple[Tensor, ...]:
        return wanted

    base = DistillationObjective(teacher, alpha=0.3, temperature=2.0)
    objective = HintObjective(base, teacher, kind, 0.5, 2)  # type: ignore[arg-type]
    compared = attention_transfer_loss if kind == "attention" else hint_loss
    expected = base.loss(own[:1], StepBatch(batch.inputs, batch.targets, wanted[:1]), 0.1)
    expected = expected + 0.25 * (compared(own[1], wanted[1]) + compared(own[2], wanted[2]))
    torch.testing.assert_close(objective.loss(own, batch, 0.1), expected)
    assert objective.classifies
    assert not objective.remembers_teacher


def test_other_channels_are_brought_to_the_teachers() -> None:
    own = [torch.randn(2, 4, 5, 5), torch.randn(2, 6), torch.randn(2, 6)]
    wanted = [torch.randn(2, 7, 5, 5), torch.randn(2, 9), torch.randn(2, 6)]
    made = make_regressors(own, wanted, ("a", "b", "c"), seed=1)
    assert [type(item) for item in made] == [nn.Conv2d, nn.Linear, nn.Identity]
    for regressor, left, right in zip(made, own, wanted, strict=True):
        assert regressor(left).shape == right.shape
    again = make_regressors(own, wanted, ("a", "b", "c"), seed=1)
    assert torch.equal(made[0].weight, again[0].weight)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"a gives \[4, 5, 5\] .* \[7, 4, 4\]; only the channels"
    ):
        make_regressors(own[:1], [torch.randn(2, 7, 4, 4)], ("a",), seed=1)
    with pytest.raises(ConfigError, match=r"hint attention compares maps .*; b gives \[6\]"):
        require_maps(own[1:2], wanted[1:2], ("b",))
    require_maps(own[:1], wanted[:1], ("a",))


def test_layers_are_named_by_patterns() -> None:
    twin = build_twin(float_model())
    assert matched_layers(twin, twin, ("conv?",)) == ("conv1", "conv2")
    with pytest.raises(ConfigError, match=r"called 'conv9'; they share: conv1, .*conv2"):
        matched_layers(twin, twin, ("conv1", "conv9"))


@pytest.mark.parametrize("kind", ["attention", "features"])
def test_a_stage_brings_features_nearer_to_the_teachers(tmp_path: Path, kind: str) -> None:
    data = stripes_file(tmp_path)
    options: dict[str, Any] = {
        "teacher": float_model(),
        "batch_norm": False,
        "epochs": 4,
        "keep": "last",
    }
    plain = run(tmp_path, data, **options)
    with_hints = run(tmp_path, data, hints=("conv*",), hint=kind, hint_weight=20.0, **options)
    images = stripes(64).inputs
    wanted = hinted(build_twin(float_model()), "conv1", "conv2")(images)[1:]
    compared = attention_transfer_loss if kind == "attention" else hint_loss

    def distance(path: Path) -> float:
        from edgekit.graph.io import load_onnx

        found = hinted(build_twin(load_onnx(path)), "conv1", "conv2")(images)[1:]
        return sum(float(compared(*pair).detach()) for pair in zip(found, wanted, strict=True))

    after = [distance(item.artifacts["model"].path) for item in (plain, with_hints)]
    assert after[1] < 0.7 * after[0]
    assert summary_of(with_hints).parameters == summary_of(plain).parameters


def test_hints_need_a_teacher_that_is_a_graph(tmp_path: Path) -> None:
    data = stripes_file(tmp_path)
    with pytest.raises(ConfigError, match=r"hints compare layers .* this stage's teacher is none"):
        run(tmp_path, data, stage={"labels_alone": True}, hints=("conv1",))
