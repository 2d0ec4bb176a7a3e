"""The twin of a float graph: same numbers, real layers, gradients, clear refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgekit.errors import InputError, UnsupportedGraphError
from edgekit.graph.equivalence import difference, random_feeds
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import TorchTwin, build_twin
from tests.twin_graphs import convolutional, make_model, recurrent, transformer, weights

TOLERANCE = 1e-5


def worst_difference(model: ir.Model, twin: TorchTwin, batch: int) -> float:
    with ReferenceSession(model, optimization="disabled") as session:
        feeds = random_feeds(session.signature.inputs, seed=1, batch=batch)
        expected = session.run(feeds)
    found = twin.run(feeds)
    return max(difference(name, expected[name], found[name]).relative for name in expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("make", [convolutional, transformer, recurrent])
def test_it_computes_what_onnx_runtime_does(make: Callable[[], ir.Model], batch: int) -> None:
    model = make()
    assert worst_difference(model, build_twin(model), batch) <= TOLERANCE


def test_layers_are_those_of_torch_and_have_readable_names() -> None:
    twin = build_twin(convolutional())
    assert twin.layers["depthwise"] == "depthwise"
    kinds = {name: type(layer) for name, layer in twin.graph_module.named_children()}
    assert kinds == {
        "stem": nn.Conv2d, "expand": nn.Conv2d, "depthwise": nn.Conv2d, "excite": nn.Conv2d,
        "project": nn.Conv2d, "up": nn.ConvTranspose2d, "classifier": nn.Linear,
    }  # fmt: skip
    depthwise = twin.graph_module.get_submodule("depthwise")
    assert isinstance(depthwise, nn.Conv2d)
    assert depthwise.groups == 16
    assert depthwise.padding == (1, 1)
    kinds = {
        name: type(layer) for name, layer in build_twin(recurrent()).graph_module.named_children()
    }
    assert kinds == {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def test_an_add_behind_a_matmul_is_the_bias_of_its_layer() -> None:
    model = transformer()
    twin = build_twin(model)
    layers = dict(twin.graph_module.named_children())
    assert set(layers) == {"qkv", "proj", "fc1", "fc2"}
    for name, layer in layers.items():
        assert isinstance(layer, nn.Linear)
        stored = model.graph.initializers[f"{name}_bias"].const_value
        assert stored is not None
        assert np.array_equal(layer.bias.detach().numpy(), stored.numpy())
    tokens = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    between = twin.activations(tokens)
    # What the layer computes is the sum; the product alone is nowhere.
    assert "qkv" in between
    assert "qkv_product" not in between


@pytest.mark.parametrize("make", [convolutional, transformer, recurrent])
def test_every_parameter_gets_a_gradient(make: Callable[[], ir.Model]) -> None:
    twin = build_twin(make())
    sizes = [spec.concrete_shape(2) for spec in twin.signature.inputs]
    generator = torch.Generator().manual_seed(0)
    outputs = twin.outputs(*(torch.randn(size, generator=generator) for size in sizes))
    # Weighted, because the probabilities of a sample always sum to 1.
    loss = sum(
        (output * torch.linspace(0, 1, output.numel()).reshape(output.shape)).sum()
        for output in outputs
    )
    assert isinstance(loss, torch.Tensor)
    torch.autograd.backward(loss)
    without = [
        name
        for name, parameter in twin.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0)
    ]
    assert without == []


def test_gradients_are_those_of_the_same_network_in_torch() -> None:
    model = make_model(
        """
        g (float[batch, 2, 6, 6] x) => (float[batch, 3] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, conv.weight, conv.bias)
          b = Relu (a)
          c = GlobalAveragePool (b)
          d = Flatten (c)
          y = Gemm <transB = 1> (d, fc.weight, fc.bias)
        }
        """.replace("conv.", "conv_").replace("fc.", "fc_"),
        weights(
            {"conv_weight": (4, 2, 3, 3), "conv_bias": (4,), "fc_weight": (3, 4), "fc_bias": (3,)}
        ),
    )
    twin = build_twin(model)
    by_hand = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip
    by_hand.load_state_dict(
        dict(zip(by_hand.state_dict(), (item.detach() for item in twin.parameters()), strict=True))
    )
    x = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    for network in (twin, by_hand):
        torch.autograd.backward(network(x).square().sum())
    for ours, theirs in zip(twin.parameters(), by_hand.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_constant_that_two_layers_use_is_one_parameter() -> None:
    model = make_model(
        """
        g (float[batch, 4] x) => (float[batch, 4] y) {
          a = Gemm <transB = 1> (x, shared)
          b = Gemm <transB = 1> (a, shared)
          c = MatMul (b, shared)
          y = Mul (c, c)
        }
        """,
        weights({"shared": (4, 4)}),
    )
    twin = build_twin(model)
    assert len(list(twin.parameters())) == 1
    assert worst_difference(model, twin, 3) <= TOLERANCE
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(twin(x).sum())
    (shared,) = twin.parameters()
    assert shared.grad is not None


def test_constants_that_are_no_weights_are_not_trained() -> None:
    model = make_model(
        """
        g (float[batch, 4] x) => (float[batch, 4] y) {
          a = Sub (x, mean)
          y = PRelu (a, slope)
        }
        """,
        {"mean": np.ones(4, np.float32), "slope": np.full(4, 0.1, np.float32)},
    )
    twin = build_twin(model)
    assert [name for name, _ in twin.named_parameters()] == ["graph_module.slope"]
    assert [name for name, _ in twin.named_buffers()] == ["graph_module.mean"]


def test_the_graph_is_not_modified_and_not_shared() -> None:
    model = convolutional()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    twin = build_twin(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_activations_carry_the_names_of_the_graph() -> None:
    model = convolutional()
    twin = build_twin(model)
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = twin.activations(image, names=["stem_relu", "logits", "probabilities"])
    assert list(found) == ["stem_relu", "logits", "probabilities"]
    torch.testing.assert_close(found["probabilities"], twin(image))
    torch.testing.assert_close(torch.softmax(found["logits"], 1), found["probabilities"])
    with pytest.raises(KeyError):
        twin.activations(image, names=["nothing"])


def test_a_copy_has_its_own_weights() -> None:
    import copy

    twin = build_twin(convolutional())
    other = copy.deepcopy(twin)
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert bool(next(twin.parameters()).abs().sum() > 0)
    assert other.layers == twin.layers


def test_all_nodes_without_a_torch_form_are_listed() -> None:
    model = make_model(
        """
        g (float[1, 4, 8, 8] x, float[1, 2] rois) => (float[1, 4, 4, 4] y, float[1, 4, 4, 4] z) {
          [pool] y, indices = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
          [unpool] w = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (y, indices)
          [mean] z = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (w)
        }
        """
    )
    with pytest.raises(UnsupportedGraphError) as caught:
        build_twin(model)
    assert [(node.op, node.node) for node in caught.value.nodes] == [
        ("MaxPool", "pool"),
        ("MaxUnpool", "unpool"),
    ]
    assert "Target 'torch twin' cannot express 2 nodes of this model" in str(caught.value)
    assert "its output 'indices' is used" in str(caught.value)
    assert "the operator has no torch form" in str(caught.value)


def test_a_wrong_feed_is_refused() -> None:
    twin = build_twin(convolutional())
    with pytest.raises(InputError, match="Input 'image' expects image: float32"):
        twin.run({"image": np.zeros((1, 3, 8, 8), np.float32)})
