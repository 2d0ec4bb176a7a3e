"""Importers of ONNX files and exported programs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.errors import InputError, UnsupportedError, UsageError
from edgekit.graph.importers import ImportRequest, import_model, parse_input
from edgekit.graph.importers.torch_module import load_torch_module
from edgekit.graph.io import read_metadata, save_onnx, signature_of, write_metadata
from edgekit.graph.reference import ReferenceSession
from tests.unit.graph.onnx_text import assert_close, graph, ops, proto_at, random

MODELS = Path(__file__).with_name("models.py")
SHARED = Path(os.environ.get("EDGEKIT_DATA", Path(__file__).parents[4].parent / "shared" / "data"))


def _shared(name: str) -> Path:
    path = SHARED / "models" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; set EDGEKIT_DATA")
    return path


def test_an_onnx_file_is_canonicalized_and_not_modified(tmp_path: Path) -> None:
    path = tmp_path / "old.onnx"
    path.write_bytes(
        proto_at(
            9,
            "(float[N,2,H,W] x) => (float[N,2,H,W] y) { c = Conv (x, w) y = Dropout (c) }",
            w=random(2, 2, 1, 1),
        ).SerializeToString()
    )
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    imported = import_model(ImportRequest(source=str(path), inputs=(parse_input("x:1x2x5x5"),)))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert list(tmp_path.iterdir()) == [path]
    assert ops(imported.model) == {"Conv": 1}
    assert str(signature_of(imported.model).outputs[0]) == "y: float32[1, 2, 5, 5]"
    assert read_metadata(imported.model) == ModelMetadata(name="old", source="old.onnx")


def test_metadata_in_the_file_is_kept_where_the_request_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    model = graph("(float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Abs (x) }")
    stored = ModelMetadata(
        name="net", labels=("a", "b"), license="MIT", preprocessing=Preprocessing(mean=(0.5,))
    )
    write_metadata(model, stored)
    save_onnx(model, path)
    kept = read_metadata(import_model(ImportRequest(source=str(path))).model)
    assert (kept.name, kept.labels, kept.license) == ("net", ("a", "b"), "MIT")
    assert kept.preprocessing == stored.preprocessing
    changed = import_model(
        ImportRequest(
            source=str(path), name="other", labels=("c",), preprocessing=Preprocessing(std=(2.0,))
        )
    )
    metadata = read_metadata(changed.model)
    assert (metadata.name, metadata.labels) == ("other", ("c",))
    assert metadata.preprocessing == Preprocessing(std=(2.0,))


def test_damaged_metadata_is_an_input_error(tmp_path: Path) -> None:
    model = graph("(float[1] x) => (float[1] y) { y = Abs (x) }")
    model.metadata_props["edgekit.metadata"] = '{"nam": "x"}'
    save_onnx(model, tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"metadata .* is damaged: nam: Extra inputs"):
        import_model(ImportRequest(source=str(tmp_path / "a.onnx")))


def test_mnist_of_opset_8() -> None:
    imported = import_model(ImportRequest(source=str(_shared("mnist/mnist.onnx"))))
    assert ops(imported.model) == {"Conv": 2, "Relu": 2, "MaxPool": 2, "Reshape": 1, "Gemm": 1}
    signature = signature_of(imported.model)
    assert [str(spec) for spec in (*signature.inputs, *signature.outputs)] == [
        "Input3: float32[1, 1, 28, 28]",
        "Plus214_Output_0: float32[1, 10]",
    ]


def test_ultraface_of_opset_9_with_weights_among_its_inputs() -> None:
    source = _shared("ultraface/version-RFB-320.onnx")
    imported = import_model(ImportRequest(source=str(source)))
    assert [spec.name for spec in signature_of(imported.model).inputs] == ["input"]
    counts = ops(imported.model)
    assert counts["Conv"] == 52
    assert not {"BatchNormalization", "Shape", "Gather", "Constant", "Unsqueeze"} & set(counts)
    image = random(1, 3, 240, 320)
    original = ReferenceSession(source, optimization="disabled")
    expected = original.run({"input": image})
    results = ReferenceSession(imported.model).run({"input": image})
    for name in ("scores", "boxes"):
        np.testing.assert_allclose(results[name], expected[name], atol=2e-5)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    module = load_torch_module(f"{MODELS}:Small")
    dim = torch.export.Dim("n")
    exported = torch.export.export(module, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: dim},))
    torch.export.save(exported, path)
    return path


def test_an_exported_program_becomes_a_canonical_graph(
    program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    imported = import_model(ImportRequest(source=str(program), dynamic_batch=True))
    assert capfd.readouterr() == ("", "")
    signature = signature_of(imported.model)
    assert [str(spec) for spec in (*signature.inputs, *signature.outputs)] == [
        "image: float32[batch, 3, 8, 8]",
        "output: float32[batch, 2]",
    ]
    image = random(3, 3, 8, 8)
    with torch.no_grad():
        expected = load_torch_module(f"{MODELS}:Small")(torch.from_numpy(image)).numpy()
    assert_close(ReferenceSession(imported.model).run({"image": image})["output"], expected)
    assert all(note.level == "info" for note in imported.notes)


def test_exported_programs_that_are_missing_damaged_or_given_weights(
    program: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="No exported program at"):
        import_model(ImportRequest(source=str(tmp_path / "absent.pt2")))
    damaged = tmp_path / "damaged.pt2"
    damaged.write_bytes(program.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"no file of torch\.export\.save, or is damaged"):
        import_model(ImportRequest(source=str(damaged)))
    with pytest.raises(UsageError, match="holds its own weights"):
        import_model(ImportRequest(source=str(program), weights=Path("w.pth")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("net.pth", r"weights without their model; .*FILE\.py:FACTORY --weights net\.pth"),
        ("net.py", r"names no factory in the file; give net\.py:FACTORY"),
        ("resnet18", r"no known form of a model; accepted: FILE\.onnx, FILE\.pt2"),
    ],
)
def test_sources_of_unknown_form_say_the_known_ones(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_model(ImportRequest(source=source))


def test_onnx_files_hold_their_own_weights() -> None:
    with pytest.raises(UsageError, match="holds its own weights; --weights is for torch modules"):
        import_model(ImportRequest(source="a.onnx", weights=Path("w.pth")))


def test_custom_domains_are_unsupported(tmp_path: Path) -> None:
    model = proto_at(18, "(float[1] x) => (float[1] y) { y = com.acme.Twist (x) }")
    model.opset_import.add(domain="com.acme", version=1)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match=r"com\.acme::Twist \(custom domain\): node 'y'"):
        import_model(ImportRequest(source=str(tmp_path / "a.onnx")))
