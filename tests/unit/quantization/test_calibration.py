from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.quant import named_scheme
from edgekit.errors import InputError
from edgekit.graph.values import Array
from edgekit.quantization import observed_model
from edgekit.quantization.calibration import Calibration, CalibrationOptions, calibrate
from edgekit.quantization.observed_model import ObservedModel
from edgekit.quantization.place import place
from edgekit.quantization.placement import Placement
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import batches, residual_net

INT8 = named_scheme("int8")


def _model() -> tuple[ir.Model, Placement]:
    model = residual_net()
    return model, place(model, INT8)


def test_minmax_is_that_of_the_values_onnx_runtime_computes() -> None:
    model, placement = _model()
    calibration = calibrate(model, placement, batches())
    ranges = calibration.ranges("minmax", placement)
    assert set(ranges) == {"image", "relu1", "relu2", "conv3", "relu3", "pool", "fc"}
    with ObservedModel(model, list(ranges)) as observed:
        seen = [part for batch in batches() for part in observed.run(batch)]
    for name, found in ranges.items():
        everything = np.concatenate([part[name].reshape(-1) for part in seen])
        assert (found.low, found.high) == (everything.min(), everything.max())
    assert (calibration.batches, calibration.samples) == (4, 32)


def test_group_takes_the_range_of_all_its_sources() -> None:
    b = GraphBuilder()
    x = b.input("image", 1, 3, 8, 8)
    left, right = b.conv("left", x, 3, 2), b.relu("right", b.conv("conv", x, 3, 2))
    b.node("Concat", "cat", left, right, axis=1)
    model = b.build("cat")
    placement = place(model, INT8)
    calibration = calibrate(model, placement, batches(2, 1))
    joined = calibration.ranges("minmax", placement)["left"]
    seen = [calibration.statistics[name].minmax.range() for name in ("left", "right")]
    assert joined == seen[0].joined(seen[1])


def test_statistics_serve_another_placement_of_the_graph() -> None:
    model, placement = _model()
    calibration = calibrate(model, placement, batches())
    alone = place(model, INT8, only={"fc"})
    ranges = calibration.ranges("minmax", alone)
    whole = calibration.ranges("minmax", placement)
    # flat was not observed; its elements are those of pool.
    assert ranges == {"pool": whole["pool"], "fc": whole["fc"]}


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_interrupted_calibration_continues_where_it_stopped(
    tmp_path: Path, stop_after: int
) -> None:
    model, placement = _model()
    options = CalibrationOptions(state=tmp_path / "state.npz", save_every=1)

    def interrupted() -> Iterator[dict[str, Array]]:
        for index, batch in enumerate(batches()):
            if index == stop_after:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        calibrate(model, placement, interrupted(), options)
    resumed = calibrate(model, placement, batches(), options)
    straight = calibrate(model, placement, batches())
    _assert_equal(resumed, straight)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_finished_calibration_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, placement = _model()
    options = CalibrationOptions(state=tmp_path / "state.npz")
    first = calibrate(model, placement, batches(), options)

    def refuse(*arguments: object) -> object:
        raise AssertionError("ran again")

    monkeypatch.setattr(ObservedModel, "run", refuse)
    _assert_equal(calibrate(model, placement, batches(), options), first)


def _assert_equal(left: Calibration, right: Calibration) -> None:
    assert (left.batches, left.samples) == (right.batches, right.samples)
    for name, kept in left.statistics.items():
        for mine, other in zip(kept.observers, right.statistics[name].observers, strict=True):
            for field, array in mine.state().items():
                np.testing.assert_array_equal(array, other.state()[field], err_msg=name)


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    model, placement = _model()
    options = CalibrationOptions(state=tmp_path / "state.npz")
    calibrate(model, placement, batches(), options)
    refused = pytest.raises(InputError, match=r"state\.npz holds .* of another model.*Delete it")
    other = residual_net(seed=1)
    with refused:
        calibrate(other, place(other, INT8), batches(), options)
    with refused:
        fewer = CalibrationOptions(methods=("minmax",), state=options.state)
        calibrate(model, placement, batches(), fewer)


@pytest.mark.parametrize("count", [4, 2])
def test_state_of_other_data_is_refused(tmp_path: Path, count: int) -> None:
    model, placement = _model()
    options = CalibrationOptions(state=tmp_path / "state.npz")
    calibrate(model, placement, batches(4), options)
    with pytest.raises(InputError, match="4 batches of another calibration set"):
        calibrate(model, placement, batches(count, seed=int(count == 4)), options)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    model, placement = _model()
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no calibration statistics"):
        calibrate(model, placement, batches(), CalibrationOptions(state=path))


def test_empty_set() -> None:
    model, placement = _model()
    with pytest.raises(InputError, match="The calibration set is empty"):
        calibrate(model, placement, iter(()))
    with pytest.raises(InputError, match="Calibration batch 0 has no samples"):
        calibrate(model, placement, batches(1, 0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_numbers_name_input_and_batch(bad: float) -> None:
    model, placement = _model()
    feeds = list(batches())
    feeds[2]["image"][1, 0, 0, :3] = bad
    with pytest.raises(InputError, match="batch 2 holds 3 NaN or infinite elements in input 'im"):
        calibrate(model, placement, feeds)


def test_broken_activations_name_the_value() -> None:
    b = GraphBuilder()
    x = b.node("Log", "log", b.input("x", "batch", 4))
    b.node("MatMul", "fc", x, b.random("w", 4, 2))
    model = b.build("fc")
    feeds = [{"x": np.array([[1.0, 2.0, -3.0, 4.0]], np.float32)}]
    with pytest.raises(InputError, match="NaN or infinity in 'log' from calibration batch 0"):
        calibrate(model, place(model, INT8), feeds)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"image": np.zeros((1, 3, 9, 8), np.float32)}, r"'image' expects .*got float32\[1, 3, 9"),
        ({"image": np.zeros((1, 3, 8, 8), np.float64)}, "got float64"),
        ({"picture": np.zeros((1, 3, 8, 8), np.float32)}, "No value for input 'image'"),
    ],
)
def test_feeds_that_do_not_fit(feeds: dict[str, Array], message: str) -> None:
    model, placement = _model()
    with pytest.raises(InputError, match=message):
        calibrate(model, placement, [feeds])


def test_constant_values_are_told_and_usable() -> None:
    model, placement = _model()
    feeds = [{"image": np.zeros((2, 3, 8, 8), np.float32)}]
    calibration = calibrate(model, placement, feeds)
    (note,) = (note for note in calibration.notes() if note.where == "image")
    assert note.level == "warning"
    assert note.text.startswith("Always 0 in the calibration data")
    for method in ("minmax", "moving-average", "percentile", "mse", "entropy"):
        ranges = calibration.ranges(method, placement)
        assert all(np.isfinite([item.low, item.high]).all() for item in ranges.values())


def test_large_batches_run_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, placement = _model()
    whole = calibrate(model, placement, batches(2, 12), CalibrationOptions(methods=("mse",)))
    # Room for two and a half samples of the observed values.
    sizes = [3, 8, 8, 8, 8]
    row = 4 * (sum(size * 64 for size in sizes) + 8 + 5)
    monkeypatch.setattr(observed_model, "_RUN_BYTES", int(2.5 * row))
    names = placement.observed_values()
    with ObservedModel(model, names) as observed:
        rows = [len(part["image"]) for part in observed.run(next(batches(1, 5)))]
    assert rows == [2, 2, 1]
    parts = calibrate(model, placement, batches(2, 12), CalibrationOptions(methods=("mse",)))
    for name, kept in whole.statistics.items():
        assert kept.minmax.low == pytest.approx(parts.statistics[name].minmax.low, rel=1e-5)
    assert parts.samples == 24
