"""Trackers besides metrics.jsonl: TensorBoard, MLflow, Weights & Biases; a failing one is a warning line."""
