"""Parts of the page that need no browser: pictures of a code, the panel, sessions, sentences."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bombs import HTML, SVG, png_header
from PIL import Image

import noisespace as ns
from noisespace.errors import InputError
from noisespace.pictures.describe import pixels_hash
from noisespace.pictures.metadata import png_bytes
from noisespace.planning.result import digest
from noisespace.web import asking, carrying, maps, records
from noisespace.web.boards import KEEP
from noisespace.web.comparing import Comparing
from noisespace.web.history import History
from noisespace.web.jobs import PARTS, View
from noisespace.web.limits import Limits
from noisespace.web.noising import colour_now
from noisespace.web.panel import data_uri, panel, seconds, under_way
from noisespace.web.pieces import painted
from noisespace.web.receiving import settle
from noisespace.web.records import Settings
from noisespace.web.requests import InvertRequest
from noisespace.web.results import Cell
from noisespace.web.session import Entry, Photo, Session
from noisespace.web.strokes import keep, layer_bytes, spec_of_paint, with_strokes
from noisespace.web.tabs.edit import difference
from noisespace.web.visitors import Visitors


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_maps_are_of_the_codes_own_noise(network):
    code = ns.invert(network, picture(), "a cat", ns.EditFriendly(skip=0), steps=6)
    noise = maps.noise(code)
    wanted = code.noise_maps()[:, 0]
    assert len(noise) == int((wanted.flatten(1).abs().amax(1) > 0).sum())
    drawn, by_step = maps.variance(code)
    assert min(drawn.size) >= maps.SIDE
    for k, value in enumerate(by_step):
        assert value == pytest.approx(float(noise[k].var(correction=0)), rel=1e-4)
    table = maps.correlations(code)
    known = torch.corrcoef(noise.flatten(1)).numpy()
    np.testing.assert_allclose(table, known, atol=1e-4)
    assert len(maps.strip(code)) == min(maps.SHOWN, len(noise))


def test_a_code_without_noise_maps_says_so(network):
    code = ns.invert(network, picture(), "a cat", ns.DDIM(), steps=4)
    with pytest.raises(InputError, match="no noise maps"):
        maps.variance(code)


def test_the_panel_escapes_and_tells():
    drawn = panel("<script>", "error", done=0.5, picture=Image.new("RGB", (4, 4)))
    assert "<script>" not in drawn
    assert 'role="alert"' in drawn
    assert 'aria-valuenow="50"' in drawn
    assert 'aria-live="off"' in drawn  # a step is not read out
    assert "aria-live" not in panel("Done.", "done")
    assert "data:image/png;base64," in drawn
    assert len(data_uri(picture().resize((2000, 1000)))) < 300_000
    assert [seconds(s) for s in (1.94, 31.2, 180)] == ["1.9 s", "31 s", "3 min"]


def view(state, position=0, index=0, total=0, eta=None, stage="editing"):
    return View("id", state, stage, position, index, total, 1.0, eta, None, None)


def test_the_panel_tells_the_queue_and_the_time_left():
    assert under_way(view("waiting", 3)) == "Waiting: 2 before you."
    assert under_way(view("waiting", 1)) == "Waiting: you are next."
    assert under_way(view("running", 0, 3, 32, 4.1)) == "Editing, step 3 of 32, 4.1 s left"
    compared = view("running", 0, 2 * PARTS + 7, 9 * PARTS, 12.0, "comparing")
    assert under_way(compared) == "Comparing, picture 3 of 9, 12 s left"


def test_a_cell_that_failed_keeps_its_place():
    """So that rows and columns stay what they are, and a click is of what it is on."""
    comparing, session = Comparing(Any, Any), Session("somebody")
    made = {"record": {"task": "edit"}, "psnr_input": 20.0, "seconds": 1.0}
    cells = [
        Cell(f"edit-friendly:skip=0.{k}", None, 1.0, Image.new("RGB", (8, 8)), **made)
        for k in range(1, 5)
    ]
    cells[1] = Cell("edit-friendly:skip=0.2", None, 1.0, error="no number")
    outcome = SimpleNamespace(cells=cells, columns=2, edit_seconds=1.0)
    said, grid, rows = comparing.shown(session, outcome)
    captions = [caption.split(":")[1] for _, caption in grid["value"]]
    assert captions == [f"skip=0.{k}, w 1" for k in range(1, 5)]
    assert grid["value"][1][1].endswith("failed")
    assert "no number" in said
    assert len(rows) == 3
    session.close()


def test_sentences_name_the_field_and_not_the_traceback():
    with pytest.raises(ValueError) as caught:
        InvertRequest(image=picture(), method="no-such-method")
    said = asking.sentence(caught.value)
    assert "no-such-method" in said
    assert "\n" not in said
    assert asking.sentence(InputError("one\ntwo")) == "one two"
    assert "should not have" in asking.sentence(KeyError("x"))


def test_paint_becomes_a_mask_of_the_photos_size():
    layer = Image.new("RGBA", (512, 256))
    assert painted(layer, (32, 16)) is None
    layer.paste((255, 0, 0, 200), (0, 0, 256, 256))
    mask = painted(layer, (32, 16))
    assert mask is not None
    assert mask.shape == (16, 32)
    assert (mask[:, :15] == 255).all()
    assert (mask[:, 17:] == 0).all()
    taken = Image.new("RGBA", (512, 256), KEEP)
    assert painted(taken, (32, 16), mask) is None
    taken.putalpha(0)
    assert (painted(taken, (32, 16), mask) == mask).all()
    large = painted(layer, (2048, 1024))  # of a photo larger than the canvas
    assert large is not None
    assert (large[:, :1024] == 255).all()
    assert not large[:, 1024:].any()


def test_colour_is_brought_to_the_photos_size():
    session = Session()
    with pytest.raises(InputError, match="then paint"):
        colour_now(session)
    session.photo, session.colour = Photo("", "", (4, 4)), Image.new("RGBA", (8, 8))
    session.colour.paste((255, 0, 0, 255), (0, 0, 8, 4))
    session.colour.paste((0, 0, 255, 255), (0, 0, 4, 4))
    whole = colour_now(session)
    assert whole.getpixel((0, 0)) == (0, 0, 255, 255)
    assert whole.getpixel((3, 0)) == (255, 0, 0, 255)
    assert whole.getpixel((0, 3)) == (0, 0, 0, 0)


def test_a_visitor_finds_the_session_again_and_files_go_with_it():
    visitors = Visitors(lifetime=3600, most=2)
    first = visitors.session("a")
    path = first.write("x.png", b"x")
    assert visitors.session("a") is first
    assert visitors.session("b") is not first
    visitors.session("c")  # one too many: the longest away goes
    with pytest.raises(FileNotFoundError):
        open(path)  # noqa: PTH123, SIM115
    assert visitors.session("a") is not first
    for name in "abc":
        visitors.session(name).close()


def test_what_a_result_carries_is_bounded_in_sum_before_it_is_decoded(monkeypatch):
    layer = Image.new("RGBA", (40, 40))
    files = {f"paint-0000000{i}.png": layer_bytes(layer) for i in range(7)}
    whole = carrying.with_files(png_bytes(Image.new("RGB", (8, 8))), files)
    assert len(carrying.carried(whole, Limits(pixels=2000)).strokes) == 7
    monkeypatch.setattr(carrying, "unpack_layer", None)  # is not called
    with pytest.raises(InputError, match="more pixels than may be held"):
        carrying.carried(whole, Limits(pixels=1600))


def test_who_is_at_work_stays_and_who_is_away_goes_by_itself():
    visitors = Visitors(lifetime=100, most=8)
    busy, active, away = (visitors.session(name) for name in ("busy", "active", "away"))
    paths = {one: one.write("x.png", b"x") for one in (busy, active, away)}
    busy.job = SimpleNamespace(cancel=lambda: None)
    for one in (busy, active, away):
        one.used -= 101
    active.take(None)  # does something
    visitors.expire()
    assert [Path(paths[one]).is_file() for one in (busy, active, away)] == [True, True, False]
    again = away.write("y.png", b"y")  # a page that is still open: no error
    assert Path(again).is_file()
    assert visitors.session("away") is away  # known again, so that it expires again
    away.used -= 101
    visitors.expire()
    assert not Path(again).exists()
    newer = visitors.session("away")  # after a reload; the page before it writes once more
    again = away.write("z.png", b"z")
    assert visitors.session("away") is newer
    away.used -= 101
    visitors.expire()
    assert not Path(again).exists()
    visitors.forget("busy")
    assert not Path(paths[busy]).exists()
    for one in (active, away):
        one.close()


def test_a_session_that_was_closed_is_as_new():
    session = Session()
    mask, layer = painted_things()
    entry = edited(session, picture(), mask, [layer])
    session.take(entry.photo)
    session.add(entry)
    session.mask, session.compared = mask, (Settings(),)
    session.write("compared.png", b"x", of="compared")
    session.close()
    assert (session.photo, session.mask, session.entry) == (None, None, None)
    assert (session.photos, session.strokes, session.compared) == ({}, {}, ())
    session.drop("compared")
    session.close()


def test_photos_that_no_edit_is_of_go():
    session = Session()
    photos = []
    for i in range(7):
        path = session.write("input.png", b"x")
        photos.append(Photo(path, str(i), (8, 8)))
        session.take(photos[-1])
        if i == 0:
            session.add(entry_of(photos[0]))
    assert [Path(photo.path).is_file() for photo in photos] == [True, *[False] * 2, *[True] * 4]
    assert session.photo is photos[-1]
    session.close()


def entry_of(photo):
    return Entry(Settings(), photo, (), "", "", (), "", "")


def edited(session, photo, mask=None, strokes=()):
    """An edit of a photo in a session, as a result that carries what made it."""
    settings = Settings(
        source="a cat", target="a dog", mask="" if mask is None else "mask.png",
        operations=tuple(spec_of_paint(keep(session, one), 0.2) for one in strokes),
    )  # fmt: skip
    pixels = np.asarray(photo)
    source = {
        "prompt": ["a cat"], "image": [digest(pixels)], "seed": [0], "steps": 5, "guidance": 1.0,
        "method": "EditFriendly(skip=0.36, eta=1.0, live=False)",
        "operations": [
            f"ColorEdit(strokes={pixels_hash(np.asarray(one))}, color=None, mask=None, "
            "strength=0.2, window=(0.0, 0.8))"
            for one in strokes
        ],
    }  # fmt: skip
    record = {
        "task": "edit", "model": {"name": "tiny"}, "source": source, "guidance": 3.0,
        "mask": None if mask is None else pixels_hash(mask), "picture": {"prompt": "a dog"},
    }  # fmt: skip
    result = session.write("edit-1.png", png_bytes(picture(5), record))
    drawn = "" if mask is None else session.write("mask.png", png_bytes(mask))
    shown = Photo(session.write("input.png", png_bytes(photo)), digest(pixels), photo.size)
    return Entry(settings, shown, (result,), "", drawn, (record,), "", "")


def painted_things():
    mask = np.zeros((32, 32), np.uint8)
    mask[4:9] = 255
    layer = Image.new("RGBA", (32, 32))
    layer.paste((255, 0, 0, 255), (0, 0, 9, 9))
    return mask, layer


def test_a_result_carries_what_made_it_and_gives_it_back():
    mask, layer = painted_things()
    one, other = Session("a"), Session("b")
    entry = edited(one, picture(), mask, [layer])
    bare = Path(entry.pictures[0]).read_bytes()
    whole = carrying.carrying(bare, entry, one.strokes, Limits())
    assert whole
    assert (np.asarray(Image.open(io.BytesIO(whole))) == np.asarray(picture(5))).all()
    files = carrying.files_in(whole)
    name = next(iter(one.strokes))
    assert set(files) == {"input.png", "mask.png", name}
    assert whole == carrying.with_files(bare, files)
    assert carrying.files_in(bare) == {}
    assert carrying.carrying(bare, entry, one.strokes, Limits(upload_bytes=len(whole) - 1)) is None

    carried = carrying.carried(whole, Limits())
    found = records.restored(records.record_in(whole) or {}, carried.known)
    assert (found.settings.mask, found.settings.operations) == (
        "mask.png",
        entry.settings.operations,
    )
    photo, said = settle(other, found, carried, [])
    assert said == "All settings of this result are restored."
    assert photo
    assert (np.asarray(Image.open(photo.path)) == np.asarray(picture())).all()
    assert other.mask is not None
    assert (other.mask == mask).all()
    (change,) = with_strokes(other, found.settings.operations, Limits())
    assert not isinstance(change, str)
    assert (np.asarray(change.strokes) == np.asarray(layer)).all()
    for session in (one, other):
        session.close()


def test_what_a_result_carries_is_not_trusted():
    mask, layer = painted_things()
    session = Session("a")
    entry = edited(session, picture(), mask, [layer])
    bare = Path(entry.pictures[0]).read_bytes()
    record = records.record_in(bare) or {}

    # another photo under the record of the first
    lie = carrying.with_files(bare, {"input.png": png_bytes(picture(9))})
    carried = carrying.carried(lie, Limits())
    photo, said = settle(Session("b"), records.restored(record, carried.known), carried, [])
    assert photo is None
    assert "not the one that it was made from" in said

    odd = {"../../etc/passwd": b"x", "input.svg": SVG, "paint-zz.png": b"", "mask.png": b"x"}
    assert set(carrying.files_in(carrying.with_files(bare, odd))) == {"mask.png"}
    many = {f"paint-{k:08x}.png": b"x" for k in range(99)}
    assert len(carrying.files_in(carrying.with_files(bare, many))) == carrying.MOST
    for bad in (SVG, HTML, b"", png_header(60_000, 60_000)):
        with pytest.raises(InputError):
            carrying.carried(carrying.with_files(bare, {"input.png": bad}), Limits())
    whole = carrying.with_files(bare, {"input.png": png_bytes(picture())})
    at = whole.index(carrying.CHUNK) + 40
    for broken in (whole[: at + 1], whole[:at] + b"\xff\xff" + whole[at + 2 :], b"", whole[8:]):
        assert carrying.files_in(broken) == {}
    session.close()


def test_strokes_are_named_by_what_they_show_and_bounded():
    session = Session("a")
    _, layer = painted_things()
    name = keep(session, layer)
    assert keep(session, layer) == name
    assert len(session.strokes) == 1
    with pytest.raises(InputError, match="paint them once more"):
        with_strokes(session, [spec_of_paint("paint-00000000.png", 0.1)], Limits())
    assert with_strokes(session, ["shift:dx=8"], Limits()) == ("shift:dx=8",)
    for k in range(40):
        keep(session, Image.new("RGBA", (4, 4), (k, 0, 0, 255)))
    assert len(session.strokes) == 32
    with pytest.raises(InputError, match="are not here"):
        with_strokes(session, [spec_of_paint(name, 0.1)], Limits())
    session.close()


def test_files_of_forgotten_edits_and_old_downloads_go():
    session = Session("a")
    session.history = History(longest=2)
    entries = [edited(session, picture()) for _ in range(3)]
    for entry in entries:
        session.add(entry)
    assert [Path(one.pictures[0]).exists() for one in entries] == [False, True, True]
    downloads = [Path(session.pass_on("edit.zip", b"x")) for _ in range(10)]
    assert [path.exists() for path in downloads] == [False] * 2 + [True] * 8
    session.close()


def test_undo_brings_the_mask_back():
    session = Session("a")
    mask, _ = painted_things()
    entry = edited(session, picture(), mask)
    session.take(entry.photo)
    session.mask = np.full_like(mask, 255)
    session.revisit(entry)
    assert session.mask is not None
    assert (session.mask == mask).all()
    session.close()


def test_an_example_is_named_by_what_it_changes():
    assert difference("a green cross on a red ground", "a blue cross on a red ground") == (
        "green → blue"
    )
