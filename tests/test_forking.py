"""Workers come from one process that has imported what they need, or are started anew."""

import os
import sys

import pytest

from noisespace.system.workers import (
    PRELOADED,
    can_fork,
    context_for,
    expect_workers,
    in_environment,
)

HEAVY = ("torch", "diffusers", "transformers")
pytestmark = pytest.mark.skipif(
    not can_fork("cpu"), reason="workers are started anew on this system"
)


def looks(told):
    """A worker that tells what it found when it began."""
    found = {
        "imported": [name for name in (*HEAVY, PRELOADED) if name in sys.modules],
        "parent": os.getppid(),
        "siblings": len(os.listdir(f"/proc/{os.getppid()}/task")),
        "cuda": sys.modules["torch"].cuda.is_initialized(),
        "late": os.environ.get("LATE"),
        "gone": os.environ.get("GONE"),
    }
    told.put(found)


def begun_one():
    source = context_for("cpu")
    told = source.Queue()
    worker = source.Process(
        target=in_environment, args=(dict(os.environ), looks, told), daemon=True
    )
    worker.start()
    found = told.get(timeout=120)
    worker.join(60)
    assert worker.exitcode == 0
    return found


def test_workers_share_what_one_process_has_imported(monkeypatch):
    """And take on their parent's environment of when they begin."""
    monkeypatch.setenv("GONE", "1")
    expect_workers("cpu")
    first = begun_one()
    monkeypatch.delenv("GONE")
    monkeypatch.setenv("LATE", "2")
    second = begun_one()
    for found in (first, second):
        assert found["imported"] == [*HEAVY, PRELOADED]
        assert found["siblings"] == 1  # a fork leaves other threads, and what they hold, behind
        assert not found["cuda"]
    assert first["parent"] == second["parent"] != os.getpid()
    assert (second["late"], second["gone"]) == ("2", None)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_does_not_survive_a_fork(kind):
    assert context_for(kind).get_start_method() == "spawn"
