"""The engine: same pictures as the library, inversions known by contents, fair order, cancel."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from watched import LONG, SOURCE, TARGET, Watched, picture

import noisespace as ns
from noisespace.errors import InputError
from noisespace.web.cache import Codes
from noisespace.web.choices import editor_of, mask_of, method_of, operation_of, with_field
from noisespace.web.desk import Cells
from noisespace.web.engine import Engine
from noisespace.web.jobs import PARTS, Busy, Gone, Job
from noisespace.web.limits import Limits
from noisespace.web.queue import Queue
from noisespace.web.requests import (
    AttentionRequest,
    CompareRequest,
    EditRequest,
    InvertRequest,
    MaskRequest,
    OperationRequest,
    Paint,
)

SETTINGS = {"image": picture(), "source": SOURCE, "steps": 6}


def edit_of(**changes):
    return EditRequest(**{**SETTINGS, "targets": (TARGET,), **changes})


def done(engine, request, owner="anna"):
    job = engine.submit(request, owner)
    assert job.wait(LONG)
    assert job.state == "done", job.error
    return job.result


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_the_same_picture_and_record_as_the_library(engine, network):
    got = done(engine, edit_of(variants=2, editor="masactrl:step=1", mask=np.tri(32) > 0))
    code = ns.invert(network, [picture()] * 2, [SOURCE] * 2, steps=6, seed=[0, 1])
    how = {"editor": ns.MasaCtrl(step=1), "mask": np.tri(32) > 0}
    want = ns.edit(network, code, [[TARGET]] * 2, seed=0, **how)
    assert all(map(same, got.images, want.images))
    assert same(got.reconstruction, want.reconstruction[0])
    assert same(got.mask, want.mask)
    for i, record in enumerate(got.records):
        mine, theirs = dict(record), want.record_of(i)
        # a mask goes through 8 bits on its way in: the same mask, another array
        mine.pop("mask"), theirs.pop("mask")
        assert mine == theirs
    assert not same(got.images[0], got.images[1])


def test_an_inversion_is_known_by_its_contents(engine, model):
    first = done(engine, edit_of())
    assert first.inverted
    calls = len(model.calls)
    again = done(engine, edit_of(targets=("a red dog",), guidance=3.0, editor="masactrl:step=1"))
    assert (again.inverted, again.code) == (False, first.code)
    steps = len(model.calls) - calls
    assert again.inversion_seconds == 0
    # said as a default or not, it is the same inversion
    assert not done(engine, edit_of(method="edit-friendly:skip=.36", source_guidance=3.5)).inverted
    for change in (
        {"image": picture(1)},
        {"source": "a photo of a dog"},
        {"steps": 5},
        {"seed": 3},
        {"method": "ddim"},
        {"source_guidance": 1.0},
        {"variants": 2},
    ):
        before = len(model.calls)
        assert done(engine, edit_of(**change)).inverted, change
        assert len(model.calls) - before > steps or "method" in change


def test_codes_are_named_by_those_alone_who_made_them(engine):
    code = done(engine, InvertRequest(**SETTINGS)).code
    assert done(engine, EditRequest(code=code, targets=[TARGET])).images
    with pytest.raises(Gone, match="no code"):
        engine.submit(EditRequest(code=code, targets=[TARGET]), "bert")
    assert not done(engine, InvertRequest(**SETTINGS), "bert").inverted  # he has the picture too
    assert done(engine, EditRequest(code=code, targets=[TARGET]), "bert").images
    with Engine(engine.models) as other:
        assert done(other, InvertRequest(**SETTINGS)).code != code  # nobody can compute a key


def test_codes_are_bounded_and_expire(network):
    code = ns.invert(network, picture(), SOURCE, ns.DDIM(), steps=2)
    clock = [0.0]
    codes = Codes(2, 10**9, 60.0, lambda: clock[0])
    keys = [codes.key(i) for i in range(3)]
    for key in keys:
        codes.put(key, code, "anna")
    assert (codes.find(keys[0], "anna"), len(codes)) == (None, 2)
    clock[0] = 50
    codes.find(keys[1], "anna")
    clock[0] = 100
    codes.expire()
    assert (codes.find(keys[2], "anna"), len(codes)) == (None, 1)
    small = Codes(9, codes.bytes * 2, 60.0)
    for i in range(5):
        small.put(small.key(i), code, "anna")
    assert len(small) == 2
    assert small.bytes <= 2 * codes.bytes


def test_owners_take_turns():
    queue = Queue()
    jobs = {name: Job(None, name[0]) for name in ("a1", "a2", "a3", "b1", "c1", "b2")}
    for job in jobs.values():
        queue.put(job)
    names = {job.id: name for name, job in jobs.items()}
    order = [names[job.id] for job in queue.order()]
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [jobs[n].position for n in order] == [1, 2, 3, 4, 5, 6]
    jobs["c1"].cancel()
    assert queue.drop_cancelled() == [jobs["c1"]]
    taken = [names[queue.take().id] for _ in range(5)]
    assert taken == ["a1", "b1", "a2", "b2", "a3"]
    assert queue.take() is None


def test_jobs_run_in_turn_and_say_where_they_stand(engine, model):
    order = []
    engine.observers.append(lambda event, job: event == "started" and order.append(job.owner))
    model.hold()
    first = engine.submit(edit_of(seed=9), "anna")
    assert model.entered.wait(LONG)
    waiting = [engine.submit(edit_of(), owner) for owner in ("anna", "anna", "bert")]
    assert [job.position for job in waiting] == [1, 3, 2]
    assert (first.state, first.position) == ("running", 0)
    assert engine.jobs("anna") == [first, *waiting[:2]]
    model.release()
    assert all(job.wait(LONG) for job in waiting)
    assert order == ["anna", "anna", "bert", "anna"]
    with pytest.raises(Gone):
        engine.job(first.id, "bert")
    assert engine.job(first.id, "anna") is first


@pytest.mark.parametrize(
    ("method", "stage", "after"),
    [
        ("ddim", "inverting", 3),
        ("edit-friendly", "editing", 3),
        ("null-text:iterations=9", "inverting", 24),  # in its optimisation
    ],
)
def test_cancel_stops_within_one_step(engine, model, method, stage, after):
    model.hold(after)
    job = engine.submit(edit_of(method=method, steps=20), "anna")
    assert model.entered.wait(LONG)
    assert (job.state, job.stage) == ("running", stage)
    job.cancel()
    model.release()
    assert job.wait(LONG)
    assert (job.state, job.result) == ("cancelled", None)
    assert len(model.calls) == after + 1  # no further evaluation, let alone a step
    assert done(engine, edit_of()).images  # and the engine works on


def test_a_waiting_job_is_cancelled_at_once(engine, model):
    model.hold()
    engine.submit(edit_of(), "anna")
    assert model.entered.wait(LONG)
    job = engine.submit(edit_of(), "bert")
    job.cancel()
    assert job.wait(1)
    assert (job.state, engine.waiting) == ("cancelled", 0)
    model.release()


def test_events_and_previews(engine, model):
    model.hold(after=4)  # the inversion's two evaluations, two steps, and in the third
    job = engine.submit(edit_of(), "anna")
    assert model.entered.wait(LONG)
    events = job.events()
    view = next(events)
    assert (view.state, view.stage, view.index, view.total) == ("running", "editing", 2, 4)
    assert view.preview is not None
    assert view.preview.size == (32, 32)
    assert view.eta is not None
    assert view.eta > 0
    assert view.seconds > 0
    model.release()
    later = list(events)
    assert later[-1].state == "done"
    assert all(view.index <= view.total for view in later)
    assert next(iter(job.events())).state == "done"  # whoever comes late is told the end
    quiet = engine.submit(edit_of(), "anna", previews=False)
    assert quiet.wait(LONG)
    assert quiet.preview is None


def test_a_captioner_says_what_the_picture_shows():
    model = ns.load("scenes")
    image = np.asarray(ns.sample(model, "a red circle on a blue background", steps=4).images[0])
    with Engine({"scenes": model}) as engine:
        asked = {"image": image, "source": "auto", "steps": 4, "targets": ["a green circle"]}
        got = done(engine, EditRequest(**asked))
        assert got.source == ns.caption(model, image)
        assert got.records[0]["source"]["captioner"]
        assert not done(engine, EditRequest(**{**asked, "targets": ["a circle"]})).inverted


def test_jobs_do_not_touch_each_other(engine, network):
    alone = done(engine, edit_of())
    ways = ("prompt-to-prompt", "plug-and-play", "pix2pix-zero", None, "masactrl:step=1")
    jobs = [engine.submit(edit_of(editor=way), f"owner {i}") for i, way in enumerate(ways)]
    assert all(job.wait(LONG) for job in jobs)
    assert [job.error for job in jobs] == [None] * len(ways)
    assert same(jobs[3].result.images[0], alone.images[0])
    assert len({job.result.images[0].tobytes() for job in jobs}) == len(ways)
    assert {*network.network.attn_processors} == {*network.network.attn_processors}
    assert same(done(engine, edit_of()).images[0], alone.images[0])


def test_the_queue_is_bounded(model):
    limits = Limits(queue=3, queue_owner=2, queue_bytes=10**7)
    with Engine({"tiny": model}, limits) as engine:
        model.hold()
        engine.submit(edit_of(), "anna")
        assert model.entered.wait(LONG)
        engine.submit(edit_of(), "anna")
        engine.submit(edit_of(), "anna")
        with pytest.raises(Busy, match="of your jobs") as refusal:
            engine.submit(edit_of(), "anna")
        assert refusal.value.yours
        last = engine.submit(edit_of(), "bert")
        with pytest.raises(Busy, match="queue is full"):
            engine.submit(edit_of(), "cora")
        last.cancel()
        large = edit_of(image=np.zeros((2000, 2000, 3), np.uint8))
        with pytest.raises(Busy, match="queue is full"):  # by its bytes
            engine.submit(large, "cora")
        assert engine.submit(edit_of(), "cora").position == 2  # before anna's second
        model.release()


def test_a_job_may_take_so_long_and_no_longer(model):
    with Engine({"tiny": model}, Limits(job_seconds=0.2)) as engine:
        job = engine.submit(edit_of(method="null-text:iterations=1000,tolerance=0", steps=500), "a")
        assert job.wait(LONG)
        assert job.state == "failed"
        assert "longer than 0.2 s" in job.error


def test_finished_jobs_are_forgotten(model):
    with Engine({"tiny": model}, Limits(kept_jobs=2)) as engine:
        for seed in range(4):
            done(engine, edit_of(seed=seed))
        engine.tidy()
        assert len(engine.jobs("anna")) == 2
    with Engine({"tiny": model}, Limits(lifetime=0.5)) as engine:
        done(engine, edit_of())
        time.sleep(0.6)
        engine.tidy()
        assert (engine.jobs("anna"), len(engine.codes)) == ([], 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "other"}, "no model"),
        ({"variants": 40}, "at most 16 variants"),
        ({"targets": [TARGET] * 5, "variants": 16}, "at most 32"),
        ({"image": np.zeros((4, 200, 3), np.uint8)}, "16:1"),
        ({"steps": 900}, "at most 500"),
        ({"size": 2048}, "working size"),
        ({"method": "edit-friendly:skip=700"}, "skip"),
        ({"editor": "prompt-to-prompt:blend=horse/dog"}, "horse"),
        ({"mask": "attention:word=horse"}, "horse"),
        ({"mask": np.zeros((32, 32), np.uint8)}, "empty"),
        ({"operations": ["shift:dx=0"]}, "does nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_waits(model, changes, message):
    with Engine({"tiny": model}, Limits(steps=500)) as engine:
        with pytest.raises(InputError, match=message):
            engine.submit(edit_of(**changes), "anna")
        assert (model.calls, engine.jobs("anna")) == ([], [])


def test_a_job_makes_no_more_than_the_server_keeps(model):
    """Counted before it waits, since results have the size of what was given."""
    image = picture(size=(64, 64))
    with Engine({"tiny": model}, Limits(kept_bytes=3 * 64 * 64 * 3)) as engine:
        code = done(engine, InvertRequest(**{**SETTINGS, "image": image})).code
        calls = len(model.calls)
        asked = {"image": image, "source": SOURCE, "steps": 6}
        several = [f"a dog {k}" for k in range(4)]
        for request in (
            EditRequest(**asked, targets=(TARGET,), variants=4),
            EditRequest(**asked, targets=several[:2], variants=2),
            EditRequest(code=code, targets=several),
            CompareRequest.methods(["ddim"] * 4, [None], **asked, target=TARGET),
            AttentionRequest(**asked, words=["cat"] * 4),
            AttentionRequest(code=code),  # all five words of the prompt
        ):
            with pytest.raises(InputError, match=r"would make [45] pictures of 64 x 64"):
                engine.submit(request, "anna")
        assert len(model.calls) == calls
        assert len(done(engine, EditRequest(code=code, targets=several[:3])).images) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "/etc/passwd"},
        {"image": None},
        {"mask": "/etc/passwd"},
        {"mask": "README.md"},
        {"method": "sdedit:strokes=README.md"},
        {"method": "diffusion-clip:target=dog,alignment=/etc"},
        {"editor": "score-guidance:score=/etc"},
        {"operations": ["color-edit:strokes=README.md"]},
        {"mask": "diffedit:maps=100000"},
        {"method": "imagic:rank=100000"},
        {"method": "null-text:lr=inf"},
        {"guidance": float("nan")},
        {"seed": 2**63},
        {"method": "edit-friendly:" + "x" * 500},
        {"unknown": 1},
    ],
    ids=str,
)
def test_no_path_and_no_bomb_in_a_field(changes):
    with pytest.raises(ValidationError):
        edit_of(**changes)


def test_specs_that_are_fine():
    assert method_of("sdedit:strength=.5") == ns.SDEdit(0.5)
    assert (editor_of("none"), editor_of(None)) == (None, None)
    assert mask_of("diffedit:maps=4") == ns.DiffEdit(maps=4)
    assert operation_of("shift:dx=4") == ns.Shift(dx=4)
    assert with_field("edit-friendly:skip=3,eta=1", "skip", 0.2) == "edit-friendly:eta=1,skip=0.2"


def test_words_masks_and_operations(engine):
    looked = done(engine, AttentionRequest(**SETTINGS, words=["cat"]))
    assert (looked.words, looked.maps[0].shape, looked.images[0].size) == (
        ("cat",),
        (8, 8),
        (32, 32),
    )
    found = done(engine, MaskRequest(**SETTINGS, target=TARGET, mask="diffedit:maps=3"))
    assert (found.mask.size, found.code, found.inverted) == ((32, 32), looked.code, False)
    by_edit = done(engine, edit_of(mask="diffedit:maps=3"))
    assert same(found.mask, by_edit.mask)
    moved = done(engine, OperationRequest(code=looked.code, operations=["shift:dx=8"]))
    assert moved.code != looked.code
    plain = done(engine, EditRequest(code=moved.code, targets=[TARGET]))
    asked = done(engine, edit_of(operations=["shift:dx=8"]))
    assert same(plain.images[0], asked.images[0])
    assert asked.records[0]["source"]["operations"] == ["Shift(dx=8, dy=0, fill='wrap', seed=0)"]
    strokes = np.zeros((32, 32, 4), np.uint8)
    strokes[:16] = 255
    painted = done(engine, OperationRequest(code=looked.code, operations=[Paint(strokes=strokes)]))
    assert not same(painted.reconstruction, moved.reconstruction)


def test_compare_and_grid(engine):
    asked = {**SETTINGS, "target": TARGET}
    methods = CompareRequest.methods(["ddim", "edit-friendly"], [None, "masactrl:step=1"], **asked)
    got = done(engine, methods)
    assert (len(got.cells), got.columns) == (4, 2)
    assert same(got.cells[2].image, done(engine, edit_of()).images[0])
    assert got.cells[2].record == done(engine, edit_of()).records[0]
    grid = CompareRequest.skip_guidance("edit-friendly", [0.2, 0.5], [2.0, 9.0], **asked)
    got = done(engine, grid)
    assert [(c.method, c.guidance) for c in got.cells[1:3]] == [
        ("edit-friendly:skip=0.2", 9.0),
        ("edit-friendly:skip=0.5", 2.0),
    ]
    assert len({c.image.tobytes() for c in got.cells}) == 4
    assert all(c.seconds > 0 and 0 < c.psnr_input <= 60 for c in got.cells)


def test_a_comparison_tells_how_far_it_is_within_its_cells(engine, model):
    asked = {**SETTINGS, "target": TARGET}
    request = CompareRequest.methods(["ddim", "edit-friendly"], [None, "masactrl:step=1"], **asked)
    job = engine.submit(request, "anna")
    seen = [(v.stage, v.index, v.total) for v in job.events() if v.stage]
    assert job.state == "done", job.error
    assert {(stage, total) for stage, _, total in seen if total} == {("comparing", 4 * PARTS)}
    counts = [index for *_, index, total in seen if total]
    assert counts == sorted(counts)
    assert counts[-1] == 4 * PARTS
    cells = Cells(2)
    cells.enter("inverting")
    assert cells.step(4, 4) == (PARTS // 2, 2 * PARTS)
    cells.enter("editing")
    assert cells.step(2, 4) == (3 * PARTS // 4, 2 * PARTS)
    assert cells.next() == (PARTS, 2 * PARTS)
    cells.enter("editing")  # known: nothing is inverted
    assert cells.step(1, 2) == (3 * PARTS // 2, 2 * PARTS)


def test_edits_and_comparisons_are_of_the_changed_noise(engine):
    strokes = np.zeros((32, 32, 4), np.uint8)
    strokes[:16, :16] = 255
    change = Paint(strokes=strokes, strength=0.3)
    plain, painted = done(engine, edit_of()), done(engine, edit_of(operations=[change]))
    assert not same(plain.images[0], painted.images[0])
    (said,) = painted.records[0]["source"]["operations"]
    assert said.startswith("ColorEdit(strokes=sha256:")
    asked = {**SETTINGS, "target": TARGET, "operations": [change, "shift:dx=8"]}
    grid = CompareRequest.methods(["edit-friendly"], [None], **asked)
    both = done(engine, edit_of(operations=[change, "shift:dx=8"]))
    assert same(done(engine, grid).cells[0].image, both.images[0])


def test_one_failing_cell_does_not_lose_the_others(engine, model, monkeypatch):
    # Plug-and-Play asks the network for features; a model without is told in its cell
    class Blind(Watched):
        def sites(self):
            return tuple(s for s in self.model.sites() if s.kind != "feature")

    engine.models["blind"] = Blind(model.model)
    monkeypatch.setattr("noisespace.web.engine.check_request", lambda *_: None)
    combos = CompareRequest.methods(["ddim"], ["plug-and-play", None], target=TARGET, **SETTINGS)
    got = done(engine, combos.model_copy(update={"model": "blind"}))
    assert "feature blocks" in got.cells[0].error
    assert got.cells[1].image is not None


def test_a_failure_is_a_sentence_and_the_engine_goes_on(engine, model, monkeypatch):
    def broken(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(Watched, "denoise", broken)
    job = engine.submit(edit_of(), "anna")
    assert job.wait(LONG)
    assert job.state == "failed"
    assert "memory" in job.error
    assert "\n" not in job.error
    monkeypatch.undo()
    assert done(engine, edit_of()).images


def test_notes_are_the_librarys_warnings(engine):
    long = "a photo of a cat " * 8
    got = done(engine, edit_of(targets=[long]))
    assert len(got.notes) == 1
    assert "too long" in got.notes[0]


def test_warnings_stay_as_they_were(engine):
    """Many threads check while one works: the process's filters are not lost."""
    import warnings

    before = list(warnings.filters)
    threads = [
        threading.Thread(
            target=lambda i=i: done(engine, edit_of(editor="masactrl:step=1"), f"o{i}")
        )
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert warnings.filters == before


def test_an_observer_that_fails_stops_no_work(engine):
    seen = []

    def broken(event, job):
        seen.append(event)
        raise OSError("no space left on device")

    engine.observers.append(broken)
    assert done(engine, edit_of()).images
    assert done(engine, edit_of()).images
    assert seen[:3] == ["submitted", "started", "ended"]


def test_closing_cancels_everything(model):
    engine = Engine({"tiny": model})
    model.hold()
    jobs = [engine.submit(edit_of(), owner) for owner in "ab"]
    assert model.entered.wait(LONG)
    threading.Timer(0.1, model.release).start()
    engine.close()
    assert [job.state for job in jobs] == ["cancelled", "cancelled"]
    assert not engine.alive
    with pytest.raises(Busy, match="shutting down"):
        engine.submit(edit_of(), "anna")
