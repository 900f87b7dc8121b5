"""Tuned embeddings and coupled states: exact gradients, monotone losses, resume, exact inverses."""

import hashlib
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.core.code import Code
from noisespace.core.replay import EditPlan, replay
from noisespace.core.rows import Rows
from noisespace.core.steps import Belm
from noisespace.core.transition import renoise
from noisespace.errors import InputError
from noisespace.inversion.problem import Problem
from noisespace.inversion.tuning import checkpoint, embedding, solvers
from noisespace.inversion.tuning.solvers import Memory, adam, gauss_newton, gradient, mean_square
from tiny import double, tiny_pixels, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PROMPT, OTHER, W = "a photo of a cat", "a photo of a dog", 5.0
TUNED = [
    ns.NullText(guidance=W, iterations=2),
    ns.NullText(guidance=W, iterations=2, solver="adam"),
    ns.NullText(guidance=W, iterations=2, share="global"),
    ns.NullText(guidance=W, iterations=2, pivot="random"),
    ns.NullText(guidance=W, iterations=2, pivot="none"),
    ns.PromptTuning(guidance=W, iterations=2),
    ns.TextualInversion(guidance=W, iterations=2),
    ns.TextualInversion(guidance=W, iterations=2, pivot=True),
]


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def problem_of(model, steps=5, count=2):
    x0 = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(3)).double()
    text, null = model.embed([PROMPT] * count), model.embed([""] * count)
    drawn = [torch.Generator().manual_seed(i) for i in range(count)]
    return Problem(model, model.grid(steps), x0, text, null, 1.0, drawn)


def residual_at(model, k=2, part="null"):
    problem = problem_of(model)
    tune = embedding.Tuning(part, W, 3, "adam", lambda k: 0.01, lambda k: 0.0)
    path = ns.DDIM().invert(problem).path
    return embedding.residual_of(problem, tune, k, path[k] + 0.1, path[k + 1]), tune.start(problem)


# ---- gradients and solvers


@pytest.mark.parametrize("part", ["null", "text"])
def test_gradients_are_those_of_finite_differences(model, part):
    residual, text = residual_at(model, part=part)
    theta, rows = text.embedding.clone(), torch.arange(2)
    _, _, slope = gradient(residual, theta, rows)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        d = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        h = 1e-5
        up, down = (mean_square(residual(theta + s * h * d, rows)) for s in (1, -1))
        torch.testing.assert_close(
            (slope * d).flatten(1).sum(1), (up - down) / (2 * h), atol=1e-9, rtol=1e-5
        )


def test_adam_is_torchs(model):
    residual, text = residual_at(model)
    theta, rows = text.embedding.clone(), torch.arange(2)
    ours = adam(residual, theta, 7, 0.01, 0.0).theta
    for i in range(2):  # the loss of each image alone: batches do not mix
        x = theta[i : i + 1].clone().requires_grad_()
        torchs = torch.optim.Adam([x], lr=0.01)
        for _ in range(7):
            loss = residual(x, rows[i : i + 1]).square().mean()
            torchs.zero_grad()
            loss.backward()
            torchs.step()
        torch.testing.assert_close(ours[i : i + 1], x.detach(), atol=1e-8, rtol=0)


def test_adam_stops_each_image_by_itself(model):
    plain, text = residual_at(model)
    far = torch.tensor([1.0, 3.0]).double().view(2, 1, 1, 1)

    def residual(theta, rows):
        return far[rows] * plain(theta, rows)

    theta = text.embedding.clone()
    first = mean_square(residual(theta, torch.arange(2)))
    between = 1.001 * float(first.min())
    assert float(first.min()) < between < 0.5 * float(first.max())
    solved = adam(residual, theta, 3, 0.01, between)
    done, going = int(first.argmin()), int(first.argmax())
    for image, iterations in ((done, 1), (going, 3)):
        alone = adam(residual, theta, iterations, 0.01, 0.0).theta[image]
        torch.testing.assert_close(solved.theta[image], alone, atol=1e-8, rtol=0)
    went_on = adam(residual, theta, 3, 0.01, 0.0).theta[done]
    assert float((solved.theta[done] - went_on).abs().max()) > 1e-3


def test_the_loss_never_rises(model):
    residual, text = residual_at(model)
    solved = gauss_newton(residual, text.embedding, 8, 0.0, Memory())
    falls = solved.history[1:] - solved.history[:-1]
    assert (falls <= 0).all()
    assert (solved.loss < 0.5 * solved.history[0]).all()
    rows = torch.arange(2)
    torch.testing.assert_close(mean_square(residual(solved.theta, rows)), solved.loss)
    torch.testing.assert_close(residual(solved.theta, rows), solved.residual)


def test_a_step_that_raises_the_loss_is_refused():
    """A residual with a wall right of the start: full steps cross it, the kept ones do not."""

    def residual(theta, rows):
        x = theta.mean(2)  # (b, l)
        return torch.where(x > 0.3, 100 + x, 1 - x)[:, :, None, None]

    theta = torch.zeros(1, 3, 4, dtype=torch.float64)
    solved = gauss_newton(residual, theta, 6, 0.0, Memory())
    assert (solved.history[1:] <= solved.history[:-1]).all()
    assert float(solved.loss) < float(solved.history[0])


def test_gauss_newton_solves_a_linear_problem():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    b = torch.randn(2, 6, generator=generator, dtype=torch.float64)

    def residual(theta, rows):
        return (theta.flatten(1) @ a.T - b[rows])[:, :, None, None]

    solved = gauss_newton(residual, torch.zeros(2, 2, 4, dtype=torch.float64), 12, 0.0, Memory())
    assert (solved.loss < 1e-8 * solved.history[0]).all()


def test_a_diverging_loss_keeps_the_best_and_says_so(model, monkeypatch):
    def residual(theta, rows):
        return ((theta - 1) ** 3)[..., None]

    theta = torch.full((1, 2, 3), 0.9, dtype=torch.float64)
    solved = adam(residual, theta, 20, 5.0, 0.0)
    assert solved.diverged.all()
    assert torch.equal(solved.theta, theta)
    assert float(solved.loss) == pytest.approx(1e-6)
    monkeypatch.setattr(solvers, "DIVERGED", 0.5)
    with pytest.warns(UserWarning, match="diverged"):
        ns.invert(model, IMAGE, PROMPT, TUNED[1], steps=3)


# ---- null-text and its family


def away(model, code, **options):
    return float((ns.reconstruct(model, code, **options).latents - code.path[-1]).square().mean())


@pytest.mark.parametrize("method", TUNED, ids=repr)
def test_no_iterations_is_plain_ddim(model, method):
    method = type(method)(**{**vars(method), "iterations": 0, "guidance": W})
    code = ns.invert(model, IMAGE, PROMPT, method, steps=5)
    plain = ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=5, guidance=code_w(method))
    if getattr(method, "pivot", "ddim") != "random":
        torch.testing.assert_close(code.path, plain.path, atol=1e-10, rtol=0)
        again = ns.reconstruct(model, plain, guidance=W).latents
        torch.testing.assert_close(ns.reconstruct(model, code).latents, again, atol=1e-10, rtol=0)
    assert code.guidance == W


def code_w(method):
    """The guidance of the ascent."""
    return 0.0 if isinstance(method, ns.PromptTuning) else 1.0


@pytest.mark.parametrize(
    "method",
    [ns.NullText(guidance=W), ns.NullText(guidance=W, solver="adam"), ns.PromptTuning(guidance=W)],
    ids=repr,
)
def test_tuning_reconstructs_better_than_nothing(model, method):
    ascent = 0.0 if isinstance(method, ns.PromptTuning) else 1.0
    plain = ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=8, guidance=ascent)
    code = ns.invert(model, IMAGE, PROMPT, method, steps=8)
    assert away(model, code) < 0.7 * away(model, plain, guidance=W)
    # and the check can fail: with the embeddings shuffled, or another guidance, it is gone
    part = "null" if code.null is not None else "text"
    mixed = replace(code, **{part: getattr(code, part).roll(3, 0)})
    assert away(model, mixed) > away(model, code)
    assert away(model, code, guidance=2 * W) > away(model, code)


@pytest.mark.parametrize("method", TUNED, ids=repr)
def test_rows_do_not_depend_on_the_batch(model, method):
    images = [IMAGE, 255 - IMAGE]
    both = ns.invert(model, images, [PROMPT, OTHER], method, steps=4, seed=[0, 1])
    part = "null" if both.null is not None else "text"
    for i, (image, prompt) in enumerate(zip(images, [PROMPT, OTHER], strict=True)):
        alone = ns.invert(model, image, prompt, method, steps=4, seed=i)
        torch.testing.assert_close(
            getattr(alone, part)[:, 0], getattr(both, part)[:, i], atol=1e-7, rtol=0
        )


@pytest.mark.parametrize("method", [TUNED[0], TUNED[5], ns.EDICT(), ns.BELM()], ids=repr)
def test_codes_save_and_load(model, method, tmp_path):
    code = ns.invert(model, IMAGE, PROMPT, method, steps=4)
    code.save(tmp_path / "a.safetensors")
    again = ns.Code.load(tmp_path / "a.safetensors")
    assert (again.step, again.blend) == (code.step, code.blend)
    editor = ns.PromptToPrompt()
    a, b = (ns.edit(model, c, OTHER, editor=editor).latents for c in (code, again))
    assert torch.equal(a, b)


def test_the_tuned_guidance_is_the_edits(model):
    code = ns.invert(model, IMAGE, PROMPT, ns.NullText(guidance=W, iterations=1), steps=4)
    assert (code.guidance, code.info.edit_guidance) == (W, W)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ns.edit(model, code, OTHER).record["guidance"] == W
    with pytest.warns(UserWarning, match="optimised for guidance 5"):
        ns.edit(model, code, OTHER, guidance=2.0)


def test_blend_goes_from_the_tuned_prompt_to_the_target(model):
    codes = {
        blend: ns.invert(
            model, IMAGE, PROMPT, ns.PromptTuning(guidance=W, iterations=2, blend=blend), steps=4
        )
        for blend in (0.0, 1.0)
    }
    source = ns.reconstruct(model, codes[0.0]).latents
    kept_ = ns.edit(model, codes[0.0], OTHER).latents
    torch.testing.assert_close(kept_, source, atol=1e-10, rtol=0)
    plain = ns.invert(model, IMAGE, PROMPT, ns.DDIM(), steps=4, guidance=0.0)
    torch.testing.assert_close(
        ns.edit(model, codes[1.0], OTHER).latents,
        ns.edit(model, plain, OTHER, guidance=W).latents,
        atol=1e-10,
        rtol=0,
    )


# ---- interruption


class StopError(Exception):
    pass


@pytest.mark.parametrize("method", [TUNED[0], TUNED[1], TUNED[5]], ids=repr)
def test_an_interrupted_run_goes_on(model, method, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    file, seen = tmp_path / "run.part", []

    def stop(done, total):
        if done == 4:
            raise StopError

    whole = ns.invert(model, IMAGE, PROMPT, method, steps=6)
    with pytest.raises(StopError):
        ns.invert(model, IMAGE, PROMPT, method, steps=6, progress=stop, checkpoint=file)
    assert file.exists()
    with pytest.raises(InputError, match="another inversion"):
        ns.invert(model, IMAGE, OTHER, method, steps=6, checkpoint=file)
    again = ns.invert(
        model,
        IMAGE,
        PROMPT,
        method,
        steps=6,
        progress=lambda done, total: seen.append(done),
        checkpoint=file,
    )
    assert seen == [4, 5, 6]
    part = "null" if whole.null is not None else "text"
    assert torch.equal(getattr(again, part), getattr(whole, part))
    assert not file.exists()
    with pytest.raises(StopError):
        ns.invert(model, IMAGE, PROMPT, method, steps=6, progress=stop, checkpoint=file)
    with pytest.raises(InputError, match="another inversion"):
        ns.invert(model, IMAGE, PROMPT, method, steps=6, size=(64, 64), checkpoint=file)
    with pytest.raises(InputError, match="another inversion"):
        ns.invert(model, whole.path[-1], PROMPT, method, steps=6, checkpoint=file)
    file.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="no checkpoint"):
        ns.invert(model, IMAGE, PROMPT, method, steps=6, checkpoint=file)


def test_the_model_is_left_as_it_was(model):
    def state():
        parts = [p.detach().numpy().tobytes() for p in model.network.parameters()]
        flags = [(p.requires_grad, p.grad) for p in model.network.parameters()]
        return hashlib.sha256(b"".join(parts)).hexdigest(), flags

    def stop(done, total):
        if done == 2:
            raise StopError

    before = state()
    ns.invert(model, IMAGE, PROMPT, TUNED[0], steps=4)
    with pytest.raises(StopError):
        ns.invert(model, IMAGE, PROMPT, TUNED[0], steps=4, progress=stop)
    assert state() == before


def test_losses_are_shown(model):
    class Show:
        def __init__(self):
            self.notes = []

        def __call__(self, done, total):
            pass

        def note(self, text):
            self.notes.append(text)

    show = Show()
    ns.invert(model, IMAGE, PROMPT, TUNED[0], steps=4, progress=show)
    assert len(show.notes) == 4
    assert all(n.startswith("loss ") for n in show.notes)


# ---- coupled states


@pytest.mark.parametrize("steps", [2, 3, 10, 50, 333])
@pytest.mark.parametrize("method", [ns.EDICT(), ns.EDICT(alternate=True), ns.BELM()], ids=repr)
def test_coupled_inversions_are_exact_for_any_number_of_steps(model, method, steps):
    code = ns.invert(model, IMAGE, PROMPT, method, steps=steps)
    difference = ns.reconstruct(model, code).latents - code.path[-1]
    assert float(difference.abs().max()) < 1e-10


def counted(model, monkeypatch):
    calls = []
    denoise = type(model).denoise

    def count(self, x, *args):
        calls.append(len(x))
        return denoise(self, x, *args)

    monkeypatch.setattr(type(model), "denoise", count)
    return calls


def test_edict_takes_twice_the_evaluations_and_belm_as_many(model, monkeypatch):
    calls, counts = counted(model, monkeypatch), {}
    for method in (ns.DDIM(), ns.EDICT(strength=1.0), ns.BELM()):
        calls.clear()
        code = ns.invert(model, IMAGE, PROMPT, method, steps=10, guidance=1.0)
        ns.reconstruct(model, code)
        counts[type(method).__name__] = len(calls)
    assert counts == {"DDIM": 20, "EDICT": 40, "BELM": 19}


def test_belm_is_of_second_order():
    """On a Gaussian: halving the step about quarters the error at a level, DDIM's it halves."""
    means = {"": torch.tensor([1.0, -2.0]).view(2, 1, 1)}
    # "trailing": every grid begins at the same level
    mixture = ns.Mixture(means, 0.5, {"timestep_spacing": "trailing"})
    start = torch.tensor([0.7, -0.4], dtype=torch.float64).view(1, 2, 1, 1)

    def end(steps, second):
        """Down from one noise to the clean end, plain or with BELM's steps after the first."""
        grid = mixture.grid(steps)

        null = mixture.embed([""])
        x = renoise(mixture.denoise(start, grid.level(0), null), grid.level(1))
        way = {"step": Belm(), "kept": {"twin": start[None]}} if second else {}
        code = Code(grid, x[None].expand(steps, *x.shape), **way)
        plan = EditPlan(mixture, code, Rows.of((null, None), null, (1.0, 1.0), True))
        return list(replay(plan))[-1].x[0]

    exact = end(1000, True)
    for second, order in ((False, 1), (True, 2)):
        coarse, fine = ((end(n, second) - exact).abs().max() for n in (100, 200))
        assert 0.7 * 2**order < float(coarse / fine) < 1.6 * 2**order


# ---- fine-tuning


@pytest.mark.parametrize(
    "method",
    [ns.Imagic(text_iterations=3, iterations=5), ns.UniTune(iterations=5)],
    ids=repr,
)
def test_fine_tuning_is_carried_by_the_code(model, method, tmp_path):
    notes = []

    class Show:
        def __call__(self, done, total):
            notes.append((done, total))

    before = [p.detach().clone() for p in model.network.parameters()]
    code = ns.invert(model, IMAGE, PROMPT, method, steps=6, progress=Show())
    total = sum(vars(method).get(name, 0) for name in ("text_iterations", "iterations"))
    assert notes == [(k + 1, total) for k in range(total)]
    after = list(model.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(m._forward_hooks for m in model.network.modules())
    assert code.adapter
    assert any(bool(t.any()) for name, t in code.adapter.items() if name.endswith(".up"))
    same = ns.invert(model, IMAGE, PROMPT, method, steps=6)
    edited = ns.edit(model, code, OTHER, guidance=2.0).latents
    assert torch.equal(ns.edit(model, same, OTHER, guidance=2.0).latents, edited)
    code.save(tmp_path / "a.safetensors")
    loaded = ns.Code.load(tmp_path / "a.safetensors")
    assert torch.equal(ns.edit(model, loaded, OTHER, guidance=2.0).latents, edited)
    plain = ns.edit(model, replace(code, adapter={}), OTHER, guidance=2.0).latents
    assert float((plain - edited).abs().max()) > 1e-6
    ns.edit(model, code, OTHER, editor=ns.PromptToPrompt(), guidance=2.0)


def test_fine_tuning_lowers_the_loss(model):
    losses = []

    class Show:
        def __call__(self, done, total):
            pass

        def note(self, text):
            losses.append(float(text.split()[1]))

    ns.invert(model, IMAGE, PROMPT, ns.UniTune(iterations=150, lr=0.02), steps=6, progress=Show())
    assert np.mean(losses[-40:]) < 0.95 * np.mean(losses[:40])


def test_imagic_at_eta_0_and_1_is_the_tuned_and_the_given_prompt(model):
    code = ns.invert(model, IMAGE, PROMPT, ns.Imagic(0.0, 4, 2), steps=6)
    ends = [ns.edit(model, replace(code, blend=b), OTHER, guidance=1.0).latents for b in (0.0, 1.0)]
    torch.testing.assert_close(ends[0], ns.reconstruct(model, code, guidance=1.0).latents)
    plain = ns.edit(model, replace(code, text=None), OTHER, guidance=1.0).latents
    torch.testing.assert_close(ends[1], plain)


# ---- bad input

BAD = [
    (ns.NullText(guidance=1), "guidance 1 leaves null-text nothing to tune"),
    (ns.NullText(iterations=-1), "iterations must be a whole number"),
    (ns.NullText(lr=0), "lr must be above 0"),
    (ns.NullText(solver="newton"), "solver must be"),
    (ns.NullText(share="all"), "share must be"),
    (ns.NullText(pivot="x"), "pivot must be"),
    (ns.NullText(tolerance=-1.0), "tolerance must be"),
    (ns.NullText(recompute="yes"), "recompute must be"),  # type: ignore[arg-type]
    (ns.UniTune(recompute=2), "recompute must be"),  # type: ignore[arg-type]
    (ns.PromptTuning(guidance=0), "guidance 0 leaves prompt-tuning nothing to tune"),
    (ns.PromptTuning(blend=2.0), "blend must be a number in"),
    (ns.TextualInversion(guidance="x"), "guidance of textual-inversion must be a number"),
    (ns.EDICT(p=0.5), "p must be above .5"),
    (ns.EDICT(strength=0.0), "strength must be a share"),
    (ns.BELM(strength=0.1), "leaves at least 2"),
    (ns.EDICT(p="x"), "p must be above .5"),  # type: ignore[arg-type]
    (ns.NullText(iterations=2.5), "iterations must be a whole number"),  # type: ignore[arg-type]
    (ns.TextualInversion(iterations=None), "needs a number of iterations"),  # type: ignore[arg-type]
    (ns.TextualInversion(pivot=True, guidance=0.0), "a guidance that is not 0"),
    (ns.Imagic(eta=3.0), "eta must be a number in"),
    (ns.Imagic(eta="x"), "eta must be a number in"),  # type: ignore[arg-type]
    (ns.Imagic(rank=0), "rank 0 leaves nothing to fit"),
    (ns.UniTune(rank=0), "rank 0 leaves nothing to fit"),
    (ns.UniTune(lr="x"), "lr must be a number"),  # type: ignore[arg-type]
    (ns.NullText(tolerance="x"), "tolerance must be"),  # type: ignore[arg-type]
    (ns.PromptTuning(blend=None), "blend must be a number"),  # type: ignore[arg-type]
    (ns.Imagic(lr=0.0), "lr must be above 0"),
    (ns.UniTune(iterations=-1), "whole numbers >= 0"),
    (ns.UniTune(strength=0.0), "strength must be a share"),
]


@pytest.mark.parametrize(("method", "words"), BAD, ids=lambda v: str(v)[:50])
def test_bad_input(model, method, words, monkeypatch):
    calls = counted(model, monkeypatch)
    with pytest.raises(InputError, match=words):
        ns.invert(model, IMAGE, PROMPT, method, steps=6)
    assert not calls


@pytest.mark.parametrize("method", TUNED, ids=repr)
def test_there_are_no_tokens_to_tune_without_text(method):
    with pytest.raises(InputError, match="zero tokens to tune"):
        ns.invert(ns.from_pipeline(tiny_pixels()), IMAGE[:16, :16], "", method, steps=4)


@pytest.mark.parametrize("method", [ns.Imagic(), ns.UniTune()], ids=repr)
def test_fine_tuning_takes_one_image_and_a_prompt(model, method):
    with pytest.raises(InputError, match="one image at a time"):
        ns.invert(model, [IMAGE, IMAGE], PROMPT, method, steps=4)
    with pytest.raises(InputError, match="this model is unconditional"):
        ns.invert(ns.from_pipeline(tiny_pixels()), IMAGE[:16, :16], "", method, steps=4)


@pytest.mark.parametrize("method", [ns.DDIM(), ns.UniTune(), ns.NullText(share="global")], ids=repr)
def test_what_keeps_no_checkpoint_says_so(model, method, tmp_path, monkeypatch):
    calls = counted(model, monkeypatch)
    with pytest.raises(InputError, match="keeps none"):
        ns.invert(model, IMAGE, PROMPT, method, steps=4, checkpoint=tmp_path / "a.part")
    assert not calls


def test_the_pivots_guidance_is_recorded(model):
    code = ns.invert(model, IMAGE, PROMPT, ns.NullText(iterations=0), steps=4, guidance=3.0)
    record = ns.edit(model, code, OTHER).record["source"]
    assert (record["guidance"], record["pivot_guidance"]) == (7.5, 3.0)


def test_a_finished_image_learns_nothing_from_the_others():
    """The memory of step sizes is each image's own, also where it is done before the others."""
    draw = torch.Generator().manual_seed(0)
    slopes = torch.randn(3, 2, 2, 4, generator=draw, dtype=torch.float64)
    both, alone = Memory(), Memory()
    going = torch.tensor([[False, True], [True, True], [True, False]])
    for k in range(3):
        down = both.down(slopes[k], going[k])[:1]
        if going[k, 0]:
            torch.testing.assert_close(alone.down(slopes[k, :1], going[k, :1]), down)
    assert both.square is not None
    torch.testing.assert_close(both.square[:1], alone.square)


def test_a_coupled_code_has_no_operations(model):
    code = ns.invert(model, IMAGE, PROMPT, ns.EDICT(), steps=6)
    with pytest.raises(InputError, match="two coupled ones"):
        ns.Shift(8, 0)(model, code)
