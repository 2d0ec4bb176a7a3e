"""What every HTML page of edgekit has in common: one file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from edgekit.report.charts.chart import Chart
from edgekit.report.charts.library import library_script, missing_library

_TEMPLATES = (
    "page.html.j2", "report.html.j2", "comparison.html.j2", "macros.html.j2", "LICENSES.txt",
    "report.css",
)  # fmt: skip


def render_page(template: str, charts: Mapping[str, Sequence[Chart]], **values: Any) -> str:
    """A page with its charts; names and reasons are escaped, for they may hold anything.

    The page's policy allows the two scripts that stand in it, by their digests, and no request.
    Without the chart library the page says so, and has all of its tables.

    Args:
        template: Name of the template.
        charts: By the place that the template draws them at.
        **values: For the template.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = resources.files("edgekit.report").joinpath("templates")
    sources = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _TEMPLATES}
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    missing = missing_library() if any(charts.values()) else ""
    scripts: tuple[str, ...] = ()
    if any(charts.values()) and not missing:
        drawing = folder.joinpath("charts.js").read_text(encoding="utf-8")
        scripts = (library_script(), drawing)
    return environment.get_template(template).render(
        charts={} if missing else charts,
        charts_missing=missing,
        scripts=scripts,
        policy=_policy(scripts),
        as_json=_as_json,
        **values,
    )


def _policy(scripts: Sequence[str]) -> str:
    """The content security policy: nothing is loaded, and only these scripts run."""
    parts = ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    if scripts:
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts)
        parts.append("script-src " + " ".join(f"'sha256-{item.decode()}'" for item in digests))
    return "; ".join(parts)


def _as_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")
