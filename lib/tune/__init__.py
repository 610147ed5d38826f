"""Studies: many fine-tuning runs on Ray Tune, and an answer from their numbers."""
