"""The trainer on a folder of captioned images: it learns, resumes exactly, says what is wrong."""

import copy
import errno
import json
import os
import random
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.cli.training import parse_setting
from noisespace.errors import InputError
from noisespace.models.judges import alignment as alignments
from noisespace.models.loading import EMBEDDED
from noisespace.system.files import alone
from noisespace.train import captioned, loop, processes
from noisespace.train import folder as folders
from noisespace.train import memorised as memory
from noisespace.train.alignment import contrast
from noisespace.train.autoencoder import AutoencoderTask, build_autoencoder
from noisespace.train.captioned import all_captions, deciding, evaluate_captions, nearest
from noisespace.train.card import embedded
from noisespace.train.checkpoint import read_header
from noisespace.train.classifier import (
    Classifier,
    ClassifierTask,
    Labels,
    build_classifier,
    load_classifier,
)
from noisespace.train.config import ClassifierStage, Stage, load_config, preset, presets
from noisespace.train.dataset import Part
from noisespace.train.evaluate import evaluate_alignment
from noisespace.train.folder import Folder, View, read_folder
from noisespace.train.memorised import SHOWN, memorised
from noisespace.train.run import run

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}
SMALL = {
    "size": 32,
    "evaluate": 8,
    "autoencoder": {"steps": 200, "batch": 8, "channels": [32, 32], "warmup": 5, "rate": 5e-3},
    "diffusion": {
        "steps": 90,
        "batch": 16,
        "warmup": 5,
        "pool": 64,
        "channels": [16, 32],
        "attention": [False, True],
        "heads": [2, 2],
        "text_hidden": 16,
        "text_layers": 1,
    },
    "alignment": {"steps": 20, "batch": 16, "channels": [8, 16], "depths": [1, 1], "warmup": 2},
    "classifier": {"steps": 60, "batch": 16, "channels": [8, 16], "depths": [1, 1], "warmup": 5},
}

SOME_CLASSIFIER = ClassifierStage(batch=8, channels=(8, 16), depths=(1, 1))


class Tiny:
    """A stage of one layer."""

    name = "autoencoder"

    def __init__(self):
        torch.manual_seed(0)
        self.module = torch.nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)

    def loss(self, step, part):
        return self.module(torch.ones(1, 2, 3, 3)).square().mean()

    def sheet(self, path, step):
        pass


def picture(colour, where, size=32):
    pixels = np.full((size, size, 3), 230, np.uint8)
    half = size // 2
    rows = slice(0, half) if where == "top" else slice(half, size)
    pixels[rows, size // 8 : -size // 8] = COLOURS[colour]
    noise = np.random.default_rng(len(colour) + half).integers(-9, 10, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """96 pictures of a bar: 3 colours, 2 places; every fourth is kept from training."""
    folder = tmp_path_factory.mktemp("data") / "bars"
    folder.mkdir()
    rng, rows = random.Random(0), []
    for i in range(96):
        colour, where = rng.choice(list(COLOURS)), rng.choice(("top", "bottom"))
        Image.fromarray(picture(colour, where)).save(folder / f"{i}.png")
        row = {"file_name": f"{i}.png", "text": f"a {colour} bar at the {where}"}
        row |= {"split": "val" if i % 4 == 0 else "train", "colour": colour, "where": where}
        rows.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


def tensors(path):
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def losses(path):
    return [json.loads(line)["loss"] for line in path.read_text().splitlines()]


def first_losses(settings, data, out, count=5):
    """The autoencoder's loss over its first steps, untrained."""
    seen = read_folder(data, settings.size)
    vae = build_autoencoder(settings.autoencoder, seen.size, settings.seed)
    task = AutoencoderTask(vae, settings.autoencoder, seen, settings.seed)
    return [float(task.loss(step).detach()) for step in range(count)]


# ---- a whole run


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The whole command, with all of its switches, in about half a minute."""
    base = tmp_path_factory.mktemp("runs")
    path = base / "small.json"
    path.write_text(json.dumps(SMALL))
    args = ["train", str(path), "--data", str(data), "--out", str(base / "bars"), "--json"]
    for word in (
        'attributes=["colour", "where"]',
        "autoencoder__crop=16",
        "autoencoder__coarse=0.2",
        "autoencoder__accumulate=2",
        "diffusion__fall=cosine",
        "diffusion__decay=1.0",
    ):
        args += ["--set", word]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    return base / "bars", json.loads(done.stdout)


def test_smoke_training_lowers_the_loss(trained, data):
    out, _ = trained
    settings = load_config(out / "config.json")
    before = sum(first_losses(settings, data, out)) / 5
    after = losses(out / "autoencoder.jsonl")[-1]
    assert after < before / 5
    noise = losses(out / "diffusion.jsonl")  # 1 before anything is learned, less the weighting
    assert noise[-1] < 0.7 * noise[0]


def test_a_run_reports_what_it_can_do(trained):
    out, document = trained
    report = document["report"]
    assert report["reconstruction_db"]["mean"] > 17
    real = report["samples"]["classifier on real unseen pictures"]
    assert real["colour"] > 0.8  # guessing: a third
    assert set(report["samples"]["classifier"]) == {"colour", "where"}
    assert set(report["alignment"]) == {"caption", "colour", "where"}
    assert 0 <= report["memorised"]["copies"] <= 1
    assert report["samples"]["pictures"] == 8
    named = {p.name for p in out.glob("*.png")}
    assert named >= {"samples.png", "memorised.png", "diffusion-validation.png"}
    assert named >= {"autoencoder-sheet.png", "diffusion-sheet.png", "classifier-sheet.png"}
    levels = [json.loads(x) for x in (out / "diffusion-validation.jsonl").read_text().splitlines()]
    assert [len(levels[-1][k]) for k in ("t", "training", "validation")] == [10, 10, 10]


def test_the_model_of_a_run_edits(trained):
    out, document = trained
    model = ns.load(document["model"], device="cpu")
    assert model.resolution == 32
    image = picture("red", "top")
    code = ns.invert(model, image, None, steps=4)
    assert code.info.prompts[0] in {
        f"a {c} bar at the {w}" for c in COLOURS for w in ("top", "bottom")
    }
    assert ns.edit(model, code, "a blue bar at the top").images[0].size == (32, 32)
    card = (out / "model" / "MODEL_CARD.md").read_text()
    assert "noisespace train scenes --data FOLDER" in card
    assert "bars" in card
    assert str(out) not in card
    notes = json.loads((out / "model" / "noisespace.json").read_text())
    assert notes["size"] == 32
    judge = load_classifier(out / "classifier")
    assert list(judge.labels.values) == ["colour", "where"]


def test_a_snapshot_is_written_beside_a_run(trained, tmp_path):
    out, _ = trained
    done = CliRunner().invoke(
        app, ["train", "smoke", "--data", "x", "--out", str(out), "--snapshot"]
    )
    assert done.exit_code == 0, done.output
    assert ns.load(done.stdout.strip(), device="cpu").resolution == 32
    bad = ["train", "smoke", "--data", "x", "--out", str(tmp_path), "--snapshot"]
    assert CliRunner().invoke(app, bad).exit_code == 2


def test_a_folder_is_not_taken_for_the_data_of_an_embedded_model_by_its_name(data):
    for name in ("photos", "scenes"):
        config = load_config("photos", f"somewhere/{name}")
        made = SimpleNamespace(config=config, data=replace(data_of(data), name=name))
        assert embedded(made) is None  # type: ignore[arg-type]
        assert config.name == name
    assert embedded(SimpleNamespace(data=None)) == "scenes"  # type: ignore[arg-type]
    captions = json.loads((EMBEDDED["photos"] / "captions.json").read_text())["patterns"]
    known = replace(data_of(data), captions=tuple(captions), kept=(False,) * len(captions))
    assert embedded(SimpleNamespace(data=known)) == "photos"  # type: ignore[arg-type]


def data_of(folder):
    return read_folder(folder, 32)


def test_a_folder_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    names = {
        load_config("smoke", text).data for text in ("mine", "mine/", "./mine", tmp_path / "mine")
    }
    assert names == {str((tmp_path / "mine").resolve())}
    assert load_config("smoke", "scenes").data == "scenes"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"diffusion__stepz": 3}, "diffusion.stepz: there is no such setting, got 3"),
        ({"attributes": "kind"}, "attributes: expected a list"),
    ],
)
def test_settings_that_are_wrong_are_said_in_words(setting, says):
    with pytest.raises(InputError, match=says):
        load_config("smoke", "x", **setting)


# ---- resuming


def test_a_run_goes_on_bit_for_bit(small, data, tmp_path, monkeypatch):
    short = {"autoencoder__steps": 4, "diffusion__steps": 8, "alignment__steps": 4}
    short |= {"diffusion__save_every": 1e-6, "precision": "bfloat16"}
    short |= {"autoencoder__batch": 2, "diffusion__batch": 4, "diffusion__pool": 32, "evaluate": 1}
    run(small, tmp_path / "whole", data=data, **short)
    update, stopped = loop.Fitting.update, []

    def stop_once(self, step):
        if self.task.name == "diffusion" and step == 5 and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt
        return update(self, step)

    monkeypatch.setattr(loop.Fitting, "update", stop_once)
    with pytest.raises(KeyboardInterrupt):
        run(small, tmp_path / "parts", data=data, **short)
    run(small, tmp_path / "parts", resume=True, data=data, **short)
    for stage in ("autoencoder", "diffusion", "alignment"):
        a, b = (tensors(tmp_path / name / f"{stage}.safetensors") for name in ("whole", "parts"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), stage


def test_a_log_without_a_checkpoint_begins_anew(tmp_path):
    """As a kill before the first checkpoint leaves it, with a line cut short."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "autoencoder.jsonl").write_text('{"step": 20, "loss": 9.0}\n{"step": 4')
    loop.fit(Tiny(), load_config("scenes", autoencoder__steps=2), out)
    lines = (out / "autoencoder.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2]


def test_a_run_goes_on_with_its_optimiser_laid_out_as_it_was(tmp_path):
    """Another order in memory takes other routes through the optimiser, slower or rounded apart."""
    settings = load_config("scenes", autoencoder__steps=2)
    loop.fit(Tiny(), settings, tmp_path)
    again = loop.Fitting(Tiny(), settings, tmp_path)
    for parameter, state in again.optimiser.state.items():
        assert state["exp_avg"].stride() == parameter.stride()
        assert state["exp_avg_sq"].stride() == parameter.stride()
    assert any(p.stride() != p.contiguous().stride() for p in again.optimiser.state)


def test_an_interrupted_run_keeps_its_last_step(small, data, tmp_path, monkeypatch):
    update = loop.Fitting.update

    def interrupted(self, step):
        if step == 3:
            os.kill(os.getpid(), 15)
        return update(self, step)

    monkeypatch.setattr(loop.Fitting, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(small, tmp_path / "out", data=data)
    assert read_header(tmp_path / "out" / "autoencoder.safetensors")["step"] == 4


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"autoencoder__rate": 1e-3}, "autoencoder__rate"),
        ({"autoencoder__channels": [8, 8]}, "autoencoder__channels"),
        ({"seed": 1}, "seed"),
        ({"mirror": False}, "mirror"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(trained, data, changed, word, tmp_path):
    """And nothing is written over: the run can still go on with its own settings."""
    out, _ = trained
    before = (out / "config.json").read_text()
    given = {"data": data, "attributes": ("colour", "where"), "autoencoder__crop": 16}
    given |= {"autoencoder__coarse": 0.2, "diffusion__fall": "cosine", "diffusion__decay": 1.0}
    with pytest.raises(InputError, match=f"was made with {word}="):
        run(out / "config.json", out, resume=True, **{**given, **changed})
    assert (out / "config.json").read_text() == before


def test_more_autoencoder_steps_after_the_second_stage_began_are_refused(trained, data):
    out, _ = trained
    with pytest.raises(
        InputError, match=r"diffusion\.safetensors: was made with autoencoder__steps"
    ):
        run(out / "config.json", out, resume=True, autoencoder__steps=301)


def test_two_runs_do_not_share_a_folder(small, data, tmp_path):
    with alone(tmp_path / "out"), pytest.raises(InputError, match="another run is going on"):
        run(small, tmp_path / "out", data=data)


# ---- parts of a batch


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_accumulation_changes_nothing(small, data, stage, tmp_path):
    """The gradient of a batch is the mean of its parts' gradients, noise and captions included."""
    grads = []
    for count in (1, 4):
        found = capture(small, data, stage, tmp_path / str(count), count)
        grads.append(found)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert any(g.abs().max() > 1e-4 for g in grads[0])


def capture(small, data, stage, out, count):
    seen, asked = [], {f"{stage}__accumulate": count, "diffusion__pool": 32}

    class StopError(Exception):
        pass

    def descend(self, step):
        if self.task.name != stage:
            return original(self, step)
        original(self, step)
        seen.extend(p.grad.clone() for p in self.module.parameters() if p.grad is not None)
        raise StopError

    original = loop.Fitting.descend
    loop.Fitting.descend = descend
    try:
        run(small, out, data=data, autoencoder__steps=2, **asked)
    except StopError:
        return seen
    finally:
        loop.Fitting.descend = original
    raise AssertionError


def test_parts_share_a_batch_without_rest():
    rows = list(range(12))
    parts = [Part(i, 3).of(rows) for i in range(3)]
    assert sorted(row for part in parts for row in part) == rows
    assert [len(p) for p in parts] == [4, 4, 4]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"autoencoder__accumulate": 3}, "autoencoder: batch 8 does not split into 3 equal parts"),
        ({"alignment__accumulate": 16}, "16 equal parts of at least 2 pictures"),
        ({"classifier__accumulate": 3, "attributes": ("colour",)}, "classifier: batch 16"),
    ],
)
def test_a_batch_that_does_not_split_is_refused(small, data, given, words, tmp_path):
    """That of a later stage too, before the first one is trained."""
    with pytest.raises(InputError, match=words):
        run(small, tmp_path / "out", data=data, **given)
    assert not (tmp_path / "out" / "autoencoder.safetensors").exists()


def twice(*command):
    """What two processes of one run give; accelerate's own launcher starts but one on a CPU."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [*launch, *command], capture_output=True, text=True, env=environment, timeout=900
    )


# A stage of one number, of which the second process is interrupted.
WORK = """
import os, signal, sys, types
from pathlib import Path
import torch
from noisespace.train import loop
from noisespace.train.config import load_config
from noisespace.train.processes import processes

class Task:
    name, module = "autoencoder", torch.nn.Linear(1, 1)
    def loss(self, step, part):
        if step == 3 and part.index == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)  # as a launcher sends it on
        return self.module(torch.ones(1)).square().mean()
    def sheet(self, path, step):
        pass

settings = load_config("scenes", autoencoder__steps=1000)
try:
    loop.fit(Task(), settings, Path(sys.argv[1]))
except KeyboardInterrupt:
    print("stopped", processes().process_index, flush=True)
"""


def test_processes_stop_after_the_same_step(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    done = twice(str(tmp_path / "work.py"), str(tmp_path))
    assert sorted(done.stdout.split("\n")) == ["", "stopped 0", "stopped 1"], done.stderr[-2000:]
    assert read_header(tmp_path / "autoencoder.safetensors")["step"] == 4


def test_only_the_first_process_writes_the_end(small, data, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.PartialState, "is_main_process", False)
    args = ["train", str(small), "--data", str(data), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("noisespace.train.run.run_alone", lambda *_, **__: None)
    done = CliRunner().invoke(app, [*args, "--only", "alignment"])
    assert (done.exit_code, done.output) == (0, "")
    assert not (tmp_path / "out").exists()


def test_two_processes_learn_what_one_does(small, data, tmp_path):
    """On the CPU; only the sums' order differs.

    Two that knew nothing of each other would fail: they cannot share a folder.
    """
    given = ["--data", str(data), "--set", "autoencoder__steps=3", "--set", "diffusion__steps=3"]
    given += ["--set", "alignment__steps=1", "--set", "evaluate=2", "--set", "diffusion__pool=32"]
    given += ["--set", "autoencoder__warmup=0", "--set", "diffusion__warmup=0"]
    command = ["-m", "noisespace", "train", str(small), "--out", str(tmp_path / "two")]
    done = twice(*command, *given)
    assert done.returncode == 0, done.stderr[-2000:]
    run(
        small,
        tmp_path / "one",
        data=data,
        autoencoder__steps=3,
        diffusion__steps=3,
        alignment__steps=1,
        diffusion__pool=32,
        autoencoder__warmup=0,
        diffusion__warmup=0,
        evaluate=2,
    )
    a, b = (tensors(tmp_path / name / "autoencoder.safetensors") for name in ("one", "two"))
    for key in a:
        if key.startswith("model."):
            torch.testing.assert_close(a[key], b[key], atol=1e-4, rtol=1e-3)
    assert (tmp_path / "two" / "model" / "model_index.json").exists()


def test_the_contrast_is_not_computed_in_half_the_width():
    """Logits of up to 100 would be told apart to 0.5 only."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, 16, generator=generator) for _ in range(2))
    scale, same = torch.tensor(4.6), torch.eye(8)
    with torch.autocast("cpu", torch.bfloat16):
        half = contrast(x, x + 0.3 * y, scale, same)
    assert float(half) == float(contrast(x, x + 0.3 * y, scale, same))


# ---- rates, presets, judges


def test_the_cosine_falls_from_the_rate_to_zero():
    stage = Stage(steps=100, batch=1, rate=1.0, warmup=10, decay=0.5, fall="cosine")
    rates = [loop.learning_rate(stage, step) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:51] == [1.0] * 41
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(rates[50:]))


def test_every_preset_is_whole():
    assert set(presets()) == {"scenes", "photos", "smoke", "night", "gpu"}
    for name in presets():
        settings = preset(name)
        assert settings.preset == name
        command = load_config(name, "folder").command
        assert command == f"noisespace train {name} --data FOLDER"
    assert load_config("smoke", "x", seed=3).command.endswith("--set seed=3")
    with pytest.raises(InputError, match="--data FOLDER"):
        load_config("night")
    with pytest.raises(InputError, match="expected one of gpu, night, photos, scenes, smoke"):
        load_config("dawn")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"size": 50}, "multiple of 16"),
        ({"autoencoder__crop": 6}, "multiple of 4"),
        ({"autoencoder__crop": 64}, "at most 32"),
        ({"precision": "int8"}, "precision"),
        ({"autoencoder__crop": 12, "autoencoder__coarse": 0.5}, "crop must be a multiple of 8"),
        ({"autoencoder__channels": [12, 24, 24]}, "channels must be multiples of 8"),
        ({"autoencoder__channels": []}, "channels must be multiples of 8"),
        ({"diffusion__channels": [16, 24]}, "channels must be multiples of 16"),
        ({"diffusion__channels": [16, 32]}, "attention must have 2 entries"),
        ({"diffusion__heads": [1, 2, 3]}, "heads must divide channels"),
        ({"diffusion__text_hidden": 30}, "text_hidden must be a multiple of 4"),
        ({"diffusion__pool": 0}, "pool"),
        ({"diffusion__rate": float("inf")}, "finite"),
        ({"diffusion__dropout": 2}, "dropout"),
        ({"alignment__depths": [1]}, "depths must have 3 entries"),
        ({"alignment__size": 4}, "alignment.size"),
        ({"classifier__depths": [1]}, "depths must have 3 entries"),
        ({"classifier__steps": None}, "classifier.steps"),
        ({"seed": 10**30}, "seed"),
        ({"preset": "night"}, "name the preset in place of smoke"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, word):
    """With the settings: networks that cannot be built are not found out after the first stage."""
    size = {"size": 32, "diffusion__channels": [16, 16, 16]}
    with pytest.raises(InputError, match=word):
        load_config("smoke", "x", **{**size, **given})


def test_a_setting_can_be_taken_back():
    assert load_config("night", "x").autoencoder.crop == 64
    assert load_config("night", "x", autoencoder__crop=None).autoencoder.crop is None
    assert parse_setting("autoencoder__crop=null") == ("autoencoder__crop", None)


@pytest.mark.parametrize("text", ['{"diffusion": 3}', '{"preset": ["night"]}', '{"preset": null}'])
def test_files_of_settings_that_hold_none_are_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json: (diffusion|preset) is"):
        load_config(tmp_path / "a.json", "x", diffusion__steps=3)


def test_a_told_command_gives_the_same_settings():
    """Through a shell: values have spaces and quotation marks."""
    given = {"attributes": ["a kind", "b"], "autoencoder__channels": [8, 16], "seed": 3}
    settings = load_config("night", "FOLDER", autoencoder__crop=None, size=64, **given)
    words = shlex.split(settings.command)[2:]
    assert words[:3] == ["night", "--data", "FOLDER"]
    assert words[3::2] == ["--set"] * len(words[4::2])
    again = dict(parse_setting(word) for word in words[4::2])
    assert load_config("night", "FOLDER", **again) == settings


def test_labels_know_what_is_missing(data):
    seen = read_folder(data, 32)
    some = replace(
        seen,
        about=tuple({**row, "colour": None} if i < 9 else row for i, row in enumerate(seen.about)),
    )
    labels = Labels.of(some, ["colour", "where"])
    assert labels.values == {"colour": ("blue", "green", "red"), "where": ("bottom", "top")}
    assert labels.numbers("colour", ["red", None, "pink"]).tolist() == [2, -100, -100]
    with pytest.raises(InputError, match="attribute 'shape' has 0 values"):
        Labels.of(seen, ["shape"])


def test_agreement_counts_what_is_wanted(data):
    labels = Labels.of(read_folder(data, 32), ["colour", "where"])

    class Known(Classifier):
        def name(self, pictures):
            return [{"colour": "red", "where": "top"}] * len(pictures)

    wanted = [{"colour": "red", "where": "bottom"}, {"colour": None, "where": "top"}]
    judge = Known(None, labels, None)
    assert judge.agreement(torch.zeros(2, 3, 8, 8), wanted) == {"colour": 1.0, "where": 0.5}


def test_copies_are_found(data, tmp_path):
    seen = read_folder(data, 32)
    copies = seen.pictures([View(i) for i in seen.numbers(unseen=False)[:6]])
    found = memorised(copies.flip(3), seen, tmp_path / "a.png")  # a mirrored copy is one too
    assert found["nearest_least"] < 1e-6
    other = memorised(-copies, seen, tmp_path / "b.png")
    assert other["nearest_least"] > 0.3
    assert other["copies"] == 0


def test_columns_that_captions_decide(data):
    seen = read_folder(data, 32)
    assert deciding(seen) == ["colour", "where"]
    odd = replace(seen, about=tuple({**row, "number": i} for i, row in enumerate(seen.about)))
    assert "number" not in deciding(odd)


def test_a_wrong_caption_is_another_and_a_near_one(data):
    seen, rng = read_folder(data, 32), random.Random(0)
    for i in range(10):
        own, wrong = seen.captions[i], seen.wrong_caption(View(i), rng)
        assert wrong in seen.vocabulary()
        assert wrong != own
        assert len(set(own.split()) & set(wrong.split())) >= 3


@pytest.fixture(scope="module")
def towers():
    return ns.load_alignment("scenes", "cpu")


def test_judges_may_be_elsewhere_than_the_pictures(towers, data):
    """On an accelerator networks and pictures meet from two devices; here from two widths."""
    wide = copy.copy(towers)
    wide.encoders = copy.deepcopy(towers.encoders).double()
    seen = read_folder(data, 32)
    items = [View(i) for i in range(8)]
    texts = seen.vocabulary()
    assert nearest(wide, texts, [seen.pictures(items)]) == nearest(
        towers, texts, [seen.pictures(items)]
    )
    own = [seen.captions[v.index] for v in items]
    found = wide(seen.pictures(items), own)
    torch.testing.assert_close(found, towers(seen.pictures(items), own), atol=1e-5, rtol=1e-4)
    assert evaluate_alignment(wide, 2).keys() == {"shape", "colour", "background", "texture"}


def test_all_images_are_never_looked_at_at_once(towers, data, tmp_path, monkeypatch):
    seen, original, counts = read_folder(data, 32), Folder.pictures, []
    labels = Labels.of(seen, ["colour"])
    judge = Classifier(build_classifier(SOME_CLASSIFIER, labels, 32, 0).eval(), labels, None)
    texts = towers.prompts(seen.vocabulary())

    def everything():
        return judge.accuracy(seen), evaluate_captions(towers, seen), copies()

    def copies():
        return memorised(seen.pictures([View(0)]), seen, tmp_path / "a.png")

    whole = everything()
    monkeypatch.setattr(folders, "AT_ONCE", 5)
    monkeypatch.setattr(alignments, "AT_ONCE", 4)
    monkeypatch.setattr(memory, "AT_ONCE", 5)

    def spy(self, items):
        counts.append(len(items))
        return original(self, items)

    monkeypatch.setattr(Folder, "pictures", spy)
    assert everything() == whole
    assert max(counts) <= SHOWN
    torch.testing.assert_close(towers.prompts(seen.vocabulary()), texts)


def test_what_no_unseen_image_has_is_not_counted(towers, data):
    seen = read_folder(data, 32)
    only = tuple(
        {**row, "mark": row["colour"] if not kept else None}
        for row, kept in zip(seen.about, seen.kept, strict=True)
    )
    texts = tuple(f"{text} {kept}" for text, kept in zip(seen.captions, seen.kept, strict=True))
    found = evaluate_captions(towers, replace(seen, about=only, captions=texts))
    assert set(found) == {"caption", "colour", "where"}


def test_of_guidances_that_do_equally_well_the_nearest_wins(towers, data, monkeypatch):
    """Also heard: every sample, so that a progress bar moves."""
    seen, heard = read_folder(data, 32), []
    prompts = [seen.captions[v.index] for v in captioned.unseen(seen, 2, "guidance")]
    blank = torch.zeros(2, 3, 32, 32)
    monkeypatch.setattr(captioned, "nearest", lambda *_: prompts)  # all have their own prompt

    def sampled(pipe, prompts, w, tell):
        tell(len(prompts))
        return blank + w

    monkeypatch.setattr(captioned, "sample", sampled)
    monkeypatch.setattr(captioned, "nearness", lambda *given: -abs(float(given[-1].mean()) - 3))
    best, shares = captioned.tune_guidance(None, seen, towers, 2, heard.append)
    assert best == 3.0
    assert set(shares.values()) == {1.0}
    assert sum(heard) == captioned.samples_of(2) - 2  # and two once it is tuned


def test_captions_of_unseen_images_alone_can_be_found(data):
    """Where every image has a caption of its own, none of the unseen is among those of training."""
    seen = read_folder(data, 32)
    texts = tuple(f"number {i}" for i in range(len(seen.captions)))
    own = replace(seen, captions=texts)
    assert set(all_captions(own)) == set(texts)
    assert set(all_captions(seen)) == set(seen.captions)


def test_values_of_nought_count(data):
    labels = Labels({"count": ("0", "1")})

    class Known(Classifier):
        def name(self, pictures):
            return [{"count": "1"}] * len(pictures)

    judge = Known(None, labels, None)
    rows = [{"count": 0}, {"count": 1}, {"count": None}, {"count": ""}]
    assert judge.agreement(torch.zeros(4, 3, 8, 8), rows) == {"count": 0.5}


def test_a_batch_of_which_the_table_says_nothing_teaches_nothing(data):
    seen = read_folder(data, 32)
    labels = Labels.of(seen, ["colour"])
    unknown = replace(seen, about=tuple({**row, "colour": None} for row in seen.about))
    module = build_classifier(SOME_CLASSIFIER, labels, 32, 0)
    loss = ClassifierTask(module, SOME_CLASSIFIER, unknown, labels, 0).loss(0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(float(p.grad.abs().max()) == 0 for p in module.parameters() if p.grad is not None)


# ---- bad input


def test_images_smaller_than_the_settings_are_refused(data, small, tmp_path):
    with pytest.raises(InputError, match="about 32 pixels a side, the settings ask for 64"):
        run(small, tmp_path / "runs" / "out", data=data, size=64)
    assert not (tmp_path / "runs").exists()  # nothing stays of a run that never began
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="about 32 pixels"):
        run(small, tmp_path / "mine", data=data, size=64)
    assert (tmp_path / "mine").is_dir()  # it was there before


def test_no_room_on_the_disk_is_said_before_and_while_it_runs(data, small, tmp_path, monkeypatch):
    usage = loop.shutil.disk_usage
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda p: usage(p)._replace(free=1000))
    with pytest.raises(InputError, match="GB left on the disk"):
        run(small, tmp_path / "out", data=data)
    monkeypatch.setattr(loop.shutil, "disk_usage", usage)
    run(
        small,
        tmp_path / "out",
        resume=True,
        data=data,
        autoencoder__steps=2,
        diffusion__steps=2,
        alignment__steps=2,
    )
    before = (tmp_path / "out" / "alignment.safetensors").read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(
            small,
            tmp_path / "out",
            resume=True,
            data=data,
            autoencoder__steps=2,
            diffusion__steps=2,
            alignment__steps=4,
        )
    assert (tmp_path / "out" / "alignment.safetensors").read_bytes() == before
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_attributes_of_scenes_are_refused(tmp_path):
    with pytest.raises(InputError, match="scenes have none"):
        run("scenes", tmp_path / "out", attributes=("kind",))


def test_folders_are_kept_once(data, tmp_path, monkeypatch):
    cache = tmp_path / "pixels.npy"
    first = read_folder(data, 32, cache)
    monkeypatch.setattr("noisespace.train.pixels.read_pixels", None)  # not called again
    assert np.array_equal(read_folder(data, 32, cache).pixels, first.pixels)
