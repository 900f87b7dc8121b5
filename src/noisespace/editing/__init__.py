"""What an edit does beside changing the prompt; an editor knows nothing of inversions."""

from noisespace.editing.attention.maps import AttentionMaps, AttentionMask, word_maps
from noisespace.editing.concepts import Concept, Concepts
from noisespace.editing.context import EditContext, Editor
from noisespace.editing.diffedit import DiffEdit
from noisespace.editing.masactrl import MasaCtrl
from noisespace.editing.masks import keep_outside, latent_masks
from noisespace.editing.operations.color_edit import ColorEdit
from noisespace.editing.operations.interpolate import interpolate
from noisespace.editing.operations.shift import Shift
from noisespace.editing.pix2pix_zero import Pix2PixZero
from noisespace.editing.plug_and_play import PlugAndPlay
from noisespace.editing.prompt_to_prompt import PromptToPrompt
from noisespace.editing.score_guidance import ScoreGuidance

# name on the command line -> editor; a new one is one file and one line here
EDITORS: dict[str, type] = {
    "prompt-to-prompt": PromptToPrompt,
    "masactrl": MasaCtrl,
    "plug-and-play": PlugAndPlay,
    "pix2pix-zero": Pix2PixZero,
    "diffedit": DiffEdit,
    "score-guidance": ScoreGuidance,
}

OPERATIONS: dict[str, type] = {"shift": Shift, "color-edit": ColorEdit}
MASKS: dict[str, type] = {"diffedit": DiffEdit, "attention": AttentionMask}

__all__ = [
    "EDITORS",
    "MASKS",
    "OPERATIONS",
    "AttentionMaps",
    "AttentionMask",
    "ColorEdit",
    "Concept",
    "Concepts",
    "DiffEdit",
    "EditContext",
    "Editor",
    "MasaCtrl",
    "Pix2PixZero",
    "PlugAndPlay",
    "PromptToPrompt",
    "ScoreGuidance",
    "Shift",
    "interpolate",
    "keep_outside",
    "latent_masks",
    "word_maps",
]
