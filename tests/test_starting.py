"""The command line looks for no garbage until it is there, and then it does."""

import gc
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from noisespace.cli.app import app
from noisespace.cli.starting import begin, begun

LINES = """
import gc
from noisespace.cli import main
try:
    main()
finally:
    print("enabled", gc.isenabled(), "frozen", gc.get_freeze_count())
"""


def ended(*arguments):
    """How garbage is collected where a command has ended: (enabled, objects that stay)."""
    command = [sys.executable, "-c", LINES, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return said[-3] == "True", int(said[-1])


def test_a_command_starts_without_collecting():
    assert ended("--version") == (False, 0)


def test_a_command_with_a_model_collects(tmp_path):
    out = str(tmp_path / "a.png")
    enabled, kept = ended("sample", "a red circle", "--steps", "1", "--device", "cpu", "-o", out)
    assert (tmp_path / "a.png").is_file()
    assert enabled
    assert kept > 100_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch", "missing.jsonl", "--out", "out"],
        ["train", "missing.json"],
        ["bench", "--methods", "ddim", "--data", "missing", "--out", "out"],
    ],
)
def test_commands_that_load_no_model_themselves_collect(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin()
    try:
        assert CliRunner().invoke(app, arguments).exit_code == 2
        assert gc.isenabled()
    finally:
        begun()
        gc.unfreeze()


def test_a_program_that_calls_commands_keeps_its_own_way():
    before = gc.get_freeze_count()
    gc.disable()
    try:
        begun()
        assert not gc.isenabled()
        assert gc.get_freeze_count() == before
    finally:
        gc.enable()
