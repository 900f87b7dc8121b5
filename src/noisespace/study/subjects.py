"""What studies are about: held-out scenes of one object, their true edits, native samples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from noisespace.api import freeze
from noisespace.bench.pictures import autoencoded as alone
from noisespace.bench.scenes import changed, grown
from noisespace.core.code import Code, Info
from noisespace.core.replay import EditPlan, replay
from noisespace.core.rows import Rows, fresh_noise
from noisespace.core.steps import Ancestral
from noisespace.errors import InputError
from noisespace.models.families.analytic import Mixture
from noisespace.models.judges.alignment import alignment_of
from noisespace.pictures.images import resize, to_tensor
from noisespace.planning.settings import generators
from noisespace.study.finding import Row
from noisespace.study.measure import lpips, psnr
from noisespace.train.draw import random_scene
from noisespace.train.judge import Verdict, judge
from noisespace.train.render import SIZE
from noisespace.train.scenes import Scene

KINDS = ("colour", "background", "shape", "texture")


@dataclass(frozen=True)
class SceneEdit:
    """A scene of one object, the attribute that is changed, and what comes out in truth."""

    kind: str
    scene: Scene
    truth: Scene

    @property
    def outside(self) -> np.ndarray:
        """Where nothing should change, bool (64, 64): three pixels off whatever does."""
        if self.kind == "background":
            return self.scene.mask() > 0.95
        return ~grown(np.maximum(self.scene.mask(), self.truth.mask()))


def scene_edits(count: int, name: str, kinds: Sequence[str] = KINDS) -> list[SceneEdit]:
    """Held-out scenes, the same for the same ``name``, with edits of the kinds in turn."""
    rng, out = random.Random(f"study {name}"), []
    for i in range(count):
        scene, kind = random_scene(rng, held_out=True, objects=1), kinds[i % len(kinds)]
        out.append(SceneEdit(kind, scene, changed(rng, scene, kind)))
    return out


def given(model: Any, count: int, name: str) -> tuple[Any, list[str]]:
    """Images as ``invert`` takes them, and their prompts: held-out scenes with their captions.

    Of a mixture: samples of its components, which are states (count, c, h, w).
    """
    if not isinstance(model, Mixture):
        scenes = [edit.scene for edit in scene_edits(count, name)]
        return scenes, [scene.caption if model.has_text else "" for scene in scenes]
    names, drawn = list(model.means), generators([random.Random(name).getrandbits(32)], "sample")[0]
    prompts = [names[i % len(names)] for i in range(count)]
    means = torch.stack([model.means[p].double() for p in prompts])
    return means + model.std * torch.randn(means.shape, generator=drawn).double(), prompts


def need_text(model: Any, name: str) -> None:
    """Refuses a model that knows no prompts, or no pictures, before anything runs."""
    if not model.has_text or isinstance(model, Mixture):
        raise InputError(
            f"the study {name} needs pictures and prompts, which the model {model.name} does not "
            "know: use the model scenes"
        )


def native(
    model: Any, prompts: Sequence[str], seeds: Sequence[int], *, steps: int, guidance: float = 1.0
) -> Code:
    """DDPM samples (eta = 1) as a code: their own path and the noise maps that made them.

    What is inverted nowhere: replayed under their prompts these maps give the samples back.
    """
    grid, drawn = model.grid(steps), generators(seeds, "sample")
    shape = state_shape(model)
    start = torch.stack([torch.randn(shape, generator=g, dtype=model.state_dtype) for g in drawn])
    start = start.to(model.device)
    info = Info(guidance=guidance, edit_guidance=guidance, prompts=tuple(prompts))
    code = Code(grid, start.expand(steps + 1, *start.shape), Ancestral(1.0), info=info)
    text, null = model.embed(list(prompts)), model.embed([None] * len(prompts))
    rows = Rows.of((text, None), null, (guidance, guidance), True)
    plan = EditPlan(model, code, rows, noise=fresh_noise(start[None], drawn))
    states = [start, *(s.x[:, 0] for s in replay(plan))]
    return freeze(model, replace(code, path=torch.stack(states), step=Ancestral(1.0, "all")))


def state_shape(model: Any) -> tuple[int, ...]:
    """(c, h, w) of a picture's latents; a mixture's states are of any shape."""
    if isinstance(model, Mixture):
        return tuple(next(iter(model.means.values())).shape)
    side = model.resolution // model.factor
    return model.channels, side, side


def seeds_of(budget_seed: int, count: int) -> list[int]:
    """One seed an image, those of different studies' seeds apart."""
    return [10_000 * budget_seed + i for i in range(count)]


def joined(codes: Sequence[Code]) -> Code:
    """Codes that were made alike, as one batch."""
    first, infos = codes[0], [code.info for code in codes]
    residual = None
    if first.residual is not None:
        residual = torch.cat([c.residual for c in codes if c.residual is not None], 1)
    path, lattice = torch.cat([c.path for c in codes], 1), min(c.lattice for c in codes)
    code = replace(first, path=path, residual=residual, lattice=lattice)
    tuples = ("prompts", "negative", "seeds", "fit", "image", "lattice_margin", "operations")
    return code.with_info(**{n: tuple(v for i in infos for v in getattr(i, n)) for n in tuples})


def autoencoded(model: Any, pictures: Sequence[Any]) -> list[np.ndarray]:
    """What the autoencoder alone makes of pictures: the bound of every figure in pixels."""
    return [alone(model, np.asarray(picture), None) for picture in pictures]


def judged(pictures: Sequence[Any]) -> list[Verdict]:
    """What the rendering judge reads; pictures of other sizes are brought to the scenes' own."""
    return judge([resize(np.asarray(p), (SIZE, SIZE)) for p in pictures])


def as_asked(edit: SceneEdit, verdict: Verdict) -> bool:
    """Whether a picture is read as the true edit: shape, colour and background, and what changed.

    The texture counts where it is what was to change: it is too fine for the others' sake.
    """
    thing = edit.truth.objects[0]
    right = (verdict.shape, verdict.colour) == (thing.shape, thing.colour)
    right = verdict.found and right and verdict.background == edit.truth.background
    return right and (edit.kind != "texture" or verdict.texture == thing.texture)


def aligned(model: Any, prompts: Sequence[str], arrays: Sequence[np.ndarray]) -> list[Any]:
    """In-domain alignment: the cosine of pictures and prompts by the model's own towers, or None.

    No CLIP score: the towers know only what the model draws.
    """
    if model.alignment_folder is None:
        return [None] * len(arrays)
    pixels = torch.cat([to_tensor(array) for array in arrays])
    with torch.no_grad():
        return alignment_of("alignment", model)(pixels, prompts).tolist()


def scores(model: Any, edits: Sequence[SceneEdit], pictures: Sequence[Any]) -> list[Row]:
    """Of each edit: PSNR outside it and to the truth (dB), LPIPS to the input, as asked or not.

    "alignment" is the in-domain one, to the target prompt.
    """
    arrays = [np.asarray(p) for p in pictures]
    inputs, perceptual = [edit.scene.render() for edit in edits], lpips()
    looks = perceptual(inputs, arrays) if perceptual else [None] * len(arrays)
    answers = aligned(model, [edit.truth.caption for edit in edits], arrays)
    every = zip(edits, arrays, inputs, looks, answers, judged(arrays), strict=True)
    return [
        {
            "kind": edit.kind,
            "outside": psnr(array, before, edit.outside),
            "truth": psnr(array, edit.truth.render()),
            "lpips": look,
            "alignment": answer,
            "asked": as_asked(edit, verdict),
        }
        for edit, array, before, look, answer, verdict in every
    ]
