"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.pytest_plugin import RegressionGate
from tests.unit.gate.conftest import write_classifier, write_samples

pytest_plugins = ["pytester"]

TEST = """
def test_no_regression(edgekit):
    edgekit.assert_no_regression(
        "lines.onnx", "baseline.json", data="npz:samples.npz", latency=False, memory=False
    )
"""


class Inner:
    """A project with one test, and a way to run it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.folder = pytester.path
        pytester.makepyfile(TEST)
        write_samples(self.folder / "samples.npz")
        self.write(0.0)

    def write(self, spoilt: float) -> None:
        write_classifier(self.folder / "lines.onnx", spoilt=spoilt)

    def run(self, *words: str, process: bool = False) -> pytest.RunResult:
        registered = any(
            entry.value == "edgekit.pytest_plugin" for entry in entry_points(group="pytest11")
        )
        plugin = () if registered else ("-p", "edgekit.pytest_plugin")
        given = (*plugin, "-p", "no:cacheprovider", *words)
        if process:
            return self.pytester.runpytest_subprocess(*given)
        return self.pytester.runpytest_inprocess(*given)


@pytest.fixture
def inner(pytester: pytest.Pytester) -> Inner:
    return Inner(pytester)


def test_update_then_pass_then_fail(inner: Inner) -> None:
    inner.run("--edgekit-update").assert_outcomes(passed=1)
    assert (inner.folder / "baseline.json").is_file()
    inner.run().assert_outcomes(passed=1)
    inner.write(0.5)
    result = inner.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*Verdict: fail (*", "*lines.onnx, accuracy: fail. *points from the baseline's*"]
    )
    assert "Traceback" not in result.stdout.str()
    inner.write(0.12)
    inner.run("-o", "edgekit_on_unknown=skip").assert_outcomes(skipped=1)


def test_an_unknown_setting_is_refused(inner: Inner) -> None:
    result = inner.run("-o", "edgekit_on_unknown=pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*it has to be "fail" or "skip"*'])


def test_the_test_can_decide(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.npz")
    write_classifier(tmp_path / "lines.onnx")

    def gate(*, update: bool = False) -> RegressionGate:
        return RegressionGate(root=tmp_path, update=update, on_unknown="fail")

    names = (["lines.onnx"], "baseline.json")
    with pytest.raises(UsageError, match="there is no baseline"):
        gate().assert_no_regression(*names)
    written = gate(update=True).assert_no_regression(
        *names, data=f"npz:{tmp_path / 'samples.npz'}", latency=False, memory=False
    )
    assert written is None
    write_classifier(tmp_path / "lines.onnx", spoilt=0.12)
    report = gate().assert_no_regression(*names, on_unknown="pass", margin=0.1)
    assert report is not None
    assert (report.verdict.value, report.options.margin) == ("cannot tell", 0.1)
    with pytest.raises(pytest.fail.Exception, match="Verdict: cannot tell"):
        gate().assert_no_regression(*names)
    with pytest.raises(pytest.skip.Exception, match="Verdict: cannot tell"):
        gate().assert_no_regression(*names, on_unknown="skip")


def test_the_plugin_loads_nothing_heavy(inner: Inner) -> None:
    inner.pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert not {"torch", "onnxruntime", "tensorflow"} & set(sys.modules)
        """
    )
    inner.run(process=True).assert_outcomes(passed=1)


def test_it_is_offered_as_an_entry_point() -> None:
    import tomllib

    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"edgekit": "edgekit.pytest_plugin"}
