"""What studies are made of: figures of merit, rows that outlive the process, files, the look."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from noisespace.errors import InputError
from noisespace.study import STUDIES, known, load
from noisespace.study.budget import Budget, Task
from noisespace.study.claims import FAILS, HOLDS, OPEN, Check, claim, combined
from noisespace.study.finding import Finding, save, table
from noisespace.study.kept import Kept
from noisespace.study.measure import order, paired, psnr, summary, uniformity
from noisespace.study.style import MARKS, OTHERS, Tile, curve, dress, figure, heat_map, mosaic


def test_figures_of_merit():
    assert order([10, 20, 40, 80], [0.8, 0.4, 0.2, 0.1]) == pytest.approx(1)
    assert order([10, 20, 40], [0.9, 0.225, 0.05625]) == pytest.approx(2)
    found = summary([1.0, 2.0, 3.0])
    assert (found["mean"], found["n"]) == (2, 3)
    assert found["high"] - 2 == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert np.isnan(summary([1.0])["low"])
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == 60
    assert psnr(black, black + 255) == pytest.approx(0)
    rows = [{"image": i, "v": float(i)} for i in range(3)]
    assert paired(rows[1:], [{"image": i, "v": 1.0} for i in (1, 2)], "v")["mean"] == 0.5


def test_uniformity_accepts_chance_and_refuses_a_slope():
    rng = np.random.default_rng(0)
    flat = np.histogram(rng.random(5000), 18, (0, 1))[0]
    assert uniformity(flat)["p"] > 0.01
    slope = np.histogram(np.sqrt(rng.random(5000)), 18, (0, 1))[0]
    assert uniformity(slope)["p"] < 1e-6


def test_verdicts_follow_from_intervals():
    def found(low, high, n=9):
        return {"mean": (low + high) / 2, "low": low, "high": high, "n": n}

    for low, high, met in ((1, 2, True), (-1, 1, None), (-2, -1, False), (np.nan, 1, None)):
        assert Check("a", found(low, high), above=0).met is met
        assert Check("a", found(-high, -low), below=0).met is met
    assert Check("a", found(-1, 1), above=-2, below=2).met is True
    assert Check("a", found(3, 4), above=-2, below=2).met is False
    assert Check("a", found(1, 3), above=-2, below=2).met is None
    good = Check("a", found(1, 2), above=0)
    open_ = Check("b", found(-1, 1), above=0)
    bad = Check("c", found(-2, -1), above=0)
    cases = {HOLDS: [good], OPEN: [good, open_], FAILS: [good, open_, bad]}
    for verdict, checks in cases.items():
        one = claim("C1", checks, 9)
        assert one["verdict"] == verdict
        rules = [*(f"{c.name} above 0" for c in checks), "at least 3 images"]
        assert one["rule"] == "; ".join(rules)
        assert set(one["numbers"]) == {c.name for c in checks}
        assert claim("C1", checks, 2)["verdict"] == OPEN
    assert claim("C1", [good], 2, least=1)["verdict"] == HOLDS
    assert claim("C1", [], 9)["verdict"] == OPEN
    assert combined([claim("C1", [good], 9), claim("C1", [bad], 9)]) == {"C1": FAILS}


def test_rows_and_pictures_outlive_the_process(tmp_path):
    calls = []

    def task(n):
        return Task({"n": n}, 1, lambda: calls.append(n) or [{"value": n / 2}])

    head, told = {"seed": 1}, []
    folder = tmp_path / "one"
    budget = Budget(kept=Kept(folder, head), tell=lambda *said: told.append(said))
    budget.collect([task(1), task(2)])
    budget.kept.keep("a b", np.full((2, 2, 3), 7, np.uint8))
    assert told == [(1, 2, "n 1"), (2, 2, "n 2")]
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"task": {"n": 3}, "rows": [{"va')  # killed while it wrote

    again = Budget(kept=Kept(folder, head, resume=True))
    rows = again.collect([task(1), task(3), task(2)])
    assert calls == [1, 2, 3]
    assert rows == [{"n": n, "value": n / 2} for n in (1, 3, 2)]
    assert again.kept.picture("a b").tolist() == [[[7] * 3] * 2] * 2
    assert again.kept.picture("none") is None
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 4

    with pytest.raises(InputError, match="other settings"):
        Kept(folder, {"seed": 2}, resume=True)
    with pytest.raises(InputError, match="--resume"):
        Kept(folder, head)
    (folder / "numbers.json").write_text("{}")
    fresh = Kept(folder, {"seed": 2}, force=True)
    assert not (folder / "numbers.json").exists()
    assert fresh.rows({"n": 1}) is None
    assert fresh.picture("a b") is None


def test_killed_at_any_byte_it_goes_on(tmp_path):
    """Whatever a killed process left of its rows, the rest is done again, and nothing twice."""
    tasks = [Task({"n": n}, 1, lambda n=n: [{"value": n / 2}]) for n in range(3)]
    whole = Budget(kept=Kept(tmp_path / "whole", {"seed": 1})).collect(tasks)
    data = (tmp_path / "whole" / "rows.jsonl").read_bytes()
    for size in range(len(data) + 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "rows.jsonl").write_bytes(data[:size])
        again = Budget(kept=Kept(folder, {"seed": 1}, resume=True)).collect(tasks)
        assert again == whole
        assert (folder / "rows.jsonl").read_bytes() == data


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        Kept(tmp_path / "x", {})


def test_cells_are_no_formulas():
    rows = [
        {"name": "=1+1", "value": -1.5, "note": "-2.5"},
        {"name": "@x", "value": None, "note": " +x"},
        {"name": "plain, text", "value": float("nan"), "note": True, "=late": [1, None]},
    ]
    cells = list(csv.reader(io.StringIO(table(rows))))
    assert cells[0] == ["name", "value", "note", "'=late"]
    assert cells[1] == ["'=1+1", "-1.5", "-2.5", ""]
    assert cells[2] == ["'@x", "", "' +x", ""]
    assert cells[3] == ["plain, text", "", "true", "[1, null]"]


def finding(**figures):
    numbers = {"n": 1, "claims": [], "odd": float("inf")}
    return Finding("gaussian", "A title", numbers, [{"a": 1}], figures)


def test_a_finding_is_written_whole(tmp_path):
    def drawn():
        made = figure(2, 2)
        curve(made.subplots(), [0, 1], [0, 1], "ddim")
        return finding(one=made)

    written = save(drawn(), tmp_path)
    assert [p.name for p in written] == ["one.png", "one.svg", "rows.csv", "numbers.json"]
    numbers = json.loads((tmp_path / "gaussian" / "numbers.json").read_text())
    assert numbers["odd"] is None
    assert numbers["question"] == STUDIES["gaussian"]
    with Image.open(written[0]) as picture:
        assert picture.width == 300
    assert b"<dc:date>" not in written[1].read_bytes()
    before = written[1].read_bytes()
    with pytest.raises(InputError, match="exists already"):
        save(drawn(), tmp_path)
    save(replace(drawn(), title="B"), tmp_path, force=True)
    assert written[1].read_bytes() == before  # the same figure, the same bytes


def small_texts(made) -> list[str]:
    """The texts of a figure that are set below 9 points."""
    made.draw_without_rendering()
    texts = [t for t in made.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t.get_text() for t in texts if t.get_fontsize() < 9]


def test_the_look_reads_without_colour():
    looks = list(MARKS.values())
    assert len({look.marker for look in looks}) == len(looks)
    for group in (looks, list(OTHERS)):
        assert len({(look.colour, look.line) for look in group}) > len(group) * 0.8
    made = figure()
    axes = made.subplots()
    heat_map(axes, [[0.0, 1.0], [np.nan, 2.0]], ((1, 2), (3, 4)), ".1f")
    dress(axes, "x, m", "y, s", "title")
    assert small_texts(made) == []
    assert (
        small_texts(mosaic([[Tile(None, "a"), Tile(np.zeros((4, 4, 3), np.uint8), "b")]], "xy"))
        == []
    )


def test_names():
    assert [known(name) for name in STUDIES] == list(STUDIES)
    with pytest.raises(InputError, match="did you mean trade-off"):
        load("tradeoff")
    for images in (0, -1, 10_001):
        with pytest.raises(InputError, match="images"):
            Budget(images=images)
