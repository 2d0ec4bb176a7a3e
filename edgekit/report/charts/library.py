"""The chart library as one script: Vega, Vega-Lite and Vega-Embed (BSD-3-Clause).

They come with vl-convert-python, which bundles them; that takes more than a second, so that the
script is kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from edgekit.store.durable import write_bytes

PACKAGE, EXTRA = "vl-convert-python", "report"
_SNIPPET = "window.edgekitVegaEmbed = vegaEmbed;"
_DIGEST_LENGTH = 64


def missing_library() -> str:
    """Why no charts can be drawn, with the remedy; empty where they can."""
    if find_spec("vl_convert") is not None:
        return ""
    return (
        f"Charts are left out: {PACKAGE} is not installed. Install it with: "
        f"pip install 'edgekit[{EXTRA}]'"
    )


@cache
def library_script() -> str:
    """The script, from the cache where that holds it undamaged.

    It needs neither network nor ``eval``, and holds no ``</script``.

    Raises:
        ImportError: If vl-convert-python is not installed; see `missing_library`.
    """
    place = _cached_file()
    if place is not None and (kept := _read(place)) is not None:
        return kept
    import vl_convert

    script = vl_convert.javascript_bundle(_SNIPPET).replace("</script", r"<\/script")
    if place is not None:
        _keep(place, script)
    return script


def _cached_file() -> Path | None:
    """Where the script of the installed version is kept; None where there is no such folder."""
    try:
        name = f"vega-{version(PACKAGE)}.js"
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except (PackageNotFoundError, RuntimeError):
        return None
    return Path(base) / "edgekit" / name


def _read(place: Path) -> str | None:
    """The kept script if it is whole: its digest stands before it."""
    try:
        kept = place.read_bytes()
    except OSError:
        return None
    digest, script = kept[:_DIGEST_LENGTH], kept[_DIGEST_LENGTH + 1 :]
    if hashlib.sha256(script).hexdigest().encode() != digest:
        return None
    return script.decode()


def _keep(place: Path, script: str) -> None:
    data = script.encode()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
    except OSError:
        return  # a cache that cannot be written costs a second the next time, and nothing else
