"""Decisions: what a run is, what can happen to it, and what its leader makes of that."""
