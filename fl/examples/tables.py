"""Tables that commands measure and put into a text."""


def placed(name: str, table: str, text: str) -> str:
    """The text with the table between the markers of this name."""
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    return f"{before}{begin}{table}\n{end}{after}"
