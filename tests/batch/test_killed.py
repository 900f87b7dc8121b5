"""Workers and drivers killed at any moment: nothing lost, nothing twice, the same bytes."""

import json
import os
import random
import signal
import subprocess

import psutil
import pytest
from batch_folders import (
    CHOICE,
    PATIENCE,
    QUIET,
    command,
    content,
    parts,
    records,
    rows_in,
    waited,
    write,
)

from noisespace.batch import work, worker
from noisespace.batch.crew import Crew
from noisespace.batch.job import planned
from noisespace.batch.local import Order
from noisespace.batch.plan import Settings
from noisespace.batch.serving import serve
from noisespace.batch.work import Task
from noisespace.batch.worker import Worker
from noisespace.system.workers import can_fork
from tiny import tiny_sd


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline on disk, a manifest, and what an undisturbed run of it by one worker makes."""
    folder = tmp_path_factory.mktemp("killed")
    tiny_sd().save_pretrained(folder / "model")
    manifest = write(folder / "in", rows_in(folder / "in", 10))
    words = command(manifest, folder / "whole", folder / "model", "--workers", "1", "--codes")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_killed_driver_and_a_killed_worker_cost_nothing(folder, tmp_path):
    """The driver is killed once, then one of two workers; two workers make what one makes."""
    out, rng = tmp_path / "out", random.Random(0)
    words = command(folder / "in" / "jobs.jsonl", out, folder / "model", "--codes", "--workers")
    process = subprocess.Popen([*words, "1"], **QUIET)
    waited(lambda: parts(out) >= 1, process)
    assert process.poll() is None  # it was killed, and did not end
    process.kill()
    process.wait()
    before = parts(out)
    assert 1 <= before < 6

    process = subprocess.Popen([*words, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    waited(lambda: parts(out) > before, process)
    # forked, or started anew; not what they are forked from, nor the tracker of resources
    workers = [
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if one.ppid() != process.pid or "spawn_main" in str(one.cmdline())
    ]
    assert workers
    victim = rng.choice(workers)
    victim.kill()
    told, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    document = json.loads(told)
    assert (document["done"], document["failed"]) == (10, 0)
    assert document["fresh"] < 10
    assert content(out) == content(folder / "whole")
    assert not list(out.rglob("*.tmp"))


def test_workers_end_with_their_driver(folder, tmp_path):
    words = command(folder / "in" / "jobs.jsonl", tmp_path / "out", folder / "model")
    process = subprocess.Popen([*words, "--workers", "2"], **QUIET)
    waited(lambda: parts(tmp_path / "out") >= 1, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_ctrl_c_finishes_what_is_in_flight(folder, tmp_path):
    out = tmp_path / "out"
    words = command(folder / "in" / "jobs.jsonl", out, folder / "model", "--workers", "2")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    waited(lambda: parts(out) >= 1, process)
    process.send_signal(signal.SIGINT)
    told, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    document = json.loads(told)
    assert document["stopped"]
    assert document["done"] == len(records(out)) < 10
    assert not list(out.rglob("*.tmp"))


@pytest.mark.skipif(not can_fork("cpu"), reason="workers are started anew on this system")
def test_ctrl_c_while_workers_are_prepared_is_a_sentence(folder, tmp_path):
    """As a terminal sends it: to every process."""
    words = command(folder / "in" / "jobs.jsonl", tmp_path / "out", folder / "model")
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*words, "--workers", "2"], **quiet, start_new_session=True)
    driver = psutil.Process(process.pid)

    def preparing():
        servers = [one for one in driver.children() if "forkserver" in str(one.cmdline())]
        return any("libtorch" in m.path for one in servers for m in one.memory_maps())

    waited(preparing, process)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert b"Traceback" not in said


def deadly(pipe, order, index):
    """A worker that dies of one image, as of a fault in a library."""
    ran = Worker.ran

    def dies(self, model, choice, batch):
        if any(one.item.id == "r3" for one in batch):
            os.kill(os.getpid(), signal.SIGSEGV)
        return ran(self, model, choice, batch)

    Worker.ran = dies
    serve(pipe, order, index)


def unreadable(pipe, order, index):
    """A worker that dies while it reads one image, as of a fault in a decoder."""
    read = work.fetch

    def dies(place):
        if place.endswith("/3.png"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return read(place)

    work.fetch = dies
    serve(pipe, order, index)


def broken(pipe, order, index):
    """A worker whose device is lost over one image, for all that comes after it too."""
    ran, gone = Worker.ran, []

    def loses(self, model, choice, batch):
        gone.extend(one for one in batch if one.item.id == "r3")
        if gone:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return ran(self, model, choice, batch)

    Worker.ran, worker.is_lost = loses, lambda device: bool(gone)
    serve(pipe, order, index)


@pytest.mark.parametrize("target", [deadly, unreadable, broken])
def test_an_image_that_kills_its_worker_becomes_a_dead_letter(folder, tmp_path, target):
    rows = [row for row in rows_in(tmp_path / "in", 6) if row["id"] in ("r1", "r3", "r5")]
    settings = Settings(str(folder / "model"), choice=CHOICE, batch=2)
    plan = planned(write(tmp_path / "in", rows), settings)
    order = Order(str(tmp_path / "out"), settings, "cpu", 1)
    tasks = [Task(group) for group in plan.groups]
    told = list(Crew(order, tasks, lambda: False, target).run())
    assert sum(one.rows for one in told) == 3
    found = records(tmp_path / "out")
    assert {name: row["status"] for name, row in found.items()} == {
        **dict.fromkeys(("r1", "r5"), "ok"),
        "r3": "failed",
    }
    assert "died of it 2 times when it ran alone" in found["r3"]["reason"]
