"""The name of the processor that a figure was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CPUINFO_KEYS = ("model name", "Model", "Hardware", "cpu model", "uarch")
"""x86, Raspberry Pi and other boards, Android kernels, MIPS, RISC-V; the first found wins."""


@cache
def device_name() -> str:
    """Processor and number of usable CPUs, for example ``"Neoverse-N1 (4 CPUs)"``."""
    name = _from_cpuinfo(_CPUINFO) or _from_sysctl() or platform.processor() or platform.machine()
    count = usable_cpus()
    return f"{name or 'unknown processor'} ({count} CPU{'s' if count != 1 else ''})"


def usable_cpus() -> int:
    """CPUs that this process may run on, which in a container are fewer than installed."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _from_cpuinfo(path: Path) -> str:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            fields.setdefault(key.strip(), value.strip())
    return next((fields[key] for key in _CPUINFO_KEYS if key in fields), "")


def _from_sysctl() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
