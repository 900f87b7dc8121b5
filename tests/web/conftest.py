"""One tiny random model for all tests of the web application, one engine a test."""

import pytest
from watched import Watched

from noisespace.models.diffusers import from_pipeline
from noisespace.web.engine import Engine
from tiny import tiny_sd


@pytest.fixture(scope="session")
def network():
    return from_pipeline(tiny_sd(), "tiny")


@pytest.fixture
def model(network):
    return Watched(network)


@pytest.fixture
def engine(model):
    with Engine({"tiny": model}) as engine:
        yield engine
        model.release()
