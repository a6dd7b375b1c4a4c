"""Small real examples that ship with the package."""
