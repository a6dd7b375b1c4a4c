"""What others say in words, which goes into logs and onto terminals."""

from typing import Final

MOST: Final = 2000
"""Characters: a text of an error with all that it names."""


def words(text: str) -> str:
    """The text without what a terminal would obey, and not without end."""
    shown = "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text[:MOST])
    return shown if len(text) <= MOST else f"{shown} ... ({len(text)} characters in all)"
