"""What a job may be told: models, presets, words, help. No torch."""
