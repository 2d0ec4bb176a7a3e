"""Names of processors from the files that systems have."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.measure.device import _from_cpuinfo, device_name, usable_cpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: other\n", "AMD EPYC 7B13"),
        (
            "processor\t: 0\n\nHardware\t: BCM2711\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "Raspberry Pi 4 Model B Rev 1.4",
        ),
        ("processor : 0\nHardware : Qualcomm SM8250\n", "Qualcomm SM8250"),
        ("processor : 0\nmodel name :\n", ""),
        ("", ""),
    ],
)
def test_cpuinfo_of_x86_and_of_boards(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert _from_cpuinfo(tmp_path / "cpuinfo") == expected


def test_without_cpuinfo_there_is_still_a_name(tmp_path: Path) -> None:
    assert _from_cpuinfo(tmp_path / "absent") == ""
    name = device_name()
    assert f"({usable_cpus()} CPU" in name
    assert not name.startswith("(")
