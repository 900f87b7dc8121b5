"""What an edit does beside changing the prompt; an editor knows nothing of inversions."""

from noisespace.editing.masks import keep_outside, latent_mask

__all__ = ["keep_outside", "latent_mask"]
