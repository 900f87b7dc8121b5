"""Where a report was made: versions, processor, threads; nothing that names the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from noisespace.models.base import Model
from noisespace.version import VERSION

PACKAGES = ("torch", "diffusers", "transformers", "numpy")


def environment(model: Model) -> dict[str, Any]:
    """The setting of a run, as text and numbers by name."""
    found: dict[str, Any] = {"noisespace": VERSION, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["processor cores"] = os.cpu_count()
    found["threads of torch"] = torch.get_num_threads()
    place = model.device
    found["device"] = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    found["model"] = f"{model.name} ({model.fingerprint[:16]})"
    return found
