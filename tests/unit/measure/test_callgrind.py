"""Steering callgrind, and reading what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError
from edgekit.measure.callgrind import Callgrind, unsupported_machine
from edgekit.measure.callgrind_dump import read_dumps

DUMP = """# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 7
cmd:  python -m worker
part: {part}

desc: I1 cache:
desc: Trigger: Client Request: {label}

positions: line
events: {events}
summary: {total}

fn=(1) run
0 12

totals: {total}
"""


def write(folder: Path, part: int, label: str, events: str, total: str) -> None:
    text = DUMP.format(part=part, label=label, events=events, total=total)
    (folder / f"out.{part}").write_text(text)


def test_totals_by_label(tmp_path: Path) -> None:
    write(tmp_path, 1, "empty", "Ir", "812")
    write(tmp_path, 2, "run 0", "Dr Ir", "5 316131")
    (tmp_path / "out.3").write_text("desc: Trigger: Program termination\nevents: Ir\ntotals: 4\n")
    assert read_dumps(tmp_path, "out") == {"empty": 812, "run 0": 316131}


@pytest.mark.parametrize(("events", "total"), [("Dr", "5"), ("Ir", "many"), ("Dr Ir", "5")])
def test_a_dump_without_instructions(tmp_path: Path, events: str, total: str) -> None:
    write(tmp_path, 1, "run 0", events, total)
    with pytest.raises(InputError, match="no total of instructions"):
        read_dumps(tmp_path, "out")


@pytest.mark.skipif(bool(unsupported_machine()), reason=unsupported_machine())
def test_requests_do_nothing_without_valgrind() -> None:
    callgrind = Callgrind()
    assert not callgrind.running
    called: list[int] = []
    callgrind.start()
    callgrind.count(lambda: called.append(1), "once")
    callgrind.stop()
    assert called == [1]


def test_another_machine_cannot_be_steered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "on aarch64" in unsupported_machine()
