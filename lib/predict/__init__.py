"""Bytes to probabilities, and what was right: no Ray."""
