"""The machine: files that are never half-written, worker processes."""
