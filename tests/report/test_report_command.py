"""``noisespace report``: what it takes and says."""

import json

import pytest
from typer.testing import CliRunner

from noisespace.cli import app


def report(*args):
    return CliRunner().invoke(app, ["report", *map(str, args)])


def test_one_claim_on_a_page(tmp_path):
    """C9's studies, quick and on few pictures: the real thing, from the command to the page."""
    out = tmp_path / "out"
    result = report("--quick", "--claims", "C9", "--images", 4, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (claim,) = json.loads((out / "claims.json").read_text())
    assert document["claims"] == [claim]
    assert claim["id"] == "C9"
    assert claim["verdict"] in ("holds", "does not hold", "not decided: n too small")
    assert set(claim["studies"]) == {"gaussian", "statistics"}
    text = (out / "index.html").read_text()
    assert "data:image/svg+xml;base64," in text
    assert (out / "studies" / "gaussian" / "numbers.json").is_file()
    assert "Methods" not in text  # the benchmark belongs to whole reports


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--claims", "C99"], "expected some of C1 to C21"),
        (["--model", "nowhere"], "model 'nowhere' is not known"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, args, says):
    result = report("--out", tmp_path / "out", *args)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    result = report("--out", tmp_path, "--claims", "C9", "--force")
    assert result.exit_code == 2
    assert "holds no report" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
