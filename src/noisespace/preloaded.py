"""Imports what every worker with a model needs, for the process that workers are forked from.

Nothing is collected meanwhile, and what is there by then is left alone by the forks' collectors: a
page that a collector marks would be copied.
"""

from __future__ import annotations

import gc

gc.disable()

from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel  # noqa: E402
from transformers import CLIPTextModel, CLIPTokenizer  # noqa: E402

from noisespace.batch import serving  # noqa: E402
from noisespace.models import diffusers  # noqa: E402

gc.freeze()
gc.enable()

__all__ = [
    "AutoencoderKL",
    "CLIPTextModel",
    "CLIPTokenizer",
    "UNet2DConditionModel",
    "UNet2DModel",
    "diffusers",
    "serving",
]
