"""How many functions a code goes through on its way to an edit: few, and none of them twice."""

import sys
from collections import Counter

import numpy as np
import torch

import noisespace as ns
from noisespace.core.code import Code
from tiny import tiny_sd

IMAGE = np.zeros((32, 32, 3), dtype=np.uint8)


def functions_given_a_code(work) -> Counter:
    """Functions of the library that were called with a code as an argument, and how often."""
    seen: Counter = Counter()

    def watch(frame, event, _):
        called = frame.f_code
        if event != "call" or "/noisespace/" not in called.co_filename:
            return
        names = called.co_varnames[: called.co_argcount + called.co_kwonlyargcount]
        given = [n for n in names if n != "self" and isinstance(frame.f_locals.get(n), Code)]
        if given and called.co_name != "__init__":  # dataclasses only hold it
            seen[f"{called.co_filename.rpartition('noisespace/')[2]}:{called.co_name}"] += 1

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def test_a_code_goes_through_few_functions_and_through_none_twice():
    model = ns.from_pipeline(tiny_sd())
    code = ns.invert(model, IMAGE, "a cat", steps=5)
    for editor in (None, ns.PromptToPrompt()):
        with torch.no_grad():
            found = functions_given_a_code(lambda e=editor: ns.edit(model, code, "a dog", editor=e))
        assert len(found) <= 10, found
        assert set(found.values()) == {1}, found
