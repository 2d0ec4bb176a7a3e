"""Whatever the user gets wrong: one message that says what to do, and nothing left behind."""

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import Result

type Call = Callable[..., Result]

READ_ONLY = "/sys/edgekit-out" if sys.platform == "linux" else "/edgekit-out"
"""Nobody can make this folder, not even root, in whose hands permissions mean nothing."""


def errors(result: Result) -> list[str]:
    """Lines of stderr that are no progress."""
    lines = result.stderr.splitlines()
    return [line for line in lines if not line.startswith(("[", "Pipeline:"))]


def assert_one_error(result: Result, code: int, *parts: str) -> None:
    assert result.exit_code == code, result.output
    message = errors(result)
    assert message[0].startswith("error: "), message
    assert sum(line.startswith("error:") for line in message) == 1
    for part in parts:
        assert part in "\n".join(message)
    assert "Traceback" not in result.output
    assert "internal error" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("file", "options", "code", "parts"),
    [
        ("missing.onnx", [], 2, ["No file at", "missing.onnx"]),
        ("truncated.onnx", [], 2, ["no ONNX file", "damaged or cut off"]),
        ("text.onnx", [], 2, ["no ONNX file", "it is a text file"]),
        ("unknown_op.onnx", [], 3, ["Sparkle", "activation", "standard ops only"]),
        ("custom_op.onnx", [], 3, ["com.example::Sparkle", "activation"]),
        ("nan.onnx", [], 2, ["NaN", "kernel (1 of 90)"]),
        ("good.onnx", ["--input", "image:1x3x8x8"], 2, ["image", "[1, 1, 8, 8]", "fixed"]),
        ("good.onnx", ["--input", "picture:1x1x8x8"], 2, ["'picture'", "'image'"]),
        ("good.onnx", ["--input", "image:wide"], 2, ["'image:wide'", "NAME:1x3x224x224"]),
        ("good.onnx", ["--target", "tflight"], 2, ["'tflight'", "Did you mean 'tflite'?"]),
        ("good.onnx", ["--engine", "tvm"], 2, ["'tvm'", "edgekit, onnx2tf"]),
        ("good.onnx", ["--compute", "float16"], 2, ["targets.tflite.compute", "no choice here"]),
        ("good.onnx", ["--deployment-target", "iOS17"], 2, ["targets.tflite.deployment_target"]),
        ("good.onnx", ["--image-input"], 2, ["targets.tflite.image_input", "tensors alone"]),
        ("good.onnx", ["--precision", "float8"], 2, ["'float8'", "float32, float16"]),
        ("good.onnx", ["--tolerance", "-1"], 2, ["tolerance", "greater than 0"]),
        ("good.onnx", ["--data", "digist"], 2, ["'digist'", "Did you mean 'digits'?"]),
        ("good.onnx", ["--data", "folder:nowhere"], 2, ["not found", "--data-root"]),
        ("good.onnx", ["--mean", "1,2"], 2, ["mean has 2 values", "3 channels"]),
        ("good.onnx", ["--scale", "1/0"], 2, ["'1/0' is no number"]),
        ("good.onnx", ["--size", "8by8"], 2, ["'8by8'", "HEIGHTxWIDTH"]),
        ("good.onnx", ["--labels", "nowhere.txt"], 2, ["nowhere.txt", "cannot be read"]),
        ("good.onnx", ["--preprocessing", "nowhere.toml"], 2, ["nowhere.toml", "no such file"]),
        ("good.onnx", ["--name", "a/b"], 2, ["name", "'a/b'"]),
        ("net.py:build", [], 2, ["net.py"]),
        ("net.tflite", [], 2, ["no known form of a model"]),
    ],
)
def test_convert_says_what_is_wrong_and_leaves_nothing(
    call: Call,
    models: Path,
    tmp_path: Path,
    file: str,
    options: list[str],
    code: int,
    parts: list[str],
) -> None:
    before = {path: sha256(path.read_bytes()).digest() for path in models.iterdir()}
    out = tmp_path / "deep" / "out"
    result = call("convert", models / file, "-o", out, "--no-bench", *options)
    assert_one_error(result, code, *parts)
    assert list(tmp_path.iterdir()) == []
    assert {path: sha256(path.read_bytes()).digest() for path in models.iterdir()} == before


def test_a_failed_conversion_leaves_an_older_result_alone(
    call: Call, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "nan.tflite").write_text("from last week")
    result = call("convert", models / "nan.onnx", "-o", tmp_path, "--no-bench")
    assert_one_error(result, 2, "NaN")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.tflite"]
    assert (tmp_path / "nan.tflite").read_text() == "from last week"


def test_read_only_output_folder(call: Call, models: Path) -> None:
    result = call("convert", models / "good.onnx", "-o", READ_ONLY, "--no-bench")
    assert_one_error(result, 2, f"Cannot write to the output folder {READ_ONLY}", "Choose")


def test_output_folder_that_is_a_file(call: Call, models: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("occupied")
    for place in (tmp_path / "out", tmp_path / "out" / "inside"):
        result = call("convert", models / "good.onnx", "-o", place, "--no-bench")
        assert_one_error(result, 2, "Cannot write to the output folder", "Choose another folder")
    assert (tmp_path / "out").read_text() == "occupied"


def test_output_that_would_replace_its_source(call: Call, models: Path, tmp_path: Path) -> None:
    source = tmp_path / "good.onnx"
    source.write_bytes((models / "good.onnx").read_bytes())
    result = call("convert", source, "-o", tmp_path, "-t", "onnxruntime", "--no-bench")
    assert_one_error(result, 2, "would be written over")
    assert source.read_bytes() == (models / "good.onnx").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["good.onnx"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('naem = "x"\n', ["naem: unknown key", "Did you mean 'name'?"]),
        (
            'name = "x"\n[model]\nsource = "m.onnx"\n[targets.tflight]\n',
            ["tflight", "Did you mean 'tflite'?"],
        ),
        ('name = "x\n', ["is not valid TOML", "line 1"]),
        (
            'name = "x"\n[model]\nsource = "m.onnx"\n[targets.tflite]\nprecision = "int3"\n',
            ["targets.tflite.precision", "'int3'"],
        ),
        (
            'name = "x"\n[model]\nsource = "missing.onnx"\n[targets.tflite]\n',
            ["No file at", "missing.onnx"],
        ),
    ],
    ids=["key", "target", "toml", "precision", "model"],
)
def test_run_names_what_is_wrong_in_the_project_file(
    call: Call, tmp_path: Path, text: str, parts: list[str]
) -> None:
    project = tmp_path / "edgekit.toml"
    project.write_text(text)
    store = tmp_path / "store"
    result = call("run", project, "-o", tmp_path / "out", "--store", store)
    assert_one_error(result, 2, *parts)
    assert not (tmp_path / "out").exists()


def test_run_without_a_project_file(call: Call, tmp_path: Path) -> None:
    result = call("run", tmp_path / "edgekit.toml")
    assert_one_error(result, 2, "there is no such file")


@pytest.mark.parametrize("command", ["inspect", "bench", "eval"])
@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("missing.onnx", "no such file"),
        ("missing.tflite", "no such file"),
        ("truncated.onnx", "damaged or cut off"),
        ("text.onnx", "it is a text file"),
        ("", "is a folder"),
        ("net.xyz", "'.xyz' belongs to no target"),
    ],
)
def test_reading_commands_name_the_file(
    call: Call, models: Path, tmp_path: Path, command: str, file: str, part: str
) -> None:
    path = models / file
    if file == "net.xyz":
        path = tmp_path / file
        path.write_bytes(b"\0")
    options = ["--data", "digits"] if command == "eval" else []
    assert_one_error(call(command, path, *options), 2, str(path), part)


@pytest.mark.parametrize("content", [b"", b"not a flatbuffer", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_a_damaged_tflite_file_is_an_error_not_a_crash(
    call: Call, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    for line in (["inspect", path], ["bench", path], ["eval", path, "--data", "digits"]):
        assert_one_error(call(*line), 2, "damaged.tflite")


def test_eval_on_data_that_does_not_fit(call: Call, models: Path, tmp_path: Path) -> None:
    result = call("eval", models / "good.onnx", "--data", "npz:nowhere.npz")
    assert_one_error(result, 2, "npz:nowhere.npz", "not found")


def test_eval_on_the_wrong_target(call: Call, models: Path) -> None:
    line = ("eval", models / "good.onnx", "--data", "digits", "--target", "tflite")
    assert_one_error(call(*line), 2, "runs .tflite files")
