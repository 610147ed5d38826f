"""Entry points: parse, build, run, say where the results are."""
