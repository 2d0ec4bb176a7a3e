"""What ``edgekit doctor`` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

State = Literal["ok", "optional", "warning", "missing"]

_MIN_PYTHON = (3, 12)
_MIN_FREE_BYTES = 2 * 1024**3
_SHOWN_FEATURES = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_fp16", "amx_int8", "f16c",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""Processor features that decide which kernels the runtimes take."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one look.

    Attributes:
        part: What was looked at.
        state: ``"ok"``; ``"optional"`` for an extra that is not installed; ``"warning"`` for
            what may disturb; ``"missing"`` for what edgekit cannot work without.
        found: What was found.
        remedy: What to do; empty when nothing is to be done.
    """

    part: str
    state: State
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The check for ``--json``."""
        return asdict(self)


def all_checks() -> tuple[Check, ...]:
    """Looks at everything; what is missing comes back as a check, never as an exception."""
    return (
        python_check(),
        *distribution_checks(_requirements()),
        *target_checks(),
        data_check(),
        processor_check(),
        disk_check(Path.cwd()),
    )


def python_check() -> Check:
    """The interpreter that runs edgekit."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= _MIN_PYTHON:
        return Check("Python", "ok", found)
    return Check("Python", "missing", found, "Install Python 3.12 or newer.")


def distribution_checks(requirements: Iterable[str]) -> tuple[Check, ...]:
    """Installed versions against what edgekit requires.

    Args:
        requirements: As distributions declare them (PEP 508), the extras in their markers.
    """
    from packaging.requirements import Requirement

    merged: dict[str, tuple[Requirement, str]] = {}
    for text in requirements:
        requirement = Requirement(text)
        extra = _extra_of(requirement)
        if requirement.name == "edgekit" or extra in ("all", "dev"):
            continue
        known = merged.get(requirement.name)
        if known is None or not extra:
            merged[requirement.name] = (requirement, extra)
    return tuple(_distribution_check(*merged[name]) for name in merged)


def target_checks() -> tuple[Check, ...]:
    """What each target can do here, by its own account."""
    from edgekit.pipeline.registry import get_target, target_names

    checks = []
    for name in target_names():
        part = f"target {name}"
        try:
            can = get_target(name).capabilities()
        except EdgekitError as error:
            checks.append(Check(part, "warning", "cannot be loaded", str(error)))
            continue
        answers = (
            ("convertible", can.convertible),
            ("runnable", can.runnable),
            ("measurable", can.measurable),
        )
        able = [word for word, answer in answers if answer is None]
        reasons = dict.fromkeys(answer.reason for _, answer in answers if answer is not None)
        state: State = "ok" if not reasons else "optional"
        checks.append(Check(part, state, ", ".join(able) or "nothing", " ".join(reasons)))
    return tuple(checks)


def data_check() -> Check:
    """The folder of data sets; none is needed for ``digits``."""
    from edgekit.data.contract import DataSpec
    from edgekit.data.root import ROOT_VARIABLE, search_roots

    roots = search_roots(DataSpec(set="digits"))
    for root in roots:
        if root.is_dir():
            names = sorted(child.name for child in root.iterdir() if child.is_dir())
            return Check("data folder", "ok", f"{root}: {', '.join(names) or 'empty'}")
    looked = ", ".join(map(str, roots))
    remedy = f"Only the embedded set digits is at hand; set {ROOT_VARIABLE} for others."
    state: State = "warning" if os.environ.get(ROOT_VARIABLE) else "optional"
    return Check("data folder", state, f"none at {looked}", remedy)


def processor_check() -> Check:
    """Name, number of logical processors, and the features that decide speed."""
    from edgekit.measure.device import device_name

    flags = processor_features()
    shown = [feature for feature in _SHOWN_FEATURES if feature in flags]
    count = os.cpu_count() or 1
    features = ", ".join(shown) or "features not known"
    return Check("processor", "ok", f"{device_name()}, {count} logical, {features}")


def processor_features() -> frozenset[str]:
    """Feature flags as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def disk_check(folder: Path) -> Check:
    """Free space and the right to write where the user stands."""
    free_bytes = shutil.disk_usage(folder).free
    found = f"{free_bytes / 1024**3:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check(
            "disk", "warning", f"{folder} cannot be written", "Use -o with another folder."
        )
    if free_bytes < _MIN_FREE_BYTES:
        return Check("disk", "warning", found, "Free some space.")
    return Check("disk", "ok", found)


def _requirements() -> list[str]:
    """What the installed edgekit declares."""
    try:
        return metadata.requires("edgekit") or []
    except metadata.PackageNotFoundError:
        return []


def _extra_of(requirement: Requirement) -> str:
    """The extra in a requirement's marker; empty for what is always needed."""
    marker = str(requirement.marker or "")
    _, found, rest = marker.partition("extra == ")
    return rest.strip("\"' )") if found else ""


def _distribution_check(requirement: Requirement, extra: str) -> Check:
    part = f"{requirement.name} ({extra})" if extra else requirement.name
    install = f"pip install 'edgekit[{extra}]'" if extra else "pip install edgekit"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        state: State = "optional" if extra else "missing"
        return Check(part, state, "not installed", install)
    if requirement.specifier.contains(version, prereleases=True):
        return Check(part, "ok", version)
    state = "warning" if extra else "missing"
    wanted = f"{requirement.name}{requirement.specifier}"
    return Check(
        part, state, f"{version}, wanted {requirement.specifier}", f"pip install '{wanted}'"
    )
