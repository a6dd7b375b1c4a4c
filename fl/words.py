"""What others say in words, which goes into logs and onto terminals."""

from typing import Final

MOST: Final = 2000
"""Characters: a text of an error with all that it names."""


def plain(text: str, *, keep: str = "") -> str:
    """The text without what a terminal would take for commands; `keep` are such characters that stay."""
    return "".join(one if one.isprintable() or one in keep else "\N{REPLACEMENT CHARACTER}" for one in text)


def words(text: str) -> str:
    """What a stranger said, likewise, in lines, and not without end."""
    said = plain(text[:MOST], keep="\n")
    return said if len(text) <= MOST else f"{said} ... ({len(text)} characters in all)"
