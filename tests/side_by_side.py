"""Which tests may run side by side, and which one after the other, when pytest-xdist has several workers.

A marker would say so where the tests are, but pytest-xdist 3.8 passes over `xdist_group` with pytest 9.2.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from xdist.scheduler import LoadScopeScheduling

T = TypeVar("T")

_FAULTS: Final = "tests/faults/"
_EMBEDDED_FAULTS: Final = "tests/faults/test_chaos_"
_SHARING: Final = (
    "tests/contract/",
    "tests/unit/",
    "tests/integration/test_demo.py",
    "tests/integration/test_plugins.py",
    "tests/integration/test_wheel.py",
)


class SideBySide(LoadScopeScheduling):
    """A group of tests goes to the next free worker."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(test: str) -> str:
    """The name of the group that a test runs in, one after the other.

    Faults in real processes are one group: their limits of time count on a machine that does little else. Those in the
    embedded broker have a clock of their own. Where the tests of a file share what takes long to make (a broker, a
    wheel, a compiled model), the file is a group. Any other test is one by itself.
    """
    file, _, _ = test.partition("::")
    if file.startswith(_FAULTS) and not file.startswith(_EMBEDDED_FAULTS):
        return _FAULTS
    return file if file.startswith(_SHARING) else test


def longest_first(tests: Iterable[T], name_of: Callable[[T], str]) -> list[T]:
    """Faults begin first: one after the other they take so long that all would wait for them at the end."""
    return sorted(tests, key=lambda test: group_of(name_of(test)) != _FAULTS)
