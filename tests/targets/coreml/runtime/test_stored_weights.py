"""Compressed constants, states, optional inputs and damage, in saved packages."""

from __future__ import annotations

import random as chance
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import EdgekitError, InputError
from edgekit.targets.coreml.runtime import MilModel, State
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import mb, quietly
from tests.targets.coreml.mil_packages import build, random

type Array = Any
X = random((1, 8), 1)


def weights_of(made: Any, path: Path, target: str) -> Array:
    """What a compressed weight ``[4, 8]`` is in the runtime: the product with unit vectors."""
    build(
        lambda x: mb.matmul(x=x, y=made(), transpose_y=True),
        {"x": (8, 8)},
        path / "model.mlpackage",
        target=target,
    )
    model = MilModel(path / "model.mlpackage")
    (found,) = model.predict({"x": np.eye(8, dtype=np.float32)}).values()
    return found.T


def test_affine_weights(tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(0, 256, (4, 8)).astype(np.uint8)
    scale = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    zero = np.array([128, 0, 255, 7], np.uint8)
    found = weights_of(
        lambda: mb.constexpr_affine_dequantize(
            quantized_data=data, zero_point=zero, scale=scale, axis=0
        ),
        tmp_path,
        "iOS16",
    )
    expected = scale[:, None] * (data.astype(np.float32) - zero[:, None].astype(np.float32))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["int4", "uint4", "int8", "uint8"])
def test_weights_in_blocks(kind: str, tmp_path: Path) -> None:
    from coremltools.converters.mil.mil import types

    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}[kind]
    element = types.nptype_from_builtin(types.string_to_builtin(kind))
    rng = np.random.default_rng(2)
    data, offset = rng.integers(low, high, (4, 8)), rng.integers(low, high, (2, 4))
    scale = np.abs(random((2, 4), 3)) + np.float32(0.1)
    found = weights_of(
        lambda: mb.constexpr_blockwise_shift_scale(
            data=data.astype(element), scale=scale, offset=offset.astype(element)
        ),
        tmp_path,
        "iOS18",
    )
    spread = [part.repeat(2, axis=0).repeat(2, axis=1) for part in (scale, offset)]
    expected = spread[0] * (data - spread[1]).astype(np.float32)
    np.testing.assert_array_equal(found, expected)


def test_sparse_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    mask = rng.integers(0, 2, (4, 8)).astype(np.uint8)
    stored = random((int(mask.sum()),), 5)

    def made() -> Any:
        from coremltools.converters.mil.mil import types

        bits = mask.astype(types.nptype_from_builtin(types.uint1))
        return mb.constexpr_sparse_to_dense(nonzero_data=stored, mask=bits)

    found = weights_of(made, tmp_path, "iOS18")
    expected = np.zeros((4, 8), np.float32)
    expected[mask == 1] = stored
    np.testing.assert_array_equal(found, expected)


def test_states_last_from_one_prediction_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "model.mlpackage"
    with quietly():

        @mb.program(  # type: ignore[untyped-decorator, unused-ignore]
            input_specs=[mb.TensorSpec((2,)), mb.StateTensorSpec((2,), dtype=_half())],
            opset_version=ct.target.iOS18,
        )
        def program(x: Any, total: Any) -> Any:
            before = mb.read_state(input=total)
            after = mb.add(x=before, y=mb.cast(x=x, dtype="fp16"))
            return mb.cast(x=mb.coreml_update_state(state=total, value=after), dtype="fp32")

        ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        ).save(str(path))
    model = MilModel(path)
    state, x = model.make_state(), np.array([1, 2], np.float32)
    for count in (1, 2, 3):
        (found,) = model.predict({"x": x}, state=state).values()
        np.testing.assert_array_equal(found, count * x)
    (found,) = model.predict({"x": x}).values()
    np.testing.assert_array_equal(found, x)
    with pytest.raises(InputError, match="belongs to another model"):
        model.predict({"x": x}, state=State())


def _half() -> Any:
    from coremltools.converters.mil.mil import types

    return types.fp16


def test_program_is_there_for_inspection(tmp_path: Path) -> None:
    path = build(lambda x: mb.relu(x=x, name="y"), {"x": (1, 8)}, tmp_path / "model.mlpackage")
    model = MilModel(path, function=None)
    (operation,) = model.program.functions["main"].block.operations
    assert (operation.type, dict(operation.inputs)) == ("relu", {"x": ("x",)})
    with pytest.raises(InputError, match="no function 'other'"):
        MilModel(path, function="other")


def test_observer_sees_and_replaces(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return mb.mul(x=mb.add(x=x, y=1.0, name="sum"), y=2.0, name="y")

    model = MilModel(build(body, {"x": (1, 8)}, tmp_path / "model.mlpackage"))
    seen: dict[str, Array] = {}

    def observer(name: str, value: Array) -> Array | None:
        seen[name] = value
        return np.zeros_like(value) if name == "sum" else None

    (found,) = model.predict({"x": X}, observer=observer).values()
    assert list(seen) == ["sum", "y"]
    np.testing.assert_array_equal(seen["sum"], X + 1)
    np.testing.assert_array_equal(found, np.zeros_like(X))


def layered(x: Any) -> Any:
    made = mb.conv(x=x, weight=random((4, 3, 3, 3), 2), pad_type="valid", strides=[2, 2])
    made = mb.concat(values=[made, made], axis=1)
    positive = mb.greater(x=mb.reduce_max(x=made, axes=[0, 1, 2, 3], keep_dims=False), y=0.0)
    return mb.cond(
        pred=positive,
        _true_fn=lambda: mb.add(x=made, y=1.0),
        _false_fn=lambda: mb.sub(x=made, y=1.0),
    )


def test_a_damaged_package_ends_in_an_error_of_edgekit(tmp_path: Path) -> None:
    original = build(layered, {"x": (1, 3, 7, 7)}, tmp_path / "model.mlpackage")
    copy = Path(shutil.copytree(original, tmp_path / "copy.mlpackage"))
    files = [path for path in copy.rglob("*") if path.suffix in {".mlmodel", ".bin"}]
    assert len(files) == 2
    dice = chance.Random(5)
    refused = 0
    for _ in range(400):
        path = dice.choice(files)
        before = path.read_bytes()
        changed = bytearray(before)
        for _ in range(dice.randint(1, 3)):
            changed[dice.randrange(len(changed))] = dice.choice([0, 1, 255, dice.randrange(256)])
        path.write_bytes(changed)
        try:
            MilModel(copy).predict({"x": random((1, 3, 7, 7), 3)})
        except EdgekitError:
            refused += 1
        path.write_bytes(before)
    assert refused > 50


@pytest.mark.parametrize(("name", "value"), [("strides", 0), ("groups", 0), ("dilations", 0)])
def test_an_impossible_convolution_is_refused(name: str, value: int) -> None:
    import torch

    from edgekit.targets.coreml.runtime.ops.convolution import conv
    from edgekit.targets.coreml.runtime.registry import Call

    given: dict[str, Any] = {name: value if name == "groups" else [value, value]}
    with pytest.raises(InputError, match="is impossible"):
        conv(
            x=torch.ones(1, 3, 7, 7),
            weight=torch.ones(4, 3, 3, 3),
            call=Call((), "CoreML8", constants=frozenset({"weight"})),
            **given,
        )


def test_optional_inputs_take_their_default(tmp_path: Path) -> None:
    path = build(
        lambda x, y: mb.add(x=x, y=y, name="z"), {"x": (1, 8), "y": (1, 8)},
        tmp_path / "model.mlpackage",
    )  # fmt: skip
    (file,) = path.rglob("*.mlmodel")
    spec = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    spec.description.input[1].type.isOptional = True
    file.write_bytes(spec.SerializeToString())
    with pytest.raises(InputError, match="no value for 'y'"):
        MilModel(path).predict({"x": X})
    spec.description.input[1].type.multiArrayType.floatDefaultValue = 1.5
    file.write_bytes(spec.SerializeToString())
    (found,) = MilModel(path).predict({"x": X}).values()
    np.testing.assert_array_equal(found, X + np.float32(1.5))


@pytest.mark.parametrize("vector", [1, 2])
def test_sparse_palettes(vector: int, tmp_path: Path) -> None:
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(6)
    rows = 4 // vector
    mask = rng.integers(0, 2, (rows, 8)).astype(np.uint8)
    indices = rng.integers(0, 4, int(mask.sum())).astype(np.uint8)
    lut = random((1, 4, 4, vector), 7)

    def made() -> Any:
        one, two = (types.nptype_from_builtin(kind) for kind in (types.uint1, types.uint2))
        dense_mask, values = mb.constexpr_lut_to_sparse(
            indices_mask=mask.astype(one), indices_nonzero_data=indices.astype(two), lut=lut,
            vector_axis=0,
        )  # fmt: skip
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=dense_mask)

    found = weights_of(made, tmp_path, "iOS18")
    expected = np.zeros((rows, vector, 8), np.float32)
    for index, (row, column) in zip(indices, np.argwhere(mask), strict=True):
        expected[row, :, column] = lut[0, column // 2, index]
    np.testing.assert_array_equal(found, expected.reshape(4, 8))


def test_sparse_weights_in_blocks(tmp_path: Path) -> None:
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(8)
    mask = rng.integers(0, 2, (4, 8)).astype(np.uint8)
    stored = rng.integers(-128, 128, int(mask.sum())).astype(np.int8)
    scale = np.abs(random((4, 2), 9)) + np.float32(0.1)

    def made() -> Any:
        bits = mask.astype(types.nptype_from_builtin(types.uint1))
        dense_mask, values = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=bits, nonzero_data=stored, scale=scale
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=dense_mask)

    found = weights_of(made, tmp_path, "iOS18")
    expected = np.zeros((4, 8), np.float32)
    expected[mask == 1] = stored
    np.testing.assert_array_equal(found, expected * scale.repeat(4, axis=1))
