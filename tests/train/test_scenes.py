"""Scenes render, tell and edit truthfully; the judge is right, and can fail."""

import random

import numpy as np
import pytest
import torch

from noisespace.errors import InputError
from noisespace.train import render
from noisespace.train.draw import random_scene
from noisespace.train.fitting import fit_background, paint_errors
from noisespace.train.judge import judge
from noisespace.train.palette import COLOURS, vocabulary
from noisespace.train.run import run
from noisespace.train.scenes import (
    HELD_OUT,
    Scene,
    SceneObject,
    pack,
    render_batch,
    render_scenes,
)


def drawn(count, seed=0, **options):
    rng = random.Random(seed)
    return [random_scene(rng, **options) for _ in range(count)]


def test_rendering_is_smooth_and_seeded():
    scene = Scene((SceneObject("circle", "white", size=16.0),), "black")
    mask = scene.mask()
    assert np.array_equal(scene.render(), np.asarray(scene))
    assert abs(mask.sum() - np.pi * 16**2) < 0.01 * mask.sum()
    assert ((mask > 0.05) & (mask < 0.95)).any()  # anti-aliased
    assert [s.caption for s in drawn(5)] == [s.caption for s in drawn(5)]


def test_an_edit_differs_only_inside_the_masks():
    for scene in drawn(20, objects=2):
        thing = scene.objects[0]
        other = next(
            c for c in ("red", "cyan", "white") if c not in (thing.colour, scene.background)
        )
        edited = scene.edited(color=other)
        changed = np.abs(edited.render().astype(int) - scene.render()).max(2) > 0
        assert changed.any()
        assert not changed[scene.mask(0) == 0].any()
        assert other in edited.caption


@pytest.mark.parametrize(
    "changes", [{}, {"colour": "beige"}, {"weight": 1}, {"object": 5, "colour": "red"}]
)
def test_bad_edits(changes):
    with pytest.raises(InputError, match=r"got .*expected"):
        Scene((SceneObject("circle", "white"),), "black").edited(**changes)


def test_held_out_triples_are_never_drawn_in_training():
    assert len(HELD_OUT) == 24
    assert not any(o.triple in HELD_OUT for s in drawn(2000) for o in s.objects)
    assert all(s.objects[0].triple in HELD_OUT for s in drawn(50, held_out=True, objects=1))


def test_captions_speak_the_vocabulary():
    rng, words = random.Random(0), set(vocabulary())
    for scene in drawn(200):
        texts = [scene.caption, *(scene.captions(rng) for _ in range(3))]
        assert all(set(text.split()) <= words for text in texts)
        assert all(len(text.split()) <= 30 for text in texts)


def test_the_judge_is_right_and_can_fail():
    scenes = drawn(60, seed=3, objects=1)
    noise = np.random.default_rng(0).normal(0, 6, (60, 64, 64, 3))
    pictures = np.clip(render_scenes(scenes) + noise, 0, 255).astype(np.uint8)
    right = [
        (v.shape, v.colour, v.texture, v.background)
        == (s.objects[0].shape, s.objects[0].colour, s.objects[0].texture, s.background)
        for s, v in zip(scenes, judge(pictures), strict=True)
    ]
    assert np.mean(right) >= 0.98
    wrong = [s.edited(shape="ring" if s.objects[0].shape != "ring" else "star") for s in scenes[:8]]
    verdicts = judge(render_scenes(wrong))
    assert not any(v.shape == s.objects[0].shape for s, v in zip(scenes, verdicts, strict=False))
    blank = np.full((1, 64, 64, 3), 120, np.uint8)
    assert not judge(blank)[0].found


def test_the_judge_does_not_care_where_a_pattern_lies():
    """Stripes and dots moved, and a little finer or coarser, are still that shape and colour."""
    scenes = drawn(60, seed=4, objects=1)
    waves = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)) * 8
    waves[:, 2] = 6.4 + waves[:, 2] / 4
    plain = render_batch([s.edited(texture="plain") for s in scenes])
    ground = torch.stack([fit_background(p[None]).picture[0] for p in plain])
    pictures = render.compose(ground, pack([s.objects[0] for s in scenes]), waves)
    verdicts = judge((pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    right = [
        (v.shape, v.colour, v.texture)
        == (s.objects[0].shape, s.objects[0].colour, s.objects[0].texture)
        for s, v in zip(scenes, verdicts, strict=True)
    ]
    assert np.mean(right) >= 0.98


def test_paint_errors_are_those_of_rendering():
    scenes = drawn(4, seed=5, objects=1)
    objects, under = pack([s.objects[0] for s in scenes]), torch.rand(4, 3, 64, 64)
    target, cover = torch.rand(4, 3, 64, 64), render.coverage(objects)
    errors = paint_errors(target, under, cover, render.pattern(objects))
    for i, scene in enumerate(scenes):
        mine = list(COLOURS).index(scene.objects[0].colour)
        drawn_error = (render.compose(under, objects) - target)[i].square().mean()
        assert float(errors[i, mine]) == pytest.approx(float(drawn_error), rel=1e-4)


def test_bad_settings(tmp_path):
    with pytest.raises(InputError, match="steps"):
        run("scenes", tmp_path, diffusion__steps=0)
    with pytest.raises(InputError, match="scenes"):
        run("nothing", tmp_path)
