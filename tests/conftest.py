"""One thread a process, set before torch is imported: the suite runs in parallel by process."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach the network

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread():
    """A test that sets the number of threads does not leave it to the next."""
    yield
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
