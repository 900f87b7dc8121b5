"""kill -9 of workers and of the driver: nothing lost, nothing twice, bit for bit the same."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from folders import command, content, scenes_manifest

from noisespace.batch.records import read_rows

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds children there")


def workers_of(pid):
    """Processes below one that were spawned as workers."""
    found, waiting = [], [pid]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                below = [int(word) for word in path.read_text().split()]
            except OSError:
                continue
            waiting += below
            found += [p for p in below if is_worker(p)]
    return found


def is_worker(pid):
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"spawn_main" in words or words.startswith(b"ray::")


def killing(path, out, kills, rng, pause, *more):
    """Runs the command until it is done, killing now a worker, now the driver; how many died."""
    died = {"driver": 0, "worker": 0}
    process = None
    deadline = time.monotonic() + 3000
    while time.monotonic() < deadline:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode == 0:
                break
            process = subprocess.Popen(command(path, out, *more), **QUIET)
        if sum(died.values()) >= kills:
            assert process.wait(timeout=1500) == 0
            break
        before = shards(out)
        while process.poll() is None and shards(out) < before + 1:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, pause))
        below = workers_of(process.pid)
        if process.poll() is not None:
            continue
        if below and rng.random() < 0.6:
            victim, kind = rng.choice(below), "worker"
        else:
            victim, kind = process.pid, "driver"
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        died[kind] += 1
        if kind == "driver":
            process.wait()
    return died


def shards(out):
    return len(list(out.glob("rows/group-*.parquet")))


def same(out, whole, count):
    rows = list(read_rows(out))
    assert len(rows) == count
    assert len({row.id for row in rows}) == count
    assert all(row.status == "ok" for row in rows)
    assert content(out) == content(whole)
    assert not list(out.rglob("*.tmp"))
    assert not (out / "tries").exists()


def test_workers_and_driver_are_killed(tmp_path):
    path = scenes_manifest(tmp_path / "in", 16)
    done = subprocess.run(command(path, tmp_path / "whole"), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rng = random.Random(2)
    died = killing(path, tmp_path / "out", 2, rng, 0.2, "--workers", "2")
    assert sum(died.values()) >= 1  # the check could fail
    same(tmp_path / "out", tmp_path / "whole", 16)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_twenty_kills_over_500_rows(tmp_path, engine):
    path = scenes_manifest(tmp_path / "in", 500)
    subprocess.run(command(path, tmp_path / "whole"), check=True, timeout=1500, **QUIET)
    more = ["--workers", "2"] if engine == "local" else ["--engine", "ray", "--actors", "1:2"]
    died = killing(path, tmp_path / "out", 20, random.Random(1), 1.0, *more)
    assert sum(died.values()) == 20, died
    assert min(died.values()) > 0, died
    same(tmp_path / "out", tmp_path / "whole", 500)


def test_ctrl_c_lets_workers_finish(tmp_path):
    path = scenes_manifest(tmp_path / "in", 12)
    process = subprocess.Popen(
        command(path, tmp_path / "out", "--workers", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not shards(tmp_path / "out") and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    told, said = process.communicate(timeout=300)
    assert process.returncode in (0, 130), said
    document = json.loads(told)
    assert document["failed"] == 0
    assert document["done"] + document["left"] == 12
    assert document["done"] >= 2
