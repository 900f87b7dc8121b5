"""The Ray engine: the pictures of the local one, whatever dies; plain data between machines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from batch_folders import (
    PATIENCE,
    QUIET,
    SETTINGS,
    command,
    content,
    go,
    parts,
    records,
    rows_in,
    waited,
    write,
)

from noisespace.batch import ray_cluster, ray_engine
from noisespace.batch.crossing import packed, read, unpacked, written
from noisespace.batch.job import planned
from noisespace.batch.local import Order
from noisespace.batch.marks import Marks
from noisespace.batch.ray_cluster import Resources, check_shared, polled, resources_of
from noisespace.batch.ray_engine import Editing, decoding
from noisespace.batch.stores import StoreError, store
from noisespace.batch.work import Task, decode
from noisespace.batch.worker import Worker
from noisespace.cli import app
from noisespace.errors import InputError
from tiny import tiny_sd

pytestmark = [
    # Ray leaves sockets and processes to the end of the interpreter, and warns of its own plans
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    tiny_sd().save_pretrained(folder / "model")
    return type(SETTINGS)(**{**vars(SETTINGS), "model": str(folder / "model")})


def test_tasks_and_pixels_cross_as_plain_data(tmp_path):
    rows = rows_in(tmp_path / "in", 3)
    rows[0]["mask"] = "2.png"
    rows[1]["image"] = "gone.png"
    for group in planned(write(tmp_path / "in", rows), SETTINGS).groups:
        task = Task(group, 2, frozenset({group.items[0].id}))
        assert read(written(task)) == task
        poisoned = replace(task, alone=True, poison={group.items[0].id: "died of it"})
        assert read(written(poisoned)) == poisoned
        decoded = decode(task)
        for one, again in zip(decoded, unpacked(packed(decoded), task), strict=True):
            if isinstance(one, str):
                assert one == again
                continue
            assert one.item == again.item
            assert np.array_equal(one.pixels, again.pixels)
            assert (one.mask is None) == (again.mask is None)


def test_what_was_begun_too_often_runs_alone_and_then_not_at_all(tmp_path):
    plan = planned(write(tmp_path / "in", rows_in(tmp_path / "in", 4)), SETTINGS)
    task, place = Task(plan.groups[0]), store(str(tmp_path / "out"))
    first, second = (item.id for item in task.group.items)
    for _ in range(3):
        assert not Marks(place, task).task().alone  # and its worker dies
    for _ in range(2):
        marks = Marks(place, task)
        assert marks.task().alone
        marks.row(first)  # ends well, every time
        marks.row(second)
    marks = Marks(place, task)
    assert set(marks.task().poison) == {second}
    marks.row(first)
    marks.row("")
    assert not [name for name in place.list("begun") if marks._of(first) in f"begun/{name}"]
    marks.clear()
    assert not place.list("begun")


class Cluster:
    """What is asked of Ray about a cluster."""

    def __init__(self, **has):
        self.has = has

    def cluster_resources(self):
        return self.has


@pytest.mark.parametrize(
    ("has", "asked", "wanted"),
    [
        ({"CPU": 8.0}, {}, Resources(0.0, 1.0, 8)),
        ({"CPU": 8.0}, {"threads": 3}, Resources(0.0, 3.0, 2)),
        ({"CPU": 8.0}, {"workers": 2}, Resources(0.0, 1.0, 2)),
        ({"CPU": 1.0}, {"threads": 4}, Resources(0.0, 4.0, 1)),
        ({"CPU": 8.0, "GPU": 4.0}, {"device": "auto"}, Resources(1.0, 1.0, 4)),
        ({"CPU": 8.0, "GPU": 4.0}, {"device": "auto", "gpus": 0.5}, Resources(0.5, 1.0, 8)),
        ({"CPU": 8.0, "GPU": 4.0}, {"device": "auto", "gpus": 0.0}, Resources(0.0, 1.0, 8)),
        ({"CPU": 8.0, "GPU": 4.0}, {}, Resources(0.0, 1.0, 8)),  # told to use CPUs
        # grows later: what is asked for is asked of the autoscaler
        ({"CPU": 2.0}, {"device": "auto", "gpus": 1.0, "workers": 8}, Resources(1.0, 1.0, 8)),
    ],
)
def test_an_actor_takes_a_share_of_what_the_cluster_has(has, asked, wanted):
    order = Order("out", SETTINGS, **{"device": "cpu", "workers": 0, **asked})
    assert resources_of(order, Cluster(**has), fixed=False) == wanted


def test_an_actor_leaves_room_for_decoding_and_one_without_room_is_refused():
    """On a cluster that does not grow Ray would wait for it for ever."""
    many = Order("out", SETTINGS, "cpu", 0, threads=4)
    assert resources_of(many, Cluster(CPU=4.0), fixed=True) == Resources(0.0, 3.75, 1)
    assert resources_of(many, Cluster(CPU=1.0), fixed=True) == Resources(0.0, 0.75, 1)
    with pytest.raises(InputError, match="--gpus 1: Ray has 0 here"):
        resources_of(replace(many, device="auto", gpus=1.0), Cluster(CPU=4.0), fixed=True)


def test_silence_of_ray_is_told_and_does_not_hold_a_stop_up(monkeypatch):
    monkeypatch.setattr(ray_cluster, "EVERY", 0.01)
    monkeypatch.setattr(ray_cluster, "LONG", 0.05)
    looks = iter(range(100))

    def never():
        time.sleep(30)
        yield {}

    rows = polled(never, lambda: next(looks) > 20, Resources(0.0, 9.0, 1))
    with pytest.warns(UserWarning, match="is there room for an actor with 9 CPUs"):
        assert not list(rows)


def test_what_fails_in_ray_is_raised_here():
    def fails():
        yield {"n": 1}
        raise StoreError("the store is away")

    seen = []
    with pytest.raises(StoreError, match="is away"):
        seen += polled(fails, lambda: False, Resources(0.0, 1.0, 1))


def test_a_store_that_fails_blames_no_group(tmp_path, monkeypatch):
    plan = planned(write(tmp_path / "in", rows_in(tmp_path / "in", 4)), SETTINGS)
    out, batch = str(tmp_path / "out"), {"task": [written(Task(plan.groups[0]))]}

    def away(task):
        raise StoreError("the store is away")

    monkeypatch.setattr(ray_engine, "decode", away)
    for _ in range(5):
        found = decoding(batch, out)
        assert "is away" in found["away"][0]
        assert not read(found["task"][0]).alone
    assert not store(out).list("begun")


def test_what_dies_of_writing_is_given_up(tmp_path):
    plan = planned(write(tmp_path / "in", rows_in(tmp_path / "in", 4)), SETTINGS)
    task, place = Task(plan.groups[0]), store(str(tmp_path / "out"))
    names = [item.id for item in task.group.items]
    for start in range(5):
        marks = Marks(place, task)
        found = marks.task()
        assert (found.alone, found.poison) == (start >= 3, {})
        for name in (*names, "") if found.alone else ():
            marks.row(name)
    found = Marks(place, task).task()
    assert set(found.poison) == set(names)
    assert "of what it made of this group" in found.poison[names[0]]


def test_a_group_that_decoders_died_of_is_read_row_by_row_in_the_actor(tmp_path):
    plan = planned(write(tmp_path / "in", rows_in(tmp_path / "in", 4)), SETTINGS)
    out = str(tmp_path / "out")
    batch = {"task": [written(Task(plan.groups[0]))]}
    whole = decoding(batch, out)
    assert not read(whole["task"][0]).alone
    assert len(unpacked(whole["pixels"][0], Task(plan.groups[0]))) == 2
    assert not store(out).list("begun")
    for _ in range(2):
        Marks(store(out), Task(plan.groups[0]), stage="decode-").task()  # and its process dies
    found = decoding(batch, out)
    assert read(found["task"][0]).alone
    assert found["pixels"] == [b""]
    assert not store(out).list("begun")


def test_a_local_folder_on_several_nodes_is_refused(monkeypatch):
    check_shared(["out"], 1, False)
    check_shared(["s3://shop/out"], 9, True)
    with pytest.raises(InputError, match="NOISESPACE_SHARED_OUT"):
        check_shared(["out"], 2, False)
    with pytest.raises(InputError, match=r"^1\.png: on a cluster"):  # which may grow
        check_shared(["s3://shop/out", "1.png"], 1, True)
    monkeypatch.setenv("NOISESPACE_SHARED_OUT", "1")
    check_shared(["out"], 2, True)


def test_the_job_file_of_the_docs_is_one():
    """Fields that the operator knows, and a command that ours takes."""
    yaml = pytest.importorskip("yaml")
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text()
    job = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    name, verb, *words = job["spec"]["entrypoint"].split()
    assert (name, verb) == ("noisespace", "batch")
    command = typer.main.get_command(app).commands["batch"]
    given = command.make_context("batch", words).params  # refuses what it does not know
    assert (given["engine"], given["workers"]) == ("ray", group["maxReplicas"])


@pytest.fixture(scope="module")
def _ray_ends():
    yield
    if (ray := sys.modules.get("ray")) is not None:
        ray.shutdown()


@pytest.fixture
def here(_ray_ends):
    """A Ray of two cores, which the tests of this file share."""
    # Ray's processes step back for all others else: beside other tests they would hardly run
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray = pytest.importorskip("ray")
    if not ray.is_initialized():
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    return ray


def test_ray_gives_what_one_process_gives(settings, tmp_path, here):
    rows = rows_in(tmp_path / "in", 6)
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    manifest = write(tmp_path / "in", rows)
    plain = go(manifest, tmp_path / "plain", settings)
    done = go(manifest, tmp_path / "ray", settings, "ray", workers=1)
    assert (done.progress.done, done.progress.failed) == (6, 1)
    assert plain.progress.failed == 1
    assert content(tmp_path / "ray") == content(tmp_path / "plain")
    assert not list((tmp_path / "ray" / "begun").iterdir())
    again = go(manifest, tmp_path / "ray", settings, "ray", workers=1, retry=True)
    assert again.progress.fresh == 1
    assert records(tmp_path / "ray")["r3"]["attempt"] == 2


class Patched(Editing):
    """An actor that does something else before it runs a batch."""

    def before(self, batch):
        raise NotImplementedError

    def __call__(self, batch):
        ran, before = Worker.ran, self.before

        def own(self, model, choice, batch):
            before(batch)
            return ran(self, model, choice, batch)

        Worker.ran = own
        try:
            return super().__call__(batch)
        finally:
            Worker.ran = ran


class Deadly(Patched):
    """An actor that dies of one image, as of a fault in a library."""

    def before(self, batch):
        if any(one.item.id == "r3" for one in batch):
            os.kill(os.getpid(), signal.SIGKILL)


class Short(Patched):
    """An actor with room for one image at a time."""

    def before(self, batch):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.soak
def test_an_image_that_kills_its_actor_becomes_a_dead_letter(settings, tmp_path, here, monkeypatch):
    here.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_engine, "Editing", Deadly)
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 6))
    done = go(manifest, tmp_path / "ray", settings, "ray", workers=1)
    assert (done.progress.done, done.progress.failed) == (6, 1)
    found = records(tmp_path / "ray")
    assert {name for name, row in found.items() if row["status"] == "failed"} == {"r3"}
    assert "died of it 2 times when it ran alone" in found["r3"]["reason"]
    assert not store(str(tmp_path / "ray")).list("begun")


@pytest.mark.soak
def test_short_memory_halves_a_batch_on_ray(settings, tmp_path, here, monkeypatch):
    here.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_engine, "Editing", Short)
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 4))
    done = go(manifest, tmp_path / "ray", settings, "ray", workers=1)
    assert (done.progress.done, done.progress.failed) == (4, 0)
    assert done.halved
    assert {row["batch"] for row in records(tmp_path / "ray").values()} == {1}


@pytest.mark.soak
def test_a_store_that_takes_nothing_ends_a_job_on_ray(settings, tmp_path, here):
    manifest, out = write(tmp_path / "in", rows_in(tmp_path / "in", 4)), tmp_path / "ray"
    out.mkdir()
    go(manifest, out, settings)
    for part in out.glob("records/*"):
        part.unlink()
    shutil.rmtree(out / "pictures")
    (out / "pictures").write_bytes(b"")  # what is to be written has no place
    with pytest.raises(StoreError, match="pictures"):
        go(manifest, out, settings, "ray", workers=1)
    assert not any(row["status"] == "failed" for row in records(out).values())
    (out / "pictures").unlink()
    done = go(manifest, out, settings, "ray", workers=1)
    assert (done.progress.done, done.progress.failed) == (4, 0)


@pytest.mark.soak
def test_a_killed_driver_on_ray_costs_nothing(settings, tmp_path):
    """By the command line, on a Ray of its own, which ends with it."""
    pytest.importorskip("ray")
    manifest, out = write(tmp_path / "in", rows_in(tmp_path / "in", 24)), tmp_path / "ray"
    go(manifest, tmp_path / "here", settings)
    words = command(manifest, out, settings.model, "--engine", "ray", "--workers", "1")
    process = subprocess.Popen(words, **QUIET)
    waited(lambda: parts(out) >= 2, process)
    assert process.poll() is None
    process.kill()
    process.wait()
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["done"], document["failed"]) == (24, 0)
    assert 0 < document["fresh"] <= 22
    assert content(out) == content(tmp_path / "here")


@pytest.mark.soak
def test_a_cluster_of_two_nodes_loses_one(settings, tmp_path, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("NOISESPACE_SHARED_OUT", "1")
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 40))
    go(manifest, tmp_path / "here", settings)
    ray.shutdown()
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    second, lost = nodes.add_node(num_cpus=2), []
    ray.init(address=nodes.address, log_to_driver=False)

    def lose(now):
        if now.fresh >= 6 and not lost:
            lost.append(now.fresh)
            nodes.remove_node(second, allow_graceful=False)

    try:
        done = go(manifest, tmp_path / "ray", settings, "ray", workers=3, tell=lose)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert lost
    assert (done.progress.done, done.progress.failed) == (40, 0)
    assert content(tmp_path / "ray") == content(tmp_path / "here")
