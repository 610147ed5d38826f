"""Networks by name, their depth groups, and what is frozen."""
