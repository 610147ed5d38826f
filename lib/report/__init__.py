"""One offline page and a model card from the numbers of a run."""
