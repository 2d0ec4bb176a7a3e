"""Output of native code is caught; what matters of it is logged."""

from __future__ import annotations

import logging
import os

import pytest

from edgekit.targets.tflite.native_output import quiet_native_stderr


def test_announcements_are_held_back_and_warnings_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), quiet_native_stderr() as lines:
        os.write(2, b"INFO: Created a delegate.\nWARNING: something is odd\n\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert lines == ["INFO: Created a delegate.", "WARNING: something is odd", ""]
    assert [record.getMessage() for record in caplog.records] == [
        "LiteRT: WARNING: something is odd"
    ]


def test_standard_error_is_restored_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with quiet_native_stderr():
            os.write(2, b"INFO: before\n")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
