"""The command line: exit codes, one sentence for bad input, pure JSON, outputs never lost."""

import json
import subprocess
import sys

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from noisespace.cli import app
from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS, CycleDiffusion, EditFriendly
from noisespace.models.loading import EMBEDDED
from noisespace.planning.parsing import parse_method

SMALL = ["--steps", "4"]
needs_scenes = pytest.mark.skipif(
    not (EMBEDDED["scenes"] / "model_index.json").is_file(), reason="no embedded model yet"
)


def call(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(path)
    return path


def refused(result, *words):
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words), lines[0]
    assert "Traceback" not in result.output


def edit(picture, out, *more):
    return call("edit", picture, "--source", "a", "--target", "b", "-o", out, *more)


def test_usage_errors_are_one_sentence():
    for args in (["frob"], ["edit", "--frob"], ["edit", "a.png", "--steps", "0"], ["edit"]):
        done = subprocess.run(
            [sys.executable, "-m", "noisespace", *args], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stdout == ""
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert "--help)" in lines[0]


@needs_scenes
def test_editors_masks_and_operations(picture, tmp_path):
    mask = tmp_path / "mask.png"
    Image.linear_gradient("L").point(lambda v: 255 * (v > 127)).resize((64, 64)).save(mask)
    for i, more in enumerate(
        (
            ["--editor", "prompt-to-prompt:cross=.2/.8,self=.3,reweight=b:2,blend=a/b"],
            ["--editor", "masactrl", "--mask", mask],
            ["--mask", "diffedit:maps=2"],
            ["--mask", "attention:word=a"],
            [
                "--operation",
                "shift:dx=8,fill=fresh",
                "--operation",
                f"color-edit:color=red,mask={mask}",
            ],
            ["--concept", "red=3", "--concept", "blue=-2"],
        )
    ):
        out = tmp_path / f"{i}.png"
        done = edit(picture, out, *SMALL, *more)
        assert done.exit_code == 0, done.output
        record = json.loads(out.with_suffix(".json").read_text())["pictures"][0]["record"]
        assert str(tmp_path) not in json.dumps(record)
    for more, word in (
        (["--editor", "prompt-to-promt"], "did you mean prompt-to-prompt"),
        (["--editor", "masactrl:layr=3"], "did you mean layer"),
        (["--editor", "masactrl", "--concept", "a=1"], "either"),
        (["--concept", "a"], "WORDS=SCALE"),
        (["--mask", "attention"], "word="),
        (["--mask", "nofile.png"], "no such file"),
    ):
        refused(edit(picture, tmp_path / "x.png", *more), word)
    late = edit(picture, tmp_path / "x.png", *SMALL, "--editor", "prompt-to-prompt:blend=cat")
    assert late.exit_code == 2
    assert "inversion" not in late.stderr  # said before the image was inverted
    assert not (tmp_path / "x.png").exists()


@needs_scenes
def test_attention(picture, tmp_path):
    out = tmp_path / "maps.png"
    source = ["--source", "a red star"]
    done = call("attention", picture, *source, "-o", out, "--json", *SMALL)
    assert done.exit_code == 0, done.output
    assert [w["word"] for w in json.loads(done.stdout)["words"]] == ["a", "red", "star"]
    with Image.open(out) as sheet:
        assert sheet.width > 300
    bad = call("attention", picture, *source, "-o", tmp_path / "b.png", "--word", "cat")
    assert bad.exit_code == 2
    assert "its words are: a, red, star" in bad.stderr


def test_help_names_every_choice():
    options = get_command(app).commands["edit"].params
    told = {
        option.name: (option.help or "").replace(",", " ").replace(".", " ") for option in options
    }
    for option, table in (
        ("method", METHODS),
        ("editor", EDITORS),
        ("mask", MASKS),
        ("operation", OPERATIONS),
    ):
        words = told[option].replace(":", " ").replace(";", " ").split()
        assert set(table) <= set(words), option


def test_help_imports_nothing_heavy():
    code = (
        "import sys, noisespace.cli as c\n"
        "try: c.app(['edit', '--help'])\n"
        "except SystemExit: pass\n"
        "bad = {'torch', 'diffusers', 'numpy', 'PIL', 'transformers'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--target" in done.stdout


def test_method_specs():
    assert parse_method("edit-friendly:skip=36,eta=1") == EditFriendly(skip=36, eta=1.0)
    assert isinstance(parse_method("edit-friendly:skip=36").skip, int)
    assert parse_method("cycle-diffusion:skip=.36,live=true") == CycleDiffusion(0.36, live=True)
    assert parse_method("ddim:told=upper,stop=none").stop is None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("edit-frendly", "did you mean edit-friendly"),
        ("edit-friendly:skp=3", "did you mean skip"),
        ("edit-friendly:eta=lots", "a number"),
        ("edit-friendly:eta", "field=value"),
        ("ddim:told=middle", "lower, upper"),
        ("prox-npi:below=1.5", "an integer"),
    ],
)
def test_bad_specs(spec, words):
    with pytest.raises(InputError, match=words):
        parse_method(spec)


def test_bad_input_is_refused_before_a_model_is_loaded(picture, tmp_path, monkeypatch):
    monkeypatch.setattr("noisespace.models.loading.load", lambda *a: pytest.fail("loaded"))
    out = tmp_path / "out.png"
    refused(edit(tmp_path / "none.png", out), "none.png")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:60])
    refused(edit(tmp_path / "cut.png", out), "cut.png")
    refused(edit(picture, out, "--method", "dim"), "did you mean ddim")
    refused(edit(picture, out, "--size", "big"), "--size")
    refused(edit(picture, tmp_path / "out.jpg"), "PNG")
    refused(edit(picture, picture, "--force"), "input")
    refused(edit(picture, out, "--sheet", out), "two outputs")
    assert not list(tmp_path.glob("out*"))
    out.write_bytes(b"mine")
    refused(edit(picture, out), "--force")
    assert out.read_bytes() == b"mine"
    failed = edit(picture, tmp_path / "x.png", "--method", "dim", "--json")
    assert json.loads(failed.stdout)["exit_code"] == 2


@needs_scenes
@pytest.mark.parametrize(
    "more",
    [
        ("--method", "edit-friendly:skip=4"),
        ("--method", "edit-friendly:eta=2"),
        ("--method", "cycle-diffusion:eta=0"),
        ("--guidance", "1e9"),
    ],
)
def test_bad_settings(picture, tmp_path, more):
    result = edit(picture, tmp_path / "out.png", *SMALL, *more)
    assert result.exit_code == 2, result.output
    assert len([x for x in result.stderr.splitlines() if x.startswith("error: ")]) == 1
    assert not list(tmp_path.glob("out*"))


@needs_scenes
def test_same_job_same_bytes_and_codes_are_reused(picture, tmp_path):
    first, again = tmp_path / "a.png", tmp_path / "b.png"
    code = tmp_path / "c.safetensors"
    done = edit(picture, first, *SMALL, "--json", "--code", code, "--sheet", tmp_path / "s.png")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(first.with_suffix(".json").read_text())
    assert edit(picture, again, *SMALL).exit_code == 0
    assert first.read_bytes() == again.read_bytes()
    third = tmp_path / "d.png"
    assert call("edit", code, "--target", "b", "-o", third).exit_code == 0
    assert first.read_bytes() == third.read_bytes()
    refused(call("edit", code, "--target", "b", "--steps", 5, "-o", tmp_path / "e.png"), "--steps")
    replay = call("reconstruct", code, "-o", tmp_path / "r.png", "--against", picture, "--json")
    assert json.loads(replay.stdout)["max_abs_latent_error"] < 1e-4


@needs_scenes
def test_a_failed_method_is_a_cell(picture, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("the network gave NaN")

    monkeypatch.setattr(CycleDiffusion, "invert", fail)
    grid = tmp_path / "grid.png"
    methods = ["--method", "edit-friendly", "--method", "cycle-diffusion"]
    texts = ["--source", "a", "--target", "b"]
    done = call("compare", picture, *texts, *methods, *SMALL, "-o", grid, "--json")
    assert done.exit_code == 1
    good, bad = json.loads(done.stdout)["methods"]
    assert "psnr_input" in good
    assert "NaN" in bad["error"]
    assert grid.is_file()
