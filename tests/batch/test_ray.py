"""The Ray engine: the same rows and pictures as on one machine, whatever dies."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from folders import content, scenes_manifest

from noisespace.batch.job import Job
from noisespace.batch.manifest import read_manifest
from noisespace.batch.records import read_rows
from noisespace.batch.run import Place, Stop, run_job
from noisespace.batch.worker import Order
from noisespace.cli.batching import Engines
from noisespace.errors import InputError
from noisespace.models.loading import load

JOB = Job(device="cpu", steps=4, batch=2)
pytestmark = [
    # Ray leaves sockets and processes to the end of the interpreter, and warns of its own plans
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def model():
    return load("scenes", "float32", "cpu")


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all tests of this module."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def on_ray(out, again=False, job=JOB, **options):
    from noisespace.batch.cluster import Cluster

    return Cluster(Order(job, out.absolute(), str(out.absolute()), "run", again), **options)


def test_ray_gives_what_one_machine_gives(model, cluster, tmp_path):
    path = scenes_manifest(tmp_path / "in", 8)
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    manifest, out = read_manifest(path), tmp_path / "ray"
    here = run_job(manifest, JOB, model, Place.of(tmp_path / "here"))
    tally = run_job(manifest, JOB, model, Place.of(out), engine=on_ray(out, most=1))
    assert (tally.rows, tally.failed, tally.made) == (here.rows, here.failed, 8) == (8, 1, 8)
    assert content(out) == content(tmp_path / "here")
    again = run_job(manifest, JOB, model, Place.of(out), engine=on_ray(out, most=1))
    assert again.made == 0
    scene = (tmp_path / "in" / "4.png").read_bytes()
    (tmp_path / "in" / "3.png").write_bytes(scene)
    engine = on_ray(out, again=True, most=1)
    tally = run_job(manifest, JOB, model, Place.of(out), engine=engine, retry=True)
    assert (tally.rows, tally.failed, tally.made) == (8, 0, 1)


def test_a_full_disk_or_a_stop_ends_it(model, cluster, tmp_path):
    path = scenes_manifest(tmp_path / "in", 4)
    manifest, out = read_manifest(path), tmp_path / "out"
    (tmp_path / "file").write_text("in the way")
    order = Order(JOB, out.absolute(), str(tmp_path / "file"), "run")
    from noisespace.batch.cluster import Cluster

    with pytest.raises(InputError, match="cannot be written"):
        run_job(manifest, JOB, model, Place.of(out), engine=Cluster(order, most=1))
    assert not list(read_rows(out))
    stop = Stop()
    stop.ask()
    job = replace(JOB, batch=1)
    first = run_job(
        manifest, job, model, Place.of(tmp_path / "s"), engine=on_ray(tmp_path / "s"), stop=stop
    )
    assert first.stopped
    assert first.rows < 4


def test_options_that_do_not_go_together_are_refused():
    for engine, word in (
        (Engines("dask", None, None, None, None), "local or ray"),
        (Engines("local", None, 1.0, None, None), "are for --engine ray"),
        (Engines("ray", 2, None, None, None), "--actors MIN:MAX"),
        (Engines("ray", None, None, "4:2", None), "MIN <= MAX"),
        (Engines("ray", None, None, "x", None), "MIN:MAX"),
    ):
        with pytest.raises(InputError, match=word):
            engine.check()
    assert Engines("ray", None, None, "2:8", None).pool() == (2, 8)


def test_without_ray_it_says_how_to_get_it(tmp_path):
    path = scenes_manifest(tmp_path / "in", 1)
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from noisespace.cli import main\n"
        f"sys.argv = ['noisespace', 'batch', {str(path)!r}, '--out', {str(tmp_path / 'o')!r},"
        " '--engine', 'ray', '--json']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "noisespace[ray]" in json.loads(done.stdout)["error"]
    assert not (tmp_path / "o").exists()


@pytest.mark.soak
def test_a_cluster_of_two_nodes_loses_one(model, tmp_path):
    import ray
    from ray.cluster_utils import Cluster as Nodes

    path = scenes_manifest(tmp_path / "in", 40)
    manifest, out = read_manifest(path), tmp_path / "ray"
    run_job(manifest, JOB, model, Place.of(tmp_path / "here"))
    ray.shutdown()
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    second, lost = nodes.add_node(num_cpus=1), []
    ray.init(address=nodes.address, log_to_driver=False)

    def lose(done, total):
        if done >= 6 and not lost:
            lost.append(done)
            nodes.remove_node(second, allow_graceful=False)

    try:
        engine = on_ray(out, least=2, most=2)
        tally = run_job(manifest, JOB, model, Place.of(out), engine=engine, progress=lose)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert lost
    assert (tally.rows, tally.failed) == (40, 0)
    assert content(out) == content(tmp_path / "here")
