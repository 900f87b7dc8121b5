"""The page's handlers without a browser: photos that change, sessions that end, jobs that wait."""

import asyncio
import inspect
import io
import shlex
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from watched import LONG, SOURCE, TARGET, file_of, picture

from noisespace.errors import InputError
from noisespace.web import asking
from noisespace.web.comparing import Comparing
from noisespace.web.controls import usual
from noisespace.web.editing import Editing
from noisespace.web.engine import Engine
from noisespace.web.following import follow, submitted
from noisespace.web.handlers import LOADING, safe
from noisespace.web.jobs import Busy
from noisespace.web.limits import Limits
from noisespace.web.masking import Masking
from noisespace.web.noising import Noising
from noisespace.web.page import arriving, build
from noisespace.web.requests import EditRequest, InvertRequest
from noisespace.web.session import Session
from noisespace.web.tabs import compare, edit, noise
from noisespace.web.visitors import Visitors


def made(make):
    """What draws a page, in an event loop: else gradio makes one of its own and leaves it open."""

    async def go():
        return make()

    return asyncio.run(go())


MIDDLE = "Another photo is on the table by now"


class Page:
    """The handlers on an engine, the values of their controls, and one visitor with a photo."""

    def __init__(self, engine):
        self.engine = engine
        start = usual(engine.models["tiny"], "edit-friendly")

        def drawn():
            with gr.Blocks():
                return edit.draw(["tiny"], start, []), noise.draw(), compare.draw()

        tab, looks, cells = made(drawn)
        self.editing = Editing(engine, tab)
        self.masking = Masking(self.editing)
        self.noising = Noising(self.editing, looks)
        self.comparing = Comparing(self.editing, cells)
        self.session = Session("a" * 32)
        self.take(0)

    def photo(self, seed):
        return asking.photo_of(self.session, file_of(picture(seed)), self.engine.limits)

    def take(self, seed):
        photo = self.photo(seed)
        self.session.take(photo)
        return photo

    def values(self, **changes):
        controls = self.editing.tab.controls
        steps, guidance, source_guidance, *_ = controls.numbers
        named = {
            "source": controls.source, "target": controls.target, "method": controls.method.spec,
            "steps": steps, "guidance": guidance, "source_guidance": source_guidance,
        }  # fmt: skip
        set_ = {
            named[name]: v for name, v in {"source": SOURCE, "target": TARGET, **changes}.items()
        }
        return [set_.get(part, part.value) for part in controls.inputs]

    def edit(self, **changes):
        *_, last = self.editing.run(self.session, *self.values(**{"steps": 4, **changes}))
        assert "error" not in last[0], last[0]
        return self.session.entry


@pytest.fixture
def page(engine):
    page = Page(engine)
    yield page
    page.session.close()


def mask_of(rows):
    mask = np.zeros((32, 32), np.uint8)
    mask[:rows] = 255
    return mask


def test_a_reload_keeps_the_newer_photo_and_its_own_mask(page):
    visitors = Visitors(3600)
    page.session = visitors.session("a" * 32)
    load = arriving(page.editing, visitors)
    page.take(0)
    page.session.mask = mask_of(9)
    first = page.edit().photo
    newer = page.take(1)
    assert page.session.mask is None
    page.session.mask = mask_of(3)
    session, kept, _, shown, said, *_ = load({"visitor": "a" * 32})
    assert session is page.session
    assert kept == {"visitor": "a" * 32}
    assert (session.photo, shown) == (newer, newer.path)
    assert "Say what the photo shows" in said
    assert (session.mask == mask_of(3)).all()
    session.take(None)  # taken off the table: it stays off
    assert load({"visitor": "a" * 32})[3] is None
    session.take(first)
    session.mask = mask_of(5)  # painted after the edit
    assert load({"visitor": "a" * 32})[3] == first.path
    assert (session.mask == mask_of(5)).all()


JOBS = {
    "mask": lambda page: page.masking.find(page.session, *page.values(steps=4)),
    "word": lambda page: page.masking.look(page.session, "cat", *page.values(steps=4)),
    "noise": lambda page: page.noising.look(page.session, *page.values(steps=4)),
    "shift": lambda page: page.noising.shift(page.session, 8, 0, *page.values(steps=4)),
}


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_finds_is_not_laid_on_another_photo(page, model, name):
    *_, last = JOBS[name](page)
    assert "error" not in last[0]
    page.session.mask = page.session.found = None
    page.session.looked = ""
    page.take(2)
    model.hold()
    job = JOBS[name](page)
    next(job)
    page.take(1)
    model.release()
    *_, last = job
    assert MIDDLE in last[0]
    assert (page.session.mask, page.session.looked) == (None, "")


def test_a_refused_request_does_not_stop_the_edit_under_way(page, model):
    model.hold()
    request = EditRequest(image=picture(), source=SOURCE, steps=4, targets=(TARGET,))
    first = submitted(page.engine, page.session, request)
    assert model.entered.wait(LONG)
    with pytest.raises(InputError):
        next(follow(page.engine, page.session, request.model_copy(update={"size": 4096})))
    assert (page.session.job, first.stopping) == (first, False)
    second = submitted(page.engine, page.session, request)
    assert (page.session.job, first.stopping) == (second, True)
    model.release()
    assert second.wait(LONG)
    assert (first.state, second.state) == ("cancelled", "done")


def test_a_full_queue_of_ones_own_makes_room_for_the_later_edit(model):
    request = EditRequest(image=picture(), source=SOURCE, steps=4, targets=(TARGET,))
    with Engine({"tiny": model}, Limits(queue_owner=1, queue=2)) as engine:
        anna, bert = Session("anna"), Session("bert")
        model.hold()
        engine.submit(request, "cora")
        assert model.entered.wait(LONG)
        waits = submitted(engine, anna, request)
        later = submitted(engine, anna, request)
        assert (waits.state, later.state, anna.job) == ("cancelled", "waiting", later)
        engine.submit(request, "dora")
        with pytest.raises(Busy, match="queue is full"):  # of others' jobs
            submitted(engine, bert, request)
        model.release()


def test_edits_of_the_page_push_no_result_of_a_program_out(model):
    with Engine({"tiny": model}, Limits(kept_jobs=2)) as engine:
        asked = engine.submit(InvertRequest(image=picture(), source=SOURCE, steps=4), "a program")
        assert asked.wait(LONG)
        page = Page(engine)
        for seed in range(4):
            page.edit(guidance=2.0 + seed)
        assert engine.job(asked.id, "a program") is asked
        assert engine.jobs(page.session.owner) == []
        page.session.close()


def test_a_slider_that_is_let_go_during_an_edit_edits_after_it(engine):
    """A second click of two on the button is no second edit."""
    built = made(lambda: build(engine))
    modes = {fn.name: fn.trigger_mode for fn in built.fns.values() if fn.name in ("run", "again")}
    assert modes == {"run": "once", "again": "always_last"}


def test_each_inversion_is_compared_at_its_own_settings(page):
    """Unless steps or guidances were set by hand; a cell is taken over with what it had."""
    model, names = page.engine.models["tiny"], ["ddim", "negative-prompt", "edit-friendly"]
    *_, (said, _, rows) = page.comparing.methods(page.session, names, ["none"], *page.values())
    assert "error" not in said
    assert len({tuple(row[2:5]) for row in rows}) > 1
    for name, row, settings in zip(names, rows, page.session.compared, strict=True):
        own = usual(model, name)
        assert tuple(row[:5]) == (name, "none", *own)
        assert (settings.steps, settings.guidance, settings.source_guidance) == own
    values = page.values(steps=4, guidance=2.5)
    *_, (_, _, rows) = page.comparing.methods(page.session, names, ["none"], *values)
    assert {(row[2], row[3]) for row in rows} == {(4, 2.5)}


def test_files_of_the_comparison_before_go(page):
    def files(name):
        return sorted(Path(page.session.write("x", b"")).parents[1].glob(f"*/{name}"))

    for _ in range(2):
        list(page.comparing.grid(page.session, "0.2 0.5", "1 3", *page.values(steps=4)))
        list(page.noising.shift(page.session, 8, 0, *page.values(steps=4)))
    assert [len(files(name)) for name in ("compared.png", "operated.png")] == [4, 1]


def test_a_zip_outlives_its_code(model):
    with Engine({"tiny": model}, Limits(cache_entries=1)) as engine:
        page = Page(engine)
        for source in (SOURCE, "another photo"):  # the second takes the first one's place
            page.edit(source=source)
        page.editing.move(page.session, lambda history: history.undo())
        path, _ = page.editing.file(page.session, "Zip")
        names = zipfile.ZipFile(path).namelist()
        assert "edit-1.png" in names
        assert "code.safetensors" not in names
        with pytest.raises(InputError, match="edit once more"):
            page.editing.file(page.session, "Code")
        page.session.close()


def test_the_command_names_a_models_folder_where_it_may(page):
    shown = page.editing.tab.view
    at = shown.outputs.index(shown.shell)
    for given, begins in (
        ({}, "tiny"),
        ({"tiny": "/my models/tiny"}, "/my models/tiny"),
        (
            {"tiny": ""},
            "tiny",
        ),
    ):
        page.engine.given = given
        page.edit()
        command, python = shown.show(page.session)[at : at + 2]
        words = shlex.split(command, comments=True)
        assert words[words.index("--model") + 1] == begins
        # a model that is not embedded is loaded in another dtype elsewhere: it is named
        assert f"ns.load({begins!r}, dtype='float32')" in python
        assert words[words.index("--dtype") + 1] == "float32"
        hidden = given == {"tiny": ""}
        assert ("# tiny: the model's folder" in command) == hidden
        assert ("# tiny: the model's folder" in python) == hidden
        path, _ = page.editing.file(page.session, "Zip")
        assert zipfile.ZipFile(path).read("edit.sh").decode().strip() == command


def test_a_page_that_was_left_alone_says_so_and_goes_on(page):
    page.edit()
    page.take(1)
    page.session.close()
    assert page.session.photo is None
    moved = page.editing.move(page.session, lambda history: history.undo())
    assert "left alone" in moved[1]
    with pytest.raises(InputError, match="left alone"):
        page.editing.choose(page.session, 0)
    *_, last = page.editing.run(page.session, *page.values(steps=4))
    assert "Give a photo first" in last[0]
    again = page.take(1)  # the same photo: its file is there anew
    assert Image.open(io.BytesIO(Path(again.path).read_bytes())).size == (32, 32)
    assert page.edit().photo == again


def test_an_undo_that_fails_is_a_sentence_and_changes_nothing(page):
    page.edit()
    gone = replace(page.session.entry, mask="/no/such/mask.png")
    before = page.session.history.change(gone).add(page.edit())
    page.session.history = before
    said, other = object(), object()
    undo = safe(lambda own: page.editing.move(own, lambda h: h.undo()), [other, said], said)
    _, told = undo(page.session)
    assert "A file of the server cannot be used" in told
    assert "/no/such" not in told
    assert page.session.history == before


def test_handlers_raise_nothing():
    def broken(own):
        raise KeyError("x")

    said, other = object(), object()
    stays, told = safe(broken, [other, said], said)("a session")
    assert stays == gr.skip()
    assert "should not have" in told
    assert LOADING in safe(broken, [said], said)(None)
    assert safe(broken)("a session") is None


def test_no_event_that_comes_before_the_page_is_a_traceback(engine):
    """Every handler of the page, given nothing at all."""
    built, count = made(lambda: build(engine)), 0
    for fn in built.fns.values():
        if fn.fn is None or fn.fn.__module__.startswith("gradio"):
            continue
        wants = len(inspect.signature(fn.fn).parameters)
        given = [None] * len(fn.inputs)
        if wants > len(given) and "event" in inspect.signature(fn.fn).parameters:
            given.append(SimpleNamespace(index=(0, 0)))
        shown = fn.fn(*given)
        if inspect.isgenerator(shown):
            list(shown)
        count += 1
    assert count > 30
