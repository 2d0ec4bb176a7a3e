from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.errors import InputError, UnsupportedError, UsageError
from edgekit.graph.importers import ImportedModel, ImportRequest, import_model, parse_input
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.importers.torch_module import build_module, load_torch_module
from edgekit.graph.io import read_metadata, signature_of
from edgekit.graph.reference import ReferenceSession
from tests.unit.graph.onnx_text import assert_close, ops, random

MODELS = Path(__file__).with_name("models.py")


def _import(factory: str, *inputs: str, dynamic_batch: bool = False) -> ImportedModel:
    return import_model(
        ImportRequest(
            source=f"{MODELS}:{factory}",
            inputs=tuple(parse_input(item) for item in inputs),
            dynamic_batch=dynamic_batch,
        )
    )


def test_a_module_becomes_a_canonical_graph_that_computes_the_same(
    capfd: pytest.CaptureFixture[str],
) -> None:
    imported = _import("Small", "picture:2x3x8x8")
    assert capfd.readouterr() == ("", "")
    assert ops(imported.model) == {
        "Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    module = load_torch_module(f"{MODELS}:Small")
    image = random(2, 3, 8, 8, seed=5)
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    capfd.readouterr()
    results = ReferenceSession(imported.model).run({"picture": image})
    assert_close(results["output"], expected)
    assert read_metadata(imported.model).name == "Small"


def test_the_batch_stays_symbolic_when_asked() -> None:
    imported = _import("Small", "image:1x3x8x8", dynamic_batch=True)
    signature = signature_of(imported.model)
    assert str(signature.inputs[0]) == "image: float32[batch, 3, 8, 8]"
    assert str(signature.outputs[0]) == "output: float32[batch, 2]"
    session = ReferenceSession(imported.model)
    image = random(5, 3, 8, 8)
    together = session.run({"image": image})["output"]
    alone = [session.run({"image": image[i : i + 1]})["output"] for i in range(5)]
    assert_close(together, np.concatenate(alone))


def test_inputs_named_like_the_parameters_may_come_in_any_order() -> None:
    left, right = random(2, 3), random(2, 3, seed=1)
    imported = _import("TwoInputs", "right:2x3", "left:2x3")
    assert [spec.name for spec in signature_of(imported.model).inputs] == ["left", "right"]
    results = ReferenceSession(imported.model).run({"left": left, "right": right})
    np.testing.assert_array_equal(results["output_0"], left - right)
    np.testing.assert_array_equal(results["output_1"], left * right)


def test_other_names_are_taken_in_order() -> None:
    left, right = random(2, 3), random(2, 3, seed=1)
    imported = _import("TwoInputs", "output_0:2x3", "b:2x3")
    results = ReferenceSession(imported.model).run({"output_0": left, "b": right})
    assert list(results) == ["output_output_0", "output_1"]


def test_outputs_are_called_after_their_place() -> None:
    imported = _import("NamedOutputs", "x:2x3")
    x = random(2, 3)
    results = ReferenceSession(imported.model).run({"x": x})
    assert list(results) == ["boxes", "scores_0", "scores_1"]
    np.testing.assert_array_equal(results["scores_1"], x + 2)


def test_an_output_that_is_the_input_or_given_twice_keeps_its_own_name() -> None:
    imported = _import("PassesThrough", "x:2x3")
    x = random(2, 3)
    results = ReferenceSession(imported.model).run({"x": x})
    assert list(results) == ["output_0", "output_1", "output_2"]
    np.testing.assert_array_equal(results["output_0"], x)
    np.testing.assert_array_equal(results["output_2"], x + 1)


def test_integers_and_arguments_written_in_place() -> None:
    assert str(signature_of(_import("Embeds", "ids:1x5:int64").model).inputs[0]) == (
        "ids: int64[1, 5]"
    )
    x = random(2, 3)
    results = ReferenceSession(_import("WritesIntoInput", "x:2x3").model).run({"x": x})
    assert_close(results["output"], (x + 1) * 2)


def test_the_module_keeps_its_training_mode_and_weights() -> None:
    module = build_module(f"{MODELS}:Small").train()
    module.get_submodule("norm").eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    export_module(module, (parse_input("image:2x3x8x8"),), dynamic_batch=False, where="it")
    assert module.training
    assert not module.get_submodule("norm").training
    assert all(torch.equal(before[name], item) for name, item in module.state_dict().items())


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Branches", r"Branches: forward branches on a value .* torch\.where.*models\.py:\d+\)"),
        (
            "HasNoOnnxForm",
            r"no ONNX form of operator aten\._linalg_svd.*, node .* from .*models\.py:\d+",
        ),
        ("LeavesTorch", r"torch\.export cannot trace .*LeavesTorch: .*numpy"),
        ("Random", "gives different outputs for the same inputs"),
    ],
)
def test_what_cannot_be_exported_says_why_in_a_few_lines(factory: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        _import(factory, "x:3x3")
    assert len(str(caught.value)) < 500


def test_a_batch_that_the_module_fixes_is_refused_when_it_shall_be_dynamic() -> None:
    with pytest.raises(
        UnsupportedError, match=r"FixedBatch: forward fixes the batch at 2; import it without"
    ):
        _import("FixedBatch", "x:2x3", dynamic_batch=True)


@pytest.mark.parametrize(
    ("factory", "inputs", "message"),
    [
        ("fails", ("x:1",), r"Factory .*fails fails: KeyError: 'no such file' \(.*models\.py:\d+"),
        ("gives_number", ("x:1",), "gives int; it must give a torch.nn.Module"),
        ("needs_argument", ("x:1",), "missing 1 required positional argument: 'width'$"),
        ("absent", ("x:1",), "has no factory 'absent'; callables defined there: Branches, Emb"),
        ("HoldsNan", ("x:3",), "NaN or infinite weights in weight;"),
        ("ReturnsNumber", ("x:3",), "must return tensors alone .* it also returns int"),
        ("TwoInputs", ("x:2x3",), r"forward of .* fails for the inputs x:2x3:float32: TypeError"),
        ("Small", ("image:1x4x8x8",), r"fails for the inputs image:1x4x8x8.* 3 channels"),
        ("Embeds", ("ids:1x5",), r"fails for the inputs ids:1x5:float32.*Long"),
    ],
)
def test_mistakes_in_user_code_and_shapes(
    factory: str, inputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _import(factory, *inputs)


def test_input_shapes_are_needed() -> None:
    with pytest.raises(UsageError, match=r"does not say its input shapes.*--input image:1x3"):
        _import("Small")


def test_files_and_modules_that_are_not_there_or_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No Python file at .*absent\.py"):
        build_module(f"{tmp_path / 'absent.py'}:Net")
    with pytest.raises(InputError, match=r"Module 'absent_package.models' cannot be imported"):
        build_module("absent_package.models:Net")
    broken = tmp_path / "broken.py"
    broken.write_text("import torch\n1 / 0\n")
    with pytest.raises(InputError, match=r"fails while being imported: ZeroDivisionError.*py:2\)"):
        build_module(f"{broken}:Net")
    broken.write_text("def f(:\n")
    with pytest.raises(InputError, match="fails while being imported: SyntaxError"):
        build_module(f"{broken}:Net")
    with pytest.raises(UsageError, match="names no factory"):
        build_module(f"{broken}:two words")


def test_a_file_may_import_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_blocks_beside.py").write_text("import torch\nNet = torch.nn.ReLU\n")
    (tmp_path / "net.py").write_text("from my_blocks_beside import Net\nmake = Net\n")
    assert isinstance(build_module(f"{tmp_path / 'net.py'}:make"), torch.nn.ReLU)
    monkeypatch.chdir(tmp_path)
    assert isinstance(build_module("my_blocks_beside:Net"), torch.nn.ReLU)


def test_random_weights_are_the_same_every_time() -> None:
    first, second = (build_module(f"{MODELS}:Small").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
