"""Submitting runs, and looking at them: the researcher's side."""
