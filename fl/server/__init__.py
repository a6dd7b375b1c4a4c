"""Server workers: they decide, commit and keep nothing."""
