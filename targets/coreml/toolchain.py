"""coremltools, imported so that it neither crashes nor chatters.

`import coremltools` imports tensorflow where that is installed, and with a CUDA build of torch
beside it the process dies while triton's library loads (seen with coremltools 9.0). edgekit never
converts from TensorFlow through coremltools, so it is told that there is none.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ["coremltools", "mb", "quietly"]


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Lets `import tensorflow` fail for a while, unless it has been imported already."""
    absent = object()
    before: Any = sys.modules.get("tensorflow", absent)
    if before is absent:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is absent:
            del sys.modules["tensorflow"]


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps coremltools' warnings about its own parts and progress bars off the terminal."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _load() -> ModuleType:
    with _without_tensorflow(), quietly():
        # Its log says on import which native libraries Linux lacks; edgekit needs none of them.
        logging.disable(logging.WARNING)
        try:
            import coremltools
        finally:
            logging.disable(logging.NOTSET)
    module: ModuleType = coremltools
    return module


coremltools: Any = _load()
with _without_tensorflow(), quietly():
    from coremltools.converters.mil import Builder

mb: Any = Builder
"""The MIL builder."""
