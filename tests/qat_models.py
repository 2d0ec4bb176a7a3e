"""A small classifier of stripes, well trained and badly quantized, and its images."""

from __future__ import annotations

import functools

import onnx_ir as ir
import torch

from edgekit.graph.torch_twin import build_twin, write_back
from edgekit.training.samples import TensorSamples
from tests.qdq_graphs import insert_qdq
from tests.twin_graphs import make_model, weights

GRAPH = """
g (float[batch, 1, 8, 8] image) => (float[batch, 3] logits) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  [relu1] a2 = Relu (a)
  [conv2] b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (a2, w2, b2)
  [relu2] b2x = Relu (b)
  [pool] c = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (b2x)
  [flat] d = Flatten (c)
  [fc] logits = Gemm <transB = 1> (d, w3, b3)
}
"""


def stripes(count: int = 256) -> TensorSamples:
    """Noisy 8x8 images: class 0 has horizontal stripes, 1 vertical ones, 2 none."""
    generator = torch.Generator().manual_seed(1)
    images = 0.6 * torch.randn(count, 1, 8, 8, generator=generator)
    labels = torch.arange(count) % 3
    images[labels == 0, :, ::2, :] += 1.0
    images[labels == 1, :, :, ::2] += 1.0
    return TensorSamples(images, labels)


@functools.cache
def float_model() -> ir.Model:
    """A small classifier, trained in float."""
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (6, 1, 3, 3), "b1": (6,), "w2": (8, 6, 3, 3), "b2": (8,), "w3": (3, 32),
        "b3": (3,),
    }  # fmt: skip
    model = make_model(GRAPH, weights(shapes))
    twin = build_twin(model)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
    samples = stripes()
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(samples.inputs), samples.labels)
        torch.autograd.backward(loss)
        optimizer.step()
    return write_back(twin, model)


@functools.cache
def badly_quantized() -> ir.Model:
    """Ranges so narrow that most activations are cut off."""
    model = insert_qdq(float_model(), {"image": stripes().inputs.numpy()})
    twin = build_twin(model)
    for quantizer in twin.quantizers().values():
        if quantizer.role == "activation":
            quantizer.scale.mul_(0.12)
    return write_back(twin, model)
