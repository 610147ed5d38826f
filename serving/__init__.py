"""The endpoint: a bundle behind Ray Serve."""
