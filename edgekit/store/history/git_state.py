"""The git commit that a folder stands at."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import GitState

_TIMEOUT_S = 10
_OF_A_HOOK = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"}
)
"""What git sets for its hooks; it names the hook's repository, not the folder's."""


def git_state(folder: Path) -> GitState | Unavailable:
    """The commit of the repository that ``folder`` is in; the reason where there is none.

    Never raises, and never writes to the repository.
    """
    try:
        commit = _git(folder, "rev-parse", "--verify", "HEAD^{commit}")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        return Unavailable(reason="git is not installed, or the folder is gone")
    except subprocess.CalledProcessError as error:
        return Unavailable(reason=_reason(error.stderr))
    except (OSError, subprocess.SubprocessError) as error:
        return Unavailable(reason=f"git could not be asked: {error}")
    return GitState(commit=commit.strip(), dirty=bool(changed.strip()))


def _git(folder: Path, *words: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in _OF_A_HOOK}
    # No lock: somebody may be committing in the meantime.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=_TIMEOUT_S,
        env=environment,
    )
    return done.stdout


def _reason(stderr: str) -> str:
    if "not a git repository" in stderr:
        return "not in a git repository"
    if "Needed a single revision" in stderr or "unknown revision" in stderr:
        return "the git repository has no commit yet"
    lines = stderr.strip().splitlines()
    return f"git says: {lines[0].removeprefix('fatal: ')}" if lines else "git failed"
