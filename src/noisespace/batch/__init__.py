"""Many images: a manifest of edits, run to its end however often it is interrupted."""
