"""Commands, Python, archives and records make the same pictures again."""

import io
import shlex
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

import noisespace as ns
from noisespace.errors import InputError
from noisespace.pictures.metadata import png_bytes
from noisespace.web import records, sharing
from noisespace.web.carrying import Carried
from noisespace.web.history import History
from noisespace.web.records import Settings
from tiny import tiny_sd


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Stable Diffusion on disk, and a photo."""
    place = tmp_path_factory.mktemp("tiny")
    tiny_sd().save_pretrained(place / "model", safe_serialization=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "input.png")
    white = np.zeros((40, 32), np.uint8)
    white[10:30, 8:24] = 255
    Image.fromarray(white).save(place / "mask.png")
    return place


CASES = {
    "plain": {},
    "all": {
        "method": "edit-friendly:skip=0.2,eta=0.9",
        "editor": "prompt-to-prompt:cross=0.5",
        "mask": "mask.png",
        "source_guidance": 2.0,
        "guidance": 6.0,
        "seed": 3,
        "variants": 2,
        "size": 48,
    },
    "found mask and operation": {
        "mask": "diffedit:maps=2",
        "operations": ("shift:dx=8",),
        "method": "cycle-diffusion:skip=0.2",
    },
}


@pytest.mark.parametrize("name", CASES)
def test_command_and_python_make_the_same_picture(folder, monkeypatch, name):
    from typer.testing import CliRunner

    from noisespace.cli.app import app

    monkeypatch.chdir(folder)
    settings = Settings(
        model=str(folder / "model"), source="a photo of a cat", target="a photo of a dog", steps=5,
        **CASES[name],
    )  # fmt: skip
    words = shlex.split(sharing.command(settings, out=f"{name}/edit.png"))
    assert words.pop(0) == "noisespace"
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    exec(sharing.python(settings), {})
    for k in range(1, settings.variants + 1):
        number = f"-{k}" if settings.variants > 1 else ""
        path = folder / name / f"edit{number}.png"
        by_command, by_python = (np.array(Image.open(p)) for p in (path, f"edit-{k}.png"))
        assert (by_command == by_python).all()
        assert (by_command != np.array(Image.open("input.png"))).any()
        found = records.restored(records.record_in(path.read_bytes()) or {})
        kept = settings.model_dump() | {"mask": "" if name == "all" else settings.mask}
        got = found.settings.model_dump()
        for left in ("guidance", "source_guidance", "size", "model"):  # written out in the record
            if kept[left] in (None, "") or left == "model":
                kept.pop(left), got.pop(left)
        assert got == kept
        assert found.variant == k - 1
        assert len(found.image) == 64
        assert bool(found.notes) == (name == "all")


def test_strokes_and_masks_are_restored_where_they_are_known(folder, monkeypatch):
    """The record knows them by their pixels, whoever made the picture."""
    from typer.testing import CliRunner

    from noisespace.cli.app import app

    monkeypatch.chdir(folder)
    layer = Image.new("RGBA", (32, 40))
    layer.paste((255, 0, 0, 255), (4, 4, 20, 20))
    name = "paint-0123abcd.png"
    layer.save(name)
    grey = np.array(Image.open("mask.png"))
    settings = Settings(
        model=str(folder / "model"), source="a photo of a cat", target="a photo of a dog", steps=5,
        mask="mask.png", operations=(f"color-edit:strokes={name},strength=0.2",),
    )  # fmt: skip
    ran = CliRunner().invoke(app, shlex.split(sharing.command(settings, out="painted.png"))[1:])
    assert ran.exit_code == 0, ran.output
    record = records.record_in((folder / "painted.png").read_bytes()) or {}
    known = Carried(None, grey, {name: layer}).known
    found = records.restored(record, known)
    assert (found.settings.mask, found.settings.operations) == (
        "mask.png",
        settings.operations,
    )
    assert found.notes == ()
    lost = records.restored(record)
    assert (lost.settings.mask, lost.settings.operations) == ("", ())
    assert len(lost.notes) == 2


def test_a_restored_record_makes_the_same_picture(folder):
    model = ns.load(str(folder / "model"))
    photo = Image.open(folder / "input.png")
    code = ns.invert(model, photo, "a photo of a cat", steps=4)
    made = ns.edit(model, code, "a photo of a dog", guidance=4.0)
    settings = records.restored(made.record_of(0)).settings.model_copy(
        update={"model": str(folder / "model")}
    )
    space = {"__name__": "restored"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(sharing.python(settings, str(folder / "input.png")).partition("for ")[0], space)
    assert (np.array(space["result"].images[0]) == np.array(made.images[0])).all()  # type: ignore[attr-defined]


def test_what_moved_a_picture_and_is_not_used_here_is_said(folder):
    model = ns.load(str(folder / "model"), "mixed", cache=2)
    code = ns.invert(model, Image.open(folder / "input.png"), "a photo of a cat", steps=4)
    made = ns.edit(model, code, "a photo of a dog", guidance=4.0)
    (note,) = records.restored(made.record_of(0)).notes
    assert "cache=2 and mixed=bfloat16" in note


def test_shell_and_python_quote_what_a_prompt_holds():
    nasty = """it's "$(touch x)"; `y` \\ \n -rf"""
    settings = Settings(source=nasty, target="-" + nasty)
    words = shlex.split(sharing.command(settings))
    assert words[words.index("--source") + 1] == nasty
    assert f"--target=-{nasty}" in words
    compile(sharing.python(settings), "python", "exec")
    assert repr(nasty) in sharing.python(settings)


def test_a_folder_that_is_not_told_is_a_comment():
    settings = Settings(model="sd", source="a cat", target="a dog")
    assert "--model '/my models/sd'" in sharing.command(settings, model="/my models/sd")
    note, command = sharing.command(settings, model="").split("\n")
    assert note.startswith("# sd")
    assert command == sharing.command(settings)
    assert note in sharing.python(settings, model="").split("\n")
    assert "#" not in sharing.python(settings)


@pytest.mark.parametrize(
    "record",
    [{}, {"task": "sample"}, {"task": "edit"}, {"task": "edit", "model": 3, "source": []}],
)
def test_other_records_are_refused_in_a_sentence(record):
    with pytest.raises(InputError, match="the record"):
        records.restored(record)


def test_a_photo_has_no_record_and_garbage_has_none():
    photo = Image.new("RGB", (4, 4))
    assert records.record_in(png_bytes(photo)) is None
    assert records.record_in(png_bytes(photo, {"task": "edit"})) == {"task": "edit"}
    assert records.record_in(b"<svg onload=alert(1)>") is None


def test_archives_hold_their_files_and_do_not_vary():
    files = [("edit.png", b"png"), ("record.json", b"{}")]
    data = sharing.archive(files)
    assert data == sharing.archive(files)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert [(n, opened.read(n)) for n in opened.namelist()] == files


def test_history_undoes_redoes_and_forgets():
    history = History(longest=3)
    assert history.current is None
    assert history.undo().redo().current is None
    for entry in "abcd":
        history = history.add(entry)
    assert history.entries == ("b", "c", "d")
    assert history.undo().current == "c"
    assert history.undo().undo().undo().current == "b"
    assert history.undo().redo().redo().current == "d"
    assert history.undo().add("x").entries == ("b", "c", "x")
    assert history.go(0).current == "b"
    assert history.go(9) == history
