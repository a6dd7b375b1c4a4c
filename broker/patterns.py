"""How a topic exchange matches routing keys."""

from functools import lru_cache


@lru_cache(maxsize=65_536)
def matches(pattern: str, key: str) -> bool:
    """Whether `key` matches `pattern`: `*` stands for one word, `#` for any number of words, none included."""
    return _matches(_words(pattern), _words(key))


def _words(text: str) -> tuple[str, ...]:
    # An empty key has no words: "#" matches it and "*" does not.
    return tuple(text.split(".")) if text else ()


def _matches(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    if not pattern:
        return not key
    head, rest = pattern[0], pattern[1:]
    if head == "#":
        return any(_matches(rest, key[skipped:]) for skipped in range(len(key) + 1))
    return bool(key) and head in {"*", key[0]} and _matches(rest, key[1:])
