"""Topic patterns, against regular expressions as an oracle."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.patterns import matches

WORDS = st.lists(st.sampled_from(["run", "alice", "train", ""]), min_size=1, max_size=5)
PATTERNS = st.lists(st.sampled_from(["run", "alice", "train", "*", "#"]), min_size=1, max_size=5)


def oracle(pattern: list[str], key: list[str]) -> bool:
    """Each word of the key as `word.`, so that any number of words is a plain repetition."""
    parts = {"*": r"[^.]*\.", "#": r"([^.]*\.)*"}
    expression = "".join(parts.get(word, re.escape(word) + r"\.") for word in pattern)
    return re.fullmatch(expression, "".join(f"{word}." for word in key)) is not None


@given(pattern=PATTERNS, key=WORDS.filter(lambda words: words != [""]))
def test_patterns_match_as_the_regular_expression_says(pattern: list[str], key: list[str]) -> None:
    assert matches(".".join(pattern), ".".join(key)) == oracle(pattern, key)


@pytest.mark.parametrize(("pattern", "matched"), [("#", True), ("#.#", True), ("*", False), ("run", False)])
def test_an_empty_key_has_no_words(pattern: str, matched: bool) -> None:
    assert matches(pattern, "") == matched
