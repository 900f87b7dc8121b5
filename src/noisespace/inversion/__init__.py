"""One file a method; each answers: what trajectory, how noisy a step, who gets the correction."""

from noisespace.inversion.belm import BELM
from noisespace.inversion.cycle_diffusion import CycleDiffusion
from noisespace.inversion.ddim import DDIM
from noisespace.inversion.diffusion_clip import DiffusionCLIP
from noisespace.inversion.direct import Direct
from noisespace.inversion.edict import EDICT
from noisespace.inversion.edit_friendly import EditFriendly
from noisespace.inversion.fixed_point import FixedPoint
from noisespace.inversion.imagic import Imagic
from noisespace.inversion.negative_prompt import NegativePrompt
from noisespace.inversion.null_text import NullText
from noisespace.inversion.problem import Defaults, Inversion, Problem
from noisespace.inversion.prompt_tuning import PromptTuning
from noisespace.inversion.prox_npi import ProxNPI
from noisespace.inversion.sdedit import SDEdit
from noisespace.inversion.textual_inversion import TextualInversion
from noisespace.inversion.unitune import UniTune

# name on the command line -> method; a new one is one file and one line here
METHODS: dict[str, type] = {
    "ddim": DDIM,
    "fixed-point": FixedPoint,
    "edit-friendly": EditFriendly,
    "cycle-diffusion": CycleDiffusion,
    "negative-prompt": NegativePrompt,
    "prox-npi": ProxNPI,
    "direct": Direct,
    "sdedit": SDEdit,
    "null-text": NullText,
    "prompt-tuning": PromptTuning,
    "textual-inversion": TextualInversion,
    "edict": EDICT,
    "belm": BELM,
    "imagic": Imagic,
    "unitune": UniTune,
    "diffusion-clip": DiffusionCLIP,
}

__all__ = [
    "BELM",
    "DDIM",
    "EDICT",
    "METHODS",
    "CycleDiffusion",
    "Defaults",
    "DiffusionCLIP",
    "Direct",
    "EditFriendly",
    "FixedPoint",
    "Imagic",
    "Inversion",
    "NegativePrompt",
    "NullText",
    "Problem",
    "PromptTuning",
    "ProxNPI",
    "SDEdit",
    "TextualInversion",
    "UniTune",
]
