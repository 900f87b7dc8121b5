"""Reports: a verdict for every claim by its rule, a page that needs nothing else, going on."""

import csv
import json
import re

import numpy as np
import pytest

import noisespace as ns
from noisespace.errors import InputError
from noisespace.report import methods, run
from noisespace.report.claims import CLAIMS, DECIDES, chosen, one_verdict, studies_of
from noisespace.report.methods import Axes, compared, curve, turned
from noisespace.report.order import Order
from noisespace.study import STUDIES
from noisespace.study.budget import Task
from noisespace.study.claims import FAILS, HOLDS, OPEN, Check, claim, exact
from noisespace.study.finding import Finding
from noisespace.study.style import figure, mark

FEW = (
    turned("edit-friendly", "skip", "edit-friendly:skip={} @ steps=6", "0", ".2", ".5"),
    turned("ddim", "guidance", "ddim @ steps=4,guidance={}", "1", "2", "4"),
)


@pytest.fixture(scope="module")
def model():
    return ns.load("scenes")


def faked(ran, wrong="", broken=""):
    """Studies that measure nothing: their claims hold but those of ``wrong``; ``broken`` raises."""

    def load(name):
        def study(model, budget):
            def work():
                ran.append(name)
                if name == broken:
                    raise RuntimeError("no luck")
                return [{"value": 1.0}]

            rows = budget.collect([Task({"of": name}, 1.0, work)])
            found = exact(rows[0]["value"], 5)
            claims = [
                claim(i, [Check("value", found, above=2.0 if i == wrong else 0.5)], 5)
                for i in DECIDES[name]
            ]
            drawn = figure(2, 1)
            drawn.subplots().plot([1, 2])
            return Finding(name, name, {"n": 5, "claims": claims}, rows, {"drawn": drawn})

        return study

    return load


@pytest.fixture
def small(monkeypatch):
    """A report of studies that measure nothing and a benchmark of seconds; what ran is told."""
    ran = []
    monkeypatch.setattr(run, "load", faked(ran))
    monkeypatch.setattr(methods, "FAMILIES", FEW)
    return ran


def records(out):
    return {one["id"]: one for one in json.loads((out / "claims.json").read_text())}


def test_every_claim_has_a_study_and_every_study_a_claim():
    assert list(CLAIMS) == [f"C{i}" for i in range(1, 22)]
    assert {name for decided in DECIDES.values() for name in decided} == set(CLAIMS)
    assert set(DECIDES) == set(STUDIES)


def test_a_report(model, small, tmp_path):
    report = run.make_report(model, Order(quick=True, images=3), tmp_path)
    found = records(tmp_path)
    assert list(found) == list(CLAIMS)
    for one in found.values():
        assert {"id", "claim", "verdict", "rule", "numbers", "n", "seconds"} <= one.keys()
        assert (one["verdict"], one["n"]) == (HOLDS, 5)
        assert "value above 0.5" in one["rule"]
    with (tmp_path / "claims.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == list(CLAIMS)
    text = (tmp_path / "index.html").read_text()
    assert "21 of 21 claims hold" in text
    assert report.order.command() in text
    for line in ("nothing", "autoencoder", *FEW[0].lines):
        assert f"<code>{line}</code>" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)  # nothing comes from elsewhere
    for name in ("outside-asked.png", "outside-asked.svg", "gallery.png", "summary.csv"):
        assert (tmp_path / "methods" / name).stat().st_size > 0
    assert report.compared is not None
    assert all(row["status"] == "ok" for row in report.compared.rows)


def test_a_claim_that_does_not_hold_is_reported_so(model, small, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load", faked(small, wrong="C8"))
    run.make_report(model, Order(claims=("C1", "C8")), tmp_path)
    found = records(tmp_path)
    assert (found["C1"]["verdict"], found["C8"]["verdict"]) == (HOLDS, FAILS)
    assert "1 of 2 claims hold, 1 do not" in (tmp_path / "index.html").read_text()


def test_a_study_that_fails_leaves_its_claims_undecided(model, small, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load", faked(small, broken="statistics"))
    report = run.make_report(model, Order(claims=("C9", "C14")), tmp_path)
    assert report.failed == {"statistics": "RuntimeError: no luck"}
    found = records(tmp_path)
    assert found["C9"]["verdict"] == "not decided: statistics: RuntimeError: no luck"
    assert found["C14"]["verdict"] == HOLDS


def test_a_report_goes_on(model, small, tmp_path):
    order = Order(claims=("C8", "C9"))
    run.make_report(model, order, tmp_path)
    first = records(tmp_path)
    small.clear()
    run.make_report(model, order, tmp_path)
    assert small == []  # what is measured is not measured again
    again = records(tmp_path)
    assert all(again[i]["numbers"] == first[i]["numbers"] for i in first)
    assert all(again[i]["seconds"] >= first[i]["seconds"] for i in first)


def test_another_report_is_refused(model, small, tmp_path):
    run.make_report(model, Order(claims=("C9",)), tmp_path)
    with pytest.raises(InputError, match=r"holds a report with seed 0, now it is 1"):
        run.make_report(model, Order(claims=("C9",), seed=1), tmp_path)
    run.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.txt").write_text("x")
    run.clear(tmp_path)
    with pytest.raises(InputError, match="holds no report"):
        run.make_report(model, Order(claims=("C9",)), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "x"


def test_claims_are_chosen_by_name():
    assert chosen(None) == list(CLAIMS)
    assert chosen(" c8,C1 ") == ["C1", "C8"]
    assert studies_of(["C4", "C9"]) == ["gaussian", "statistics", "null-text"]
    for text in ("C22", "", "C1;C2"):
        with pytest.raises(InputError, match="expected some of C1 to C21"):
            chosen(text)


def test_a_part_that_fails_decides_a_claim():
    def part(name, above):
        return claim("C9", [Check("v", exact(1.0, 4), above=above)], 4, part=name)

    both = {
        "gaussian": {"claims": [part("angles", 0.0)]},
        "statistics": {"claims": [part("variance", 0.0), part("correlation", 2.0)]},
    }
    found = one_verdict("C9", both, {}, {"gaussian": 1.0, "statistics": 2.0})
    assert (found.verdict, found.seconds) == (FAILS, 3.0)
    assert list(found.numbers) == ["angles", "variance", "correlation"]
    both["statistics"]["claims"].pop()
    assert one_verdict("C9", both, {}, {}).verdict == HOLDS
    both["statistics"]["claims"][0]["verdict"] = OPEN
    assert one_verdict("C9", both, {}, {}).verdict == OPEN
    assert one_verdict("C9", {}, {}, {}).verdict == OPEN


def test_families_are_compared_at_equal_structure():
    """A method that reaches the target ten points more often at every structure."""
    rows = []
    for i in range(40):
        noise = np.random.default_rng(i).normal(0, 0.01)
        for place, (ours, theirs) in enumerate(zip(FEW[0].lines, FEW[1].lines, strict=True)):
            for line, more in ((ours, 0.1), (theirs, 0.0)):
                target = 0.2 * place + more + noise
                rows.append({"id": str(i), "method": line, "s": 0.1 * place, "t": target})
    axes = Axes("s-t", "s", "t")
    found = compared(rows, FEW, axes)["ddim"]
    assert found.difference == pytest.approx(0.1)
    assert found.low > 0.09
    assert curve(rows, FEW[0], Axes("", "s", "absent")) is None


def test_no_two_families_look_alike():
    """In colour and marker, or else in line and fill."""
    looks = [mark(family.name, place) for place, family in enumerate(methods.FAMILIES)]
    assert len({(one.colour, one.marker, one.fill) for one in looks}) == len(looks)
