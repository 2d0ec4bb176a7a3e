"""edgekit.toml is read into a typed project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import ProjectConfig, load_project, project_json_schema

FULL = """
name = "digits"
seed = 7
stages = ["train"]

[model]
source = "model.py:create"
weights = "start.safetensors"
inputs = ["image:1x1x8x8"]
dynamic_batch = true
labels_file = "labels.txt"
preprocessing = { channels = "gray", scale = 0.0625 }

[data]
set = "npz:data.npz"
root = "sets"
limit = 100

[train]
epochs = 3

[targets.tflite]
precision = ["float32", "float16"]
engine = "onnx2tf"
tolerance = 0.01

[targets.onnxruntime]
precision = "float32"

[evaluate]
batch = 8

[benchmark]
threads = 2
runs = 5

[report]
enabled = false
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "edgekit.toml"
    path.write_text(text)
    return path


def test_every_section_is_read_and_paths_are_taken_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zero\none \n\ntwo\n\n")
    (tmp_path / "data.npz").touch()
    project = load_project(write(tmp_path, FULL))
    assert project.model.source == f"{tmp_path}/model.py:create"
    assert project.model.weights == tmp_path / "start.safetensors"
    assert project.model.class_names() == ("zero", "one", "", "two")
    assert project.data is not None
    assert project.data.set == f"npz:{tmp_path}/data.npz"
    assert project.data.root == tmp_path / "sets"
    assert project.output == tmp_path / "out"
    assert project.store == tmp_path / ".edgekit"
    assert project.train.epochs == 3
    assert project.targets["tflite"].precision == ("float32", "float16")
    assert project.targets["onnxruntime"].precision == ("float32",)
    assert project.benchmark.bench_config().threads == 2
    assert not project.report.enabled


MINIMAL = """
name = "m"
[model]
source = "{source}"
[data]
set = "{data}"
[targets.tflite]
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sub/model.py:create", "{folder}/sub/model.py:create"),
        ("/abs/model.py:create", "/abs/model.py:create"),
        ("../net.onnx", "{folder}/../net.onnx"),
        ("net.pt2", "{folder}/net.pt2"),
        ("zoo.nets:create", "zoo.nets:create"),
        ("timm:resnet18", "timm:resnet18"),
    ],
)
def test_only_sources_that_are_files_are_taken_from_the_folder(
    tmp_path: Path, source: str, expected: str
) -> None:
    project = load_project(write(tmp_path, MINIMAL.format(source=source, data="digits")))
    assert project.model.source == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("digits", "digits"),
        ("folder:pictures", "folder:{folder}/pictures"),
        ("folder:elsewhere", "folder:elsewhere"),
        ("a.npz", "{folder}/a.npz"),
        ("b.npz", "b.npz"),
    ],
)
def test_data_beside_the_file_wins_over_the_data_root(
    tmp_path: Path, given: str, expected: str
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "a.npz").touch()
    project = load_project(write(tmp_path, MINIMAL.format(source="a.onnx", data=given)))
    assert project.data is not None
    assert project.data.set == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[train]", "[trian]"), r"trian: unknown key\. Did you mean 'train'\?"),
        (("epochs", "epoch"), r"train\.epoch: unknown key\. Did you mean 'epochs'\?"),
        (('"train"]', '"trian"]'), r"stages: there is no stage 'trian'\. Did you mean 'train'\?"),
        (('"train"]', '"quantize", "train"]'), "stages: quantize has to be the last stage"),
        (
            ('"float16"]', '"float8"]'),
            r"tflite\.precision\.1: input should be 'float32', 'float16', 'int8', ",
        ),
        (('"float16"]', '"float32"]'), r"tflite\.precision: a precision stands twice"),
        (('["float32", "float16"]', "[]"), r"tflite\.precision: "),
        (("batch = 8", "batch = 0"), r"evaluate\.batch: input should be greater than or equal"),
        (("runs = 5", 'runs = "many"'), r"benchmark\.runs: input should be a valid integer"),
        (("epochs = 3", "epochs = 3\nwarmup_epochs = 3"), "train: warmup_epochs is 3, but there"),
        (("runs = 5", "runs = [5]"), r"benchmark\.runs: input should be a valid integer, but is"),
        (('["image:1x1x8x8"]', '"image:1x1x8x8"'), r"model\.inputs: should be a list, but is"),
        (('name = "digits"', 'name = "a/b"'), "name: string should match pattern"),
        (("scale", "scal"), r"preprocessing\.scal: unknown key\. Did you mean 'scale'\?"),
        (("[model]", 'labels = ["a"]\n[model]'), "labels: unknown key"),
        (("dynamic_batch", 'labels = ["a"]\ndynamic_batch'), "model: give labels or labels_file"),
        (
            ("[train]", "[quantize]\nschemes = 'int3'\n[train]"),
            r"schemes\.0: input should",
        ),
        (("[train]", "[quantize]\nschemes = 'float16'\n[train]"), "float16 is no scheme of quant"),
        (
            ("[train]", "[qat]\nepoch = 1\n[train]"),
            r"qat\.epoch: unknown key",
        ),
        (
            ("[train]", "[qat]\nobserver_epochs = 9\n[train]"),
            "qat: observer_epochs is 9",
        ),
        (("[targets", "[target"), r"target: unknown key\. Did you mean 'targets'\?"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in FULL
    with pytest.raises(ConfigError, match=message):
        load_project(write(tmp_path, FULL.replace(*change)))


def test_a_project_that_makes_nothing_is_refused(tmp_path: Path) -> None:
    text = MINIMAL.format(source="a.onnx", data="digits").replace("[targets.tflite]", "")
    with pytest.raises(ConfigError, match=r"whole file: nothing is to be made; add a section \[t"):
        load_project(write(tmp_path, text))
    graphs = load_project(write(tmp_path, text + '[quantize]\nschemes = "int8"\n'))
    assert graphs.quantize.schemes == ("int8",)


def test_missing_and_empty_label_files_are_named(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, FULL))
    with pytest.raises(ConfigError, match=r"model\.labels_file: .*labels\.txt cannot be read"):
        project.model.class_names()
    with pytest.raises(ConfigError, match=r"(?s)cannot be run:.*labels\.txt cannot be read"):
        build_plan(project)
    (tmp_path / "labels.txt").write_text("\n\n")
    with pytest.raises(ConfigError, match=r"labels\.txt holds no class names"):
        project.model.class_names()


def _properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for part in (schema, *schema["$defs"].values()):
        found += list(part.get("properties", {}).items())
    return found


def test_json_schema_describes_every_key_and_refuses_others() -> None:
    schema = project_json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "model"}
    own = [*schema["properties"], *schema["$defs"]["ModelSection"]["properties"]]
    assert {"name", "source", "weights", "benchmark"} <= set(own)
    for name, value in _properties(schema):
        assert "description" in value or "$ref" in value or name in _IN_CORE, name
    precision = schema["$defs"]["TargetSection"]["properties"]["precision"]
    assert [form["type"] for form in precision["anyOf"]] == ["string", "array"]


_IN_CORE = {
    "size", "resize", "crop_fraction", "interpolation", "channels", "scale", "mean", "std",
}  # fmt: skip
"""Fields of `Preprocessing`, whose docstring describes them."""


def test_a_project_made_in_python_is_the_same_as_one_read(tmp_path: Path) -> None:
    text = MINIMAL.format(source=f"{tmp_path}/a.onnx", data="digits")
    read = load_project(write(tmp_path, text))
    made = ProjectConfig.model_validate(
        {
            "name": "m",
            "output": tmp_path / "out",
            "store": tmp_path / ".edgekit",
            "model": {"source": f"{tmp_path}/a.onnx"},
            "data": {"set": "digits"},
            "targets": {"tflite": {}},
        }
    )
    assert made == read
