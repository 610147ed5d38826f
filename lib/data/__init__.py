"""Datasets on disk: pack, index, order, read, load."""
