"""Packages of others: which one a part comes from, and whether those that a run needs are installed here."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata

from fl.core.registry import PLUGIN_GROUP

OURS = "fl"


def package_of(cls: type) -> tuple[str, str] | None:
    """Name and version of the installed package that a class is from; None for ours, and for one of a script."""
    top = cls.__module__.partition(".")[0]
    name = None if top == OURS else distributions().get(top)
    return None if name is None else (name, metadata.version(name))


def missing(requires: Mapping[str, str]) -> str | None:
    """What to do before a run that requires these packages can go on here; None when they are all installed.

    A version newer than the required one will do.
    """
    problems = [problem for name, version in sorted(requires.items()) if (problem := _problem(name, version))]
    return "; ".join(problems) or None


def _problem(name: str, version: str) -> str:
    try:
        here = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"this run needs {name} {version}: pip install {name}"
    if _release(here) >= _release(version):
        return ""
    return f"this run needs {name} {version}, and {here} is installed here: pip install --upgrade {name}"


def _release(version: str) -> tuple[int, ...]:
    """1.10.2 of "1.10.2rc1", as numbers that compare, and without zeros at the end."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, re.sub(r"(\.0+)+$", "", found[0]).split("."))) if found else ()


@cache
def distributions() -> dict[str, str]:
    """Installed packages by the names that are imported; plug-ins say it themselves, even when installed in place."""
    found = {top: names[0] for top, names in metadata.packages_distributions().items()}
    plugins = metadata.entry_points(group=PLUGIN_GROUP)
    return found | {entry.module.partition(".")[0]: entry.dist.name for entry in plugins if entry.dist is not None}
