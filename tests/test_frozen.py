"""What the library computed before its modules moved, through the public names alone, in float64.

``data/frozen.safetensors`` holds a digest of every output, ``data/code-format1*.safetensors`` codes
that were saved in format 1. ``python tests/test_frozen.py`` makes the digests anew; name in
``CHANGED`` what is meant to differ. The float32 table of a zero-SNR schedule is rounded as the
processor likes (MKL's square root), so that its outputs agree less; without AVX, torch draws other
weights, and nothing would.

Left out: DiffusionCLIP, which cannot run without an alignment model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import noisespace as ns
from noisespace.editing import diffedit
from noisespace.editing.attention import maps
from noisespace.editing.operations import shift
from noisespace.planning import settings
from tiny import SCHEDULE, double, tiny_pixels, tiny_sd

Outputs = Iterator[tuple[str, Tensor]]

# beginning of a name -> why these outputs may differ from the frozen ones
EDICT = "the states alternate in the order of their steps alone, as in the authors' code"
CHANGED: dict[str, str] = {
    **{f"{group}/edict/": EDICT for group in ("coupled", "pixels", "analytic")},
    **{f"edit/{editor}/edict": EDICT for editor in ("prompt-to-prompt", "masactrl")},
    "ascent/ddim-regularised/": "noise is never compared with itself (a shift by 0)",
    "tuned/textual-inversion/reconstruct": "one embedding is tuned on steps at random",
}

DATA = Path(__file__).parent / "data"
KEPT = 30  # values kept of an output
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SMALL = IMAGE[:16, :16].copy()
SOURCE, TARGETS = "a photo of a cat", ["a photo of a dog", "a red tiger on grass"]
PAINTED = np.zeros((32, 32), dtype=np.uint8)
PAINTED[4:20, 8:28] = 255
TWO = {"a": torch.full((2, 1, 1), 3.0), "b": torch.full((2, 1, 1), -1.0)}
POINTS = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64).view(2, 2, 1, 1)


def plain(cls: Any, **options: Any) -> Any:
    """A method without the rounding to a lattice, which came later."""
    later = {"lattice": False} if "lattice" in {f.name for f in fields(cls)} else {}
    return cls(**options, **later)


def redness(pixels: Tensor, prompts: Any) -> Tensor:
    return (pixels[:, 0] - pixels[:, 1:].mean(1)).mean((1, 2))


@cache
def latent(**schedule: Any) -> Any:
    return ns.from_pipeline(double(tiny_sd(**schedule)))


VELOCITY = {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
ZERO = {**VELOCITY, "rescale_betas_zero_snr": True}
EF = plain(ns.EditFriendly, skip=0.2)
ASCENT = {
    "ddim": ns.DDIM(),
    "ddim-upper": ns.DDIM(told="upper", stop=0.6),
    "ddim-regularised": ns.DDIM(regularise=2),
    "fixed-point": ns.FixedPoint(iterations=3),
    "fixed-point-average": ns.FixedPoint(iterations=3, average=True),
    "negative-prompt": ns.NegativePrompt(),
    "prox-npi": ns.ProxNPI(mode="l0"),
    "prox-npi-soft": ns.ProxNPI(mode="soft", quantile=0.5, pull=0.3, told="upper"),
    "direct": plain(ns.Direct),
    "direct-live": plain(ns.Direct, told="upper", live=True),
}
NOISING = {
    "edit-friendly": EF,
    "edit-friendly-eta": plain(ns.EditFriendly, skip=0, eta=0.5),
    "edit-friendly-live": plain(ns.EditFriendly, skip=3, live=True),
    "cycle-diffusion": plain(ns.CycleDiffusion),
    "cycle-diffusion-eta": plain(ns.CycleDiffusion, skip=0, eta=1.0),
    "sdedit": ns.SDEdit(),
    "sdedit-eta": ns.SDEdit(strength=0.5, eta=1.0),
}
COUPLED = {
    "edict": ns.EDICT(),
    "edict-still": ns.EDICT(p=0.97, strength=1.0, alternate=False),
    "belm": ns.BELM(),
    "belm-strength": ns.BELM(strength=0.5),
}
TUNED = {
    "null-text-adam": ns.NullText(iterations=3, solver="adam"),
    "null-text-gauss-newton": ns.NullText(iterations=2, solver="gauss-newton"),
    "null-text-global": ns.NullText(iterations=2, solver="adam", share="global"),
    "null-text-random": ns.NullText(iterations=2, solver="gauss-newton", pivot="random"),
    "null-text-none": ns.NullText(iterations=2, solver="adam", pivot="none"),
    "prompt-tuning-adam": ns.PromptTuning(iterations=3, solver="adam"),
    "prompt-tuning-gauss-newton": ns.PromptTuning(iterations=2, solver="gauss-newton"),
    "textual-inversion": ns.TextualInversion(iterations=2),
    "textual-inversion-pivot": ns.TextualInversion(iterations=2, pivot=True),
    "imagic": ns.Imagic(text_iterations=4, iterations=4, rank=2),
    "unitune": ns.UniTune(iterations=4, rank=2),
}
TEXTLESS = ("ddim", "ddim-upper", "fixed-point", "direct", "direct-live")
ANALYTIC = (*TEXTLESS, "negative-prompt", "prox-npi")
EDITORS = {
    "prompt-to-prompt": ns.PromptToPrompt(),
    "prompt-to-prompt-windows": ns.PromptToPrompt(self_=(0.1, 0.7), windows={"a": (0.2, 0.6)}),
    "prompt-to-prompt-refine": ns.PromptToPrompt(mode="refine", reweight={"a": 2.0}),
    "prompt-to-prompt-blend": ns.PromptToPrompt(blend="a", blend_threshold=0.9),
    "masactrl": ns.MasaCtrl(step=1, layer=0),
    "masactrl-words": ns.MasaCtrl(step=0.2, layer=0, words="a", threshold=0.5),
    "plug-and-play": ns.PlugAndPlay(),
    "pix2pix-zero": ns.Pix2PixZero(maps="text"),
    "pix2pix-zero-sentences": ns.Pix2PixZero(
        0.2, ("a cat", "the cat"), ("a dog", "the dog"), maps="text"
    ),
    "diffedit": ns.DiffEdit(maps=3),
    "score-guidance": ns.ScoreGuidance(redness, scale=30.0),
    "score-guidance-past": ns.ScoreGuidance(redness, 30.0, window=(0.2, 0.7), through=False),
    "concepts": ns.Concepts((ns.Concept("red"), ns.Concept("a horse", away=True, warmup=2))),
}
MASKS = {"attention": ns.AttentionMask("cat", 0.97), "diffedit": ns.DiffEdit(maps=3)}
FORMAT1 = {
    "": EF,
    "-edict": ns.EDICT(),
    "-belm": ns.BELM(),
    "-nulltext": ns.NullText(iterations=1, solver="gauss-newton"),
}


def grids() -> Outputs:
    """Timesteps, alpha and sigma, (3, levels)."""
    pipe, spacings = tiny_sd(), ("leading", "trailing", "linspace")
    configs = {f"ddim/{s}": DDIMScheduler(**SCHEDULE, timestep_spacing=s) for s in spacings}
    configs |= {f"ddpm/{s}": DDPMScheduler(timestep_spacing=s) for s in spacings}
    configs |= {
        f"ddpm/{b}": DDPMScheduler(beta_schedule=b) for b in ("squaredcos_cap_v2", "sigmoid")
    }
    configs["ddim/zero-snr"] = DDIMScheduler(**{**SCHEDULE, **ZERO})
    configs["ddpm/zero-snr"] = DDPMScheduler(rescale_betas_zero_snr=True)
    found = {"flow": ns.Grid.flow(10, shift=3.0)}
    for name, pipe.scheduler in configs.items():
        model = ns.from_pipeline(pipe)
        found |= {f"{name}/{n}": model.grid(n) for n in (1, 7, 50, 1000)}
    for name, grid in found.items():
        yield name, torch.stack([grid.timesteps, grid.alpha, grid.sigma])


def samples() -> Outputs:
    pixels, two = ns.from_pipeline(double(tiny_pixels())), ns.Mixture(TWO)
    for eta in (0.0, 0.5, 1.0):
        how = {"steps": 8, "eta": eta, "seed": [3, 4]}
        for name, schedule in (("latent", {}), ("velocity", VELOCITY), ("zero-snr", ZERO)):
            found = ns.sample(latent(**schedule), TARGETS, guidance=7.5, **how)
            yield f"{name}/eta{eta}", found.latents
        yield f"pixels/eta{eta}", ns.sample(pixels, "", guidance=1.0, **how).latents
        yield f"analytic/eta{eta}", ns.sample(two, ["a", "b"], guidance=2.0, **how).latents


def inversions(
    methods: Mapping[str, Any],
    model: Any,
    image: Any = IMAGE,
    prompts: tuple[Any, Any] = (SOURCE, TARGETS),
    w: float = 7.5,
    **options: Any,
) -> Outputs:
    """Path, noise maps (where there are some), reconstruction and plain edit of each method."""
    for name, method in methods.items():
        code = ns.invert(model, image, prompts[0], method, steps=8, **options)
        yield f"{name}/path", code.path
        with suppress(ns.InputError):
            yield f"{name}/maps", code.noise_maps()
        yield f"{name}/reconstruct", ns.reconstruct(model, code).latents
        yield f"{name}/edit", ns.edit(model, code, prompts[1], guidance=w, seed=5).latents


def of_pixels() -> Outputs:
    methods = {k: ASCENT[k] for k in TEXTLESS} | NOISING | COUPLED
    model = ns.from_pipeline(double(tiny_pixels()))
    return inversions(methods, model, SMALL, ("", ["", ""]), w=1.0, guidance=1.0)


def of_points() -> Outputs:
    methods = {k: ASCENT[k] for k in ANALYTIC} | NOISING | COUPLED
    return inversions(methods, ns.Mixture(TWO), POINTS, (["a", "b"], ["b", "a"]), w=2.0)


@cache
def codes() -> dict[str, Any]:
    """Codes of one image, and of a batch of two."""
    model, both = latent(), [IMAGE, 255 - IMAGE]
    own = {"edit-friendly": EF, "direct-live": plain(ns.Direct, live=True)}
    own |= {name: COUPLED[name] for name in ("edict", "belm")}
    found = {name: ns.invert(model, IMAGE, SOURCE, m, steps=8) for name, m in own.items()}
    found["other"] = ns.invert(model, both[1], SOURCE, EF, steps=8, seed=1)
    found["two"] = ns.invert(model, both, [SOURCE, "the cat on grass"], EF, steps=8, seed=[0, 1])
    return found


def edited(code: Any, targets: Any = tuple(TARGETS), **options: Any) -> Tensor:
    return ns.edit(latent(), code, list(targets), guidance=7.5, **options).latents


def edits() -> Outputs:
    for on in ("edit-friendly", "direct-live", "edict", "belm"):
        for name, editor in EDITORS.items():
            if on == "edit-friendly" or name in ("prompt-to-prompt", "masactrl"):
                yield f"{name}/{on}", edited(codes()[on], editor=editor)


def masked() -> Outputs:
    code, editor = codes()["edit-friendly"], ns.PromptToPrompt()
    for name, mask in {**MASKS, "painted": PAINTED, "soft": PAINTED / 510}.items():
        yield f"{name}/plain", edited(code, mask=mask)
        yield f"{name}/prompt-to-prompt", edited(code, mask=mask, editor=editor)
    yield "painted/belm", edited(codes()["belm"], mask=PAINTED)


def batches() -> Outputs:
    code, targets = codes()["two"], [["a photo of a dog", "a red cat"], "a dog on the grass"]
    yield "path", code.path
    yield "maps", code.noise_maps()
    yield "reconstruct", ns.reconstruct(latent(), code).latents
    yield "edit/plain", edited(code, targets)
    for name in ("prompt-to-prompt", "masactrl", "pix2pix-zero", "score-guidance", "concepts"):
        yield f"edit/{name}", edited(code, targets, editor=EDITORS[name])
    for name, mask in MASKS.items():
        yield f"mask/{name}", edited(code, targets, mask=mask)


def operations() -> Outputs:
    model, code = latent(), codes()["edit-friendly"]
    done = {
        "shift-wrap": ns.Shift(8, -4)(model, code),
        "shift-fresh": ns.Shift(-8, 8, fill="fresh", seed=2)(model, code),
        "color-edit": ns.ColorEdit(color="red", mask=PAINTED)(model, code),
        "interpolate": ns.interpolate(model, code, codes()["other"], 0.3),
        "freeze": ns.freeze(model, codes()["direct-live"]),
    }
    for name, changed in done.items():
        yield f"{name}/path", changed.path
        yield f"{name}/maps", changed.noise_maps()
        yield f"{name}/edit", edited(changed)
    run = ns.edit_steps(model, code, TARGETS[0], guidance=3.0, editor=ns.PromptToPrompt())
    yield "edit-steps/count", torch.tensor(len(list(run)))
    yield "edit-steps/edit", run.result.latents


def format1() -> Outputs:
    for name in FORMAT1:
        code = ns.Code.load(DATA / f"code-format1{name}.safetensors")
        yield f"code{name}/path", code.path
        yield f"code{name}/reconstruct", ns.reconstruct(latent(), code).latents
        yield f"code{name}/edit", edited(code)


GROUPS: dict[str, Callable[[], Outputs]] = {
    "grid": grids,
    "sample": samples,
    "ascent": lambda: inversions(ASCENT, latent()),
    "noising": lambda: inversions(NOISING, latent()),
    "velocity": lambda: inversions({"edit-friendly": EF, "ddim": ns.DDIM()}, latent(**VELOCITY)),
    "zero-snr": lambda: inversions({"edit-friendly": EF, "ddim": ns.DDIM()}, latent(**ZERO)),
    "coupled": lambda: inversions(COUPLED, latent()),
    "tuned": lambda: inversions(TUNED, latent()),
    "pixels": of_pixels,
    "analytic": of_points,
    "edit": edits,
    "mask": masked,
    "batch": batches,
    "operation": operations,
    "format1": format1,
}


def digest(x: Tensor) -> Tensor:
    """Shape, mean, mean square and up to ``KEPT`` values from all over a tensor, in float64."""
    flat = x.detach().double().flatten()
    spread = torch.arange(min(KEPT, len(flat))) * 7919 % len(flat)  # a prime: no value twice
    whole = [*x.shape, float(flat.mean()), float(flat.square().mean())]
    return torch.cat([torch.tensor(whole, dtype=torch.float64), flat[spread]])


def digests(group: str) -> dict[str, Tensor]:
    """By name, those that must not differ."""
    found = {f"{group}/{name}": digest(x) for name, x in GROUPS[group]()}
    return {name: x for name, x in found.items() if not name.startswith(tuple(CHANGED))}


@pytest.mark.skipif(
    "AVX" not in torch.backends.cpu.get_cpu_capability(), reason="draws other weights"
)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.filterwarnings("ignore:.*sets clip_sample")  # of diffusers' own defaults
def test_outputs_are_the_frozen_ones(group, monkeypatch):
    for module in (settings, maps, shift, diffedit):  # then a seed had one stream for all purposes
        monkeypatch.setattr(module, "stream", lambda seed, _: torch.Generator().manual_seed(seed))
    with safe_open(DATA / "frozen.safetensors", "pt") as file:
        names = {name for name in file.keys() if name.startswith(f"{group}/")}  # noqa: SIM118
        frozen = {name: file.get_tensor(name) for name in names}
    found, wrong = digests(group), []
    assert set(found) == {name for name in names if not name.startswith(tuple(CHANGED))}
    for name, x in found.items():
        close = (1e-10, 1e-12) if "zero-snr" not in name else (1e-5, 1e-5)
        if "edict" in name:  # its mixing amplifies rounding: 1.7e-12 on another processor
            close = (1e-8, 1e-10)
        try:
            torch.testing.assert_close(x, frozen[name], rtol=close[0], atol=close[1])
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


def main() -> None:
    """Writes the digests, and such codes of format 1 as are missing."""
    DATA.mkdir(exist_ok=True)
    for name, method in FORMAT1.items():
        path = DATA / f"code-format1{name}.safetensors"
        if not path.exists():  # those there are stay: a later format would take their place
            ns.invert(latent(), IMAGE, SOURCE, method, steps=4).save(path)
    found = {name: x for group in GROUPS for name, x in digests(group).items()}
    bad = [name for name, x in found.items() if not x.isfinite().all()]
    if bad:
        raise SystemExit(f"not finite, so nothing to compare: {bad}")
    save_file(found, DATA / "frozen.safetensors")
    (DATA / "frozen.safetensors").chmod(0o644)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
