"""BatchNorm for the time of a training: changes nothing, and folds to what it was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.importers import InputRequest
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.torch_twin import TorchTwin, build_twin, write_back
from edgekit.training.restored_norms import (
    RestoredNorm,
    estimate_norms,
    fold_norms,
    restore_norms,
)
from tests.twin_graphs import make_model, weights


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16))
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2, groups=2)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        deep = torch.relu(self.depthwise(self.first(image)))
        made: Tensor = self.head(torch.relu(self.up(deep)))
        return made


@pytest.fixture
def model() -> ir.Model:
    torch.manual_seed(0)
    net = _Net()
    net(torch.randn(32, 3, 12, 12))  # statistics other than 0 and 1
    request = InputRequest(name="image", shape=(1, 3, 12, 12))
    return canonicalize(
        export_module(net.eval(), (request,), dynamic_batch=True, where="net")
    ).model


def _batches(count: int = 4) -> Callable[[TorchTwin], None]:
    def run(twin: TorchTwin) -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for _ in range(count):
                twin(torch.randn(16, 3, 12, 12, generator=generator))

    return run


def test_restored_norms_change_nothing_and_fold_to_the_same_weights(model: ir.Model) -> None:
    twin = build_twin(model)
    x = torch.randn(2, 3, 12, 12)
    before = twin(x).detach()
    weights = copy.deepcopy(twin.state_dict())
    assert restore_norms(twin, _batches()) == 4
    torch.testing.assert_close(twin(x).detach(), before, rtol=1e-4, atol=1e-5)
    fold_norms(twin)
    assert not any(isinstance(item, RestoredNorm) for item in twin.modules())
    after = twin.state_dict()
    assert after.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-4, atol=1e-5)
    write_back(twin, model)


def test_outputs_may_be_left_out(model: ir.Model) -> None:
    twin = build_twin(model)
    assert restore_norms(twin, _batches(), outputs=False) == 3


TWICE = """
g (float[batch, 4, 8, 8] image) => (float[batch, 4, 8, 8] out) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, shared, b1)
  [conv2] b = Conv <pads = [1, 1, 1, 1]> (a, shared, b2)
  [conv3] out = Conv <pads = [1, 1, 1, 1]> (b, own, b3)
}
"""


def test_weights_that_two_layers_share_get_no_norm() -> None:
    shapes: dict[str, tuple[int, ...]] = {"shared": (4, 4, 3, 3), "own": (4, 4, 3, 3)}
    model = make_model(TWICE, weights(shapes | {"b1": (4,), "b2": (4,), "b3": (4,)}))
    twin = build_twin(model)

    def run(twin: TorchTwin) -> None:
        twin(torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(1)))

    assert restore_norms(twin, run) == 1
    with torch.no_grad():
        for item in twin.modules():
            if isinstance(item, RestoredNorm):
                item.weight.mul_(3)
    x = torch.randn(2, 4, 8, 8)
    before = twin(x).detach()
    fold_norms(twin)
    torch.testing.assert_close(twin(x).detach(), before, rtol=1e-4, atol=1e-5)


def test_trained_norms_fold_to_what_they_computed(model: ir.Model) -> None:
    twin = build_twin(model)
    restore_norms(twin, _batches())
    twin.train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        twin(torch.randn(16, 3, 12, 12)).square().mean().backward()
        optimizer.step()
    twin.eval()
    x = torch.randn(2, 3, 12, 12)
    wanted = twin(x).detach()
    fold_norms(twin)
    torch.testing.assert_close(twin(x).detach(), wanted, rtol=1e-4, atol=1e-5)


def test_estimating_anew_gives_channels_their_old_mean_and_variance(model: ir.Model) -> None:
    """As after a pruning: what a layer sums up has changed, what it gives on has not."""
    twin = build_twin(model)
    wanted = _first_activation(twin)
    restore_norms(twin, _batches())
    with torch.no_grad():
        convolution = next(m for m in twin.modules() if isinstance(m, nn.Conv2d))
        convolution.weight.mul_(3.0).add_(0.05)
    spoiled = _first_activation(twin)
    estimate_norms(twin, _batches())
    found = _first_activation(twin)
    torch.testing.assert_close(found.mean(1), wanted.mean(1), rtol=0.02, atol=0.02)
    torch.testing.assert_close(found.std(1), wanted.std(1), rtol=0.05, atol=0.02)
    assert (spoiled.std(1) > 2 * wanted.std(1)).all()


def _first_activation(twin: TorchTwin) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, 12, 12, generator=generator)
    found = twin.activations(x)
    name = next(name for name, value in found.items() if value.ndim == 4 and value.shape[1] == 16)
    return found[name].detach().transpose(0, 1).flatten(1)
