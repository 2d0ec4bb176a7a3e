"""The processor that measured results hold for."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def device_name() -> str:
    """The processor, as the operating system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def machine_scope() -> dict[str, str]:
    """What a latency depends on besides the artifact and the tools."""
    return {
        "device": device_name(),
        "cpu_count": str(os.cpu_count() or 0),
        "system": f"{platform.system()} {platform.machine()}",
    }
