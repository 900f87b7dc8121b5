"""``noisespace study``: lists, refuses in one sentence, writes, goes on, overwrites on request."""

import json

import pytest
from typer.testing import CliRunner

from noisespace.cli import app
from noisespace.study import STUDIES, gaussian
from noisespace.study.claims import OPEN, Check, claim
from noisespace.study.finding import Finding
from noisespace.study.measure import summary


def call(*args):
    return CliRunner().invoke(app, ["study", *(str(a) for a in args)])


def refused(result, *words):
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words), lines[0]


def test_without_a_name_the_studies_are_listed():
    listed = call()
    assert listed.exit_code == 0
    assert [line.split(":")[0] for line in listed.stdout.splitlines()] == list(STUDIES)
    names = [found["name"] for found in json.loads(call("--json").stdout)["studies"]]
    assert names == list(STUDIES)


def test_bad_input_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("noisespace.models.loading.load", lambda *a: pytest.fail("loaded"))
    out = ["--out", tmp_path / "o"]
    refused(call("gausian", *out), "did you mean gaussian")
    refused(call("statistics", "nothing", *out), "there is no study 'nothing'")
    refused(call("all", "nothing", *out), "there is no study 'nothing'")
    refused(call("statistics", *out, "--resume", "--force"), "--resume", "--force")
    refused(call("statistics", *out, "--images", 10_001), "images", "10000")
    refused(call("gaussian", *out, "--seed", 10**13), "seed")
    (tmp_path / "o" / "diversity").mkdir(parents=True)
    (tmp_path / "o" / "diversity" / "numbers.json").write_text("{}")
    refused(call("statistics", "diversity", *out), "diversity", "--force")
    (tmp_path / "file").write_text("mine")
    refused(call("statistics", "--out", tmp_path / "file"), "file")
    assert not (tmp_path / "o" / "statistics").exists()
    failed = call("gausian", "--json")
    assert json.loads(failed.stdout)["exit_code"] == 2


def test_what_a_model_cannot_do_is_said_before_any_study_runs(tmp_path, monkeypatch):
    class Unconditional:
        name, has_text, fingerprint = "pixels", False, "abc"

    monkeypatch.setattr("noisespace.cli.options.load_model", lambda *a: Unconditional())
    monkeypatch.setattr("noisespace.cli.study.load", lambda name: pytest.fail(f"{name} ran"))
    found = call("statistics", "gaussian", "diversity", "--out", tmp_path / "o")
    refused(found, "diversity", "pixels", "use the model scenes")


def test_every_folder_is_looked_into_before_any_study_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("noisespace.cli.options.load_model", lambda *a: pytest.fail("loaded"))
    for name in ("cli.study", "study.budget"):
        monkeypatch.setattr(f"noisespace.{name}.WITHOUT_MODEL", ("gaussian", "statistics"))
    monkeypatch.setattr("noisespace.cli.study.load", lambda name: pytest.fail(f"{name} ran"))
    folder = tmp_path / "statistics"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"head": {"seed": 7}}\n')
    found = call("gaussian", "statistics", "--out", tmp_path, "--resume")
    refused(found, "statistics", "other settings")


def test_json_is_json_even_where_there_is_no_interval(tmp_path, monkeypatch):
    one = claim("C1", [Check("a", summary([1.0]), above=0)], 1)
    found = Finding("gaussian", "title", {"n": 1, "claims": [one]}, [{"a": 1}])
    monkeypatch.setattr("noisespace.cli.study.load", lambda name: lambda model, budget: found)
    done = call("gaussian", "--out", tmp_path, "--json")
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    (told,) = document["studies"][0]["claims"]
    assert told["verdict"] == OPEN
    assert told["numbers"]["a"]["low"] is None


def test_writes_goes_on_and_overwrites_only_with_force(tmp_path, monkeypatch):
    monkeypatch.setattr(gaussian, "LEAST", 20)
    asked = ["gaussian", "--quick", "--images", 20, "--out", tmp_path]
    first = call(*asked, "--json")
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)["studies"][0]
    assert document["name"] == "gaussian"
    assert [one["id"] for one in document["claims"]] == ["C9"]
    numbers = tmp_path / "gaussian" / "numbers.json"
    assert str(numbers) in document["files"]
    before = numbers.read_bytes()
    refused(call(*asked), "rows.jsonl", "--resume", "--force")
    assert numbers.read_bytes() == before
    monkeypatch.setattr(gaussian, "walks", lambda *_: pytest.fail("measured again"))
    again = call(*asked, "--resume")
    assert again.exit_code == 0, again.output
    assert numbers.read_bytes() == before
    assert "gaussian: C9 angles in two dimensions" in again.stdout
    refused(call(*asked, "--resume", "--seed", 1), "other settings")
    monkeypatch.undo()
    monkeypatch.setattr(gaussian, "LEAST", 20)
    anew = call(*asked, "--seed", 1, "--force")
    assert anew.exit_code == 0, anew.output
    assert numbers.read_bytes() != before


def test_progress_is_told_on_standard_error(tmp_path, monkeypatch):
    monkeypatch.setattr(gaussian, "LEAST", 20)
    done = call("gaussian", "--quick", "--images", 20, "--out", tmp_path)
    assert "gaussian: 100%" in done.stderr
    assert "s left" in done.stderr
    assert "100%" not in done.stdout
