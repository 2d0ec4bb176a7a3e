"""The command line as a whole: start-up, help, exit codes and messages."""

import errno
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import edgekit
from edgekit.cli import schema
from edgekit.cli.main import COMMANDS, app
from edgekit.errors import (
    ConfigError,
    EdgekitError,
    GateError,
    InputError,
    InternalError,
    MissingToolError,
    UnsupportedError,
    UsageError,
    VerificationError,
)

HEAVY = (
    "torch", "tensorflow", "coremltools", "onnxruntime", "onnx", "onnx_ir", "onnxscript",
    "ai_edge_litert", "sklearn", "scipy", "vl_convert", "PIL", "jinja2", "timm", "numpy",
    "pydantic",
)  # fmt: skip


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes ``edgekit schema`` raise ``error``."""

    def command() -> None:
        raise error

    monkeypatch.setattr(schema, "command", command)


START = f"""
import sys
sys.argv = ["edgekit", *sys.argv[1:]]
import edgekit
if sys.argv[1:]:
    try:
        from edgekit.cli.main import main
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
allowed = {{"numpy", "pydantic"}} if len(sys.argv) > 2 else set()
loaded = sorted(set({HEAVY!r}) & set(sys.modules) - allowed)
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "line", [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_start_loads_nothing_heavy(line: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, *line], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name, entry in COMMANDS.items():
        assert name in shown.output
        assert entry.summary.split()[0] in shown.output
    assert "130 interrupted" in shown.output.replace("\n", " ").replace("  ", " ")


def test_no_arguments_show_the_help() -> None:
    shown = CliRunner().invoke(app, [])
    assert shown.exit_code == 2
    assert "Usage: edgekit" in shown.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_help(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"Usage: edgekit {name}" in shown.output


def test_version_is_the_package_version() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.stdout == f"edgekit {edgekit.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EdgekitError("no luck"), 1),
        (UsageError("no luck"), 2),
        (ConfigError("no luck"), 2),
        (InputError("no luck"), 2),
        (UnsupportedError("no luck"), 3),
        (GateError("no luck"), 4),
        (VerificationError("no luck"), 4),
        (MissingToolError("no luck"), 5),
    ],
)
def test_an_error_is_one_message_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: EdgekitError, code: int
) -> None:
    fail_with(monkeypatch, error)
    shown = CliRunner().invoke(app, ["schema"])
    assert shown.exit_code == code
    assert shown.stderr == "error: no luck\n"
    assert shown.stdout == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InternalError("no such slot"), "internal error: no such slot"),
        (
            ZeroDivisionError("by zero"),
            "internal error: ZeroDivisionError: by zero; re-run with --debug for the traceback",
        ),
        (
            ZeroDivisionError(),
            "internal error: ZeroDivisionError; re-run with --debug for the traceback",
        ),
        (MemoryError(), "out of memory; close other programs or use a smaller model"),
    ],
)
def test_a_defect_says_so_and_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    fail_with(monkeypatch, error)
    shown = CliRunner().invoke(app, ["schema"])
    assert shown.exit_code == 1
    assert shown.stderr == f"error: {message}\n"


def test_a_full_disk_is_no_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "out/a.tflite"))
    shown = CliRunner().invoke(app, ["schema"])
    assert shown.exit_code == 2
    assert "out/a.tflite. The disk is full" in shown.stderr
    assert "internal" not in shown.stderr


def test_interrupt_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    shown = CliRunner().invoke(app, ["schema"])
    assert shown.exit_code == 130
    assert shown.stderr.startswith("error: interrupted")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("line", [["--debug", "schema"], ["schema", "--debug"]])
def test_debug_shows_the_traceback_at_any_position(
    monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    fail_with(monkeypatch, ConfigError("no luck"))
    shown = CliRunner().invoke(app, line)
    assert shown.exit_code == 2
    assert "Traceback (most recent call last)" in shown.stderr
    assert shown.stderr.endswith("error: no luck\n")


def test_unknown_option_and_command_are_usage_errors() -> None:
    option = CliRunner().invoke(app, ["schema", "--colour"])
    assert option.exit_code == 2
    assert "No such option: --colour" in option.stderr
    command = CliRunner().invoke(app, ["convrt"])
    assert command.exit_code == 2
    assert "Did you mean 'convert'?" in command.stderr
