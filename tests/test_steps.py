"""The contract of a step: methods of other kinds fit it in some lines each.

None of these is offered; each is a frozen dataclass with ``start`` and ``step``, replayed by the
one loop on exact Gaussian mixtures, and held to its order of convergence or its exactness.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.core.backbone import affine
from noisespace.core.code import Code, Info
from noisespace.core.grid import Grid
from noisespace.core.replay import EditPlan, replay
from noisespace.core.rows import Rows, fresh_noise
from noisespace.core.steps import Ancestral
from noisespace.core.steps.step import first_state
from noisespace.core.transition import renoise
from tiny import double, tiny_sd

MEANS = {"cat": torch.tensor([1.0, -2.0]), "dog": torch.tensor([-1.5, 0.5])}
MODEL = ns.Mixture({k: v.double().view(2, 1, 1) for k, v in MEANS.items()}, 0.4)
X = torch.tensor([[0.9, -1.7], [1.2, -2.4]]).double().view(2, 2, 1, 1)  # two images


def velocity(prediction):
    return prediction.eps - prediction.x0


def drift(state, k):
    """The grid, step k's level and its (negative) length in s."""
    grid, i = state.code.grid, state.code.first + k
    return grid, i, float(grid.sigma[i + 1] - grid.sigma[i])


@dataclass(frozen=True)
class Deterministic:
    keeps: tuple = field(default=(), init=False)
    eta: float = field(default=0.0, init=False)
    correct: str = field(default="none", init=False)

    def start(self, code, rows):
        return first_state(code, rows)


@dataclass(frozen=True)
class Midpoint(Deterministic):
    """RF-Solver's update (arXiv 2411.04746): the velocity half-way, between two levels."""

    def step(self, k, state, predict, noise):
        _, i, d = drift(state, k)
        half = predict(state.x + d / 2 * velocity(predict(state.x, i)), i + 0.5)
        return replace(state, x=state.x + d * velocity(half), x0=half.x0)


@dataclass(frozen=True)
class Heun(Deterministic):
    def step(self, k, state, predict, noise):
        _, i, d = drift(state, k)
        first = velocity(predict(state.x, i))
        end = predict(state.x + d * first, i + 1)
        return replace(state, x=state.x + d / 2 * (first + velocity(end)), x0=end.x0)


@dataclass(frozen=True)
class FireFlow(Deterministic):
    """arXiv 2412.07517: the velocity half-way is kept for the next step."""

    def step(self, k, state, predict, noise):
        _, i, d = drift(state, k)
        before = state.memory[0] if state.memory else velocity(predict(state.x, i))
        half = predict(state.x + d / 2 * before, i + 0.5)
        now = velocity(half)
        return replace(state, x=state.x + d * now, x0=half.x0, memory=(now,))


@dataclass(frozen=True)
class FullRenoising(Deterministic):
    """Multistep consistency sampling (arXiv 2303.01469, Alg. 1): each step noises x0 anew."""

    def step(self, k, state, predict, noise):
        grid, i, _ = drift(state, k)
        found = predict(state.x, i)
        return replace(
            state, x=renoise(replace(found, eps=noise(k)), grid.level(i + 1)), x0=found.x0
        )


@dataclass(frozen=True)
class FlowEdit(Deterministic):
    """arXiv 2412.08629: keeps the noisings and the source's velocities, starts at the image."""

    keeps: tuple = field(default=("noise", "velocity"), init=False)

    def step(self, k, state, predict, noise):
        grid, i, d = drift(state, k)
        code, rows = state.code, state.rows
        s, x = float(grid.sigma[i]), rows.spread(code.path[-1])
        shifted = state.x + s * (rows.spread(code.kept["noise"][k]) - x)
        found = predict(shifted, i)
        v = velocity(found) - rows.spread(code.kept["velocity"][k])
        return replace(state, x=state.x + d * v, x0=found.x0)


@dataclass(frozen=True)
class DirectEdit(Deterministic):
    """arXiv 2605.02417: the velocity where the inversion took it, by a kept shift."""

    keeps: tuple = field(default=("shift",), init=False)

    def step(self, k, state, predict, noise):
        _, i, d = drift(state, k)
        found = predict(state.x + state.rows.spread(state.code.kept["shift"][k]), i + 1)
        return replace(state, x=state.x + d * velocity(found), x0=found.x0)


@dataclass(frozen=True)
class HEdit(Deterministic):
    """arXiv 2503.02187, explicit: an edit-friendly step under the source, then the difference."""

    w: float
    eta: float = field(default=1.0, init=False)
    correct: str = field(default="all", init=False)

    def step(self, k, state, predict, noise):
        code, rows = state.code, state.rows
        grid, i, _ = drift(state, k)
        source = MODEL.embed([p for p in code.info.prompts for _ in range(rows.each)])
        plain = replace(rows, condition=source, guidance=torch.ones(len(source)).double())
        base = Ancestral(1.0, "all").step(k, state, lambda x, at: predict(x, at, plain), noise)
        guided = replace(plain, guidance=torch.full_like(plain.guidance, self.w))
        apart = predict(state.x, i).eps - predict(state.x, i, guided).eps
        std, to = float(code.deviations()[k]), grid.level(i + 1)
        ratio = float(to.alpha / grid.alpha[i])
        weight = max(float(to.sigma) ** 2 - std**2, 0) ** 0.5 - float(grid.sigma[i]) * ratio
        return replace(state, x=base.x + weight * apart, x0=base.x0)


def rows_of(prompts, targets=None, w=1.0, source=True):
    own = MODEL.embed(prompts)
    others = None if targets is None else MODEL.embed(targets)
    return Rows.of((own, others), MODEL.embed([""] * len(own)), (1.0, w), source)


def code_of(step, path, grid, **kept):
    return Code(grid, path, step, kept=kept, info=Info(prompts=("cat",) * path.shape[1]))


def end(step, steps, model=MODEL):
    """Where the states of one noise arrive."""
    grid = Grid.flow(steps, shift=1.5)
    start = torch.tensor([0.3, -0.8]).double().view(1, 2, 1, 1).expand(steps + 1, 1, 2, 1, 1)
    plan = EditPlan(model, code_of(step, start, grid), rows_of(["cat"]))
    return list(replay(plan))[-1].x[0]


class Counting:
    """A model that counts its evaluations by where they were asked for."""

    mixing = staticmethod(affine)

    def __init__(self):
        self.told = []

    def begin(self):
        return self.denoise

    def guide(self, guided):
        return guided

    def denoise(self, x, level, condition, hooks=None):
        self.told.append(float(level.t))
        return MODEL.denoise(x, level, condition, hooks)


@pytest.mark.parametrize(
    ("step", "order"), [(Ancestral(), 1), (Midpoint(), 2), (Heun(), 2), (FireFlow(), 2)], ids=repr
)
def test_steps_are_of_their_order(step, order):
    exact = end(Heun(), 1000)
    coarse, fine = ((end(step, n) - exact).abs().max() for n in (40, 80))
    assert 0.75 * 2**order < float(coarse / fine) < 1.5 * 2**order


@pytest.mark.parametrize(("step", "count"), [(Midpoint(), 20), (Heun(), 20), (FireFlow(), 11)])
def test_steps_ask_at_any_level(step, count):
    model = Counting()
    end(step, 10, model)
    assert len(model.told) == count
    between = set(model.told) - set(Grid.flow(10, shift=1.5).timesteps.tolist())
    assert len(between) == (0 if step == Heun() else 10)  # told fractional timesteps


def test_full_renoising_is_the_loop_of_the_paper():
    grid, draw = Grid.flow(4), torch.Generator().manual_seed(3)
    path = torch.ones(5, 1, 2, 1, 1).double()
    noise = fresh_noise(path, [torch.Generator().manual_seed(3)])
    *_, last = replay(
        EditPlan(MODEL, code_of(FullRenoising(), path, grid), rows_of(["cat"]), noise=noise)
    )
    x = path[0]
    for i in range(4):
        x0 = MODEL.denoise(x, grid.level(i), MODEL.embed(["cat"])).x0
        z = torch.randn(2, 1, 1, generator=draw, dtype=torch.float64)[None]
        x = (1 - grid.sigma[i + 1]) * x0 + grid.sigma[i + 1] * z
    torch.testing.assert_close(last.x[0], x, atol=1e-14, rtol=0)
    torch.testing.assert_close(last.x, last.x0, atol=0, rtol=0)  # a clean picture in the end


def flow_edit(steps=12):
    grid = Grid.flow(steps)
    noise = torch.randn(steps, *X.shape, generator=torch.Generator().manual_seed(0)).double()
    kept = []
    for i in range(steps):
        s = grid.sigma[i]
        states = (1 - s) * X + s * noise[i]
        kept.append(velocity(MODEL.denoise(states, grid.level(i), MODEL.embed(["cat", "cat"]))))
    path = X.expand(steps + 1, *X.shape)
    return code_of(FlowEdit(), path, grid, noise=noise, velocity=torch.stack(kept))


def test_flow_edit_returns_the_image_under_its_own_prompt_and_goes_to_the_other():
    code = flow_edit()
    back = list(replay(EditPlan(MODEL, code, rows_of(["cat", "cat"]))))[-1].x
    torch.testing.assert_close(back[:, 0], X, atol=1e-13, rtol=0)
    targets = rows_of(["cat", "cat"], ["dog", "cat"] * 2, source=False)
    moved = list(replay(EditPlan(MODEL, code, targets)))[-1].x
    torch.testing.assert_close(moved[:, 1], X, atol=1e-13, rtol=0)
    # on Gaussians the edit is a translation by the difference of the means
    away = (MODEL.means["dog"] - MODEL.means["cat"]).expand_as(X)
    torch.testing.assert_close(moved[:, 0] - X, away, atol=0.15, rtol=0)


def test_direct_edit_is_exact_at_no_further_evaluation():
    grid, x, path = Grid.flow(8), X, [X]
    for i in range(7, -1, -1):  # Euler upwards, told the cleaner level
        v = velocity(MODEL.denoise(x, grid.level(i + 1), MODEL.embed(["cat"] * 2)))
        x = x + (grid.sigma[i] - grid.sigma[i + 1]) * v
        path.append(x)
    states = torch.stack(path[::-1])
    code = code_of(DirectEdit(), states, grid, shift=states[1:] - states[:-1])
    model = Counting()
    *_, last = replay(EditPlan(model, code, rows_of(["cat"] * 2, ["dog"] * 2, w=2.0)))
    torch.testing.assert_close(last.x[:, 0], X, atol=1e-13, rtol=0)
    assert (last.x[:, 1] - X).abs().max() > 0.5
    assert len(model.told) == 8
    *_, euler = replay(
        EditPlan(MODEL, replace(code, step=Ancestral(), kept={}), rows_of(["cat"] * 2))
    )
    assert (euler.x[:, 0] - X).abs().max() > 1e-2  # without the shift it is not


def test_h_edit_takes_two_conditions_a_step():
    code = ns.invert(MODEL, X, ["cat", "cat"], ns.EditFriendly(skip=0), steps=10, guidance=1.0)
    code = replace(code, step=HEdit(3.0))
    own = rows_of(["cat", "cat"], ["cat", "cat"], w=3.0, source=False)
    back = list(replay(EditPlan(MODEL, code, own)))[-1].x
    torch.testing.assert_close(back[:, 0], X, atol=1e-12, rtol=0)  # the source at w = wh
    other = rows_of(["cat", "cat"], ["dog", "dog"], w=3.0, source=False)
    moved = list(replay(EditPlan(MODEL, code, other)))[-1].x
    away = (MODEL.means["dog"] - MODEL.means["cat"]).view(1, 2, 1, 1)
    assert bool(((moved[:, 0] - X) * away > 0).all())


def test_states_of_another_rank():
    """A video's latents, (b, c, frames, h, w), go through inversion, replay and guidance."""
    means = {k: v.double().view(2, 1, 1, 1).expand(2, 3, 2, 2) for k, v in MEANS.items()}
    model = ns.Mixture(means, 0.4)
    x = torch.randn(2, 2, 3, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    drawn = [torch.Generator().manual_seed(i) for i in range(2)]
    from noisespace.inversion import Problem

    text, null = model.embed(["cat", "dog"]), model.embed(["", ""])
    problem = Problem(model, model.grid(6), x, text, null, 3.0, drawn)
    for method in (ns.EditFriendly(), ns.CycleDiffusion(), ns.Direct(), ns.EDICT(), ns.BELM()):
        code = method.invert(problem).with_info(prompts=("cat", "dog"))
        rows = Rows.of((text, None), null, (3.0, 3.0), True)
        *_, last = replay(EditPlan(model, code, rows))
        torch.testing.assert_close(last.x[:, 0], x, atol=1e-9, rtol=0)


def test_a_level_between_two_of_a_grid():
    flow, diffusion = Grid.flow(10, shift=3.0), MODEL.grid(10)
    half = flow.level(3.5)
    torch.testing.assert_close(half.sigma, flow.sigma[3:5].mean())
    torch.testing.assert_close(half.t, 1000 * half.sigma)
    for share in (0.1, 0.5, 0.9):
        level = diffusion.level(4 + share)
        torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.tensor(1.0).double())
        assert diffusion.sigma[5] < level.sigma < diffusion.sigma[4]
    assert diffusion.level(4.0).sigma == diffusion.sigma[4]


def test_a_network_takes_a_level_between_two():
    model = ns.from_pipeline(double(tiny_sd()))
    code = ns.invert(model, np.zeros((32, 32, 3), np.uint8), "a cat", ns.DDIM(), steps=5)
    plan = EditPlan(
        model,
        replace(code, step=Midpoint()),
        Rows.of((model.embed(["a cat"]), None), model.embed([""]), (3.0, 3.0), True),
    )
    assert torch.isfinite(list(replay(plan))[-1].x).all()
