"""Every local file that a factory imports is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError
from edgekit.training.module_sources import module_sources


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def names(root: Path, source: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in module_sources(source)]


def test_imports_beside_the_file_are_followed(tmp_path: Path) -> None:
    files = {
        "model.py": "import torch\nfrom blocks import conv\nimport parts.head",
        "blocks.py": "def f():\n    from parts import tail",
        "parts/__init__.py": "",
        "parts/head.py": "from . import tail\nfrom .deep.leaf import Leaf",
        "parts/tail.py": "import model",
        "parts/deep/leaf.py": "import os",
        "parts/deep/other.py": "",
        "unrelated.py": "",
    }
    write(tmp_path, files)
    assert names(tmp_path, f"{tmp_path / 'model.py'}:create") == [
        "blocks.py",
        "model.py",
        "parts/__init__.py",
        "parts/deep/leaf.py",
        "parts/head.py",
        "parts/tail.py",
    ]


def test_package_is_followed_inside_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "zoo/__init__.py": "import outside",
        "zoo/nets/__init__.py": "",
        "zoo/nets/small.py": "from ..layers import act\nfrom zoo import extra",
        "zoo/layers.py": "",
        "zoo/extra.py": "",
        "outside.py": "",
    }
    write(tmp_path, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert names(tmp_path, "zoo.nets.small:create") == [
        "zoo/__init__.py",
        "zoo/extra.py",
        "zoo/layers.py",
        "zoo/nets/__init__.py",
        "zoo/nets/small.py",
    ]


def test_code_that_does_not_parse_is_left_to_the_importer(tmp_path: Path) -> None:
    write(tmp_path, {"model.py": "def broken("})
    assert names(tmp_path, f"{tmp_path / 'model.py'}:create") == ["model.py"]


@pytest.mark.parametrize("source", ["timm:resnet18", "model.onnx", "no_such_package.x:f"])
def test_other_sources_have_no_files(source: str) -> None:
    assert module_sources(source) == ()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No Python file at .*absent\.py"):
        module_sources(f"{tmp_path / 'absent.py'}:create")


def test_installed_package_is_stood_for_by_its_version() -> None:
    found = [path.as_posix() for path in module_sources("torch.nn.modules.linear:Linear")]
    ends = ("/torch/nn/__init__.py", "/torch/nn/modules/linear.py", "/METADATA")
    for end in ends:
        assert any(name.endswith(end) for name in found), found
    assert len(found) == 5
