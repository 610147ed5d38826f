"""Manta on a Kubernetes of this machine."""
