"""How reports name the runtime; imports no toolchain."""

from __future__ import annotations

RUNTIME = "edgekit MIL runtime, not the Neural Engine"
