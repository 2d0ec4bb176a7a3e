"""Charts are valid Vega-Lite, and their library is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from edgekit.core.run_summary import RunSummary
from edgekit.report.charts import library
from edgekit.report.charts.of_run import charts_of
from edgekit.report.charts.pareto import pareto_charts
from edgekit.report.trade_off import Point


def test_every_chart_compiles_and_holds_its_figures(summary: RunSummary) -> None:
    charts = charts_of(summary)
    assert set(charts) == {"ledger", "trade-off", "training", "qat"}
    for chart in (item for found in charts.values() for item in found):
        spec: dict[str, Any] = {**chart.spec, "width": 300}
        compiled = vl_convert.vegalite_to_vega(spec)
        assert compiled["marks"], chart.name
        assert "http" not in json.dumps(chart.spec)
        assert len(chart.description) > 40
    (ledger,) = charts["ledger"]
    rows = ledger.spec["data"]["values"]
    assert [row["text"] for row in rows] == ["98.61", "97.22 (−1.39)", "95.83 (−2.78)"]


def test_nothing_to_draw_gives_no_chart(bare_summary: RunSummary) -> None:
    assert charts_of(bare_summary) == {}


def test_points_far_below_are_named_and_left_out() -> None:
    made = [
        Point(name, "tflite", "int8", accuracy, 1.0, 10.0)
        for name, accuracy in (("good", 0.9), ("fair", 0.85), ("bad", 0.5))
    ]
    for chart in pareto_charts(made):
        names = [row["name"] for row in chart.spec["data"]["values"]]
        assert names == ["good", "fair"]
        assert chart.title.endswith("more than 10 points below: bad")


def test_the_library_is_kept_and_a_damaged_copy_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.library_script.cache_clear()
    script = library.library_script()
    assert "</script" not in script
    assert "edgekitVegaEmbed" in script
    (kept,) = (tmp_path / "edgekit").iterdir()
    library.library_script.cache_clear()
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: "made anew")
    assert library.library_script() == script
    kept.write_bytes(kept.read_bytes()[:-1])
    library.library_script.cache_clear()
    assert library.library_script() == "made anew"
    library.library_script.cache_clear()


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: "a script")
    library.library_script.cache_clear()
    assert library.library_script() == "a script"
    library.library_script.cache_clear()
