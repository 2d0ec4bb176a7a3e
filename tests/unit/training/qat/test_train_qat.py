"""Quantization-aware training repairs a bad quantization and gives the graph what it learned."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from edgekit.errors import GateError, InputError
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import FakeQuantize, TorchTwin, build_twin, write_back
from edgekit.graph.values import constant_array
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.course import Course
from edgekit.training.qat.fake_quantize import QuantizerOptions, TrainableFakeQuantize
from edgekit.training.qat.fusion import fused_graph
from edgekit.training.qat.losses import Score, gives_probabilities, standard_error
from edgekit.training.qat.optimizer import make_qat_optimizer
from edgekit.training.qat.samples import UnlabelledSamples
from edgekit.training.qat.train import train_qat
from edgekit.training.samples import TensorSamples
from tests.qat_models import badly_quantized, float_model, stripes
from tests.qdq_graphs import insert_qdq
from tests.twin_graphs import convolutional, make_model, weights

CONFIG = QatConfig(
    epochs=3, batch_size=32, lr=1e-3, scale_lr=2e-2, validation=0.25, threads=1, observer_epochs=0
)


def accuracy(twin: TorchTwin, samples: TensorSamples) -> float:
    with torch.no_grad():
        return float((twin(samples.inputs).argmax(1) == samples.labels).float().mean())


def state(twin: TorchTwin) -> dict[str, Tensor]:
    return {name: item.clone() for name, item in twin.state_dict().items()}


VARIANTS: dict[str, dict[str, object]] = {
    "learned": {},
    "ema": {"activation_ranges": "ema", "weight_scales": "minmax", "observer_epochs": 1.5,
            "observer_momentum": 0.3},
    "minmax": {"activation_ranges": "minmax", "weight_scales": "calibrated",
               "observer_epochs": 1.0},
    "observed then learned": {"observer_epochs": 1.0, "observer_momentum": 0.3},
    "sgd": {"optimizer": "sgd", "lr": 1e-2, "scale_lr": 1.0, "clip_norm": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_it_repairs_a_bad_quantization(name: str) -> None:
    config = QatConfig.model_validate({**CONFIG.model_dump(), **VARIANTS[name]})
    twin, teacher = build_twin(badly_quantized()), build_twin(float_model())
    samples = stripes()
    before, best = accuracy(twin, samples), accuracy(teacher, samples)
    assert before < best - 0.1
    result = train_qat(twin, samples, config, teacher=teacher, seed=1)
    assert result.twin is twin
    assert result.best_epoch > 0
    assert result.curve[0].epoch == 0
    assert result.curve[0].loss is None
    assert [point.epoch for point in result.curve] == [0, 1, 2, 3]
    assert result.held_out == 64
    assert result.teacher_score is not None
    assert result.teacher_score > 0.95
    assert accuracy(twin, samples) > best - 0.05
    # Plain quantizers, which hold what the graph can hold.
    assert {type(item) for item in twin.quantizers().values()} == {FakeQuantize}
    assert not twin.training


@pytest.mark.parametrize("name", VARIANTS)
def test_scales_that_float16_represents_stay_so_to_the_graph_that_is_written(name: str) -> None:
    changes = {**VARIANTS[name], "scale_format": "float16", "keep": "last"}
    config = QatConfig.model_validate({**CONFIG.model_dump(), **changes})
    model = badly_quantized()
    twin, teacher, samples = build_twin(model), build_twin(float_model()), stripes()
    before = {name: item.scale.clone() for name, item in twin.quantizers().items()}
    assert any(not represented(scale) for scale in before.values())
    train_qat(twin, samples, config, teacher=teacher, seed=1)
    after = {name: item.scale for name, item in twin.quantizers().items()}
    assert all(represented(scale) for scale in after.values())
    # They were trained or observed, not just rounded.
    assert any(
        bool(((scale - before[name]).abs() > before[name] * 2**-9).any())
        for name, scale in after.items()
    )
    assert accuracy(twin, samples) > accuracy(teacher, samples) - 0.05
    back = write_back(twin, model)
    written = [
        constant_array(node.inputs[1])
        for node in back.graph
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        # A bias has the product of two scales, and float targets restore it.
        and node.inputs[0] is not None and node.inputs[0].dtype != ir.DataType.INT32
    ]  # fmt: skip
    assert len(written) > 6
    for scale in written:
        assert scale is not None
        assert represented(torch.from_numpy(np.array(scale)))


def represented(scale: Tensor) -> bool:
    """Whether float16 represents every number."""
    return torch.equal(scale.half().float(), scale)


def test_training_that_does_not_help_leaves_short_scales_all_the_same() -> None:
    model = insert_qdq(float_model(), {"image": stripes().inputs.numpy()})
    twin = build_twin(model)
    assert any(not represented(item.scale) for item in twin.quantizers().values())
    changes = {"epochs": 1, "lr": 0.2, "scale_lr": 0.2, "scale_format": "float16"}
    result = train_qat(twin, stripes(), CONFIG.model_copy(update=changes))
    assert result.best_epoch == 0
    assert all(represented(item.scale) for item in twin.quantizers().values())


def test_onnx_runtime_computes_what_was_trained() -> None:
    model = badly_quantized()
    twin = build_twin(model)
    train_qat(twin, stripes(), CONFIG, teacher=build_twin(float_model()))
    back = write_back(twin, model)
    images = stripes(90).inputs.numpy()
    with ReferenceSession(back, optimization="disabled") as session:
        expected = session.run({"image": images})["logits"]
    assert np.array_equal(twin.run({"image": images})["logits"], expected)


def test_the_same_seed_gives_the_same_bits() -> None:
    states: list[dict[str, Tensor]] = []
    for seed in (3, 3, 4):
        twin = build_twin(badly_quantized())
        config = CONFIG.model_copy(update={"epochs": 1, "shift_px": 1, "flip": True})
        torch.manual_seed(len(states))
        train_qat(twin, stripes(), config, teacher=build_twin(float_model()), seed=seed)
        states.append(state(twin))
    assert all(torch.equal(item, states[1][name]) for name, item in states[0].items())
    assert not all(torch.equal(item, states[2][name]) for name, item in states[0].items())


def test_training_that_does_not_help_leaves_the_graph_as_it_was() -> None:
    model = insert_qdq(float_model(), {"image": stripes().inputs.numpy()})
    twin = build_twin(model)
    before = state(twin)
    config = CONFIG.model_copy(update={"epochs": 1, "lr": 0.2, "scale_lr": 0.2})
    result = train_qat(twin, stripes(), config)
    assert result.best_epoch == 0
    assert result.curve[1].score < result.curve[0].score
    after = state(twin)
    assert before.keys() == after.keys()
    assert all(torch.equal(item, after[name]) for name, item in before.items())
    kept = train_qat(twin, stripes(), config.model_copy(update={"keep": "last"}))
    assert kept.best_epoch == 1


def test_it_learns_from_the_float_model_alone() -> None:
    samples = UnlabelledSamples((stripes().inputs,))
    config = QatConfig.model_validate(
        {**CONFIG.model_dump(), **VARIANTS["observed then learned"], "task": "imitate"}
    )
    twin, teacher = build_twin(badly_quantized()), build_twin(float_model())
    result = train_qat(twin, samples, config, teacher=teacher)
    scores = [point.score for point in result.curve]
    # Decibels of signal to quantization noise.
    assert max(scores) > scores[0] + 6
    assert result.teacher_score is None
    assert accuracy(twin, stripes()) > accuracy(teacher, stripes()) - 0.05


def test_only_learned_scales_change() -> None:
    model = badly_quantized()
    config = QatConfig(
        epochs=1, batch_size=32, lr=1e-3, activation_ranges="calibrated",
        weight_scales="calibrated", validation=0.25, threads=1, keep="last",
    )  # fmt: skip
    twin = build_twin(model)
    before = {name: item.scale.clone() for name, item in twin.quantizers().items()}
    first = next(twin.parameters()).clone()
    train_qat(twin, stripes(), config, teacher=build_twin(float_model()))
    assert all(torch.equal(item.scale, before[name]) for name, item in twin.quantizers().items())
    assert not torch.equal(first, next(twin.parameters()))


def test_fused_clamps_compute_the_same() -> None:
    model = insert_qdq(
        convolutional(),
        {"image": np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)},
    )
    image = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for learning in (False, True):
        results = []
        for fused in (False, True):
            twin = build_twin(model)
            twin.replace_quantizers(
                lambda item: TrainableFakeQuantize(item, QuantizerOptions("learned"))
            )
            for item in twin.quantizers().values():
                if learning and isinstance(item, TrainableFakeQuantize):
                    item.learn()
            calls = len(twin.graph_module.graph.nodes)
            if fused:
                twin.graph_module = fused_graph(twin.graph_module)
                # Relu and Clip are gone.
                assert len(twin.graph_module.graph.nodes) == calls - 2
            output = twin(image)
            torch.autograd.backward(output.square().sum())
            results.append((output, [item.grad for item in twin.parameters()]))
        assert torch.equal(results[0][0], results[1][0])
        for one, other in zip(results[0][1], results[1][1], strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_probabilities_are_recognized() -> None:
    assert gives_probabilities(build_twin(convolutional()))
    assert not gives_probabilities(build_twin(float_model()))
    feeds = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    assert gives_probabilities(build_twin(insert_qdq(convolutional(), feeds)))


def test_a_model_with_softmax_is_trained_by_its_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(96, 3, 16, 16, generator=generator)
    teacher = build_twin(convolutional())
    with torch.no_grad():
        labels = teacher(images).argmax(1)
    model = insert_qdq(convolutional(), {"image": images[:8].numpy()})
    twin = build_twin(model)
    config = CONFIG.model_copy(update={"epochs": 1, "keep": "last"})
    result = train_qat(twin, TensorSamples(images, labels), config, teacher=teacher)
    assert result.curve[1].loss is not None
    assert np.isfinite(result.curve[1].loss)
    softmax = next(
        name for name, item in twin.quantizers().items() if item.fixed and "prob" in name
    )
    assert float(twin.quantizers()[softmax].scale) == 1 / 256


def test_divergence_is_an_error_and_puts_the_twin_back() -> None:
    twin = build_twin(badly_quantized())
    before = state(twin)
    samples = stripes()
    samples.inputs[100:] = float("nan")
    with pytest.raises(GateError, match=r"QAT diverged: the loss is nan in epoch 1.* qat\.lr"):
        train_qat(twin, samples, CONFIG)
    after = state(twin)
    assert all(torch.equal(item, after[name]) for name, item in before.items())
    assert {type(item) for item in twin.quantizers().values()} == {FakeQuantize}


def test_of_epochs_that_chance_may_tell_apart_the_lowest_loss_is_best() -> None:
    course = Course.of(Score(0.90, 1.0, 0.01))
    assert not course.improves(Score(0.88, 0.5, 0.01))
    assert course.improves(Score(0.895, 0.9, 0.01))
    course.best_score = Score(0.895, 0.9, 0.01)
    # No better than what it started with, but the best has to be near the highest.
    assert not course.improves(Score(0.885, 0.1, 0.01))
    assert course.improves(Score(0.92, 2.0, 0.01))
    course.best_score = Score(0.92, 2.0, 0.01)
    assert not course.improves(Score(0.905, 0.1, 0.01))
    assert course.improves(Score(0.911, 1.9, 0.01))


def test_the_error_of_a_share_is_never_nothing() -> None:
    assert standard_error(500, 1000) == pytest.approx(0.5 / math.sqrt(1000), rel=0.01)
    # One sample more or less of a thousand is chance, also next to all of them.
    assert 0.001 < standard_error(1000, 1000) < 0.002


def test_layers_move_by_the_same_share_of_their_size() -> None:
    model = make_model(
        "g (float[batch, 4] x) => (float[batch, 4] y) { a = Gemm (x, w) y = Gemm (a, v, b) }",
        weights({"w": (4, 4), "v": (4, 4)}) | {"b": np.zeros(4, np.float32)},
    )
    twin = build_twin(model)
    small, large, bias = twin.parameters()
    with torch.no_grad():
        large.mul_(1000)
    config = QatConfig(lr=1e-3)
    optimizer = make_qat_optimizer(twin, [], config)
    before = [item.detach().clone() for item in (small, large, bias)]
    torch.autograd.backward(twin(torch.randn(8, 4)).square().sum())
    optimizer.step()
    for old, new in zip(before[:2], (small, large), strict=True):
        size = float(old.square().mean().sqrt())
        steps = (new.detach() - old).abs() / size
        assert float(steps.median()) == pytest.approx(1e-3, rel=0.02)
    # A bias of zeros moves, too.
    assert float((bias.detach() - before[2]).abs().median()) == pytest.approx(1e-5, rel=0.02)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (4.0, r"QAT diverged: from 100\.0% to [0-9.]+% .* are right in epoch 1\. Lower qat\.lr"),
        (1e3, r"QAT diverged: the loss is nan in epoch 1, step 2 \(learning rate 992\)"),
    ],
)
def test_far_too_high_rates_are_an_error_and_no_result(rate: float, message: str) -> None:
    twin = build_twin(insert_qdq(float_model(), {"image": stripes().inputs.numpy()}))
    before = state(twin)
    config = CONFIG.model_copy(update={"lr": rate, "scale_lr": rate})
    with pytest.raises(GateError, match=message):
        train_qat(twin, stripes(), config)
    after = state(twin)
    assert all(torch.equal(item, after[name]) for name, item in before.items())


def test_what_does_not_fit_is_refused() -> None:
    twin, teacher = build_twin(badly_quantized()), build_twin(float_model())
    with pytest.raises(InputError, match="has no QuantizeLinear/DequantizeLinear pairs"):
        train_qat(teacher, stripes(), CONFIG)
    with pytest.raises(InputError, match="needs the float model that is to be imitated"):
        train_qat(twin, stripes(), CONFIG.model_copy(update={"task": "imitate"}))
    with pytest.raises(InputError, match=r"float model's outputs .* are not those"):
        train_qat(twin, stripes(), CONFIG, teacher=build_twin(convolutional()))
    with pytest.raises(InputError, match="1 samples cannot be divided"):
        train_qat(twin, TensorSamples(stripes().inputs[:1], stripes().labels[:1]), CONFIG)
    with pytest.raises(InputError, match="must be equally many"):
        UnlabelledSamples((torch.zeros(2, 3), torch.zeros(3, 3)))
    image = "g (float[batch, 1, 4, 4] x) => (float[batch, 1, 4, 4] y) { y = Conv (x, w) }"
    dense = insert_qdq(
        make_model(image, weights({"w": (1, 1, 1, 1)})), {"x": np.ones((1, 1, 4, 4), np.float32)}
    )
    classify = CONFIG.model_copy(update={"task": "classify"})
    with pytest.raises(InputError, match=r"no class scores \[N, classes\].* use task = 'imitate'"):
        train_qat(build_twin(dense), stripes(), classify)
    with pytest.raises(InputError, match="cannot be trained: the training set has no labels"):
        train_qat(twin, UnlabelledSamples((stripes().inputs,)), classify)
    wrong = TensorSamples(stripes().inputs, stripes().labels + 1)
    with pytest.raises(InputError, match=r"has 3 classes, but the training set has class 3"):
        train_qat(twin, wrong, CONFIG)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_ranges": "ema"}, "needs observer_epochs above 0"),
        ({"activation_ranges": "calibrated", "observer_epochs": 1}, "observer_epochs must be 0"),
        ({"observer_epochs": 5}, "there are only 3 epochs"),
        ({"learning_rate": 1}, "Extra inputs are not permitted"),
    ],
)
def test_contradictory_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QatConfig.model_validate(options)
