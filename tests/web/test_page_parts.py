"""Parts of the page that need no browser: pictures of a code, the panel, sessions, sentences."""

import numpy as np
import pytest
import torch
from PIL import Image

import noisespace as ns
from noisespace.errors import InputError
from noisespace.web import asking, maps
from noisespace.web.jobs import View
from noisespace.web.panel import data_uri, panel, seconds, under_way
from noisespace.web.pieces import KEEP, painted
from noisespace.web.requests import InvertRequest
from noisespace.web.session import Visitors
from noisespace.web.tabs.edit import difference


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
    assert "data:image/png;base64," in drawn
    assert len(data_uri(picture().resize((2000, 1000)))) < 300_000
    assert [seconds(s) for s in (1.94, 31.2, 180)] == ["1.9 s", "31 s", "3 min"]


def view(state, position=0, index=0, total=0, eta=None):
    return View("id", state, "editing", position, index, total, 1.0, eta, None, None)


def test_the_panel_tells_the_queue_and_the_time_left():
    assert under_way(view("waiting", 3)) == "Waiting: 2 before you."
    assert under_way(view("waiting", 1)) == "Waiting: you are next."
    assert under_way(view("running", 0, 3, 32, 4.1)) == "Editing, step 3 of 32, 4.1 s left"


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
    assert painted([layer], (32, 16)) is None
    layer.paste((255, 0, 0, 200), (0, 0, 256, 256))
    mask = painted([layer], (32, 16))
    assert mask is not None
    assert mask.shape == (16, 32)
    assert (mask[:, :15] == 255).all()
    assert (mask[:, 17:] == 0).all()
    taken = Image.new("RGBA", (512, 256), KEEP)
    assert painted([taken], (32, 16), mask) is None
    taken.putalpha(0)
    assert (painted([taken], (32, 16), mask) == mask).all()


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


def test_an_example_is_named_by_what_it_changes():
    assert difference("a green cross on a red ground", "a blue cross on a red ground") == (
        "green → blue"
    )
