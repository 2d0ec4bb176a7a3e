"""Conversion from Python."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import edgekit
from edgekit.api import ConvertOptions, ConvertResult, conversion_project, project_name
from edgekit.core.metadata import Preprocessing
from edgekit.core.metrics import Unavailable
from edgekit.core.target import Precision, TargetInfo
from edgekit.errors import ConfigError, InputError, UsageError
from edgekit.pipeline import registry

QUIET = ConvertOptions(bench=None)


class Net(torch.nn.Module):
    """Dropout shows whether the module runs in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.drop(self.conv(image)).mean((2, 3))
        return scores


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def convert(net: Net, output: Path, options: ConvertOptions = QUIET) -> ConvertResult:
    return edgekit.convert(
        net,
        example_inputs=(torch.zeros(1, 1, 8, 8),),
        targets=["onnxruntime", "tflite"],
        output=output,
        options=options,
    )


def test_a_module_becomes_files_that_compute_the_same(net: Net, tmp_path: Path) -> None:
    result = convert(net, tmp_path)
    path = result.artifact("onnxruntime")
    assert path == tmp_path / "Net.onnx"
    assert result.artifact("tflite") == tmp_path / "Net.tflite"
    image = torch.randn(1, 1, 8, 8)
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        wanted = net.conv(image).mean((2, 3)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_module_is_left_as_it_was(net: Net, tmp_path: Path) -> None:
    net.train()
    net.conv.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    convert(net, tmp_path)
    assert net.training
    assert net.drop.training
    assert not net.conv.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_two_conversions_give_the_same_bytes(net: Net, tmp_path: Path) -> None:
    first, second = convert(net, tmp_path / "one"), convert(net, tmp_path / "two")
    for target in ("onnxruntime", "tflite"):
        assert first.artifact(target).read_bytes() == second.artifact(target).read_bytes()
    assert first.summary.metadata.source == "Net"


def test_options_reach_the_summary(net: Net, tmp_path: Path) -> None:
    options = ConvertOptions(
        bench=None,
        name="small",
        labels=tuple("abcd"),
        preprocessing=Preprocessing(channels="gray"),
    )
    result = convert(net, tmp_path, options)
    assert result.artifact("tflite").name == "small.tflite"
    assert result.summary.metadata.labels == tuple("abcd")
    assert result.summary.metadata.preprocessing == Preprocessing(channels="gray")
    assert isinstance(result.summary.targets[0].latency, Unavailable)
    assert result.summary.reference_accuracy == Unavailable(
        reason="No data set is named (section [data], option --data)."
    )
    with pytest.raises(KeyError, match="tflite float16"):
        result.artifact("tflite", "float16")


def test_a_store_keeps_results(net: Net, tmp_path: Path) -> None:
    options = ConvertOptions(bench=None, store=tmp_path / "store")
    convert(net, tmp_path / "out", options)
    assert list((tmp_path / "store" / "runs").iterdir())


def test_arguments_that_do_not_go_together(net: Net, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs its input shapes"):
        edgekit.convert(net, output=tmp_path / "out")
    with pytest.raises(UsageError, match="belong to a torch module"):
        edgekit.convert("a.onnx", example_inputs=(torch.zeros(1),), output=tmp_path / "out")
    spec = ConvertOptions.model_validate({"data": {"set": "digits"}})
    with pytest.raises(UsageError, match="not both"):
        edgekit.convert("a.onnx", data="digits", options=spec, output=tmp_path / "out")
    with pytest.raises(UsageError, match="complex64"):
        edgekit.convert(
            net, example_inputs=(torch.zeros(1, dtype=torch.complex64),), output=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_nan_weights_are_refused(net: Net, tmp_path: Path) -> None:
    with torch.no_grad():
        net.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        convert(net, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("models/net.onnx", "net"),
        ("some/net.py:build", "build"),
        ("package.module:Net", "Net"),
        ("timm:resnet18.a1_in1k@pretrained", "resnet18.a1_in1k"),
        ("we ird/näme (1).onnx", "n_me_1"),
        (".onnx", "onnx"),
        ("---.onnx", "model"),
    ],
)
def test_names_come_from_the_source(source: str, name: str) -> None:
    found = project_name(source)
    assert found.rstrip("_") == name
    assert conversion_project(source, ["tflite"], ["float32"], Path("out"), QUIET)[0].name == found


def test_precisions_and_engines_go_where_they_are_offered() -> None:
    options = ConvertOptions(bench=None, engine="onnx2tf")
    project, notes = conversion_project(
        "a.onnx", ["tflite", "onnxruntime"], ["float16"], Path("out"), options
    )
    assert project.targets["tflite"].engine == "onnx2tf"
    assert project.targets["onnxruntime"].engine is None
    assert project.targets["tflite"].precision == ("float16",)
    assert notes == ()
    with pytest.raises(ConfigError, match="offers the engine 'onnx2tf'"):
        conversion_project("a.onnx", ["onnxruntime"], ["float32"], Path("out"), options)


def test_a_precision_that_one_target_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.target_info

    def poorer(name: str) -> TargetInfo:
        offered = ("float32",) if name == "onnxruntime" else known(name).precisions
        return known(name).model_copy(update={"precisions": offered})

    monkeypatch.setattr(registry, "target_info", poorer)
    project, notes = conversion_project(
        "a.onnx", ["tflite", "onnxruntime"], ["float32", "float16"], Path("out"), QUIET
    )
    assert project.targets["tflite"].precision == ("float32", "float16")
    assert project.targets["onnxruntime"].precision == ("float32",)
    assert notes == ("Target onnxruntime is not made as float16: it offers float32.",)
    with pytest.raises(ConfigError, match="Target 'onnxruntime' offers float32, not float16"):
        conversion_project("a.onnx", ["onnxruntime"], ["float16"], Path("out"), QUIET)


def test_benchmark_options_are_those_given() -> None:
    options = ConvertOptions.model_validate({"bench": {"threads": 3, "runs": 7}})
    project, _ = conversion_project("a.onnx", ["tflite"], ["float32"], Path("out"), options)
    assert project.benchmark.enabled
    assert project.benchmark.bench_config() == options.bench
    left_out, _ = conversion_project("a.onnx", ["tflite"], ["float32"], Path("out"), QUIET)
    assert not left_out.benchmark.enabled


def test_weight_compute_goes_where_it_is_offered() -> None:
    options = ConvertOptions(weight_compute="dynamic")
    targets = ["onnxruntime", "tflite"]
    project, notes = conversion_project("m.onnx", targets, ["int8-weights"], Path("out"), options)
    computes = {name: section.weight_compute for name, section in project.targets.items()}
    assert computes == {"onnxruntime": None, "tflite": "dynamic"}
    assert notes == (
        "Target onnxruntime does not offer weight_compute dynamic; it computes exact.",
    )
    _, notes = conversion_project("m.onnx", ["tflite"], ["float32"], Path("out"), options)
    assert notes == (
        "weight_compute dynamic changes nothing: it is for int8-weights, int4-weights.",
    )


def test_integers_alone_where_the_target_promises_it() -> None:
    options = ConvertOptions(integer_only=True)
    targets = ["onnxruntime", "tflite"]
    forms: list[Precision] = ["float32", "int8"]
    project, notes = conversion_project("m.onnx", targets, forms, Path("out"), options)
    promised = {name: section.integer_only for name, section in project.targets.items()}
    assert promised == {"onnxruntime": False, "tflite": True}
    assert notes == ("Target onnxruntime does not promise to compute on integers alone.",)
