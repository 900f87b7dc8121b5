"""``noisespace app``: the web application, on this machine or for several people."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import finish, say
from noisespace.errors import InputError

NEEDED = ("fastapi", "uvicorn", "prometheus_client", "gradio", "multipart")


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="Where it listens; others than this machine need --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="NOISESPACE_TOKEN",
            help="A secret that everybody must show (as Bearer, or as a password).",
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="As for edit; repeat for several. Default: scenes."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name of this server, such as a proxy's."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="NAME=NUMBER, a limit of docs/app.md; repeat."),
    ] = None,
    api_only: Annotated[bool, typer.Option("--api-only", help="The JSON API alone.")] = False,
    log_contents: Annotated[
        bool, typer.Option("--log-contents", help="Prompts and errors in the log, too.")
    ] = False,
    dtype: o.Dtype = "float32",
    device: o.Device = "auto",
    preset: o.Preset = None,
    compiled: o.Compile = False,
    offload: o.Offload = None,
    as_json: o.Json = False,
) -> None:
    """Serves the page and the JSON API until Ctrl-C. Logs are JSON lines on standard error."""
    check_installed(api_only)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from noisespace.web.access import Access, check_access

    access = check_access(Access(host, tuple(allow_host or ()), token))
    limits, names = parse_limits(limit or []), list(dict.fromkeys(model or ["scenes"]))
    with (
        listening(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="noisespace-") as tmp,
    ):
        cache = Path(tmp, "gradio")  # beside what the page's sessions write
        cache.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(cache)  # all of it goes when the server ends
        speed = {"preset": preset, "compile": compiled, "offload": offload}
        loaded = {name: o.load_model(name, dtype, device, **speed) for name in names}
        named = by_name(loaded)
        place = address(host, listener.getsockname()[1])
        document = {"url": place, "models": [m.name for m in loaded.values()], "token": bool(token)}

        def ready() -> None:
            say("press Ctrl-C to stop")
            finish(document, [f"noisespace is at {place}"], as_json)
            if not no_browser and access.local:
                open_browser(place + (f"?token={access.once.key()}" if token else ""))

        run(listener, named, limits, (access, api_only, log_contents), ready)


def by_name(loaded: dict[str, Any]) -> dict[str, Any]:
    """Models by the names that they are chosen by. Raises InputError where two have one name."""
    named: dict[str, Any] = {}
    for given, model in loaded.items():
        if model.name in named:
            raise InputError(f"--model {given}: another model is called {model.name} already")
        named[model.name] = model
    return named


def check_installed(api_only: bool) -> None:
    """Raises InputError where the packages of the web application are missing."""
    needed = NEEDED[:3] if api_only else NEEDED
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the web app needs {', '.join(missing)}, which is not installed: "
            'pip install "noisespace[app]"'
        )


def parse_limits(given: list[str]) -> Any:
    """``queue=4`` and ``job_seconds=60`` as Limits."""
    from noisespace.web.limits import Limits

    kinds = {f.name: type(f.default) for f in fields(Limits)}
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds:
            raise InputError(f"--limit {name!r} is not known (there is {', '.join(kinds)})")
        try:
            values[name] = kinds[name](value)
        except ValueError:
            raise InputError(f"--limit {name} must be a number, got {value!r}") from None
    return Limits(**values)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound before anything is loaded. Raises InputError where that fails."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror or error}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"{address(host, port)} cannot be used ({reason}): choose another --port, or 0 for "
                "any free one"
            ) from None
        yield listener


def address(host: str, port: int) -> str:
    """The URL of a server that listens there."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


def run(
    listener: socket.socket,
    models: dict[str, Any],
    limits: Any,
    how: tuple[Any, bool, bool],
    ready: Callable[[], None],
) -> None:
    """Serves until a signal; ``ready`` is called once it answers."""
    import uvicorn

    from noisespace.web.engine import Engine
    from noisespace.web.mount import mount_page
    from noisespace.web.server import create_app
    from noisespace.web.watching import Log

    access, api_only, contents = how
    with Engine(models, limits) as engine:
        log = Log(contents=contents)
        app = create_app(engine, access, page=None if api_only else mount_page, log=log)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=512,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        threading.Thread(target=started, args=(server, ready), daemon=True).start()
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            say("stopped")


def started(server: Any, ready: Callable[[], None]) -> None:
    """Calls ``ready`` once a server answers."""
    while not server.started and not server.should_exit:
        time.sleep(0.02)
    if server.started:
        ready()


def open_browser(place: str) -> None:
    import webbrowser

    webbrowser.open(place)
