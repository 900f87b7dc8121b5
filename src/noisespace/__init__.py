"""Diffusion inversion and text-guided editing of real images.

``import noisespace as ns``; heavy parts (torch, diffusers) load when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from noisespace.version import VERSION

if TYPE_CHECKING:
    from noisespace.api import caption as caption
    from noisespace.api import edit as edit
    from noisespace.api import edit_steps as edit_steps
    from noisespace.api import freeze as freeze
    from noisespace.api import invert as invert
    from noisespace.api import reconstruct as reconstruct
    from noisespace.api import sample as sample
    from noisespace.core.code import Code as Code
    from noisespace.core.grid import Grid as Grid
    from noisespace.errors import InputError as InputError
    from noisespace.errors import RunError as RunError
    from noisespace.inversion import BELM as BELM
    from noisespace.inversion import DDIM as DDIM
    from noisespace.inversion import EDICT as EDICT
    from noisespace.inversion import CycleDiffusion as CycleDiffusion
    from noisespace.inversion import DiffusionCLIP as DiffusionCLIP
    from noisespace.inversion import Direct as Direct
    from noisespace.inversion import EditFriendly as EditFriendly
    from noisespace.inversion import FixedPoint as FixedPoint
    from noisespace.inversion import Imagic as Imagic
    from noisespace.inversion import NegativePrompt as NegativePrompt
    from noisespace.inversion import NullText as NullText
    from noisespace.inversion import PromptTuning as PromptTuning
    from noisespace.inversion import ProxNPI as ProxNPI
    from noisespace.inversion import SDEdit as SDEdit
    from noisespace.inversion import TextualInversion as TextualInversion
    from noisespace.inversion import UniTune as UniTune
    from noisespace.models.families.analytic import Mixture as Mixture
    from noisespace.models.guided import Guided as Guided
    from noisespace.models.judges.alignment import Alignment as Alignment
    from noisespace.models.judges.alignment import load_alignment as load_alignment
    from noisespace.models.judges.captioning import load_captioner as load_captioner
    from noisespace.models.loading import load as load
    from noisespace.models.pipeline import from_pipeline as from_pipeline
    from noisespace.planning.result import Result as Result

__version__ = VERSION

_PLACES = {
    "noisespace.core.code": ["Code"],
    "noisespace.api": [
        "attention_maps",
        "caption",
        "edit",
        "edit_steps",
        "freeze",
        "invert",
        "reconstruct",
        "sample",
    ],
    "noisespace.errors": ["InputError", "RunError"],
    "noisespace.inversion": [
        "BELM",
        "DDIM",
        "EDICT",
        "CycleDiffusion",
        "DiffusionCLIP",
        "Direct",
        "EditFriendly",
        "FixedPoint",
        "Imagic",
        "NegativePrompt",
        "NullText",
        "PromptTuning",
        "ProxNPI",
        "SDEdit",
        "TextualInversion",
        "UniTune",
    ],
    "noisespace.editing": [
        "AttentionMask",
        "ColorEdit",
        "Concept",
        "Concepts",
        "DiffEdit",
        "MasaCtrl",
        "Pix2PixZero",
        "PlugAndPlay",
        "PromptToPrompt",
        "ScoreGuidance",
        "Shift",
        "interpolate",
    ],
    "noisespace.models.judges.alignment": ["Alignment", "load_alignment"],
    "noisespace.models.families.analytic": ["Mixture"],
    "noisespace.models.judges.captioning": ["load_captioner"],
    "noisespace.models.guided": ["Guided"],
    "noisespace.models.pipeline": ["from_pipeline"],
    "noisespace.models.loading": ["load"],
    "noisespace.planning.result": ["Result"],
    "noisespace.core.grid": ["Grid"],
}
_FOUND = {name: place for place, names in _PLACES.items() for name in names}

__all__ = sorted([*_FOUND, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _FOUND:
        raise AttributeError(f"module 'noisespace' has no attribute {name!r}")
    # A submodule of the same name (edit) may be bound here by its own import: take its function.
    value = getattr(importlib.import_module(_FOUND[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
