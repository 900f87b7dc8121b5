"""Networks at the boundary: one file a family."""
