"""A run can be stopped or killed at any time and ends with the same weights."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

import noisespace as ns
from noisespace.errors import InputError, RunError
from noisespace.train.checkpoint import read_header
from noisespace.train.config import load_config
from noisespace.train.diffusion import DiffusionTask
from noisespace.train.evaluate import samples_of
from noisespace.train.finish import publish
from noisespace.train.run import load_run, run

SETTINGS = {
    "autoencoder": {"steps": 3, "batch": 2, "channels": [8, 8, 8], "save_every": 1e-6},
    "diffusion": {
        "steps": 8,
        "batch": 2,
        "warmup": 2,
        "pool": 6,
        "channels": [16, 16, 16],
        "heads": [2, 2, 2],
        "text_hidden": 16,
        "text_layers": 1,
        "save_every": 1e-6,
    },
    "alignment": {
        "steps": 6,
        "batch": 4,
        "channels": [8, 16],
        "depths": [1, 1],
        "text_hidden": 16,
        "text_layers": 1,
        "embedding": 8,
        "save_every": 1e-6,
    },
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps({"data": "scenes", **SETTINGS}))
    return path


@pytest.fixture(autouse=True)
def no_sheets(monkeypatch):
    monkeypatch.setattr(DiffusionTask, "sheet", lambda *_: None)


def tensors(path):
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def assert_same(a, b):
    a, b = tensors(a), tensors(b)
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_a_stopped_run_ends_as_one_that_was_not(config, tmp_path, monkeypatch):
    run(config, tmp_path / "whole")
    loss, stopped = DiffusionTask.loss, []

    def stop_once(self, step, part):
        if step == 5 and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt
        return loss(self, step, part)

    monkeypatch.setattr(DiffusionTask, "loss", stop_once)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "parts")
    settings = (tmp_path / "parts/config.json").read_text()
    with pytest.raises(InputError, match="--resume"):
        run(config, tmp_path / "parts", seed=5)
    assert (tmp_path / "parts/config.json").read_text() == settings
    trained = run(config, tmp_path / "parts", resume=True)
    assert (trained.outcomes["diffusion"].steps, trained.outcomes["diffusion"].samples) == (8, 16)
    for stage in ("autoencoder", "diffusion", "alignment"):
        assert_same(*(tmp_path / n / f"{stage}.safetensors" for n in ("whole", "parts")))
    lines = (tmp_path / "parts/diffusion.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))


def test_a_killed_run_goes_on(config, tmp_path):
    out = tmp_path / "out"
    path = out / "diffusion.safetensors"
    command = [sys.executable, "-m", "noisespace", "train", str(config), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--set", "diffusion__steps=100000"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        waited = time.monotonic()
        while not path.exists() and time.monotonic() - waited < 120:
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = read_header(path)["step"]
    assert 0 < done < 100000
    (out / ".diffusion.safetensors.half.tmp").write_bytes(b"half a checkpoint")  # as a kill leaves
    trained = run(config, out, resume=True, diffusion__steps=done + 2)
    assert trained.outcomes["diffusion"].steps == done + 2
    assert not list(out.glob(".*.tmp"))


def test_an_exported_run_loads_and_edits(config, tmp_path):
    run(config, tmp_path / "out")
    publish(load_run(tmp_path / "out"), tmp_path / "model")
    model = ns.load(tmp_path / "model", device="cpu")
    scene = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    code = ns.invert(model, scene, "a red circle on a blue background", steps=4)
    assert ns.edit(model, code, "a red star on a blue background").images[0].size == (64, 64)
    notes = json.loads((tmp_path / "model/noisespace.json").read_text())
    assert "--set diffusion__steps=8" in notes["training"]["command"]
    samples = {"autoencoder": 6, "diffusion": 16, "alignment": 24}
    assert notes["training"]["samples"] == samples
    towers = ns.load_alignment(tmp_path / "model", "cpu")
    assert towers.pictures(torch.zeros(1, 3, 64, 64)).shape == (1, 8)
    (tmp_path / "out/alignment.safetensors").unlink()  # as a run whose last stage is to come
    publish(load_run(tmp_path / "out"), tmp_path / "model")
    assert ns.load(tmp_path / "model", device="cpu").alignment_folder is None


def test_the_alignment_model_is_trained_alone(config, tmp_path):
    from typer.testing import CliRunner

    from noisespace.cli import app

    args = ["train", str(config), "--out", str(tmp_path / "run"), "--set", "evaluate=2"]
    done = CliRunner().invoke(app, [*args, "--only", "alignment", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert 0 <= document["report"]["shape"] <= 1
    assert ns.load_alignment(document["alignment"], "cpu").size == 64
    again = CliRunner().invoke(app, [*args, "--only", "alignment"])
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    bad = CliRunner().invoke(app, [*args, "--only", "text"])
    assert bad.exit_code == 2
    assert 'must be "alignment"' in bad.stderr


def test_the_command_trains_evaluates_and_writes(config, tmp_path):
    from typer.testing import CliRunner

    from noisespace.cli import app

    out = tmp_path / "run"
    args = ["train", str(config), "--out", str(out), "--set", "evaluate=2", "--json"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["report"]
    assert report["shown"]["pictures"] == 2
    assert "evaluation" in done.stderr  # minutes of a real run, which are not silent
    assert f"{samples_of(2)}/{samples_of(2)}" in done.stderr  # all of its samples were heard of
    assert {p.name for p in out.glob("*.png")} >= {"diffusion-loss.png", "samples-shown.png"}
    assert (out / "model/unet/diffusion_pytorch_model.safetensors").exists()
    again = CliRunner().invoke(app, args)
    assert again.exit_code == 2
    assert "--resume" in again.stderr


def test_a_loss_that_is_not_a_number_stops_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(DiffusionTask, "loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(RunError, match="lower the rate"):
        run(config, tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"diffusion": {"steps": 0}}, "steps"),
        ({"diffusion": {"depth": 3}}, "depth"),
        ({"data": "cats"}, "cats"),
        ({"autoencoder": {"decay": 2}}, "decay"),
    ],
)
def test_bad_settings_are_refused(settings, word, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(InputError, match=word):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.safetensors"))


def test_a_run_tells_its_command(config):
    assert load_config("scenes").command == "noisespace train scenes"
    command = load_config(config).command
    assert command.startswith("noisespace train scenes --set autoencoder__steps=3")


def test_every_word_is_one_token_and_every_run_makes_the_same_tokenizer():
    from noisespace.train.palette import vocabulary
    from noisespace.train.text import build_tokenizer

    words = (*vocabulary(), "granny", "smith", "ring", "rings", "string", "strings")
    made = [build_tokenizer(some, 32) for some in (words, words, words[::-1])]
    for word in words:
        assert len(made[0](word).input_ids) == 3, word
    assert made[0].get_vocab() == made[1].get_vocab() == made[2].get_vocab()
    assert made[0].decode(made[0]("a zebra").input_ids, skip_special_tokens=True) == "a zebra"
