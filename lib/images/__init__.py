"""Pictures: decode, preprocess, augment. No Ray, no files."""
