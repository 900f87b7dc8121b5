"""Garbage in every field: what our description allows and what it does not, by schemathesis."""

from __future__ import annotations

import base64
import time

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient
from watched import LONG, SOURCE, TARGET, file_of, picture

from noisespace.web import posted as p
from noisespace.web.engine import Engine
from noisespace.web.limits import Limits
from noisespace.web.server import create_app

HERE = {"host": "127.0.0.1:7860"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FEW = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def described(network):
    # of one test: schemathesis ends the application, and with it the engine, after each
    with Engine({"tiny": network}, Limits(job_seconds=1)) as engine:
        yield schemathesis.openapi.from_asgi("/api/openapi.json", create_app(engine), headers=HERE)


def answered(operation, mode):
    """Calls an operation with what its description allows, or with what it does not."""

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case):
        if "wait" in (case.query or {}) and isinstance(case.query["wait"], (int, float)):
            case.query["wait"] = 0  # waiting is tested elsewhere
        case.call_and_validate(headers=HERE, checks=CHECKS)

    call()


MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.mark.parametrize("mode", MODES, ids=["allowed", "garbage"])
def test_garbage_is_answered_as_described(described, mode):
    count = 0
    for found in described.get_all_operations():
        try:
            answered(found.ok(), mode)
        except Unsatisfiable:  # what takes nothing, or any bytes, takes no garbage
            continue
        count += 1
    assert count >= 14
    assert described["/healthz"]["GET"].Case().call(headers=HERE).status_code == 200  # it was open


IMAGE = base64.b64encode(file_of(picture())).decode()
STROKES = base64.b64encode(file_of(np.full((32, 32, 4), 255, np.uint8))).decode()
PAINT, COMBO = {"strokes": STROKES}, {"method": "ddim"}
GIVEN = {"image": IMAGE, "source": SOURCE, "steps": 2}
PLACES = {  # route: its body's model, a body that is taken, and the models inside of it
    "invert": (p.InvertBody, GIVEN, {}),
    "edit": (p.EditBody, {**GIVEN, "targets": [TARGET]}, {"operations": (p.PaintBody, PAINT)}),
    "compare": (
        p.CompareBody,
        {**GIVEN, "target": TARGET, "combos": [COMBO]},
        {"combos": (p.r.Combo, COMBO)},
    ),
    "attention": (p.AttentionBody, GIVEN, {}),
    "mask": (p.MaskBody, {**GIVEN, "target": TARGET}, {}),
    "operation": (p.OperationBody, {"operations": [PAINT]}, {"operations": (p.PaintBody, PAINT)}),
}
ODD = (None, "", "\0", -1, 1e308, [], {}, "x" * 10**5)


def bodies(model, body, inside):
    """A body with every odd thing in the place of each of its fields, and of those inside of it."""
    for name in model.model_fields:
        yield from ({**body, name: odd} for odd in ODD)
    for name, (part, usual) in inside.items():
        for field in part.model_fields:
            yield from ({**body, name: [{**usual, field: odd}]} for odd in ODD)


@pytest.mark.parametrize("route", PLACES)
def test_every_field_takes_odd_things_or_says_what_is_wrong(network, route):
    model, body, inside = PLACES[route]
    with (
        Engine({"tiny": network}, Limits(job_seconds=5)) as engine,
        TestClient(create_app(engine), base_url=f"http://{HERE['host']}") as client,
    ):
        first = client.post("/api/invert", json=GIVEN).json()["id"]
        code = client.get(f"/api/jobs/{first}", params={"wait": 30}).json()["result"]["code"]
        body = {**body, "code": code} if route == "operation" else body
        assert client.post(f"/api/{route}", json=body).status_code == 202  # as it is, it is taken
        for odd in bodies(model, body, inside):
            answer = client.post(f"/api/{route}", json=odd)
            assert answer.status_code in (202, 400, 404, 413, 422), (odd, answer.text)
            if answer.status_code == 202:
                client.delete(f"/api/jobs/{answer.json()['id']}")
                continue
            (said,) = answer.json().values()
            assert said, odd
            assert "\n" not in said, odd
            assert len(said) < 1000, odd
        until = time.monotonic() + LONG
        while engine.running or engine.waiting:
            assert time.monotonic() < until, "a job goes on for nobody"
            time.sleep(0.01)


def test_these_checks_can_fail(network, monkeypatch):
    def broken(*_):
        raise RuntimeError("a traceback")

    with Engine({"tiny": network}) as engine:
        app = create_app(engine)
        schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=HERE)
        monkeypatch.setattr(engine, "jobs", broken)
        with pytest.raises(Exception, match=r"a traceback|Server error"):
            answered(schema["/api/jobs"]["GET"], GenerationMode.POSITIVE)
