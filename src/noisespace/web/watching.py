"""What the operator sees: Prometheus metrics, and logs as JSON without prompts or pictures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from noisespace.web.engine import Engine
from noisespace.web.guard import App, Message, Receive, Scope, Send
from noisespace.web.jobs import Job

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry, "namespace": "noisespace"}
        self.jobs = Counter(
            "jobs", "Jobs by kind and how they ended.", ["kind", "state"], **options
        )
        self.seconds = Histogram(
            "job_seconds", "Seconds that a job ran.", ["kind"], buckets=SECONDS, **options
        )
        self.requests = Counter("requests", "Requests by status.", ["method", "status"], **options)
        self.known = Counter("inversions", "Inversions, made or known.", ["source"], **options)
        for name, text, value in (
            ("jobs_waiting", "Jobs in the queue.", lambda: engine.waiting),
            ("jobs_running", "Jobs under way.", lambda: int(engine.running)),
            ("cache_bytes", "Bytes of kept inversions.", lambda: engine.codes.bytes),
            ("cache_entries", "Kept inversions.", lambda: len(engine.codes)),
        ):
            Gauge(name, text, **options).set_function(value)

    def observe(self, event: str, job: Job) -> None:
        """Counts a job that ended."""
        if event != "ended":
            return
        self.jobs.labels(job.kind, job.state).inc()
        self.seconds.labels(job.kind).observe(job.seconds)
        if job.result is not None and job.result.code:
            self.known.labels("made" if job.result.inverted else "known").inc()

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)


class Log:
    """One JSON object a line. ``contents``: prompts too; never pictures."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        contents: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream, self._contents, self._clock = stream or sys.stderr, contents, clock

    def write(self, event: str, **values: Any) -> None:
        line = {"time": round(self._clock(), 3), "event": event, **values}
        self._stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        self._stream.flush()

    def observe(self, event: str, job: Job) -> None:
        """Says what happened to a job."""
        values: dict[str, Any] = {"job": job.id[:8], "kind": job.kind, "state": job.state}
        if event == "submitted" and self._contents and job.request is not None:
            names = ("source", "targets", "target", "method", "editor", "guidance", "steps", "seed")
            asked = {n: getattr(job.request, n) for n in names if hasattr(job.request, n)}
            values |= {"asked": asked}
        if event == "ended":
            values |= {"seconds": round(job.seconds, 3)}
            # An error's sentence can quote a prompt.
            values |= {"error": job.error} if job.error and self._contents else {}
        self.write(event, **values)


class Watched:
    """Times every request: a counter and, where it is asked for, a line (no query, no client)."""

    def __init__(self, app: App, metrics: Metrics, log: Log | None) -> None:
        self.app, self.metrics, self.log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noticed)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, str(status)).inc()
            if self.log is not None:
                seconds = round(time.perf_counter() - start, 4)
                path = "/".join(scope["path"].split("/")[:3])  # no key of a job or code
                self.log.write("request", method=method, path=path, status=status, seconds=seconds)
