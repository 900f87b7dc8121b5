"""What an edit does beside changing the prompt; an editor knows nothing of inversions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisespace.system.listing import Listing, lazily

if TYPE_CHECKING:
    from noisespace.editing.attention.maps import AttentionMaps as AttentionMaps
    from noisespace.editing.attention.maps import word_maps as word_maps
    from noisespace.editing.concepts import Concept as Concept
    from noisespace.editing.concepts import Concepts as Concepts
    from noisespace.editing.context import EditContext as EditContext
    from noisespace.editing.context import Editor as Editor
    from noisespace.editing.masks import keep_outside as keep_outside
    from noisespace.editing.masks import latent_masks as latent_masks
    from noisespace.editing.operations.interpolate import interpolate as interpolate

# The lists: a new editor, mask or operation is one file, and one line here (CONTRIBUTING.md)
if TYPE_CHECKING:
    from noisespace.editing.diffedit import DiffEdit as DiffEdit
    from noisespace.editing.masactrl import MasaCtrl as MasaCtrl
    from noisespace.editing.pix2pix_zero import Pix2PixZero as Pix2PixZero
    from noisespace.editing.plug_and_play import PlugAndPlay as PlugAndPlay
    from noisespace.editing.prompt_to_prompt import PromptToPrompt as PromptToPrompt
    from noisespace.editing.score_guidance import ScoreGuidance as ScoreGuidance

EDITORS = Listing(__name__, "EDITORS")

if TYPE_CHECKING:
    from noisespace.editing.attention import AttentionMask as AttentionMask
    from noisespace.editing.diffedit import DiffEdit as DiffEdit

MASKS = Listing(__name__, "MASKS")

if TYPE_CHECKING:
    from noisespace.editing.operations.color_edit import ColorEdit as ColorEdit
    from noisespace.editing.operations.shift import Shift as Shift

OPERATIONS = Listing(__name__, "OPERATIONS")
__getattr__, __dir__, __all__ = lazily(__name__)
