"""Jobs in this process: what ns.edit gives, whatever the images are, however often stopped."""

import errno
import json
import os
import signal
import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from batch_folders import CHOICE, SETTINGS, content, go, pixels, records, rows_in, write
from PIL import Image
from typer.testing import CliRunner

import noisespace as ns
from noisespace.batch import work
from noisespace.batch.job import planned, run_job
from noisespace.batch.lines import csv_lines
from noisespace.batch.local import Order
from noisespace.batch.places import beside
from noisespace.batch.plan import row_seed
from noisespace.batch.price import price
from noisespace.batch.records import SPAN, known
from noisespace.batch.stores import StoreError, store
from noisespace.batch.worker import Worker
from noisespace.cli import app
from noisespace.errors import InputError
from noisespace.models.speed import Speed
from noisespace.pictures.metadata import read_record
from noisespace.system.files import alone
from tiny import double, tiny_sd

CODES = replace(SETTINGS, codes=True)


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


@pytest.fixture(autouse=True)
def _loads_it(model, monkeypatch):
    monkeypatch.setattr("noisespace.batch.plan.load", lambda *_, **__: model)


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    manifest = write(folder / "in", rows_in(folder / "in"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("noisespace.batch.plan.load", lambda *_, **__: model)
        done = go(manifest, folder / "out", CODES)
    assert (done.progress.done, done.progress.failed, done.progress.fresh) == (7, 0, 7)
    return manifest, folder / "out"


def test_a_row_is_what_edit_gives(model, undisturbed):
    _, out = undisturbed
    row, seed = records(out)["r1"], row_seed(0, "r1")
    code = ns.invert(
        model, row["image"], row["source"], ns.EditFriendly(skip=1), steps=3, seed=seed
    )
    result = ns.edit(model, code, row["targets"], guidance=2.0, seed=seed)
    assert row["targets"] == ["a dog", "a horse"]
    for place, picture in zip(row["pictures"], result.images, strict=True):
        found = np.asarray(Image.open(out / place)).astype(int)
        assert np.abs(found - np.asarray(picture)).max() <= 1  # another batch rounds differently
    record = read_record(out / row["pictures"][1])
    assert record["picture"] == {"prompt": "a horse", "source": 0}
    assert record["source"]["seed"] == [seed]
    kept = ns.Code.load(out / row["code"])
    again = ns.edit(model, kept, row["targets"], guidance=2.0, seed=seed)
    torch.testing.assert_close(again.latents, result.latents, atol=1e-9, rtol=0)
    assert (row["steps"], row["guidance"], row["batch"]) == (3, 2.0, 2)
    assert row["evaluations"] > 0
    assert row["image_digest"] == code.info.image[0]


def test_results_do_not_depend_on_the_order_of_the_manifest(undisturbed, tmp_path):
    manifest, out = undisturbed
    with open(manifest) as file:  # noqa: PTH123
        rows = [json.loads(line) for line in file]
    other = write(tmp_path / "in", rows_in(tmp_path / "in")[::-1])
    assert len(rows) == 7
    go(other, tmp_path / "out", CODES)
    assert content(tmp_path / "out") == content(out)


def test_a_stopped_job_goes_on_and_ends_the_same(undisturbed, tmp_path):
    manifest, out = undisturbed

    def interrupt(now):
        if now.fresh:
            os.kill(os.getpid(), signal.SIGINT)

    turns = 0
    while turns < 10:
        turns += 1
        done = go(manifest, tmp_path / "out", CODES, tell=interrupt)
        assert done.progress.fresh <= 2  # a batch, and no more after Ctrl-C
        if not done.stopped:
            break
    assert turns == 4
    assert content(tmp_path / "out") == content(out)
    assert go(manifest, tmp_path / "out", CODES).progress.fresh == 0  # nothing twice
    assert len(list((tmp_path / "out" / "records").iterdir())) == 1


def test_spans_become_shards_while_a_job_runs(undisturbed, tmp_path, monkeypatch):
    manifest, out = undisturbed
    for module in ("records", "progress"):
        monkeypatch.setattr(f"noisespace.batch.{module}.SPAN", 2)
    seen = []
    folder = tmp_path / "out" / "records"
    go(manifest, tmp_path / "out", CODES,
       tell=lambda now: seen.append(sorted(p.name for p in folder.glob("shard*"))))  # fmt: skip
    assert seen[-1] == ["shard-000000.parquet"]  # told before the last span is put together
    assert not list(folder.glob("part*"))
    assert len(list(folder.iterdir())) == 2
    assert SPAN == 256
    assert content(tmp_path / "out") == content(out)


def test_a_shard_beside_its_parts_counts_once(undisturbed, tmp_path, monkeypatch):
    """A kill between a shard and the removal of its parts."""
    manifest, out = undisturbed
    with monkeypatch.context() as patch:
        patch.setattr("noisespace.batch.stores.Folder.remove", lambda *_: None)
        go(manifest, tmp_path / "out", CODES)
    assert len(list((tmp_path / "out" / "records").iterdir())) == 5
    assert content(tmp_path / "out") == content(out)
    assert go(manifest, tmp_path / "out", CODES).progress.done == 7
    assert len(list((tmp_path / "out" / "records").iterdir())) == 1


def test_bad_images_are_dead_letters_and_may_be_mended(undisturbed, tmp_path):
    _, whole_out = undisturbed
    folder, out = tmp_path / "in", tmp_path / "out"
    manifest = write(folder, rows_in(folder))
    whole = (folder / "1.png").read_bytes()
    kept = {name: (folder / name).read_bytes() for name in ("1.png", "2.png", "3.png", "5.png")}
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "2.png").unlink()
    Image.new("L", (9000, 9000)).save(folder / "3.png")  # more than the limit of pixels
    (folder / "5.png").write_bytes(b"<svg/>")
    done = go(manifest, out, CODES)
    assert (done.progress.done, done.progress.failed) == (7, 4)
    why = {name: row["reason"] for name, row in records(out).items() if row["status"] != "ok"}
    assert set(why) == {"r1", "r2", "r3", "r5"}
    for name, word in (("r1", "cut off"), ("r2", "no such file"), ("r3", "limit of")):
        assert word in why[name]
    letters = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    assert {letter["id"]: letter["reason"] for letter in letters} == why
    assert go(manifest, out, CODES).progress.fresh == 0  # a dead letter is done, too
    (folder / "1.png").write_bytes(whole)
    done = go(manifest, out, CODES, retry=True)
    assert (done.progress.done, done.progress.failed, done.progress.fresh) == (7, 3, 4)
    assert records(out)["r1"]["attempt"] == 2
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    assert go(manifest, out, CODES, retry=True).progress.failed == 0
    assert not (out / "failed.jsonl").read_text()
    found, expected = records(out), records(whole_out)
    for name in ("r3", "r5"):  # the last ones to be mended ran in whole batches again
        assert found[name]["pictures"] == expected[name]["pictures"]


def test_a_row_that_cannot_run_does_not_take_the_others(undisturbed, tmp_path, monkeypatch):
    manifest, _ = undisturbed
    ran = Worker.ran

    def poison(self, model, choice, batch):
        if any(one.item.id == "r3" for one in batch):
            raise FloatingPointError("no number")
        return ran(self, model, choice, batch)

    monkeypatch.setattr(Worker, "ran", poison)
    assert go(manifest, tmp_path / "out").progress.failed == 1
    assert records(tmp_path / "out")["r3"]["reason"] == "FloatingPointError: no number"
    assert records(tmp_path / "out")["r1"]["batch"] == 1


def test_short_memory_halves_a_batch(tmp_path, monkeypatch):
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 8))
    settings, sizes, ran = replace(SETTINGS, batch=4, metrics=("psnr",)), [], Worker.ran
    go(manifest, tmp_path / "whole", settings)

    def small(self, model, choice, batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ran(self, model, choice, batch)

    monkeypatch.setattr(Worker, "ran", small)
    done = go(manifest, tmp_path / "halved", settings)
    assert (done.progress.failed, done.halved) == (0, 2)
    assert sizes.count(4) == 1
    assert sizes.count(2) == 2 + 2  # of the four, and two groups of two sizes
    whole, halved = records(tmp_path / "whole"), records(tmp_path / "halved")
    assert {row["batch"] for row in halved.values()} == {1}
    for name, row in whole.items():
        assert len(row["metrics"]["psnr"]) == len(row["targets"])
        assert row["metrics"]["psnr"] == pytest.approx(halved[name]["metrics"]["psnr"], abs=0.05)


def test_a_full_disk_ends_the_job_and_loses_nothing(undisturbed, tmp_path, monkeypatch):
    manifest, out = undisturbed
    fsync, left = os.fsync, [12]

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        go(manifest, tmp_path / "out", CODES)
    monkeypatch.setattr(os, "fsync", fsync)
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert not any(row["status"] == "failed" for row in records(tmp_path / "out").values())
    go(manifest, tmp_path / "out", CODES)
    assert content(tmp_path / "out") == content(out)


def test_a_folder_is_of_one_job(undisturbed, tmp_path):
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 2))
    other, out = write(tmp_path / "more", rows_in(tmp_path / "more", 3)), tmp_path / "out"
    go(manifest, out)
    with pytest.raises(InputError, match=r"settings .seed was 0, now 3"):
        go(manifest, out, replace(SETTINGS, seed=3))
    with pytest.raises(InputError, match=r"settings \(speed.preset was None, now fast\)"):
        go(manifest, out, replace(SETTINGS, speed=Speed(preset="fast")))
    with pytest.raises(InputError, match=r"another manifest.*--force"):
        go(other, out)
    assert go(other, out, force=True).progress.done == 3
    assert set(records(out)) == {"r0", "r1", "r2"}
    with alone(out), pytest.raises(InputError, match="another run is going on"):
        go(other, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    (tmp_path / "mine" / "deep").mkdir()
    (tmp_path / "mine" / "deep" / ".draft.tmp").write_text("x")
    with pytest.raises(InputError, match="other files and no job"):
        go(other, tmp_path / "mine")
    names = {str(p.relative_to(tmp_path / "mine")) for p in (tmp_path / "mine").rglob("*")}
    assert names == {"letter.txt", "deep", "deep/.draft.tmp"}  # nothing came, nothing went


def test_begun_anew_a_folder_forgets_the_job_before(undisturbed, tmp_path):
    manifest, out = write(tmp_path / "in", rows_in(tmp_path / "in", 2)), tmp_path / "out"
    go(manifest, out)
    for name in ("begun/00000000-001.0", "begun/00000000-001.1"):
        store(str(out)).put(name, b"begun")
    assert go(manifest, out, force=True).progress.fresh == 2
    assert not store(str(out)).list("begun")


def test_pages_tell_of_all_rows_though_the_run_before_was_killed(undisturbed, tmp_path):
    rows = rows_in(tmp_path / "in", 5)
    rows[3]["image"] = "gone.png"
    manifest, out = write(tmp_path / "in", rows), tmp_path / "out"
    count = 0

    def stop(_):
        nonlocal count
        count += 1
        if count == 2:  # the first is told before anything ran
            os.kill(os.getpid(), signal.SIGINT)

    planned_one = planned(manifest, SETTINGS)
    run_job(planned_one, Order(str(out), SETTINGS, "cpu"), tell=stop)
    assert (out / "summary.html").is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("noisespace.batch.job.write_summary", killed)
        with pytest.raises(KeyboardInterrupt):
            go(manifest, out)
    assert go(manifest, out).progress.fresh == 0
    assert "gone.png" in (out / "failed.jsonl").read_text()
    assert "5" in (out / "summary.html").read_text()


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["edit", "decode"])
def test_what_kills_the_only_process_is_found_by_who_starts_again(
    model, tmp_path, monkeypatch, stage
):
    """One worker is this process: here its death is an error that no code of ours takes."""
    manifest, out = write(tmp_path / "in", rows_in(tmp_path / "in", 2)), tmp_path / "out"
    ran = Worker.ran

    def dies(self, model, choice, batch):
        if any(one.item.id == "r1" for one in batch):
            raise SystemExit(9)
        return ran(self, model, choice, batch)

    fetch = work.fetch

    def unreadable(place):
        if place.endswith("/1.png"):
            raise SystemExit(9)
        return fetch(place)

    if stage == "edit":
        monkeypatch.setattr(Worker, "ran", dies)
    else:
        monkeypatch.setattr(work, "fetch", unreadable)
    starts = 0
    while not (out / "summary.html").is_file():
        starts += 1
        assert starts < 12
        with suppress(SystemExit):
            go(manifest, out)
    found = records(out)
    assert (found["r0"]["status"], found["r1"]["status"]) == ("ok", "failed")
    assert "when it ran alone" in found["r1"]["reason"]
    assert not store(str(out)).list("begun")


def test_a_part_that_goes_while_the_journal_is_read_is_read_in_its_shard(undisturbed, monkeypatch):
    _, out = undisturbed
    place, listed = store(str(out)), [["part-00000000-001.parquet"]]
    real = type(place).list
    monkeypatch.setattr(
        type(place), "list", lambda self, folder: listed.pop() if listed else real(self, folder)
    )
    assert known(place).done == 7
    assert not listed


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"steps": 20, "method": "edit-friendly:skip=0.3"},
        {"mask": "diffedit", "steps": 20},
        {"editor": "prompt-to-prompt", "target": "a photo of a dog", "steps": 10},
    ],
)
def test_a_price_is_what_the_job_then_takes(model, tmp_path, more):
    rows = rows_in(tmp_path / "in", 4, **more)
    Image.fromarray(pixels(0, (32, 32))).save(tmp_path / "in" / "0.png")
    manifest = write(tmp_path / "in", rows)
    plan, order = planned(manifest, SETTINGS), Order(str(tmp_path / "out"), SETTINGS, "cpu")
    found = price(plan, order, model)
    go(manifest, tmp_path / "out")
    took = sum(row["evaluations"] or 0 for row in records(tmp_path / "out").values())
    assert took > 0
    assert found["evaluations"] == pytest.approx(took, rel=0.25 if "mask" in more else 0.1)


def test_a_job_loads_its_model_as_fast_as_it_was_told(model, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("noisespace.batch.plan.load", lambda *a, **k: asked.append((a, k)) or model)
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 1))
    words = ["batch", manifest, "--out", str(tmp_path / "out"), "--model", "tiny", "--steps", "2"]
    words += ["--method", "edit-friendly:skip=1", "--preset", "fast", "--cache", "2", "--tiling"]
    assert CliRunner().invoke(app, words).exit_code == 0
    names, speed = asked[0]
    assert names == ("tiny",)
    expected = {"dtype": "auto", "preset": "fast", "cache": 2, "tiling": True}
    assert {k: v for k, v in speed.items() if v and k != "device"} == expected


def test_a_job_takes_what_is_added_to_its_model(tmp_path, monkeypatch):
    monkeypatch.setattr("noisespace.batch.plan.load", ns.load)
    folder = tmp_path / "tiny"
    tiny_sd().save_pretrained(folder)
    manifest = write(tmp_path / "in", rows_in(tmp_path / "in", 1))
    common = [manifest, "--out", tmp_path / "out", "--model", folder, "--steps", 2]
    common += ["--workers", 1, "--device", "cpu", "--method", CHOICE.method]
    done = call(*common, "--clip-skip", 1, "--vae", folder)
    assert done.exit_code == 0, done.output
    assert list(records(tmp_path / "out")) == ["r0"]
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    assert job["model"]["clip_skip"] == 1
    assert job["model"]["vae"] == "tiny"
    other = call(*common)
    assert other.exit_code == 2
    assert "job of another model (clip_skip was 1, now None" in other.stderr
    assert call(*common, "--clip-skip", 9, "--force").exit_code == 2


def test_what_a_model_cannot_run_is_said_before_it_runs(tmp_path):
    rows = rows_in(tmp_path / "in", 4)
    rows[1]["method"], rows[1]["steps"] = "edit-friendly:skip=9", 4
    rows[3]["method"], rows[3]["steps"] = "edit-friendly:skip=8", 5
    with pytest.raises(InputError, match=r"2 faults.*line 2: .*skip.*line 4: .*skip"):
        go(write(tmp_path / "in", rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_painted_masks_are_of_their_rows(tmp_path):
    folder, left = tmp_path / "in", np.zeros((32, 32), np.uint8)
    folder.mkdir()
    left[:, :16] = 255
    Image.fromarray(left).save(folder / "left.png")
    Image.fromarray(left[:, ::-1]).save(folder / "right.png")
    Image.fromarray(pixels(9)).save(folder / "0.png")
    row = {"image": "0.png", "source": "a cat", "target": "a dog"}
    rows = [{**row, "id": m, "mask": f"{m}.png"} for m in ("left", "right")]
    rows.append({**row, "id": "none", "mask": "gone.png"})
    assert go(write(folder, rows), tmp_path / "out").progress.failed == 1
    found = records(tmp_path / "out")
    assert "gone.png" in found["none"]["reason"]
    before = np.asarray(Image.open(folder / "0.png")).astype(int)
    for name, half in (("left", np.s_[:, 24:]), ("right", np.s_[:, :8])):
        after = np.asarray(Image.open(tmp_path / "out" / found[name]["pictures"][0])).astype(int)
        change = np.abs(after - before).mean(axis=2)
        assert change[half].mean() != pytest.approx(change.mean(), rel=0.01)
    made = {found[name]["pictures"][0] for name in ("left", "right")}
    masks = {read_record(tmp_path / "out" / name)["mask"] for name in made}
    assert len(masks) == 2
    assert all("sha256" in mask for mask in masks)


def test_the_page_escapes_what_the_manifest_says(tmp_path):
    row = {"id": "<script>x</script>", "image": "no.png", "source": "", "target": "<img src=x>"}
    good = {**rows_in(tmp_path / "in", 1)[0], "target": "<b>dog</b>"}
    go(write(tmp_path / "in", [row, good]), tmp_path / "out")
    text = (tmp_path / "out" / "summary.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;x" in text
    assert "<b>" not in text
    assert "data:image/jpeg;base64," in text
    assert "http://" not in text  # opens without a network
    assert "https://" not in text


def call(*args):
    with warnings.catch_warnings():
        return CliRunner().invoke(app, ["batch", *map(str, args)])


def test_the_command_says_what_there_is(tmp_path):
    path, out = write(tmp_path / "in", rows_in(tmp_path / "in", 3)), tmp_path / "out"
    common = [path, "--steps", 3, "--method", CHOICE.method, "--json", "--workers", 1]
    common += ["--device", "cpu"]
    priced = call(*common, "--dry-run")
    assert priced.exit_code == 0, priced.output
    document = json.loads(priced.stdout)
    assert (document["rows"], document["edits"]) == (3, 4)
    assert document["seconds"] > 0
    assert document["disk_mb"] > 0
    assert not out.exists()
    (tmp_path / "in" / "1.png").unlink()
    done = call(*common, "--out", out)
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert (document["done"], document["failed"], document["rows"]) == (3, 1, 3)
    assert "rows/s" in done.stderr
    status = call("--status", out, "--json")
    assert json.loads(status.stdout)["failed"] == 1
    evaluations = sum(row["evaluations"] or 0 for row in records(out).values())
    assert json.loads(priced.stdout)["evaluations"] >= evaluations > 0
    for words, said in (
        ([], "expected MANIFEST"),
        (["--status", tmp_path], "holds no job"),
        ([*common, "--out", tmp_path / "in"], "holds other files"),
        ([*common, "--out", out, "--seed", "4"], "--force"),
        ([*common, "--out", out, "--engine", "spark"], "local or ray"),
        ([*common, "--out", out, "--metrics", "beauty"], "beauty"),
    ):
        bad = call(*words)
        assert bad.exit_code == 2, bad.output
        assert said in bad.stderr


def test_the_command_tells_all_faults(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a"}\n{\n')
    done = call(tmp_path / "jobs.jsonl", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    assert "line 1: image is missing" in done.stderr
    assert "line 2: is no JSON" in done.stderr
    assert len(json.loads(done.stdout)["faults"]) == 4
    assert not (tmp_path / "out").exists()


def test_faults_after_a_broken_line_of_a_csv_are_told_too():
    data = b'id,image,target\na,"1.png"x,dog\nb,2.png\n,3.png,dog\n'
    found = list(csv_lines(data, "jobs.csv"))
    assert found[0][1].startswith("is no CSV")
    assert [fields for _, fields in found[1:]] == [
        {"id": "b", "image": "2.png"},
        {"image": "3.png", "target": "dog"},
    ]


def test_a_name_with_a_tilde_is_a_name(tmp_path):
    assert beside(str(tmp_path / "jobs.jsonl"), "~$of nobody.png").endswith("~$of nobody.png")


def test_a_retry_that_is_stopped_says_so(undisturbed, tmp_path, monkeypatch):
    manifest, _ = undisturbed
    ran = Worker.ran

    def fails(self, model, choice, batch):
        raise FloatingPointError("no number")

    monkeypatch.setattr(Worker, "ran", fails)
    assert go(manifest, tmp_path / "out").progress.failed == 7
    monkeypatch.setattr(Worker, "ran", ran)

    seen = []

    def tell(now):
        seen.append((now.fresh, now.goal, now.settled))
        if now.fresh == 1 or now.fresh == 2:
            os.kill(os.getpid(), signal.SIGINT)

    done = go(manifest, tmp_path / "out", retry=True, tell=tell)
    assert done.stopped
    assert seen[0] == (0, 7, 0)
    assert 0 < done.progress.failed < 7
    assert not go(manifest, tmp_path / "out", retry=True).stopped


def test_ray_that_is_missing_is_said(tmp_path, monkeypatch):
    path = write(tmp_path / "in", rows_in(tmp_path / "in", 1))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install .*noisespace\[ray\]"):
        go(path, tmp_path / "out", engine="ray")
