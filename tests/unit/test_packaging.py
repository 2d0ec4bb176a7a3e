"""What a wheel holds, and what the pinned versions are."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel of this source tree, built in a copy so that the tree stays clean."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("the tests do not run from a source tree")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("edgekit", "targets"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=ignored)
    out = source / "dist"
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), "."],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.Path(next(out.glob("*.whl")))


def names_in(wheel: zipfile.Path) -> set[str]:
    return set(wheel.root.namelist())


def test_wheel_installs_one_top_level_module(wheel: zipfile.Path) -> None:
    (info,) = (child for child in wheel.iterdir() if child.name.endswith(".dist-info"))
    assert (info / "top_level.txt").read_text().split() == ["edgekit"]
    tops = {name.partition("/")[0] for name in names_in(wheel)}
    assert tops == {"edgekit", info.name}


def test_wheel_holds_targets_typing_marker_templates_and_licence(wheel: zipfile.Path) -> None:
    names = names_in(wheel)
    for wanted in (
        "edgekit/targets/__init__.py",
        "edgekit/targets/tflite/__init__.py",
        "edgekit/targets/onnxruntime/__init__.py",
        "edgekit/py.typed",
        "edgekit/report/templates/report.html.j2",
    ):
        assert wanted in names
    licences = [name for name in names if name.endswith("/LICENSE")]
    assert len(licences) == 1
    assert "Apache License" in wheel.joinpath(licences[0]).read_text()
    assert not any("tests/" in name or "sample_models/" in name for name in names)


def test_wheel_declares_the_console_script(wheel: zipfile.Path) -> None:
    (info,) = (child for child in wheel.iterdir() if child.name.endswith(".dist-info"))
    assert "edgekit = edgekit.cli.main:main" in (info / "entry_points.txt").read_text()


def pins() -> dict[str, Version]:
    """Version of each distribution in constraints.txt, by normalised name."""
    found: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, equals, version = line.partition("==")
        assert equals, f"{line!r} is no exact version"
        found[re.sub(r"[-_.]+", "-", name).lower()] = Version(version)
    return found


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    for group in project["optional-dependencies"].values():
        texts += group
    pinned = pins()
    for requirement in map(Requirement, texts):
        if requirement.name == "edgekit":
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert pinned[name] in requirement.specifier, f"{requirement} against {pinned[name]}"


def test_constraints_name_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert "@" not in text
    assert "--" not in text


def test_make_lists_its_commands() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in ("install", "demo", "test", "test-all", "lint", "clean"):
        assert f"make {name} " in shown.stdout


def test_make_without_python_says_what_to_install(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "sh"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    tried = subprocess.run(
        ["make", "install"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode != 0
    assert "error: no Python 3.12 or newer found" in tried.stderr
    assert "apt install python3.12" in tried.stderr
    assert not (tmp_path / ".venv").exists()
