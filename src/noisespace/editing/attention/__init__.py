"""Which words attend where: aligned between prompts, as maps, and as a mask."""

from noisespace.editing.attention.maps import AttentionMask as AttentionMask
