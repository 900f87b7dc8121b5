"""Models that look at pictures: alignment with prompts, captions."""
