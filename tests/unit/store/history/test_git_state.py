"""The commit of a folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import GitState
from edgekit.store.history.git_state import git_state

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    line = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "net.py").write_text("one")
    (tmp_path / "models").mkdir()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_changed_file_makes_the_commit_dirty_and_an_untracked_one_does_not(
    repository: Path,
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "new.sqlite").write_text("untracked")
    folder = repository / "models"
    assert git_state(folder) == GitState(commit=commit, dirty=False)
    (repository / "net.py").write_text("two")
    assert git_state(folder) == GitState(commit=commit, dirty=True)
    git(repository, "add", "net.py")
    assert git_state(folder) == GitState(commit=commit, dirty=True)


def test_a_hook_of_another_repository_does_not_mislead(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    found = git_state(repository)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")
    assert found == GitState(commit=git(repository, "rev-parse", "HEAD"), dirty=False)


def test_where_there_is_no_commit_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) == Unavailable(reason="not in a git repository")
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == Unavailable(reason="the git repository has no commit yet")
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = git_state(tmp_path)
    assert isinstance(missing, Unavailable)
    assert missing.reason.startswith("git is not installed")
