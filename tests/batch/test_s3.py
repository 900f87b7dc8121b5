"""A job from a bucket to a bucket: a local server that speaks S3."""

import io
import json
import time

import pytest
from batch_folders import go, pixels, records
from PIL import Image
from typer.testing import CliRunner

import noisespace as ns
from noisespace.batch.job import status
from noisespace.batch.places import fetch
from noisespace.batch.plan import Choice, Item
from noisespace.batch.stores import Bucket, StoreError
from noisespace.batch.work import ready
from noisespace.cli import app
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


@pytest.mark.filterwarnings("ignore:.*is held by a job")
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
    monkeypatch.setattr("noisespace.batch.buckets.LEASE", 6.0)
    with Bucket(out).alone(), pytest.raises(InputError, match="another job is going on"):
        go("s3://shop/in/jobs.jsonl", out)
    # a killed job's lease is waited for, whatever its clock said; one that is taken over is lost
    bucket.pipe_file("shop/out/lock", b"0123456789abcdef 99999999999")
    with Bucket(out).alone() as held:
        bucket.pipe_file("shop/out/lock", b"somebody else")
        end = time.monotonic() + 30
        while held() and time.monotonic() < end:
            time.sleep(0.1)
        assert not held()
    assert bucket.cat_file("shop/out/lock") == b"somebody else"


def test_inputs_that_are_away_stop_a_job_and_blame_no_row(bucket, monkeypatch):
    away = ConnectionError("could not connect to the endpoint")
    item = Item("a", 1, "s3://shop/in/0.png", "", ("a dog",), None, 0)
    monkeypatch.setattr(s3fs.S3FileSystem, "open", raising(away))
    monkeypatch.setattr("noisespace.batch.places.TRIES", 1)
    with pytest.raises(StoreError, match="cannot be reached"):
        ready(item, Choice())
    monkeypatch.setattr(s3fs.S3FileSystem, "open", raising(PermissionError("Forbidden")))
    assert "access denied" in str(ready(item, Choice()))  # one file's own


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def test_missing_credentials_are_said(bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID"):
        fetch("s3://shop/in/0.png")
    manifest = tmp_path / "jobs.jsonl"
    for image, out in (("s3://shop/in/0.png", str(tmp_path / "out")), ("a.png", "s3://shop/out")):
        Image.fromarray(pixels(0)).save(tmp_path / "a.png")
        row = {"id": "a", "image": image, "source": "", "target": "a dog"}
        manifest.write_text(json.dumps(row))
        done = CliRunner().invoke(app, ["batch", str(manifest), "--out", out])
        assert done.exit_code == 2
        assert "AWS_ACCESS_KEY_ID" in done.output
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, ["batch", "s3://shop/in/jobs.jsonl", "--out", "out"])
    assert done.exit_code == 2
