"""Imports what every worker with a model needs, for the process that workers are forked from.

What is there by the end is left alone by the forks' collectors too: a page that one of them marks
would be copied.
"""

from __future__ import annotations

import signal

from noisespace.cli.starting import begin, begun

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
begin()

from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel  # noqa: E402
from transformers import CLIPTextModel, CLIPTokenizer  # noqa: E402

from noisespace.batch import serving  # noqa: E402
from noisespace.models import pipeline  # noqa: E402

begun()

__all__ = [
    "AutoencoderKL",
    "CLIPTextModel",
    "CLIPTokenizer",
    "UNet2DConditionModel",
    "UNet2DModel",
    "pipeline",
    "serving",
]
