"""Garbage in every field: what our description allows and what it does not, by schemathesis."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def described(network):
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


def test_these_checks_can_fail(network, monkeypatch):
    def broken(*_):
        raise RuntimeError("a traceback")

    with Engine({"tiny": network}) as engine:
        app = create_app(engine)
        schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=HERE)
        monkeypatch.setattr(engine, "jobs", broken)
        with pytest.raises(Exception, match=r"a traceback|Server error"):
            answered(schema["/api/jobs"]["GET"], GenerationMode.POSITIVE)
