"""Garbage in every field: what our description allows and what it does not, by schemathesis."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings

from noisespace.models.diffusers import from_pipeline
from noisespace.web.engine import Engine
from noisespace.web.limits import Limits
from noisespace.web.server import create_app
from tiny import tiny_sd

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described():
    with Engine({"tiny": from_pipeline(tiny_sd(), "tiny")}, Limits(job_seconds=1)) as engine:
        yield schemathesis.openapi.from_asgi("/api/openapi.json", create_app(engine))


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_garbage_is_answered_as_described(case):
    if case.query and "wait" in case.query:
        case.query["wait"] = 0
    headers = {"host": "127.0.0.1:7860"}
    case.call_and_validate(headers=headers, checks=CHECKS, excluded_checks=[])
