"""The command line has the allocator keep what a network's evaluation gives back."""

import os
import platform
import subprocess
import sys

import pytest

LINES = """
import ctypes, resource, sys
from noisespace.cli.allocator import keep_memory

if sys.argv[1] == "keep":
    assert keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def work(size=16 << 20):
    blocks = [libc.malloc(size) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **settings: str) -> int:
    """How many pages five turns of the same work have the system hand out."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | settings
    command = [sys.executable, "-c", LINES, how]
    return int(subprocess.check_output(command, env=own))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_unless_the_user_wants_it_otherwise():
    assert faults("leave") > 10_000  # or this test shows nothing
    assert faults("keep") < 100
    assert faults("keep", MALLOC_MMAP_THRESHOLD_=str(2**20)) > 10_000
