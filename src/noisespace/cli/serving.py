"""``noisespace app``: the web application, on this machine or for several people."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.listening import address, listening, stopping
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
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    preset: o.Preset = None,
    compiled: o.Compile = False,
    offload: o.Offload = None,
    quantize: o.Quantize = None,
    as_json: o.Json = False,
) -> None:
    """Serves the page and the JSON API until Ctrl-C. Logs are JSON lines on standard error."""
    check_installed(api_only)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from noisespace.web.access import Access, check_access

    access = check_access(Access(host, tuple(allow_host or ()), token))
    limits, names = parse_limits(limit or []), list(dict.fromkeys(model or ["scenes"]))
    with (
        stopping(),
        listening(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="noisespace-") as tmp,
    ):
        cache = Path(tmp, "gradio")  # beside what the page's sessions write
        cache.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(cache)  # all of it goes when the server ends
        speed = {"preset": preset, "compile": compiled, "offload": offload}
        speed["quantize"] = quantize
        loaded = {name: o.load_model(name, dtype, device, **speed) for name in names}
        models = by_name(loaded), as_given(loaded, access)
        place = address(host, listener.getsockname()[1])
        document = {"url": place, "models": [m.name for m in loaded.values()], "token": bool(token)}

        def ready() -> None:
            say("press Ctrl-C to stop")
            finish(document, [f"noisespace is at {place}"], as_json)
            if not no_browser and access.local:
                open_browser(place + (f"?token={access.once.key()}" if token else ""))

        run(listener, models, limits, (access, api_only, log_contents), ready)


def by_name(loaded: dict[str, Any]) -> dict[str, Any]:
    """Models by the names that they are chosen by. Raises InputError where two have one name."""
    named: dict[str, Any] = {}
    for given, model in loaded.items():
        if model.name in named:
            raise InputError(f"--model {given}: another model is called {model.name} already")
        named[model.name] = model
    return named


def as_given(loaded: dict[str, Any], access: Any) -> dict[str, str]:
    """Models of folders, by name, as the page's commands shall write them.

    Empty where others than this machine's people may ask: a path is none of their business.
    """
    from noisespace.models.loading import EMBEDDED

    private = access.local and access.token is None
    folders = {m.name: Path(g) for g, m in loaded.items() if g not in EMBEDDED and Path(g).is_dir()}
    return {name: str(place.resolve()) if private else "" for name, place in folders.items()}


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


def run(
    listener: socket.socket,
    models: tuple[dict[str, Any], dict[str, str]],
    limits: Any,
    how: tuple[Any, bool, bool],
    ready: Callable[[], None],
) -> None:
    """Serves models until a signal; ``ready`` is called once it answers."""
    import uvicorn

    from noisespace.web.engine import Engine
    from noisespace.web.mount import mount_page
    from noisespace.web.server import create_app
    from noisespace.web.watching import Log

    access, api_only, contents = how
    with Engine(models[0], limits) as engine:
        engine.given = models[1]
        log = Log(contents=contents)
        app = create_app(engine, access, page=None if api_only else mount_page, log=log)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            # who connects from this machine may not say that it is somebody else, unless a proxy
            # is expected there
            proxy_headers=bool(access.names),
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
