"""Operations timed by pytest-benchmark: run before and after a change, compare, assert nothing.

    make suite                                       # or: pytest benchmarks -p no:xdist
    make suite ARGS="--benchmark-save=before"        # then, after the change:
    make suite ARGS="--benchmark-compare"

Outside tests/, so that neither `make test` nor CI times anything; what must not get slower is held
there by counts (tests/test_speed.py).
"""

import pytest

pytest.importorskip("pytest_benchmark")

from races import MODELS, TARGETS, Setting, setting

import noisespace as ns


@pytest.fixture(scope="module", params=MODELS)
def at(request) -> Setting:
    return setting(request.param, "light")


@pytest.fixture(scope="module")
def code(at) -> ns.Code:
    return at.invert()


def test_inversion(benchmark, at):
    benchmark(at.invert)


def test_edit(benchmark, at, code):
    benchmark(at.edit, code, TARGETS[0])


def test_eight_prompts(benchmark, at, code):
    benchmark.pedantic(at.edit, (code, TARGETS), rounds=3)


def test_null_text(benchmark, at):
    method = ns.NullText(guidance=7.5, solver="gauss-newton")
    run = (at.model, at.x0, at.source, method)
    benchmark.pedantic(ns.invert, run, {"steps": at.tuned}, rounds=2)


def test_decoding(benchmark, at):
    benchmark(lambda: at.model.decode(at.x0))
