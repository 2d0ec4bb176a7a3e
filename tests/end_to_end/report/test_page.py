"""The pages in a browser: all charts are drawn, nothing is fetched, a keyboard is enough."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgekit.cli.main import app
from tests.end_to_end.report.conftest import SmallRun, run_small

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

PHONE, DESK = 390, 1440
MAX_BYTES = 6 * 2**20
SECTIONS = {
    "results", "ledger", "trade-off", "accuracy", "predictions", "layer-errors", "float",
    "operators", "ranges", "qat", "training", "provenance",
}  # fmt: skip
CHARTS = {
    "ledger": 1, "trade-off": 2, "predictions": 1, "layer-errors": 1, "ranges": 1, "qat": 2,
    "training": 4,
}  # fmt: skip
"""Sections with at least so many charts."""
_DRAWN_WITHIN_S = 120


def show(browser: WebDriver, page: Path, width: int, scheme: str = "light") -> None:
    """Opens a page and waits until its charts are drawn; logs of earlier pages are dropped."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for name in ("browser", "performance"):
        browser.get_log(name)  # type: ignore[no-untyped-call]
    browser.get(page.as_uri())
    end = time.monotonic() + _DRAWN_WITHIN_S
    while (state := charts_state(browser)) is None and time.monotonic() < end:
        time.sleep(0.1)
    assert state == "drawn"


def charts_state(browser: WebDriver) -> str | None:
    state: str | None = browser.execute_script(
        "return document.documentElement.dataset.charts || null"
    )
    return state


def value(browser: WebDriver, script: str) -> Any:
    return browser.execute_script(f"return {script}")


def console(browser: WebDriver) -> list[str]:
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log]


def requests(browser: WebDriver) -> list[str]:
    """Addresses of everything that the page asked for, itself among them."""
    log = browser.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in log]
    return [
        item["params"]["request"]["url"]
        for item in messages
        if item["method"] == "Network.requestWillBeSent"
    ]


@pytest.fixture(scope="module")
def pages(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run, and of two runs compared."""
    folder = small_run.project.parent
    # Measured anew; everything else is reused.
    other = run_small(folder, folder / "out-again", name="again", runs=12)
    compared = folder / "compared.html"
    call = CliRunner().invoke
    result = call(app, ["report", str(small_run.out), str(other.out), "-o", str(compared)])
    assert result.exit_code == 0, result.output
    return {"report": small_run.page, "comparison": compared}


@pytest.mark.parametrize("name", ["report", "comparison"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_every_chart_is_drawn_and_nothing_is_fetched(
    browser: WebDriver, pages: dict[str, Path], name: str, width: int
) -> None:
    page = pages[name]
    assert page.stat().st_size <= MAX_BYTES
    show(browser, page, width)
    assert console(browser) == []
    asked = [url for url in requests(browser) if not url.startswith("data:image/png")]
    assert asked == [page.as_uri()]
    assert value(browser, "document.documentElement.scrollWidth <= window.innerWidth")
    drawn = value(
        browser,
        "[...document.querySelectorAll('[data-spec]')].map(place => "
        "place.querySelectorAll('.mark-rect path, .mark-symbol path, .mark-line path').length)",
    )
    assert len(drawn) >= 3
    assert min(drawn) > 0
    widths = value(
        browser,
        "[...document.querySelectorAll('[data-spec]')].map(place => "
        "[place.querySelector('svg').getBoundingClientRect().width, place.clientWidth])",
    )
    for svg, place in widths:
        assert 0.6 * place < svg <= place + 1


def test_the_report_of_a_run_has_all_sections_and_charts(
    browser: WebDriver, pages: dict[str, Path]
) -> None:
    show(browser, pages["report"], DESK)
    found = set(value(browser, "[...document.querySelectorAll('section')].map(s => s.id)"))
    assert found >= SECTIONS
    for section, count in CHARTS.items():
        charts = value(browser, f"document.querySelectorAll('#{section} [data-spec]').length")
        assert charts >= count, section
    pictures = value(
        browser,
        "[...document.querySelectorAll('.gallery img')].map(i => [i.naturalWidth, i.alt])",
    )
    assert pictures
    assert all(width == 8 and alt.startswith("Sample ") for width, alt in pictures)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_have_ink_that_stands_out_from_the_paper(
    browser: WebDriver, pages: dict[str, Path], scheme: str
) -> None:
    show(browser, pages["report"], PHONE, scheme)
    boxes = value(
        browser,
        "[...document.querySelectorAll('[data-spec]')].map(place => { "
        "const b = place.getBoundingClientRect(); "
        "return [b.x, b.y + scrollY, b.width, b.height]; })",
    )
    assert len(boxes) >= sum(CHARTS.values())
    for x, y, width, height in boxes:
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        shot = browser.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        grey = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("L")
        pixels = np.asarray(grey, dtype=np.int64)
        paper = int(np.bincount(pixels.ravel()).argmax())
        assert (paper > 200) == (scheme == "light")
        assert (np.abs(pixels - paper) > 60).mean() > 0.005


def test_charts_follow_when_the_reader_turns_the_light_off(
    browser: WebDriver, pages: dict[str, Path]
) -> None:
    show(browser, pages["report"], DESK, "light")
    ink = "getComputedStyle(document.querySelector('[data-spec] svg text')).fill"
    light = value(browser, ink)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    assert value(browser, ink) != light


def test_charts_follow_the_width_of_the_page(browser: WebDriver, pages: dict[str, Path]) -> None:
    show(browser, pages["report"], DESK)
    metrics = {"width": PHONE, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    end = time.monotonic() + 20
    widest = (
        "Math.max(...[...document.querySelectorAll('[data-spec] svg')].map(s => s.clientWidth))"
    )
    while value(browser, widest) > PHONE and time.monotonic() < end:
        time.sleep(0.1)
    assert value(browser, widest) <= PHONE
    assert value(browser, "document.documentElement.scrollWidth <= window.innerWidth")


def test_a_pointer_is_told_the_figures(browser: WebDriver, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, pages["report"], DESK)
    point = browser.find_element(By.CSS_SELECTOR, "#trade-off [data-spec] .mark-symbol path")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(browser).move_to_element(point).perform()
    end = time.monotonic() + 20
    shown = "document.querySelector('#vg-tooltip-element.visible')?.innerText || ''"
    while not (text := value(browser, shown)) and time.monotonic() < end:
        time.sleep(0.1)
    assert "Top-1 [%]" in text
    assert "Device" in text


def test_a_keyboard_reaches_every_chart_and_fold_and_shows_where_it_is(
    browser: WebDriver, pages: dict[str, Path]
) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, pages["report"], DESK)
    wanted = set(
        value(browser, "[...document.querySelectorAll('[data-spec]')].map(p => p.dataset.spec)")
    )
    folds = value(browser, "document.querySelectorAll('details').length")
    reached: list[str] = []
    for _ in range(150):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        what, outline = value(
            browser,
            "(e => [e.dataset.spec || e.tagName, getComputedStyle(e).outlineStyle])"
            "(document.activeElement)",
        )
        if what == "BODY":
            break
        assert outline != "none", what
        reached.append(what)
    order = [what for what in reached if what.startswith("spec-")]
    assert set(order) == wanted
    assert len(order) == len(wanted)
    assert reached.count("SUMMARY") == folds
    named = value(
        browser,
        "[...document.querySelectorAll('[data-spec]')].map(p => [p.getAttribute('role'), "
        "p.getAttribute('aria-label').length, "
        "document.getElementById(p.getAttribute('aria-details'))"
        ".querySelectorAll('td').length])",
    )
    for role, length, cells in named:
        assert role == "img"
        assert length > 40
        assert cells > 2
