"""report.json: the summary itself, for programs."""

from __future__ import annotations

import json
from typing import Any

from edgekit.core.run_summary import RunSummary


def render_json(summary: RunSummary) -> str:
    """JSON of the summary; its field ``schema_version`` tells readers what to expect."""
    value = summary.model_dump(mode="json")
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_json_schema() -> dict[str, Any]:
    """The JSON Schema that every report.json of this version fulfils."""
    schema = RunSummary.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
