"""A job from a bucket to a bucket: a local server that speaks S3."""

import io
import json

import pytest
from batch_folders import go, pixels, records
from PIL import Image

import noisespace as ns
from noisespace.batch.job import status
from noisespace.batch.places import fetch
from noisespace.batch.stores import Bucket
from noisespace.errors import InputError
from tiny import double, tiny_sd

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A bucket on a local server; its address is given as s3fs takes it, by the environment."""
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    keys |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    keys |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no"), "AWS_CONFIG_FILE": "/dev/null"}
    keys |= {"AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.makedirs("shop", exist_ok=True)
    yield files
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def png(seed):
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_job_from_a_bucket_to_a_bucket(bucket, monkeypatch):
    model = ns.from_pipeline(double(tiny_sd()))
    monkeypatch.setattr("noisespace.batch.plan.load", lambda *_, **__: model)
    rows = []
    for i in range(3):
        bucket.pipe_file(f"shop/in/{i}.png", png(i))
        rows.append({"id": str(i), "image": f"{i}.png", "source": "", "target": "a dog"})
    rows.append({"id": "no", "image": "none.png", "source": "", "target": "a dog"})
    bucket.pipe_file("shop/in/jobs.jsonl", "\n".join(map(json.dumps, rows)).encode())
    out = "s3://shop/out"
    done = go("s3://shop/in/jobs.jsonl", out)
    assert (done.progress.done, done.progress.failed) == (4, 1)
    found = records(out)
    assert "none.png" in found["no"]["reason"]
    for name in "012":
        (path,) = found[name]["pictures"]
        assert bucket.cat_file(f"shop/out/{path}")[:4] == b"\x89PNG"
    assert go("s3://shop/in/jobs.jsonl", out).progress.fresh == 0
    assert status(out)["done"] == 4
    bucket.pipe_file("shop/in/none.png", png(9))
    assert go("s3://shop/in/jobs.jsonl", out, retry=True).progress.failed == 0
    with Bucket(out).alone(), pytest.raises(InputError, match="another job is going on"):
        go("s3://shop/in/jobs.jsonl", out)


def test_missing_credentials_are_said(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID"):
        fetch("s3://shop/in/0.png")
