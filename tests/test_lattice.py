"""The lattice: exact at every setting, whatever the batch; and that leaving it out is not."""

import warnings

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.core.lattice import MARGIN, least_margin, margin, snap, usual_spacing
from noisespace.models.base import ModelWrapper
from noisespace.train.draw import held_out_scene
from tiny import double, tiny_sd

SOURCE, TARGETS = "a photo of a cat", ["a photo of a dog", "a red tiger on grass"]
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MASK = np.zeros((32, 32), bool)
MASK[:8] = True


@pytest.fixture(scope="module")
def scenes():
    return ns.load("scenes", device="cpu")


@pytest.fixture(scope="module")
def tiny():
    return ns.from_pipeline(double(tiny_sd()))


def away(model, code, targets):
    """The source's largest difference after a real replay, alone and beside edits."""
    alone = ns.reconstruct(model, code).latents
    run = ns.edit_steps(model, code, targets, guidance=code.guidance, mask=MASK)
    *_, last = (step.step for step in run)  # a mask has the source run beside the edits
    return [float((x - code.path[-1]).abs().max()) for x in (alone, last.x[:, 0])]


def of_scene(scenes, method, w, steps=30):
    scene = held_out_scene(3)
    code = ns.invert(scenes, scene.render(), scene.caption, method, steps=steps, guidance=w)
    return code, ["a striped red star on a white background", "a plain blue disk on a green one"]


@pytest.mark.parametrize("eta", [0.1, 1.0])
@pytest.mark.parametrize("make", [ns.EditFriendly, ns.CycleDiffusion])
def test_float32_is_exact_from_the_noisiest_step_at_a_large_guidance(scenes, make, eta):
    code, targets = of_scene(scenes, make(skip=0, eta=eta), 15.0)
    assert code.lattice == 2.0**-10
    assert min(code.info.lattice_margin) >= MARGIN
    assert max(away(scenes, code, targets)) <= 2e-5


def test_without_the_lattice_it_is_not(scenes):
    """The residuals are as exact; a replay grows its rounding."""
    code, targets = of_scene(scenes, ns.EditFriendly(skip=0, lattice=False), 15.0)
    assert min(away(scenes, code, targets)) > 1e-3
    once, targets = of_scene(scenes, ns.EditFriendly(skip=0, order="sequential"), 15.0)
    alone, beside = away(scenes, once, targets)
    assert alone < 1e-6 < 1e-3 < beside  # in its own batch alone


@pytest.mark.parametrize("w", [1.0, 15.0])
@pytest.mark.parametrize("make", [ns.EditFriendly, ns.CycleDiffusion])
def test_float64_is_exact_on_a_network_that_amplifies(tiny, make, w):
    for skip, eta in ((0, 0.01), (0, 1.0), (0.36, 0.3)):
        code = ns.invert(tiny, IMAGE, SOURCE, make(skip, eta), steps=30, guidance=w)
        assert max(away(tiny, code, TARGETS)) <= 1e-10


def test_the_path_is_on_the_lattice_and_the_image_is_not(tiny):
    code = ns.invert(tiny, IMAGE, SOURCE, ns.EditFriendly(skip=0), steps=8)
    assert torch.equal(snap(code.path[:-1], code.lattice), code.path[:-1])
    assert not torch.equal(snap(code.path[-1], code.lattice), code.path[-1])
    plain = ns.invert(tiny, IMAGE, SOURCE, ns.EditFriendly(skip=0, lattice=False), steps=8)
    assert (code.path - plain.path).abs().max() <= code.lattice / 2
    assert plain.lattice == 0


def test_pictures_do_not_change(scenes):
    """What an 8-bit picture shows of the lattice: nothing, in reconstructions and in edits."""
    pictures = []
    for lattice in (True, False):
        code, targets = of_scene(scenes, ns.EditFriendly(lattice=lattice), 1.5, steps=50)
        edit = ns.edit(scenes, code, targets, guidance=3.0).images
        pictures.append([np.asarray(p, int) for p in (ns.reconstruct(scenes, code).images + edit)])
    for with_it, without in zip(*pictures, strict=True):
        assert np.abs(with_it - without).mean() < 0.05
        assert np.abs(with_it - without).max() <= 3


def test_direct_and_live_codes_have_it(tiny):
    direct = ns.invert(tiny, IMAGE, SOURCE, ns.Direct(), steps=20, guidance=7.5)
    assert max(away(tiny, direct, TARGETS)) <= 1e-10
    live = ns.invert(tiny, IMAGE, SOURCE, ns.EditFriendly(skip=0, live=True), steps=20)
    assert live.lattice
    assert not live.info.lattice_margin  # no network ran yet
    frozen = ns.freeze(tiny, live)
    assert max(away(tiny, frozen, TARGETS)) <= 1e-10
    assert frozen.info.lattice_margin


class Shaky(ModelWrapper):
    """A network whose predictions depend on the batch's size, by ``off``."""

    off = 1e-6

    def denoise(self, x, level, condition, hooks=None):
        found = self.model.denoise(x, level, condition, hooks)
        nudge = torch.full_like(found.eps, self.off * (1 + len(x)) ** 0.5)
        return found.plus_eps(nudge, level)


def test_the_spacing_follows_the_measured_spread(tiny):
    """And is wide enough for a replay in other batches, which its own default is not."""
    shaky = Shaky(tiny)
    code = ns.invert(shaky, IMAGE, SOURCE, ns.EditFriendly(skip=0), steps=12, guidance=3.5)
    usual = usual_spacing(torch.float64, torch.float64, 3.5)
    assert code.lattice > 100 * usual
    assert min(code.info.lattice_margin) >= MARGIN
    last = 1e-4  # the last step is not rounded
    assert max(away(shaky, code, TARGETS)) < last
    narrow = ns.invert(tiny, IMAGE, SOURCE, ns.EditFriendly(skip=0), steps=12, guidance=3.5)
    with pytest.warns(UserWarning, match="left its path at step 1: .* lattice of"):
        away(shaky, narrow, TARGETS)


def test_a_step_that_leaves_is_said_once(tiny):
    code = ns.invert(tiny, IMAGE, SOURCE, ns.EditFriendly(), steps=10)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ns.reconstruct(Shaky(tiny), code)
        assert len(said) == 1
        said.clear()
        ns.reconstruct(tiny, code, guidance=5.0)  # another guidance is another picture
        ns.reconstruct(tiny, ns.Shift(dx=8)(tiny, code))  # and so is an operation
    assert not said


def test_a_lattice_does_not_depend_on_the_batch(tiny):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    both = ns.invert(tiny, latents, SOURCE, ns.EditFriendly(), steps=6, seed=[1, 2])
    for i, one in enumerate(latents.split(1)):
        one = ns.invert(tiny, one, SOURCE, ns.EditFriendly(), steps=6, seed=i + 1)
        own = both.of_image(i)
        assert torch.equal(own.path, one.path)
        assert own.lattice == one.lattice
        torch.testing.assert_close(own.residual, one.residual, atol=1e-12, rtol=0)


def test_half_precision_takes_a_wider_one_by_its_guidance():
    usual = [usual_spacing(torch.float32, torch.bfloat16, w) for w in (1.0, 3.5, 15.0)]
    assert usual == [2.0**-7, 2.0**-4, 2.0**-2]
    assert least_margin(torch.bfloat16) < least_margin(torch.float32) == MARGIN
    assert margin(2.0**-10, 3e-6) == 256


def test_a_bfloat16_network_gives_the_image_back_too():
    model = ns.load("scenes", dtype="bfloat16", device="cpu")
    scene = held_out_scene(3)
    x0 = model.encode(torch.from_numpy(scene.render()).permute(2, 0, 1)[None] / 127.5 - 1)
    code = ns.invert(model, x0, scene.caption, ns.EditFriendly(), steps=20, guidance=3.5)
    assert code.lattice == 2.0**-4
    assert max(away(model, code, ["a blue star on a white background"])) < 0.1  # its last step's


def test_files_keep_it(tiny, tmp_path):
    code = ns.invert(tiny, IMAGE, SOURCE, ns.EditFriendly(), steps=6)
    code.save(tmp_path / "a.safetensors")
    again = ns.Code.load(tmp_path / "a.safetensors")
    assert (again.lattice, again.step, again.info) == (code.lattice, code.step, code.info)
    result = ns.edit(tiny, again, "a dog")
    assert result.record["source"]["lattice"] == code.lattice
