"""Operations on a code: its noise maps carry the image."""
