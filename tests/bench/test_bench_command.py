"""``noisespace bench``: measured rows, summaries that can be read, and what is refused."""

import csv
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from noisespace.bench.judges import Judges
from noisespace.bench.rows import read_rows
from noisespace.bench.scenes import scene_cases
from noisespace.bench.scoring import Scoring, columns, default_names
from noisespace.bench.summary import guarded, summarise, table_markdown, write_summary
from noisespace.cli import app
from noisespace.errors import InputError

METHODS = "nothing; ddim @ steps=4; edit-friendly:skip=.5 @ steps=4"


def bench(out, *more):
    args = ["bench", "--out", str(out), "--limit", "3", "--metrics", "psnr,psnr_outside,alignment"]
    return CliRunner().invoke(app, [*args, "--methods", METHODS, *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "out"
    result = bench(out, "--json", "--keep")
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def test_a_benchmark_is_measured_and_summed_up(done):
    out, document = done
    assert (document["rows"], document["failed"]) == (9, 0)
    rows = read_rows(out)
    assert {row["method"] for row in rows} == {m.strip() for m in METHODS.split(";")}
    edited = [row for row in rows if row["method"].startswith("edit-friendly")]
    assert all(row["psnr_truth"] > 10 and 0 <= row["as_asked"] <= 1 for row in edited)
    nothing = [row for row in rows if row["method"] == "nothing"]
    assert all(row["as_asked"] == 0 and row["other_kept"] == 1 for row in nothing)
    assert all(math.isinf(row["psnr"]) for row in nothing)
    told = json.loads((out / "summary.json").read_text())
    assert told["than"] == "nothing"
    assert told["methods"]["nothing"]["psnr"]["mean"] == "infinite"
    assert told["methods"]["ddim @ steps=4"]["evaluations"]["n"] == 3
    with (out / "summary.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["column"] for line in lines} >= {"psnr", "psnr_truth", "as_asked", "seconds"}
    assert len(list((out / "pictures").rglob("*.png"))) == 9


def test_the_same_command_goes_on(done):
    out, document = done
    again = bench(out, "--json", "--keep")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["rows"] == document["rows"]
    other = bench(out, "--seed", "1")
    assert other.exit_code == 2
    assert str(out) in other.stderr


def test_a_summary_compares_with_one_method(done):
    out, _ = done
    summary = summarise(read_rows(out), "ddim @ steps=4")
    pair = summary.against["edit-friendly:skip=.5 @ steps=4"]["psnr_truth"]
    own, base = (
        [r["psnr_truth"] for r in read_rows(out) if r["method"].startswith(m)]
        for m in ("edit-friendly", "ddim")
    )
    assert pair.difference.mean == pytest.approx(np.mean(own) - np.mean(base))
    assert pair.difference.n == 3
    assert 0 < pair.p.p <= pair.adjusted <= 1
    assert pair.wins.rate == pytest.approx(np.mean(np.array(own) > np.array(base)))
    with pytest.raises(InputError, match="expected one of"):
        summarise(read_rows(out), "none such")


def test_failures_are_counted_and_told(tmp_path):
    row = {"id": "a", "method": "=x", "status": "failed", "reason": "no words", "kind": ""}
    row |= dict.fromkeys(("seconds_inversion", "seconds_edit", "memory_mb"))
    good = {**row, "method": "y", "status": "ok", "reason": "", "seconds_edit": 1.0, "psnr": 3.0}
    summary = summarise([{**row, "psnr": None}, good])
    assert summary.failed == {"=x": {"no words": 1}}
    assert summary.methods["=x"]["psnr"].n == 0
    assert summary.methods["=x"]["psnr"].nan == 1
    assert "| =x |" in table_markdown(summary)
    paths = write_summary(summary, tmp_path)
    assert "'=x" in paths[1].read_text()  # no formula for a spreadsheet
    assert guarded("ddim") == "ddim"


def test_metrics_follow_from_the_data():
    cases = scene_cases(2)
    names = default_names(cases, Judges(), 64)
    assert "ms_ssim" not in names
    assert "psnr_outside" in names
    assert not set(names) & {"clip", "alignment", "dino_structure"}
    assert "alignment" in default_names(cases, Judges(alignment="scenes"), 64)
    told = columns(["psnr_truth", "as_asked", "alignment", "psnr_outside"])
    assert [told[n].against for n in told] == [
        "the true edit",
        "the prompt, by rendering",
        "the prompts",
        "the input",
    ]


def test_a_metric_without_its_network_is_said_and_left_out():
    (case,) = scene_cases(1)
    scoring = Scoring(("psnr", "clip"), Judges())
    assert "no clip model is named" in scoring.missing(case)["clip"]
    found = scoring(case, case.truth, None)
    assert found["clip"] is None
    assert math.isinf(found["psnr_truth"])
    assert (found["as_asked"], found["other_kept"]) == (1.0, 1.0)
    assert scoring(case, case.pixels(), None)["as_asked"] == 0.0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--metrics", "fid"], "'fid' as metric"),
        (["--captions", "none"], "--captions must be"),
        (["--against", "sdedit"], "--against must be one of"),
        (["--data", "nowhere"], "no such folder"),
        (["--methods", "magic"], "magic"),
    ],
)
def test_what_is_wrong_is_said(more, words, tmp_path):
    args = ["bench", "--out", str(tmp_path / "out"), "--limit", "1", *more]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_measured_says_so_in_every_file(tmp_path):
    out = tmp_path / "out"
    words = ["--limit", "2", "--metrics", "psnr,clip", "--methods", "nothing; autoencoder"]
    result = CliRunner().invoke(app, ["bench", "--out", str(out), *words, "--json"])
    assert result.exit_code == 0, result.output
    why = json.loads((out / "summary.json").read_text())["unavailable"]["clip"]
    assert "CLIP" in why
    with (out / "summary.csv").open() as file:
        said = {line["column"]: line["unavailable"] for line in csv.DictReader(file)}
    assert (said["clip"], said["psnr"]) == (why, "")
    page = (out / "summary.md").read_text()
    assert f"- `clip` is unavailable: {why}" in page
    assert page.count("| unavailable |") == 2


@pytest.mark.parametrize("option", ["--clip", "--dino"])
def test_a_network_that_is_named_must_be_there(tmp_path, option):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["bench", "--out", str(out), option, str(tmp_path / "no")])
    assert result.exit_code == 2
    assert option in result.stderr
    assert not out.exists()
