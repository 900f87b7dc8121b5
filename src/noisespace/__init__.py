"""Diffusion inversion and text-guided editing of real images.

``import noisespace as ns``; heavy parts (torch, diffusers) load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisespace.system.listing import lazily
from noisespace.version import VERSION

if TYPE_CHECKING:
    from noisespace.api import attention_maps as attention_maps
    from noisespace.api import caption as caption
    from noisespace.api import edit as edit
    from noisespace.api import edit_steps as edit_steps
    from noisespace.api import freeze as freeze
    from noisespace.api import invert as invert
    from noisespace.api import reconstruct as reconstruct
    from noisespace.api import sample as sample
    from noisespace.core.code import Code as Code
    from noisespace.core.grid import Grid as Grid
    from noisespace.editing import *  # noqa: F403  # the classes of its lists
    from noisespace.editing import Concept as Concept
    from noisespace.editing import Concepts as Concepts
    from noisespace.editing import interpolate as interpolate
    from noisespace.errors import InputError as InputError
    from noisespace.errors import RunError as RunError
    from noisespace.inversion import *  # noqa: F403
    from noisespace.models.families.analytic import Mixture as Mixture
    from noisespace.models.guided import Guided as Guided
    from noisespace.models.judges.alignment import Alignment as Alignment
    from noisespace.models.judges.alignment import load_alignment as load_alignment
    from noisespace.models.judges.captioning import load_captioner as load_captioner
    from noisespace.models.loading import load as load
    from noisespace.models.pipeline import from_pipeline as from_pipeline
    from noisespace.planning.result import Result as Result

__version__ = VERSION
__getattr__, __dir__, __all__ = lazily(__name__)
__all__ += ["__version__"]
