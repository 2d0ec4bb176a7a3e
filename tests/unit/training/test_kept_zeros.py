"""What was pruned away stays away while a network is trained on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from edgekit.core.progress import SilentProgress
from edgekit.graph.io import load_onnx
from edgekit.graph.torch_twin import build_twin, write_back
from edgekit.graph.values import constant_array
from edgekit.training.kept_zeros import keep_zeros, sparse_masks
from edgekit.training.pruning.unstructured import magnitude_masks
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.train import train_qat
from edgekit.training.trainer import train
from tests.qat_models import float_model
from tests.qat_models import stripes as qat_stripes
from tests.qdq_graphs import insert_qdq
from tests.unit.test_distill_stage import run
from tests.unit.test_qat_stage import stripes_file
from tests.unit.training.test_trainer import CONFIG, network, stripes

OPTIONS: dict[str, Any] = {"epochs": 2, "validation": 0.25}


def sparse(model: nn.Module, share: float = 0.5) -> nn.Module:
    """The smallest weights of every layer zeroed."""
    with torch.no_grad():
        for layer, mask in magnitude_masks(model, share).items():
            model.get_submodule(layer).get_parameter("weight").mul_(mask)
    return model


def zeros(model: nn.Module) -> dict[str, Tensor]:
    return {name: item == 0 for name, item in model.named_parameters() if item.ndim > 1}


def sparse_graph() -> ir.Model:
    model = float_model()
    twin = build_twin(model)
    sparse(twin)
    return write_back(twin, model)


def test_only_weights_with_many_zeros_count_as_sparse() -> None:
    layers = nn.Sequential(
        nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(2, 2)
    )
    with torch.no_grad():
        layers[0].get_parameter("weight").view(-1)[:20] = 0
        layers[1].get_parameter("weight").view(-1)[:19] = 0
        layers[2].get_parameter("weight").zero_()  # begins at 0, as some networks do
        layers[3].get_parameter("bias").zero_()
    masks = sparse_masks(layers)
    assert list(masks) == ["0.weight"]
    assert masks["0.weight"].sum() == 80


def test_without_zeros_nothing_is_watched() -> None:
    model = network()
    assert keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1)) == ()


@pytest.mark.parametrize("fields", [{}, {"optimizer": "sgd", "ema": 0.9}], ids=["adamw", "sgd"])
def test_no_step_changes_a_zero(fields: dict[str, Any]) -> None:
    model = sparse(network())
    before, start = zeros(model), copy.deepcopy(model.state_dict())
    config = CONFIG.model_copy(update=fields)
    train(model, stripes(), config, seed=3, zeros_stay=True)
    after = zeros(model)
    for name, mask in before.items():
        assert int(mask.sum()) == mask.numel() // 2
        assert torch.equal(after[name], mask), name
        assert not torch.equal(model.state_dict()[name], start[name])


def test_unless_it_is_asked_for_they_are_weights_as_others() -> None:
    model = sparse(network())
    train(model, stripes(), CONFIG.model_copy(update={"epochs": 1}), seed=3)
    assert not any(bool(mask.any()) for mask in zeros(model).values())


def test_an_interrupted_training_keeps_them_too(tmp_path: Path) -> None:
    class Killed(SilentProgress):
        def start(self, label: str, total: int | None) -> None:
            if label == "epoch 3/4":
                raise KeyboardInterrupt

    whole, resumed = sparse(network()), sparse(network())
    train(whole, stripes(), CONFIG, seed=3, zeros_stay=True)
    with pytest.raises(KeyboardInterrupt):
        train(sparse(network()), stripes(), CONFIG, 3, Killed(), tmp_path, zeros_stay=True)
    train(resumed, stripes(), CONFIG, 3, folder=tmp_path, zeros_stay=True)
    for name, item in whole.state_dict().items():
        assert torch.equal(item, resumed.state_dict()[name]), name


@pytest.mark.parametrize("kept", [True, False])
def test_distillation_keeps_the_zeros_of_a_graph(tmp_path: Path, kept: bool) -> None:
    student = sparse_graph()
    result = run(
        tmp_path, stripes_file(tmp_path), student=student, teacher=float_model(), keep="last",
        keep_zeros=kept,
    )  # fmt: skip
    trained = build_twin(load_onnx(result.artifacts["model"].path))
    before, after = zeros(build_twin(student)), zeros(trained)
    for name, mask in before.items():
        assert torch.equal(after[name], mask) is kept


@pytest.mark.parametrize("kept", [True, False])
def test_fine_tuned_integers_are_zero_where_the_weights_were(kept: bool) -> None:
    model = insert_qdq(sparse_graph(), {"image": qat_stripes().inputs.numpy()})
    config = QatConfig(
        epochs=2, batch_size=32, lr=5e-2, threads=1, validation=0.25, keep="last", keep_zeros=kept
    )
    result = train_qat(build_twin(model), qat_stripes(), config, teacher=build_twin(float_model()))
    tuned = write_back(result.twin, model)
    counts = []
    for graph in (model, tuned):
        integers = [
            constant_array(node.inputs[0])
            for node in graph.graph
            if node.op_type == "DequantizeLinear" and node.inputs[0] is not None
        ]
        weights = [item for item in integers if item is not None and item.ndim > 1]
        assert len(weights) == 3
        counts.append([item == 0 for item in weights])
    before, after = counts
    stayed = [bool((new | ~old).all()) for old, new in zip(before, after, strict=True)]
    floats = zeros(build_twin(sparse_graph())).values()
    assert all(int(old.sum()) >= int(mask.sum()) for old, mask in zip(before, floats, strict=True))
    if kept:
        assert all(
            bool((new | ~mask.numpy().reshape(new.shape)).all())
            for new, mask in zip(after, floats, strict=True)
        )
    else:
        assert not all(stayed)
