"""The fixture ``edgekit`` of pytest: artifacts against a baseline in a test.

Registered under the entry-point group ``pytest11``, so that installing edgekit is enough::

    def test_no_regression(edgekit):
        edgekit.assert_no_regression("out/net.int8.tflite", "baseline.json", data="digits")

``pytest --edgekit-update`` writes the baselines instead of checking them. Nothing but pytest is
imported before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from edgekit.gate.verdict import CheckReport

type OnUnknown = Literal["fail", "skip", "pass"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares ``--edgekit-update`` and ``edgekit_on_unknown``."""
    group = parser.getgroup("edgekit")
    group.addoption(
        "--edgekit-update",
        action="store_true",
        help="Accept the artifacts of assert_no_regression as good: write their baselines.",
    )
    parser.addini(
        "edgekit_on_unknown",
        'What a test does where edgekit cannot tell: "fail" (default) or "skip".',
        default="fail",
    )


@dataclass(frozen=True, slots=True)
class RegressionGate:
    """What the fixture gives.

    Attributes:
        root: Folder that relative paths are taken from.
        update: Whether baselines are written instead of checked.
        on_unknown: What a test does where the check cannot tell, unless it says otherwise.
    """

    root: Path
    update: bool
    on_unknown: str

    def assert_no_regression(
        self,
        artifact: str | Path | Sequence[str | Path],
        baseline: str | Path,
        *,
        data: str | None = None,
        on_unknown: OnUnknown | None = None,
        budget_s: float = 60.0,
        **options: float,
    ) -> CheckReport | None:
        """Fails the test unless every gate passes.

        Args:
            artifact: Output folder of ``edgekit run`` or ``convert``, or one or more artifacts.
            baseline: The baseline's file.
            data: Data set; that of the baseline by default.
            on_unknown: What to do where the check cannot tell; ``"pass"`` leaves it to the
                caller, who finds the verdict in the report.
            budget_s: Seconds that the latency gate may take.
            options: Fields of `edgekit.gate.options.GateOptions`, such as ``margin=1.0``.

        Returns:
            The report; None where the baseline was written.

        Raises:
            EdgekitError: If there is no baseline, or the artifact is missing.
        """
        from edgekit.gate.check import CheckRequest, run_check
        from edgekit.gate.options import Budget
        from edgekit.gate.update import update_baseline

        given = (artifact,) if isinstance(artifact, (str, Path)) else tuple(artifact)
        request = CheckRequest(
            paths=tuple(self.root / path for path in given),
            baseline=self.root / baseline,
            data=data,
            changes=tuple(options.items()),
            budget=Budget(seconds=budget_s),
        )
        if self.update:
            update_baseline(request)
            return None
        report = run_check(request)
        self._conclude(report, on_unknown or self.on_unknown)
        return report

    def _conclude(self, report: CheckReport, on_unknown: str) -> None:
        from edgekit.gate.reports.wording import full_text, subject_of, verdict_sentence
        from edgekit.gate.verdict import Verdict

        if report.verdict is Verdict.PASS:
            return
        unknown = report.verdict is Verdict.CANNOT_TELL
        if unknown and on_unknown == "pass":
            return
        lines = [
            f"{subject_of(item, report)}, {item.gate}: {item.verdict.value}. {full_text(item)}"
            for item in report.findings
            if item.verdict in (Verdict.FAIL, Verdict.CANNOT_TELL)
        ]
        text = "\n".join([verdict_sentence(report), *lines])
        if unknown and on_unknown == "skip":
            pytest.skip(text)
        pytest.fail(text, pytrace=False)


@pytest.fixture(scope="session")
def edgekit(pytestconfig: pytest.Config) -> RegressionGate:
    """Checks artifacts against baselines; see `RegressionGate.assert_no_regression`."""
    on_unknown = str(pytestconfig.getini("edgekit_on_unknown"))
    if on_unknown not in ("fail", "skip"):
        raise pytest.UsageError(
            f'edgekit_on_unknown is {on_unknown!r}; it has to be "fail" or "skip".'
        )
    return RegressionGate(
        root=pytestconfig.rootpath,
        update=bool(pytestconfig.getoption("--edgekit-update")),
        on_unknown=on_unknown,
    )
