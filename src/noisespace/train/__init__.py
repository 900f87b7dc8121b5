"""Training: procedural scenes, the trainer, the judge."""
