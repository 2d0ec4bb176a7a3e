"""The three forms of the report."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from edgekit.core.run_summary import RunSummary
from edgekit.report.charts import library
from edgekit.report.charts.library import library_script
from edgekit.report.render_html import render_html
from edgekit.report.render_json import render_json, report_json_schema
from edgekit.report.render_markdown import escape, render_markdown
from edgekit.report.sections import all_sections
from edgekit.report.tables import Cell, Column, Table

FIGURES = (
    "98.61 %", "96.8–99.4", "98.33 %", "−0.28", "355 of 360", "99.72 %",
    "0.0421", "0.0526", "1.23", "1.54", "7.00 MiB", "LiteRT 2.1.2 (XNNPACK)",
    "200 runs after 20 warm-up runs", "311 KiB", "156 KiB", "1.5e-07", "3.0e-03", "3.6e-06",
    "24.5", "1.0e-04", "78,042", "2.65 M", "318432", "41.3 s", "Test Processor 9000", "3.12.1",
    "2.13.0", "c" * 64, "this machine has no Core ML; run it on macOS",
    "Core ML, computes in float16, for iOS17", "TFLite, engine onnx2tf",
    "coremltools is not installed", "ReLU fused into CONV_2D", "AdamW",
    "digits/test, n = 360", "95 % Wilson interval", "359 of 360 predictions as ONNX Runtime",
    "all predictions as ONNX Runtime",
    "31.4 dB", "33.2 dB", "97.65 %", "−0.10", "256 samples of digits/train", "28.1 dB",
    "Left in float32 to keep the accuracy: conv7", "norm9",
    "1,167 samples of digits/train", "130 others of it, drawn with seed 7", "96.92 %", "0 (PTQ)",
    "right on 97.69 % of those", "0.1234", "−2.78", "+1 −11", "no labels here",
    "1.31 M", "159 KiB", "49.43 % of the MACs", "0.0421 ms became 0.0203 ms", "conv5",
    "outputs of the network", "512 samples of digits/train were kept",
    "0.0715 with them", "+2 −7", "0.18",
    "conv6", "1,234", "1,543", "79.97 %", "56.53 %", "the smallest 80.00 % of each layer",
    "256 KiB before, 76.0 KiB after", "keep names it", "513 samples of digits/train were dropped",
    "No speed as written by edgekit", "2 of each 4 along the input channels stay",
    "LayerNormalization has no integer kernel", "99.60 % of 250 samples", "1.23 %", "1 LSB",
)  # fmt: skip
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what the page shows and names, and checks that its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())


def test_html_shows_every_figure(summary: RunSummary) -> None:
    shown = Page(render_html(summary)).text
    for figure in FIGURES:
        assert figure in shown, figure


def test_markdown_shows_every_figure(summary: RunSummary) -> None:
    shown = render_markdown(summary)
    for figure in FIGURES:
        assert escape(figure) in shown, figure


def test_html_escapes_names_and_runs_only_its_own_scripts(summary: RunSummary) -> None:
    text = render_html(summary)
    page = Page(text)
    assert "<script>alert(1)</script>|`x`" in page.text
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    assert scripts[0] == library_script()
    (policy,) = (value for _, value in page.attributes if value.startswith("default-src"))
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-eval" not in policy
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_html_needs_nothing_from_outside(summary: RunSummary) -> None:
    text = render_html(summary)
    page = Page(text)
    for name, value in page.attributes:
        if name in ("href", "src", "srcset", "data", "action"):
            assert value.startswith(("#", "data:image/png;base64,")), (name, value)
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "url(" not in markup
    assert "@import" not in markup
    (policy,) = (value for _, value in page.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_html_without_the_chart_library_says_so_and_has_all_figures(
    summary: RunSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    page = Page(render_html(summary))
    assert "pip install 'edgekit[report]'" in page.text
    assert "script" not in page.tags
    for figure in FIGURES:
        assert figure in page.text, figure


def test_html_links_lead_somewhere(summary: RunSummary) -> None:
    attributes = Page(render_html(summary)).attributes
    places = {value for name, value in attributes if name == "id"}
    links = {value[1:] for name, value in attributes if name == "href"}
    assert "notes" in links
    assert {section.anchor for section in all_sections(summary)} <= links
    assert links <= places


def test_html_fits_phones_and_both_colour_schemes(summary: RunSummary) -> None:
    text = render_html(summary)
    assert ("content", "width=device-width, initial-scale=1") in Page(text).attributes
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 700px" in text


@pytest.mark.parametrize("render", [render_html, render_markdown, render_json])
def test_same_summary_same_bytes(summary: RunSummary, render: Callable[[RunSummary], str]) -> None:
    again = RunSummary.model_validate_json(summary.model_dump_json())
    assert render(summary) == render(again)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_run_with_nothing_to_show_renders(
    bare_summary: RunSummary, render: Callable[[RunSummary], str]
) -> None:
    shown = render(bare_summary)
    assert "no data set was named" in shown
    assert "a shape is missing" in shown
    shown = re.sub(r"<script>.*?</script>", "", shown, flags=re.DOTALL)
    assert "None" not in re.sub(r"default-src .none.", "", shown)


def test_markdown_tables_are_whole(summary: RunSummary) -> None:
    for block in render_markdown(summary).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(widths) <= 1, block


def test_markdown_escapes_names(summary: RunSummary) -> None:
    shown = render_markdown(summary)
    assert "<script>" not in shown
    assert r"\<script\>alert(1)\</script\>\|\`x\`" in shown
    assert escape("two\nlines | and *stars*") == r"two lines \| and \*stars\*"


def test_details_of_each_file_are_kept(summary: RunSummary) -> None:
    (files,) = (section for section in all_sections(summary) if section.anchor == "files")
    assert [table.title for table in files.tables] == ["tflite float32", "tflite float16"]
    assert [cell.text for cell in files.tables[0].rows[0]] == ["schema", "3"]


def test_warnings_come_before_other_notes(summary: RunSummary) -> None:
    (notes,) = (section for section in all_sections(summary) if section.anchor == "notes")
    levels = [row[0].text for row in notes.tables[0].rows]
    assert levels == ["warning", "info", "info"]


def test_json_is_the_summary(summary: RunSummary) -> None:
    text = render_json(summary)
    assert json.loads(text)["schema_version"] == 1
    assert RunSummary.model_validate_json(text) == summary


def test_json_schema_names_every_field(summary: RunSummary) -> None:
    schema = report_json_schema()
    written = json.loads(render_json(summary))
    assert set(schema["properties"]) == set(written)
    assert schema["properties"]["schema_version"]["const"] == 1
    assert schema["$schema"].endswith("2020-12/schema")


def test_a_row_must_fill_its_table() -> None:
    with pytest.raises(ValueError, match="row 'a' fills 1 columns, the table has 2"):
        Table((Column("x"), Column("y")), ((Cell("a"),),))
