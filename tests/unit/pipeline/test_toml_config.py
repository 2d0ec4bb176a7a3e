"""A configuration file is read whole, or every mistake in it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from edgekit.core.model_base import FrozenModel
from edgekit.core.toml_config import load_toml, nearest_name, resolve_paths
from edgekit.errors import ConfigError


class Target(FrozenModel):
    precision: Literal["float32", "float16"] = "float32"
    weights: Path | None = None


class Inner(FrozenModel):
    epochs: int = Field(3, ge=1)
    batch_size: int = 8
    files: tuple[Path, ...] = ()


class Config(FrozenModel):
    name: str
    train: Inner = Inner()
    output: Path = Path("out")
    targets: dict[str, Target] = Field(default_factory=dict)
    extra: tuple[Target, ...] = ()


def write(folder: Path, text: str) -> Path:
    path = folder / "edgekit.toml"
    path.write_text(text)
    return path


def test_values_defaults_and_paths(tmp_path: Path) -> None:
    text = """
    name = "digits"
    [train]
    files = ["a.bin", "/abs/b.bin"]
    [targets.tflite]
    weights = "../w.pt"
    [[extra]]
    weights = "sub/w.pt"
    """
    config = load_toml(write(tmp_path, text), Config)
    assert config.train.epochs == 3
    assert config.train.files == (tmp_path / "a.bin", Path("/abs/b.bin"))
    assert config.output == tmp_path / "out"
    assert config.targets["tflite"].weights == tmp_path / "../w.pt"
    assert config.extra[0].weights == tmp_path / "sub/w.pt"


def test_all_mistakes_are_listed_with_their_keys(tmp_path: Path) -> None:
    text = """
    nam = "digits"
    [train]
    epochs = 0
    batchsize = 4
    [targets.tflite]
    precision = "float8"
    precison = "float16"
    [[extra]]
    weight = "x"
    """
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_toml(path, Config)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} has 7 problems:"
    assert set(lines[1:]) == {
        "  - name: is required and not given.",
        (
            "  - nam: unknown key. Did you mean 'name'? "
            "Valid keys: name, train, output, targets, extra."
        ),
        "  - train.epochs: input should be greater than or equal to 1, but is 0.",
        (
            "  - train.batchsize: unknown key. Did you mean 'batch_size'? "
            "Valid keys: epochs, batch_size, files."
        ),
        "  - targets.tflite.precision: input should be 'float32' or 'float16', but is 'float8'.",
        (
            "  - targets.tflite.precison: unknown key. Did you mean 'precision'? "
            "Valid keys: precision, weights."
        ),
        "  - extra.0.weight: unknown key. Did you mean 'weights'? Valid keys: precision, weights.",
    }


def test_one_mistake_is_told_in_the_singular(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has a problem:\n  - name: is required and not given"):
        load_toml(write(tmp_path, ""), Config)


def test_syntax_error_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"edgekit\.toml: is not valid TOML: .*line 2"):
        load_toml(write(tmp_path, 'name = "a"\n[train\n'), Config)


def test_missing_file_folder_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_toml(tmp_path / "absent.toml", Config)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_toml(tmp_path, Config)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_toml(tmp_path / "binary.toml", Config)


def test_wrong_types_are_told_in_the_words_of_toml(tmp_path: Path) -> None:
    text = 'name = "a"\ntrain = 3\ntargets = [1]\nextra = "x"\n'
    with pytest.raises(ConfigError) as caught:
        load_toml(write(tmp_path, text), Config)
    assert set(str(caught.value).splitlines()[1:]) == {
        "  - train: should be a table, but is 3.",
        "  - targets: should be a table, but is [1].",
        "  - extra: should be a list, but is 'x'.",
    }


def test_long_values_are_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_toml(write(tmp_path, f'name = "a"\n[train]\nepochs = "{"x" * 500}"\n'), Config)
    assert len(str(caught.value).splitlines()[1]) < 220


@given(st.sampled_from(["epochs", "batch_size", "files"]), st.data())
def test_one_dropped_letter_still_finds_the_name(name: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(name) - 1))
    mistyped = name[:position] + name[position + 1 :]
    assert nearest_name(mistyped, ["epochs", "batch_size", "files"]) == f" Did you mean {name!r}?"


def test_nothing_similar_suggests_nothing() -> None:
    assert nearest_name("zzzz", ["epochs", "files"]) == ""


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    resolved = resolve_paths(Config(name="a", output=Path("~/out")), Path("/project"))
    assert resolved.output == tmp_path / "out"
