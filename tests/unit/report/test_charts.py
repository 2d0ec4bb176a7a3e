"""Charts are valid Vega-Lite, and their library is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from edgekit.core.run_evidence import (
    CalibratedRange,
    ConfusionEntry,
    ConfusionMatrix,
    Flip,
    FlippedSamples,
    LayerErrorPoint,
    LayerErrorSummary,
    Picture,
    PredictionSummary,
)
from edgekit.core.run_summary import RunSummary
from edgekit.report.charts import library
from edgekit.report.charts.of_run import charts_of
from edgekit.report.charts.pareto import pareto_charts
from edgekit.report.render_html import MAX_PAGE_BYTES, render_html
from edgekit.report.render_markdown import escape, render_markdown
from edgekit.report.trade_off import Point

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def evidence(summary: RunSummary) -> RunSummary:
    """A run with predictions, errors of layers and ranges."""
    matrix = ConfusionMatrix(
        models=("reference",),
        right=15,
        entries=tuple(
            ConfusionEntry(target=target, predicted=predicted, count=count)
            for target, predicted, count in ((0, 0, 7), (0, 1, 1), (1, 1, 8))
        ),
    )
    flips = FlippedSamples(
        before="reference",
        after=("tflite int8",),
        gained=0,
        lost=1,
        changed=1,
        shown=(Flip(sample=3, target=0, before=0, after=1),),
    )
    predictions = PredictionSummary(
        dataset="pets/test",
        samples=16,
        classes=2,
        labels=("cat", "dog"),
        shown_classes=(0, 1),
        matrices=(matrix,),
        flips=(flips,),
        pictures=(Picture(sample=3, width=1, height=1, png=PNG),),
    )
    layers = LayerErrorSummary(
        scheme="int8",
        step="qat",
        dataset="pets/test",
        samples=8,
        runtime="onnxruntime",
        verdict="Layers are fine.",
        layers=(
            LayerErrorPoint(
                tensor="conv", layer="n0", dtype="int8", own_db=41.5, cumulative_db=38.25,
                max_abs=0.0314,
            ),
            LayerErrorPoint(
                tensor="fc", layer="n1", dtype="int8", own_db=12.5, cumulative_db=12.0,
                max_abs=0.5, out_of_line=True,
            ),
        ),
    )  # fmt: skip
    ranges = tuple(
        CalibratedRange(
            tensor=tensor, tensors=1, low=-1.0, high=1.5, seen_low=-1.0, seen_high=seen_high,
            scale=0.01, zero_point=-28,
        )
        for tensor, seen_high in (("conv", 1.5), ("fc", 7.5))
    )  # fmt: skip
    (quantization,) = summary.quantization
    return summary.model_copy(
        update={
            "predictions": predictions,
            "layer_errors": (layers,),
            "quantization": (quantization.model_copy(update={"ranges": ranges}),),
        }
    )


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


def test_a_page_with_the_library_holds_its_licences(
    summary: RunSummary, bare_summary: RunSummary
) -> None:
    notice = "Copyright (c) 2015-2023, University of Washington Interactive Data Lab"
    assert notice in render_html(summary)
    assert notice not in render_html(bare_summary)


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
        assert chart.note == "Not drawn, more than 10 points less accurate than the best: bad."


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


def test_evidence_is_drawn_and_told(evidence: RunSummary) -> None:
    charts = charts_of(evidence)
    compiled = {
        chart.name: vl_convert.vegalite_to_vega({**chart.spec, "width": 300})
        for anchor in ("predictions", "layer-errors", "ranges")
        for chart in charts[anchor]
    }
    assert set(compiled) == {"confusion-0", "layer-errors-int8", "ranges-int8"}
    assert all(item["marks"] for item in compiled.values())
    (confusion,), (layers,), (ranges,) = (
        charts[anchor] for anchor in ("predictions", "layer-errors", "ranges")
    )
    counts = {(r["target"], r["predicted"]): r["count"] for r in confusion.spec["data"]["values"]}
    assert counts == {("cat", "cat"): 7, ("cat", "dog"): 1, ("dog", "dog"): 8}
    assert "1 of 16 samples are wrong; most often cat is taken for dog, 1 times" in (
        confusion.description
    )
    kinds = {(r["tensor"], r["kind"]): r["db"] for r in layers.spec["data"]["values"]}
    assert kinds == {
        ("conv", "own error"): 41.5,
        ("conv", "all errors so far"): 38.25,
        ("fc", "own error out of line"): 12.5,
        ("fc", "all errors so far"): 12.0,
    }
    assert [row["clips"] for row in ranges.spec["data"]["values"]] == [False, True]
    assert "1 cut off values that were seen: fc." in ranges.description


def test_evidence_stands_in_page_and_markdown(evidence: RunSummary) -> None:
    page, text = render_html(evidence), render_markdown(evidence)
    for figure in ("12.5 dB, out of line", "0.0314", "Layers are fine.", "cat", "7.5"):
        assert figure in page, figure
        assert escape(figure) in text, figure
    assert f'src="data:image/png;base64,{PNG}"' in page
    assert 'alt="Sample 3, a cat"' in page
    assert PNG not in text


def test_a_page_that_pictures_make_too_large_goes_without(evidence: RunSummary) -> None:
    assert evidence.predictions is not None
    (picture,) = evidence.predictions.pictures
    large = picture.model_copy(update={"png": PNG * 100_000})
    predictions = evidence.predictions.model_copy(update={"pictures": (large,)})
    page = render_html(evidence.model_copy(update={"predictions": predictions}))
    assert len(page.encode()) <= MAX_PAGE_BYTES
    assert "with them the page would be larger than 6 MB" in page
    assert "data:image/png" not in page
