"""The training run, from launch to bundle."""
