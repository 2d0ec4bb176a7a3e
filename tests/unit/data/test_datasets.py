"""Data sets by name: what is known, and what an unknown name says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgekit.data.datasets import DataSpec, data_files, known_sets, open_dataset
from edgekit.data.root import search_roots
from edgekit.errors import ConfigError, InputError


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no data set 'fashion_mnist'.*'fashion-mnist'\?.*npz:"):
        open_dataset(DataSpec(set="fashion_mnist"))
    with pytest.raises(ConfigError, match=r"no data set 'zzzzzz'\. Known: digits"):
        data_files(DataSpec(set="zzzzzz"))


@pytest.mark.parametrize("name", ["folder", "folder:", "npz", "npz:"])
def test_a_set_of_ones_own_needs_a_path(name: str) -> None:
    with pytest.raises(ConfigError, match=r"names no place; write (folder|npz):PATH"):
        open_dataset(DataSpec(set=name))


def test_misspelt_and_wrong_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        DataSpec.model_validate({"set": "digits", "splitt": "test"})
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        DataSpec(set="digits", limit=0)


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10"])
def test_a_missing_set_says_where_it_was_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = rf"'{name}' was not found; looked in .*{tmp_path.name}.*--data-root or EDGEKIT_DATA"
    with pytest.raises(InputError, match=pattern):
        data_files(DataSpec(set=name, root=tmp_path))
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(InputError, match=pattern):
        open_dataset(DataSpec(set=name))


def test_the_given_root_beats_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "variable"))
    with pytest.raises(InputError) as caught:
        open_dataset(DataSpec(set="cifar10", root=tmp_path / "given"))
    assert "given" in str(caught.value)
    assert "variable" not in str(caught.value)


def test_without_root_and_variable_the_data_folder_here_is_looked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    spec = DataSpec(set="mnist")
    assert search_roots(spec)[0] == Path("data")
    monkeypatch.setattr("edgekit.data.root._CHECKOUT", tmp_path / "site-packages")
    with pytest.raises(InputError, match=r"looked in data/mnist, data/MNIST/raw\. Give"):
        data_files(spec)


def test_naming_data_sets_loads_no_decoder() -> None:
    code = (
        "import sys, edgekit.data.datasets\n"
        "heavy = {'PIL', 'sklearn', 'scipy', 'torch', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", known_sets()[1:])
def test_every_known_set_but_the_embedded_one_asks_for_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not found"):
        data_files(DataSpec(set=name, root=tmp_path))
