"""The languages a heuristic can be written in."""
