"""Packages as coremltools writes them, read back and compared with its own reader."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.targets.coreml.package import read_package
from edgekit.targets.coreml.package.types import BITS, TensorType, unpack_bits
from edgekit.targets.coreml.toolchain import mb
from tests.targets.coreml.mil_packages import build, random

WEIGHT = random((8, 3, 3, 3))
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def convolution(x: Any) -> Any:
    made = mb.conv(x=x, weight=WEIGHT, pad_type="valid", name="made")
    return mb.relu(x=made, name="y")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "model.mlpackage"
    return build(convolution, {"x": (1, 3, 16, 16)}, path)


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy.mlpackage"))


def test_program_and_description(package: Path) -> None:
    found = read_package(package)
    assert found.specification_version == 9
    (feature,) = found.description.inputs
    assert (feature.name, feature.dtype, feature.shape) == ("x", "float32", (1, 3, 16, 16))
    function = found.program.functions["main"]
    assert function.opset == "CoreML8"
    types = [op.type for op in function.block.operations]
    assert types[-2:] == ["conv", "relu"]
    assert function.block.outputs == ("y",)
    conv = function.block.operations[-2]
    assert conv.outputs[0].type == TensorType("float32", (1, 8, 14, 14))


def test_weights_are_those_that_were_written(package: Path) -> None:
    found = read_package(package)
    operations = found.program.functions["main"].block.operations
    stored = [op.attributes["val"] for op in operations if op.type == "const"]
    blobs = [value for value in stored if value.blob is not None]
    assert blobs
    arrays = [found.constant(value) for value in blobs]
    assert any(np.array_equal(np.asarray(array), WEIGHT) for array in arrays)


def damaged_manifest(path: Path) -> None:
    (path / "Manifest.json").write_text("{")


def other_model(path: Path) -> None:
    manifest = json.loads((path / "Manifest.json").read_text())
    for entry in manifest["itemInfoEntries"].values():
        entry["path"] = "com.apple.CoreML/other.mlmodel"
    (path / "Manifest.json").write_text(json.dumps(manifest))


def truncated(path: Path) -> None:
    data = (path / MODEL).read_bytes()
    (path / MODEL).write_bytes(data[: len(data) // 2])


def neural_network(path: Path) -> None:
    # Specification version 4 and an empty neural network in field 500.
    (path / MODEL).write_bytes(b"\x08\x04\x12\x00" + b"\xa2\x1f\x00")


def cut_weights(path: Path) -> None:
    data = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(data[:200])


def empty_weights(path: Path) -> None:
    (path / WEIGHTS).write_bytes(b"")


def moved_weights(path: Path) -> None:
    data = bytearray((path / WEIGHTS).read_bytes())
    struct.pack_into("<I", data, 64, 0)
    (path / WEIGHTS).write_bytes(bytes(data))


def other_type(path: Path) -> None:
    data = bytearray((path / WEIGHTS).read_bytes())
    struct.pack_into("<I", data, 68, 3)
    (path / WEIGHTS).write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "Manifest.json").unlink(), "no Manifest.json"),
        (damaged_manifest, "Manifest.json is damaged"),
        (other_model, "other.mlmodel"),
        (lambda path: (path / MODEL).unlink(), "incomplete"),
        (truncated, "is damaged"),
        (neural_network, "neural network"),
        (lambda path: shutil.rmtree(path / "Data/com.apple.CoreML/weights"), "are missing"),
        (cut_weights, "cut off"),
        (empty_weights, "no header"),
        (moved_weights, "no entry begins there"),
        (other_type, "holds uint8 where the program says float32"),
    ],
)
def test_damage_is_one_clear_error(
    copy: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(copy)
    with pytest.raises(InputError, match=reason) as caught:
        read_all(copy)
    assert copy.name in str(caught.value)


def read_all(path: Path) -> None:
    """Reads the package with all its constants."""
    found = read_package(path)
    for function in found.program.functions.values():
        for operation in function.block.operations:
            for value in operation.attributes.values():
                found.constant(value)


def test_a_wrong_offset_is_told(copy: Path) -> None:
    data = (copy / MODEL).read_bytes()
    name = b"@model_path/weights/weight.bin"
    place = data.index(name) + len(name)
    assert data[place] == 0x10
    assert data[place + 1] == 64
    (copy / MODEL).write_bytes(data[: place + 1] + b"\x41" + data[place + 2 :])
    with pytest.raises(InputError, match="offset 65"):
        read_all(copy)


def test_an_archive_or_file_is_no_package(package: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.mlpackage"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(package / "Manifest.json", "Manifest.json")
    with pytest.raises(InputError, match="is a file, but a Core ML package is a folder"):
        read_package(archive)
    with pytest.raises(InputError, match="No Core ML package"):
        read_package(tmp_path / "missing.mlpackage")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damaged_byte_escapes_as_another_error(copy: Path, data: st.DataObject) -> None:
    original = bytearray((copy / MODEL).read_bytes())
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(original) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(changed)))
    if data.draw(st.booleans()):
        changed = changed[:length]
    (copy / MODEL).write_bytes(bytes(changed))
    try:
        read_all(copy)
    except InputError:
        pass
    finally:
        (copy / MODEL).write_bytes(bytes(original))


@given(st.sampled_from(sorted(BITS)), st.data())
def test_elements_of_few_bits(name: str, data: st.DataObject) -> None:
    width = BITS[name]
    low, high = (-8, 7) if name == "int4" else (0, (1 << width) - 1)
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=30))
    number = 0
    for place, value in enumerate(values):
        number |= (value % (1 << width)) << (place * width)
    packed = np.frombuffer(number.to_bytes(len(values) * width // 8 + 1, "little"), np.uint8)
    assert unpack_bits(packed, name, len(values)).tolist() == values
