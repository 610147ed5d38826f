"""What the charts may be told: models that values.yaml, its schema and docs/values.md are written from."""
