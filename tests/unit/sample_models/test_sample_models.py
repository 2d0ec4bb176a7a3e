from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.graph.importers import ImportRequest, import_model, parse_input
from edgekit.graph.importers.torch_module import build_module, load_torch_module
from edgekit.graph.reference import ReferenceSession
from sample_models.resnet_cifar.model import OptionAShortcut
from sample_models.tiny_vit.model import Attention
from tests.unit.graph.onnx_text import ops, random

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
CHECKPOINT = SHARED / "models" / "resnet20-cifar10" / "resnet20-12fca82f.th"


def _source(folder: str, factory: str) -> str:
    return f"{ROOT / 'sample_models' / folder / 'model.py'}:{factory}"


@pytest.mark.parametrize(
    ("folder", "factory", "shape", "parameters"),
    [
        ("digits_resnet", "digits_resnet", (1, 8, 8), 77_754),
        ("fashion_cnn", "fashion_cnn", (1, 28, 28), 90_714),
        ("tiny_vit", "tiny_vit", (1, 28, 28), 139_018),
        ("resnet_cifar", "resnet20", (3, 32, 32), 269_722),
        ("resnet_cifar", "resnet32", (3, 32, 32), 464_154),
        ("resnet_cifar", "resnet56", (3, 32, 32), 853_018),
    ],
)
def test_shapes_and_parameters(
    folder: str, factory: str, shape: tuple[int, int, int], parameters: int
) -> None:
    module = build_module(_source(folder, factory)).eval()
    assert sum(item.numel() for item in module.parameters()) == parameters
    with torch.no_grad():
        together = module(torch.from_numpy(random(3, *shape)))
        alone = module(torch.from_numpy(random(3, *shape)[:1]))
    assert together.shape == (3, 10)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_resnet20_with_the_published_weights_is_equal_in_onnx_runtime() -> None:
    if not CHECKPOINT.is_file():
        pytest.skip(f"{CHECKPOINT} is not there; set EDGEKIT_DATA")
    source = _source("resnet_cifar", "resnet20")
    imported = import_model(
        ImportRequest(
            source=source,
            weights=CHECKPOINT,
            inputs=(parse_input("image:1x3x32x32"),),
            dynamic_batch=True,
        )
    )
    assert "BatchNormalization" not in ops(imported.model)
    module = load_torch_module(source, CHECKPOINT)
    image = random(4, 3, 32, 32)
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    result = ReferenceSession(imported.model).run({"image": image})["output"]
    assert float(np.abs(result - expected).max()) <= 1e-5 * float(np.ptp(expected))


def test_the_option_a_shortcut_subsamples_and_pads_channels_with_zeros() -> None:
    image = torch.from_numpy(random(2, 4, 6, 6))
    out = OptionAShortcut(4, 8)(image)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], image[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()


def test_attention_written_out_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = Attention(16, 4).eval()
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    with torch.no_grad():
        parts = (ours.query, ours.key, ours.value)
        theirs.in_proj_weight.copy_(torch.cat([part.weight.detach() for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias.detach() for part in parts]))
        theirs.out_proj.weight.copy_(ours.project.weight)
        theirs.out_proj.bias.copy_(ours.project.bias)
        x = torch.from_numpy(random(2, 7, 16))
        expected, _ = theirs(x, x, x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-6)


def test_attention_needs_a_width_that_the_heads_share() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by 4 heads"):
        Attention(10, 4)


def test_digits_resnet_learns_in_seconds() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (128,), generator=generator)
    patterns = torch.rand(10, 1, 8, 8, generator=generator)
    images = patterns[labels] + 0.1 * torch.rand(128, 1, 8, 8, generator=generator)
    module = build_module(_source("digits_resnet", "digits_resnet")).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(module(images), labels))
        optimizer.step()
    with torch.no_grad():
        right = (module.eval()(images).argmax(1) == labels).float().mean()
    assert float(right) > 0.9
