"""What an edit does beside changing the prompt; an editor knows nothing of inversions."""

from noisespace.editing.base import Brief, Editor
from noisespace.editing.masa_ctrl import MasaCtrl
from noisespace.editing.masks import keep_outside, latent_mask
from noisespace.editing.plug_and_play import PlugAndPlay
from noisespace.editing.prompt_to_prompt import PromptToPrompt

# name on the command line -> editor; a new one is one file and one line here
EDITORS: dict[str, type] = {
    "prompt-to-prompt": PromptToPrompt,
    "masactrl": MasaCtrl,
    "plug-and-play": PlugAndPlay,
}

__all__ = [
    "EDITORS",
    "Brief",
    "Editor",
    "MasaCtrl",
    "PlugAndPlay",
    "PromptToPrompt",
    "keep_outside",
    "latent_mask",
]
