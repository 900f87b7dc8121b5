"""Images from a store and pictures to it: a local server that speaks S3."""

import hashlib
import json

import numpy as np
import pytest

import noisespace as ns
from noisespace.batch.job import Job
from noisespace.batch.manifest import read_manifest
from noisespace.batch.places import read
from noisespace.batch.records import read_rows
from noisespace.batch.run import Place, run_job
from noisespace.errors import InputError
from noisespace.metadata import png_bytes
from tiny import double, tiny_sd

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
JOB = Job(method="edit-friendly:skip=1", steps=3, guidance=2.0, batch=2)


@pytest.fixture
def store(monkeypatch, tmp_path):
    """A bucket on a local server; its address is given as s3fs takes it, by the environment."""
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    keys |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    keys |= {"FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}"}
    keys |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no"), "AWS_CONFIG_FILE": "/dev/null"}
    keys |= {"AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec_conf(), "s3", {"endpoint_url": keys["AWS_ENDPOINT_URL"]})
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.makedirs("shop", exist_ok=True)  # buckets outlive moto's servers
    yield system
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def fsspec_conf():
    from fsspec.config import conf

    return conf


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_job_from_a_bucket_to_a_bucket(store, tmp_path):
    model, rows = ns.from_pipeline(double(tiny_sd())), []
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        store.pipe_file(f"shop/in/{i}.png", png_bytes(pixels))
        rows.append({"id": str(i), "image": f"s3://shop/in/{i}.png", "target": "a dog"})
    rows.append({"id": "no", "image": "s3://shop/in/none.png", "target": "a dog"})
    store.pipe_file("shop/jobs.jsonl", "\n".join(map(json.dumps, rows)).encode())
    manifest = read_manifest("s3://shop/jobs.jsonl")
    place = Place.of(tmp_path / "out", "s3://shop/out")
    tally = run_job(manifest, JOB, model, place)
    assert (tally.rows, tally.failed) == (4, 1)
    found = {row.id: row for row in read_rows(tmp_path / "out")}
    assert "none.png" in found["no"].reason
    for name in "012":
        data = store.cat_file(f"shop/out/{found[name].pictures[0]}")
        assert hashlib.sha256(data).hexdigest() in found[name].pictures[0]
    assert run_job(manifest, JOB, model, place).made == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_missing_credentials_are_said(store, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match="give the store's credentials"):
        read("s3://shop/in/0.png")
