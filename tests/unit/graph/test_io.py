from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import EdgekitError, InputError, UnsupportedError
from edgekit.graph.io import external_files, load_onnx, save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from tests.unit.graph.onnx_text import graph, ops, proto, random

_TEXT = "(float[1,3,4,4] x) => (float[1,5,4,4] y) { c = Conv (x, w) y = Relu (c) }"


def _proto() -> onnx.ModelProto:
    return proto(_TEXT, w=random(5, 3, 1, 1))


def _write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = graph(_TEXT, w=random(5, 3, 1, 1))
    save_onnx(model, tmp_path / "a.onnx")
    loaded = load_onnx(tmp_path / "a.onnx")
    assert ops(loaded) == {"Conv": 1, "Relu": 1}
    assert str(signature_of(loaded).inputs[0]) == "x: float32[1, 3, 4, 4]"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.onnx"]


def test_equal_graphs_give_equal_bytes(tmp_path: Path) -> None:
    save_onnx(graph(_TEXT, w=random(5, 3, 1, 1)), tmp_path / "a.onnx")
    save_onnx(load_onnx(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_loading_modifies_no_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.onnx", _proto())
    before = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns
    load_onnx(path)
    assert (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = _proto()
    model.ir_version = 3
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [5, 3, 1, 1])
    )
    loaded = load_onnx(_write(tmp_path / "a.onnx", model))
    assert [spec.name for spec in signature_of(loaded).inputs] == ["x"]
    assert ReferenceSession(loaded).run({"x": random(1, 3, 4, 4)})["y"].shape == (1, 5, 4, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"this is not a model\n", "is no ONNX file: it is a text file"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (b"\x1c\x00\x00\x00TFL3\x14\x00 \x00\xff\xff\xff", "TFLite"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x00\x01\x02\x03\xff\xfe", "damaged or cut off"),
    ],
)
def test_files_that_are_no_onnx_say_what_they_are(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_onnx(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No ONNX file at .*absent\.onnx"):
        load_onnx(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="is a folder"):
        load_onnx(tmp_path)


def test_a_file_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "a.onnx", _proto())

    def refuse(_self: Path) -> bytes:
        # Taking the permission away would not stop a test that runs as root.
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        load_onnx(path)


@given(fraction=st.floats(0.0, 1.0, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_off_anywhere_is_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, fraction: float
) -> None:
    content = _proto().SerializeToString()
    path = tmp_path_factory.mktemp("cut") / "model.onnx"
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(InputError):
        load_onnx(path)


@given(data=st.binary(min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_an_edgekit_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(EdgekitError):
        load_onnx(path)


def test_a_graph_without_nodes_outputs_or_opset(tmp_path: Path) -> None:
    empty = onnx.ModelProto(ir_version=8)
    empty.opset_import.add(domain="", version=20)
    with pytest.raises(InputError, match="no nodes"):
        load_onnx(_write(tmp_path / "empty.onnx", empty) if empty.ByteSize() else tmp_path)
    headless = _proto()
    del headless.graph.output[:]
    with pytest.raises(InputError, match="has no outputs"):
        load_onnx(_write(tmp_path / "headless.onnx", headless))
    unversioned = _proto()
    del unversioned.opset_import[:]
    with pytest.raises(InputError, match="declares no opset"):
        load_onnx(_write(tmp_path / "unversioned.onnx", unversioned))


def test_a_value_that_nothing_makes_is_an_input_error(tmp_path: Path) -> None:
    model = proto("(float[2] x) => (float[2] y) { y = Add (x, nowhere) }")
    with pytest.raises(InputError, match="nowhere"):
        load_onnx(_write(tmp_path / "a.onnx", model))


def test_all_unknown_ops_are_listed_at_once(tmp_path: Path) -> None:
    model = proto(
        "(float[2] x) => (float[2] y) "
        "{ a = Frobnicate (x) b = com.acme.Twist (a) c = Frobnicate (b) y = Relu (c) }"
    )
    model.opset_import.add(domain="com.acme", version=1)
    model.graph.node[0].name = "first"
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(_write(tmp_path / "a.onnx", model))
    message = str(caught.value)
    assert "2 op(s)" in message
    assert "Frobnicate (not in opset 20): node 'first', 'c'" in message
    assert "com.acme::Twist (custom domain): node 'b'" in message


def test_an_op_newer_than_the_opset_is_unknown(tmp_path: Path) -> None:
    model = proto("(float[2] x) => (float[2] y) { y = Gelu (x) }")
    model.opset_import[0].version = 17
    with pytest.raises(UnsupportedError, match=r"Gelu \(not in opset 17\)"):
        load_onnx(_write(tmp_path / "a.onnx", model))


def test_functions_of_the_model_are_no_unknown_ops(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 20, "local": 1]> '
        "main (float[2] x) => (float[2] y) { y = local.Twice (x) } "
        '<domain: "local", opset_import: ["": 20]> Twice (a) => (b) { b = Add (a, a) }'
    )
    assert load_onnx(_write(tmp_path / "a.onnx", model)).functions


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    weights = random(5, 3, 1, 1)
    weights[2, 1] = value
    path = _write(tmp_path / "a.onnx", proto(_TEXT, w=weights))
    with pytest.raises(InputError, match=r"NaN or infinite weights in w \(1 of 15\)"):
        load_onnx(path)


def test_weights_in_constant_nodes_are_checked_too(tmp_path: Path) -> None:
    model = proto(
        "(float[2] x) => (float[2] y) { c = Constant <value_float = 1.0> () y = Add (x, c) }"
    )
    model.graph.node[0].attribute[0].f = float("nan")
    with pytest.raises(InputError, match=r"NaN or infinite weights in c"):
        load_onnx(_write(tmp_path / "a.onnx", model))


def _external(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    weights = random(64, 3, 3, 3)
    model = graph("(float[1,3,4,4] x) => (float[1,64,2,2] y) { y = Conv (x, w) }", w=weights)
    save_onnx(model, path, external_above_bytes=0)
    return path


def test_external_data_is_written_and_read_into_memory(tmp_path: Path) -> None:
    path = _external(tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    assert external_files(path) == (tmp_path / "a.onnx.data",)
    onnx.checker.check_model(str(path))
    model = load_onnx(path)
    (tmp_path / "a.onnx.data").unlink()
    expected = ReferenceSession(model).run({"x": random(1, 3, 4, 4)})["y"]
    assert expected.shape == (1, 64, 2, 2)
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), random(64, 3, 3, 3))


def test_external_data_missing_cut_off_or_outside(tmp_path: Path) -> None:
    path = _external(tmp_path)
    data = tmp_path / "a.onnx.data"
    content = data.read_bytes()
    data.write_bytes(content[:-10])
    with pytest.raises(InputError, match=r"a\.onnx\.data is cut off: weight 'w'"):
        load_onnx(path)
    data.unlink()
    with pytest.raises(InputError, match=r"a\.onnx\.data of .* is missing \(weight 'w'\)"):
        load_onnx(path)
    for location in ("../secret", "/etc/passwd"):
        model = onnx.load(str(path), load_external_data=False)
        model.graph.initializer[0].external_data[0].value = location
        with pytest.raises(InputError, match="outside the model's folder"):
            load_onnx(_write(tmp_path / "b.onnx", model))


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")

    def fail(_self: Path, _target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_onnx(graph(_TEXT, w=random(5, 3, 1, 1)), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_domain_ai_onnx_is_the_standard_domain(tmp_path: Path) -> None:
    model = _proto()
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node:
        node.domain = "ai.onnx"
    loaded = load_onnx(_write(tmp_path / "a.onnx", model))
    assert loaded.opset_imports == {"": 20}
    assert all(node.domain == "" for node in loaded.graph)
    assert isinstance(loaded, ir.Model)
