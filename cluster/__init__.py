"""Where Manta runs: an image, a laptop, bare machines."""
