"""``noisespace app`` as a process of its own: starting, refusing to, and its client examples."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from watched import SOURCE, TARGET, file_of, picture

from noisespace.cli.serving import address, as_given, check_installed, parse_limits
from noisespace.errors import InputError
from noisespace.pictures.metadata import read_record
from noisespace.web.access import Access
from tiny import tiny_sd

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds: for machines that do something else too
APP = [sys.executable, "-m", "noisespace", "app", "--no-browser"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_sd().save_pretrained(folder, safe_serialization=True)
    return folder


def hears():
    """Tests may run under nohup; then what they start would ignore a terminal that is closed."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def running(folder, log, *options, env=None):
    """A server process with what it said when it was ready."""
    command = [*APP, "--model", str(folder), "--port", "0", "--json", "--api-only", *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(env or {})},
            preexec_fn=hears,
        )
    try:
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()) not in ("}\n", ""):
            lines.append(line)
        assert lines, log.read_text()
        yield process, json.loads("".join([*lines, "}"]))
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


def refused(*options, env=None):
    done = subprocess.run(
        [*APP, *options], capture_output=True, text=True, timeout=PATIENCE, env=env, check=False
    )
    return done.returncode, done.stderr.strip()


def test_it_serves_and_stops_and_its_clients_work(folder, tmp_path):
    (tmp_path / "in.png").write_bytes(file_of(picture()))
    with running(folder, tmp_path / "log", "--limit", "variants=2") as (process, said):
        assert said["models"] == ["tiny"]
        url = said["url"].rstrip("/")
        words = [str(tmp_path / "in.png"), SOURCE, TARGET]
        clients = {"python.png": [sys.executable, "examples/web_client.py"]}
        if shutil.which("curl"):
            clients["curl.png"] = ["sh", "examples/web_client.sh"]
        for name, client in clients.items():
            out = str(tmp_path / name)
            subprocess.run([*client, *words, out, url], cwd=ROOT, check=True, timeout=PATIENCE)
            assert read_record(out)["picture"]["prompt"] == TARGET
        pictures = {(tmp_path / name).read_bytes() for name in clients}
        assert len(pictures) == 1  # the same job, the same bytes
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            assert b'state="done"' in answer.read()
        port = url.rpartition(":")[2]
        code, text = refused("--port", port)
        assert (code, text.count("\n")) == (2, 0)
        assert "cannot be used (address already in use)" in text
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)
    log = (tmp_path / "log").read_text()
    assert '"event": "ended"' in log
    assert SOURCE not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_its_files_go_with_it_however_it_is_ended(folder, tmp_path, name):
    (tmp_path / "tmp").mkdir()
    env = {"TMPDIR": str(tmp_path / "tmp")}
    with running(folder, tmp_path / "log", env=env) as (process, _):
        assert list((tmp_path / "tmp").glob("noisespace-*"))
        process.send_signal(getattr(signal, name))
        assert process.wait(PATIENCE) == 0
    assert list((tmp_path / "tmp").glob("noisespace-*")) == []
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_it_lets_others_in_with_the_token_of_the_environment(folder, tmp_path):
    token = "correct horse battery"
    env = {"NOISESPACE_TOKEN": token}
    with running(folder, tmp_path / "log", "--host", "0.0.0.0", env=env) as (_, said):
        assert said["token"] is True
        with pytest.raises(urllib.error.HTTPError, match="401") as error:
            urllib.request.urlopen(said["url"] + "api/models")
        error.value.close()
        head = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(said["url"] + "api/models", headers=head)
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        # who guesses is one client, whatever it says of itself: no proxy is expected here
        for k in range(21):
            head = {"Authorization": "Bearer wrong", "X-Forwarded-For": f"192.0.2.{k}"}
            request = urllib.request.Request(said["url"] + "api/models", headers=head)
            with pytest.raises(urllib.error.HTTPError, match="429" if k == 20 else "401") as error:
                urllib.request.urlopen(request)
            error.value.close()
    assert token not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "0.0.0.0", "--token", "short"], "8 characters"),
        (["--limit", "nothing=1"], "is not known"),
        (["--limit", "queue=many"], "must be a number"),
        (["--model", "/no/such/folder"], "is not known"),
        (["--host", "no.such.host.invalid", "--token", "long enough"], "--host"),
    ],
)
def test_it_refuses_in_one_sentence(options, message):
    start = time.monotonic()
    code, text = refused("--port", "0", *options)
    assert code == 2, text
    assert message in text.splitlines()[-1]
    assert "Traceback" not in text
    assert time.monotonic() - start < PATIENCE


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("noisespace.cli.serving.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "noisespace\[app\]"'):
        check_installed(api_only=True)
    monkeypatch.undo()
    check_installed(api_only=False)


def test_commands_of_the_page_name_a_models_folder_to_this_machine_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sd", "scenes"):
        (tmp_path / name).mkdir()
    loaded = {given: SimpleNamespace(name=given) for given in ("sd", "scenes", "hub/name")}
    assert as_given(loaded, Access()) == {"sd": str(tmp_path / "sd")}
    for access in (Access(token="x" * 9), Access("0.0.0.0", token="x" * 9)):
        assert as_given(loaded, access) == {"sd": ""}


def test_limits_and_addresses():
    limits = parse_limits(["queue=3", "job-seconds=1.5"])
    assert (limits.queue, limits.job_seconds) == (3, 1.5)
    with pytest.raises(InputError, match="positive"):
        parse_limits(["queue=0"])
    assert address("0.0.0.0", 80) == "http://127.0.0.1:80/"
    assert address("::1", 80) == "http://[::1]:80/"


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom noisespace.cli.app import app\n"
        "try:\n    app(['app', '--help'], standalone_mode=False)\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'gradio', 'fastapi', 'uvicorn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--allow-host" in done.stdout


def test_a_port_that_is_taken_is_seen_before_a_model_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, text = refused("--port", str(taken.getsockname()[1]))
        assert code == 2
        assert "model:" not in text
