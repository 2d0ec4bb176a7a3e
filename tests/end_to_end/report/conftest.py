"""A small real run with every section, made once, and a browser that keeps to itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from edgekit.cli.main import app
from edgekit.core.run_summary import RunSummary

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

MODEL = Path(__file__).resolve().parents[3] / "sample_models" / "digits_resnet" / "model.py"
PROJECT = """
name = "{name}"
seed = 3
stages = ["train", "prune", "distill", "quantize"]

[model]
source = "{model}:digits_resnet"
inputs = ["image:1x1x8x8"]
dynamic_batch = true
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

[model.preprocessing]
channels = "gray"
scale = 0.00392156862745098
mean = [0.305]
std = [0.376]

[data]
set = "digits"

[train]
epochs = 3
batch_size = 64
lr = 3e-3
threads = 1

[prune]
macs_ratio = 0.6

[distill]
epochs = 2
lr = 3e-3
threads = 1

[quantize]
qat = true
samples = 64
method = "mse"

[qat]
epochs = 1
threads = 1

[benchmark]
runs = {runs}

[targets.tflite]
precision = ["float32", "int8"]

[targets.onnxruntime]
precision = ["int8"]
"""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SmallRun:
    """A run that has ended.

    Attributes:
        project: Its project file.
        out: Its output folder.
        store: Its store.
        printed: What it printed.
    """

    project: Path
    out: Path
    store: Path
    printed: str

    @property
    def page(self) -> Path:
        return self.out / "report" / "report.html"

    @property
    def summary(self) -> RunSummary:
        return RunSummary.model_validate_json((self.out / "report" / "report.json").read_text())


def run_small(folder: Path, out: Path, name: str = "small", runs: int = 10) -> SmallRun:
    """Runs the project through the command line; what the store holds is reused."""
    project = folder / f"{name}.toml"
    project.write_text(PROJECT.format(name=name, runs=runs, model=MODEL))
    store = folder / "store"
    result = CliRunner(env={"COLUMNS": "160"}).invoke(
        app, ["run", str(project), "-o", str(out), "--store", str(store)]
    )
    assert result.exit_code == 0, result.output
    return SmallRun(project, out, store, result.output)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    folder = tmp_path_factory.mktemp("small")
    return run_small(folder, folder / "out")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Headless Chromium with an empty profile, without any network."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (apt install chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = chromium
    logged = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logged)
    found = webdriver.Chrome(options=options, service=Service(driver))
    found.set_page_load_timeout(120)
    yield found
    found.quit()
