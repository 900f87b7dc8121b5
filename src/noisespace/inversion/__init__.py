"""One file a method; each answers: what trajectory, how noisy a step, who gets the correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisespace.system.listing import Listing, lazily

if TYPE_CHECKING:
    from noisespace.inversion.problem import Defaults as Defaults
    from noisespace.inversion.problem import Inversion as Inversion
    from noisespace.inversion.problem import Problem as Problem

# The list: a new inversion is one file, and one line here (CONTRIBUTING.md)
if TYPE_CHECKING:
    from noisespace.inversion.belm import BELM as BELM
    from noisespace.inversion.cycle_diffusion import CycleDiffusion as CycleDiffusion
    from noisespace.inversion.ddim import DDIM as DDIM
    from noisespace.inversion.diffusion_clip import DiffusionCLIP as DiffusionCLIP
    from noisespace.inversion.direct import Direct as Direct
    from noisespace.inversion.edict import EDICT as EDICT
    from noisespace.inversion.edit_friendly import EditFriendly as EditFriendly
    from noisespace.inversion.fixed_point import FixedPoint as FixedPoint
    from noisespace.inversion.imagic import Imagic as Imagic
    from noisespace.inversion.negative_prompt import NegativePrompt as NegativePrompt
    from noisespace.inversion.null_text import NullText as NullText
    from noisespace.inversion.prompt_tuning import PromptTuning as PromptTuning
    from noisespace.inversion.prox_npi import ProxNPI as ProxNPI
    from noisespace.inversion.sdedit import SDEdit as SDEdit
    from noisespace.inversion.textual_inversion import TextualInversion as TextualInversion
    from noisespace.inversion.unitune import UniTune as UniTune

METHODS = Listing(__name__, "METHODS")
__getattr__, __dir__, __all__ = lazily(__name__)
