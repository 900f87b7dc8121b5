"""Tasks of a report in processes side by side."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import noisespace as ns
from noisespace.report import run
from noisespace.report.order import Order
from noisespace.report.workers import side_by_side, usual
from noisespace.study.kept import ROWS

ORDER = Order(claims=("C9",), quick=True, images=3)


def writes(name, model, order, out, tell):
    """A task that other processes can import: it fails, dies, or writes who it was."""
    tell(1, 2)
    if name == "fails":
        raise RuntimeError("no luck")
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    (out / name).write_text(f"{os.getpid()} {model.name}")
    tell(2, 2)


def test_processes_run_what_they_are_given(tmp_path):
    told = {}
    names = ["one", "fails", "two"]
    side_by_side(writes, names, ORDER, tmp_path, 2, told.__setitem__)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
    assert told == dict.fromkeys(names, 1.0)
    for name in ("one", "two"):
        process, model = (tmp_path / name).read_text().split()
        assert model == "scenes"
        assert int(process) != os.getpid()


def test_a_process_that_dies_leaves_its_work_to_the_caller(tmp_path):
    told = {}
    side_by_side(writes, ["dies"], ORDER, tmp_path, 1, told.__setitem__)
    assert told == {"dies": 1.0}
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_the_same_by_any_number_of_processes(tmp_path):
    model = ns.load("scenes")
    one = run.make_report(model, ORDER, tmp_path / "one")
    two = run.make_report(model, ORDER, tmp_path / "two", jobs=2)
    for a, b in zip(one.verdicts, two.verdicts, strict=True):
        assert (a.verdict, a.n, a.rule) == (b.verdict, b.n, b.rule)
        assert figures(a.numbers) == pytest.approx(figures(b.numbers), rel=1e-3, nan_ok=True)
    assert set(two.seconds) == {"gaussian", "statistics"}
    assert all(seconds > 0 for seconds in two.seconds.values())
    rows = tmp_path / "two" / "work" / "statistics" / ROWS
    before = rows.read_bytes()
    again = run.make_report(model, ORDER, tmp_path / "two", jobs=2)  # nothing is measured again
    assert rows.read_bytes() == before
    assert again.seconds == two.seconds


def figures(value):
    """All numbers of a nested thing, in order."""
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in figures(value[key])]
    if isinstance(value, list | tuple):
        return [x for each in value for x in figures(each)]
    return [float(value)] if isinstance(value, int | float | np.number) else []


def test_a_parent_that_is_killed_takes_its_processes_along(tmp_path):
    script = (
        "from pathlib import Path\n"
        "from noisespace.report.workers import side_by_side\n"
        "from noisespace.report.order import Order\n"
        "from test_workers import waits\n"
        "if __name__ == '__main__':\n"
        f"    side_by_side(waits, ['a'], Order(), Path({str(tmp_path)!r}), 1, print)\n"
    )
    (tmp_path / "main.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        child = int(awaited(tmp_path / "child"))
        parent.kill()
        parent.wait()
        for _ in range(200):
            if not alive(child):
                return
            time.sleep(0.1)
        pytest.fail("the process lives on")
    finally:
        parent.kill()
        parent.wait()


def waits(name, model, order, out, tell):
    """A task that says where it runs and never ends by itself."""
    (out / "new").write_text(str(os.getpid()))
    (out / "new").rename(out / "child")
    time.sleep(600)


def awaited(path):
    for _ in range(900):
        if path.exists():
            return path.read_text()
        time.sleep(0.1)
    pytest.fail(f"{path.name} did not come")


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:  # where there is /proc: a dead one that nobody has waited for is dead
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def test_one_process_a_core_and_one_an_accelerator():
    assert usual("cuda") == 1
    assert 1 <= usual("cpu") <= 4
