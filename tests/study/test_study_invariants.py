"""What studies measure, where it is known: Gaussians with their exact score."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.study import exactness, gaussian, reconstruction, statistics
from noisespace.study.budget import Budget
from noisespace.study.claims import FAILS, HOLDS, combined
from noisespace.study.measure import mean, order, uniformity, values, where
from noisespace.study.subjects import joined, native, seeds_of

POINT = ns.Mixture({"": torch.full((2, 1, 1), 10.0, dtype=torch.float64)})
WIDE = ns.Mixture(
    {"a": torch.zeros(2, 12, 12).double(), "b": torch.linspace(-1, 1, 288).view(2, 12, 12).double()}
)


@pytest.fixture(scope="module")
def codes():
    return gaussian.walks(POINT, 40, seeds_of(3, 300))


def bins(found) -> np.ndarray:
    return np.histogram(found.numpy(), 18, (0, 180))[0]


def test_native_angles_are_uniform_and_edit_friendly_ones_are_opposed(codes):
    own, ours = (gaussian.angles(codes[kind]) for kind in gaussian.KINDS)
    assert own.shape == (38, 300)
    assert uniformity(bins(own))["chi2"] < 40.8  # the 99.9 % quantile of 17 degrees of freedom
    assert uniformity(bins(ours))["chi2"] > 1000
    assert bins(ours).argmax() == 17
    assert float((ours > 90).double().mean()) > 0.7


def test_native_maps_are_what_was_drawn(codes):
    """Variance 1; and the code replays to its own sample."""
    z = gaussian.maps_of(codes["native"])
    assert float(z.var()) == pytest.approx(1, abs=0.03)
    code = codes["native"]
    replayed = ns.reconstruct(POINT, code).latents
    torch.testing.assert_close(replayed, code.path[-1], atol=1e-10, rtol=0)
    sampled = ns.sample(POINT, "", steps=40, guidance=1.0, eta=1.0, seed=seeds_of(3, 300)[7])
    torch.testing.assert_close(sampled.latents[0], code.path[-1][7])


def test_walks_add_up():
    """Each step of the figure: drift and noise lead to where the next one starts."""
    code = gaussian.walks(POINT, 8, [1, 2])["edit-friendly"]
    steps = gaussian.walk("edit-friendly", code, 1)
    for a, b in pairwise(steps):
        assert a["x"] + a["drift x"] + a["noise x"] == pytest.approx(b["x"])
        assert a["y"] + a["drift y"] + a["noise y"] == pytest.approx(b["y"])
    assert steps[-1]["step"] == 8


def test_statistics_of_maps():
    found = statistics.study(WIDE, Budget(images=4, quick=True))
    assert combined(found.numbers["claims"]) == {"C9": HOLDS}
    own = found.numbers["native"]
    assert own["variance"]["mean"] == pytest.approx(1, abs=0.03)
    assert own["correlation"]["mean"] == pytest.approx(0, abs=0.02)
    assert found.numbers["edit-friendly"]["correlation"]["mean"] < -0.4
    assert set(found.figures) == {"variance", "correlation"}
    # native maps in the place of edit-friendly ones must not pass
    rows = [r for r in found.rows if r["kind"] != "edit-friendly"]
    rows += [{**r, "kind": "edit-friendly"} for r in where(rows, kind="native")]
    failed = statistics.summarise(rows)["claims"]
    assert [one["verdict"] for one in failed] == [FAILS, FAILS]
    # nor edit-friendly ones in the place of native or CycleDiffusion's
    rows = [{**r, "kind": "cycle-diffusion"} for r in where(found.rows, kind="edit-friendly")]
    rows += [r for r in found.rows if r["kind"] != "cycle-diffusion"]
    failed = statistics.summarise(rows)["claims"]
    assert [one["verdict"] for one in failed] == [FAILS, FAILS]


def test_results_do_not_depend_on_the_batch():
    both = native(WIDE, ["a", "b"], [5, 6], steps=6)
    alone = native(WIDE, ["b"], [6], steps=6)
    torch.testing.assert_close(both.path[:, 1], alone.path[:, 0])
    again = joined([native(WIDE, ["a"], [5], steps=6), alone])
    torch.testing.assert_close(again.path, both.path)
    assert again.info.prompts == ("a", "b")


def test_ddim_is_of_first_order_and_edit_friendly_exact(monkeypatch):
    plan = reconstruction.Plan(3, (10, 40), (80, 160), 20, (1.0, 3.0, 7.5))
    monkeypatch.setattr(reconstruction, "QUICK", plan)
    found = reconstruction.study(WIDE, Budget(quick=True))
    assert found.numbers["order of DDIM"]["mean"] == pytest.approx(1, abs=0.25)
    found_verdicts = combined(found.numbers["claims"])
    assert found_verdicts["C1"] == found_verdicts["C8"] == HOLDS
    exact = where(found.rows, part="exact")
    assert {r["dtype"] for r in exact} == {"float64"}
    # by method; what is computed in order has no code to put under proximal guidance
    assert len(exact) == 5 * (2 * 2 * 2 * 2 + 2) - 1
    assert max(values(exact, "max")) < 1e-10
    coarse = where(found.rows, part="inversion", method="ddim", guidance=1.0)
    slope = order([10, 160], [mean(coarse, "rms", steps=n) for n in (10, 160)])
    assert slope == pytest.approx(1, abs=0.3)
    assert set(found.figures) == {"steps", "guidance"}  # a mixture has no pictures to sample


def test_what_a_mixture_cannot_do_is_said():
    from noisespace.study import load

    for name in ("operations", "fixed-maps", "null-text", "skip-guidance", "diversity"):
        with pytest.raises(ns.InputError, match="use the model scenes"):
            load(name)(WIDE, Budget(quick=True))


def test_a_model_of_another_dtype_is_loaded_once(monkeypatch):
    loads = []
    monkeypatch.setattr(exactness, "load", lambda *given: loads.append(given) or given)
    model_of = exactness.by_dtype(SimpleNamespace(dtype=torch.float32, name="a", device="cpu"))
    assert model_of("float32").name == "a"
    assert model_of("float64") is model_of("float64")
    assert loads == [("a", "float64", "cpu")]
