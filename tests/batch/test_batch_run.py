"""Batch jobs: as ns.edit gives it, interrupted at any moment, whatever the images are."""

import errno
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import command, content, scenes_manifest
from PIL import Image
from typer.testing import CliRunner

import noisespace as ns
from noisespace.batch import run as running
from noisespace.batch.job import Job
from noisespace.batch.manifest import read_manifest
from noisespace.batch.page import write_page
from noisespace.batch.places import Shelf
from noisespace.batch.records import read_rows
from noisespace.batch.run import Place, Stop, run_job
from noisespace.batch.work import Work
from noisespace.cli import app
from noisespace.errors import InputError
from noisespace.files import alone
from noisespace.metadata import read_record
from tiny import double, tiny_sd


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def pixels(seed, size=(32, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def manifest_of(folder, count=7, **more):
    """A manifest of small random pictures, of two sizes and two kinds of settings."""
    folder.mkdir(exist_ok=True)
    rows = []
    for i in range(count):
        Image.fromarray(pixels(i, (32, 32) if i % 4 else (32, 48))).save(folder / f"{i}.png")
        row = {"id": f"r{i}", "image": f"{i}.png", "source": "a photo of a cat"}
        row |= {"target": ["a photo of a dog", "a horse"] if i % 2 else "a tiger", **more}
        rows.append(row)
    (folder / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_manifest(folder / "jobs.jsonl")


JOB = Job(method="edit-friendly:skip=1", steps=3, guidance=2.0, batch=2)


def go(model, manifest, out, job=JOB, **options):
    return run_job(manifest, job, model, Place.of(out), **options)


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    manifest = manifest_of(folder / "in")
    tally = go(model, manifest, folder / "out", codes_job())
    assert (tally.rows, tally.failed, tally.made) == (7, 0, 7)
    return manifest, folder / "out"


def codes_job():
    return replace(JOB, codes=True)


def test_a_row_is_what_edit_gives(model, undisturbed):
    manifest, out = undisturbed
    rows = {row.id: row for row in read_rows(out)}
    assert set(rows) == {item.id for item in manifest.items}
    item = next(item for item in manifest.items if len(item.target) == 2)
    row, seed = rows[item.id], item.seeded(0)
    method = ns.EditFriendly(skip=1)
    code = ns.invert(model, item.image, item.source, method, steps=3, seed=seed)
    result = ns.edit(model, code, list(item.target), guidance=2.0, seed=seed)
    assert len(row.pictures) == 2
    for place, picture in zip(row.pictures, result.images, strict=True):
        found = np.asarray(Image.open(out / place)).astype(int)
        assert np.abs(found - np.asarray(picture)).max() <= 1  # another batch rounds differently
    record = read_record(out / row.pictures[1])
    assert record["picture"] == {"prompt": "a horse", "source": 0}
    assert record["source"]["seed"] == [seed]
    kept = ns.Code.load(out / row.code)
    assert kept.info.seeds == (seed,)
    again = ns.edit(model, kept, list(item.target), guidance=2.0, seed=seed)
    torch.testing.assert_close(again.latents, result.latents, atol=1e-9, rtol=0)
    assert row.psnr[0] > 0
    assert row.evaluations


def test_a_stopped_job_goes_on_and_ends_the_same(model, undisturbed, tmp_path):
    manifest, out = undisturbed
    stop, turns = Stop(), 0
    while turns < 10:
        stop = Stop()
        stop.ask()  # after every group
        tally = go(model, manifest, tmp_path / "out", codes_job(), stop=stop)
        turns += 1
        if not tally.stopped:
            break
    assert turns == 4
    assert content(tmp_path / "out") == content(out)
    assert go(model, manifest, tmp_path / "out", codes_job()).made == 0  # nothing twice


def test_bad_images_are_dead_letters_and_may_be_mended(model, tmp_path):
    manifest, folder = manifest_of(tmp_path / "in"), tmp_path / "in"
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "2.png").unlink()
    Image.new("L", (9000, 9000)).save(folder / "3.png")  # more than the limit of pixels
    (folder / "5.png").write_bytes(b"<svg/>")
    tally = go(model, manifest, tmp_path / "out")
    assert (tally.rows, tally.failed) == (7, 4)
    why = {row.id: row.reason for row in read_rows(tmp_path / "out") if row.status == "failed"}
    assert set(why) == {"r1", "r2", "r3", "r5"}
    for name, word in (("r1", "damaged"), ("r2", "no such file"), ("r3", "limit of")):
        assert word in why[name]
    assert go(model, manifest, tmp_path / "out").made == 0  # a dead letter is done, too
    (folder / "1.png").write_bytes(whole)
    tally = go(model, manifest, tmp_path / "out", retry=True)
    assert (tally.rows, tally.failed, tally.made) == (7, 3, 4)
    assert len(list(read_rows(tmp_path / "out"))) == 7


def test_a_row_that_cannot_run_does_not_take_the_others(model, tmp_path, monkeypatch):
    manifest, edited = manifest_of(tmp_path / "in", 4), Work.edited

    def poison(self, model, setting, batch):
        if any(one.item.id == "r3" for one in batch):
            raise FloatingPointError("no number")
        return edited(self, model, setting, batch)

    monkeypatch.setattr(Work, "edited", poison)
    tally = go(model, manifest, tmp_path / "out")
    assert tally.reasons == {"FloatingPointError: no number": 1}
    assert tally.rows == 4


def test_short_memory_halves_a_batch(model, tmp_path, monkeypatch):
    manifest = manifest_of(tmp_path / "in", 8)
    job, sizes, edited = replace(JOB, batch=4), [], Work.edited
    whole = go(model, manifest, tmp_path / "whole", job)

    def small(self, model, setting, batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return edited(self, model, setting, batch)

    monkeypatch.setattr(Work, "edited", small)
    halved = go(model, manifest, tmp_path / "halved", job)
    assert whole.rows == halved.rows == 8
    assert halved.failed == 0
    assert max(sizes) > 1
    assert {row.batch for row in read_rows(tmp_path / "halved")} == {1}
    both = [{row.id: row.psnr for row in read_rows(tmp_path / p)} for p in ("whole", "halved")]
    for name in both[0]:
        assert both[0][name] == pytest.approx(both[1][name], abs=0.05)


def test_a_full_disk_ends_the_job_and_loses_nothing(model, undisturbed, tmp_path, monkeypatch):
    manifest, out = undisturbed
    fsync, left = os.fsync, [12]

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        go(model, manifest, tmp_path / "out", codes_job())
    monkeypatch.setattr(os, "fsync", fsync)
    assert not list((tmp_path / "out").rglob("*.tmp"))
    go(model, manifest, tmp_path / "out", codes_job())
    assert content(tmp_path / "out") == content(out)


def test_a_folder_is_of_one_job(model, tmp_path):
    manifest, out = manifest_of(tmp_path / "in", 2), tmp_path / "out"
    go(model, manifest, out)
    with pytest.raises(InputError, match="settings was"):
        go(model, manifest, out, replace(JOB, seed=3))
    other = manifest_of(tmp_path / "more", 3)
    with pytest.raises(InputError, match=r"manifest was.*--force"):
        go(model, other, out)
    assert go(model, other, out, force=True).rows == 3
    with alone(out), pytest.raises(InputError, match="another run is going on"):
        go(model, other, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(InputError, match="holds no batch job"):
        go(model, other, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_painted_masks_are_of_their_rows(model, tmp_path):
    manifest_of(tmp_path / "in", 2)
    left = np.zeros((32, 32), np.uint8)
    left[:, :16] = 255
    Image.fromarray(left).save(tmp_path / "in" / "left.png")
    Image.fromarray(left[:, ::-1]).save(tmp_path / "in" / "right.png")
    Image.fromarray(pixels(9)).save(tmp_path / "in" / "0.png")
    rows = [
        {"id": m, "image": f"{i}.png", "target": "a dog", "mask": f"{m}.png"}
        for i, m in enumerate(("left", "right"))
    ]
    (tmp_path / "in" / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest = read_manifest(tmp_path / "in" / "jobs.jsonl")
    tally = go(model, manifest, tmp_path / "out")
    assert (tally.rows, tally.failed) == (2, 0), tally.reasons
    row = next(read_rows(tmp_path / "out"))
    assert row.batch == 2
    assert "sha256" in read_record(tmp_path / "out" / row.pictures[0])["mask"]


def test_the_page_escapes_what_the_manifest_says(model, tmp_path):
    (tmp_path / "in").mkdir()
    rows = [{"id": "<script>x</script>", "image": "no.png", "target": "<img src=x>"}]
    (tmp_path / "in" / "jobs.jsonl").write_text(json.dumps(rows[0]))
    go(model, read_manifest(tmp_path / "in" / "jobs.jsonl"), tmp_path / "out")
    text = write_page(tmp_path / "out").read_text()
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text
    assert "http" not in text  # opens without a network


def test_pictures_go_to_any_store(model, tmp_path):
    """memory:// stands for all of fsspec's; S3 is in test_s3."""
    import fsspec

    manifest = manifest_of(tmp_path / "in", 2)
    store = fsspec.filesystem("memory")
    store.pipe_file("/shop/0.png", (tmp_path / "in" / "0.png").read_bytes())
    items = (manifest.items[0].model_copy(update={"image": "memory://shop/0.png"}),)
    manifest = replace(manifest, items=items)
    place = Place.of(tmp_path / "out", "memory://made")
    assert run_job(manifest, JOB, model, place).failed == 0
    row = next(read_rows(tmp_path / "out"))
    assert store.cat_file(f"/made/{row.pictures[0]}")[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="cannot be opened"):
        Shelf("nostore://a")


# ---- the command


def test_kill_at_any_moment_loses_nothing_and_does_nothing_twice(tmp_path):
    path = scenes_manifest(tmp_path / "in", 6)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(path, tmp_path / "whole"), check=True, timeout=300, **quiet)
    out, kills = tmp_path / "killed", 0
    for wanted in (1, 2):
        process = subprocess.Popen(command(path, out), **quiet)
        while len(list(out.glob("rows/group-*"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills  # the check could fail
    done = subprocess.run(command(path, out), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["done"], document["left"]) == (6, 0)
    assert document["made_now"] < 6
    assert content(out) == content(tmp_path / "whole")


def test_the_command_says_what_there_is(tmp_path, monkeypatch, model):
    manifest_of(tmp_path / "in", 3)
    path, out = str(tmp_path / "in" / "jobs.jsonl"), tmp_path / "out"
    monkeypatch.setattr("noisespace.cli.options.load_model", lambda *_: model)
    common = ["batch", path, "--steps", "3", "--method", "edit-friendly:skip=1", "--json"]
    priced = CliRunner().invoke(app, [*common, "--dry-run"])
    assert priced.exit_code == 0, priced.output
    assert json.loads(priced.stdout)["rows"] == 3
    assert not out.exists()
    (tmp_path / "in" / "1.png").unlink()
    done = CliRunner().invoke(app, [*common, "--out", str(out)])
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert (document["done"], document["failed"], document["left"]) == (2, 1, 0)
    assert Path(document["page"]).exists()
    assert "no such file" in done.stderr
    status = CliRunner().invoke(app, ["batch", "--status", str(out), "--json"])
    assert json.loads(status.stdout)["failed"] == 1
    for words, said in (
        (["batch"], "name a manifest"),
        (["batch", "--status", str(tmp_path)], "no batch job"),
        ([*common, "--out", str(tmp_path / "in")], "holds no batch job"),
        ([*common, "--out", str(out), "--seed", "4"], "--force"),
    ):
        bad = CliRunner().invoke(app, words)
        assert bad.exit_code == 2, bad.output
        assert said in bad.stderr


def test_ctrl_c_finishes_the_batch_in_flight(model, tmp_path):
    manifest, said = manifest_of(tmp_path / "in", 6), []

    def interrupt(done, total):
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with running.stopping(Stop(), said.append) as stop:
        tally = go(model, manifest, tmp_path / "out", stop=stop, progress=interrupt)
    assert tally.stopped
    assert tally.rows == 2
    assert "stopping after the batch" in said[0]
    assert go(model, manifest, tmp_path / "out").rows == 6
