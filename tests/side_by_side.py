"""Which tests may run side by side, and which one after the other, when pytest-xdist has several workers.

A marker would say so where the tests are, but pytest-xdist 3.8 passes over `xdist_group` with pytest 9.2.
"""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

_ONE_AFTER_THE_OTHER: Final = "tests/faults/"
_BY_ITSELF: Final = "tests/faults/test_chaos_"
_COSTLY_START: Final = tuple(
    f"tests/{path}.py::"
    for path in (
        "contract/test_local_node",
        "contract/test_rabbitmq",
        "integration/test_demo",
        "integration/test_plugins",
        "integration/test_wheel",
    )
)


class SideBySide(LoadScopeScheduling):
    """One test at a time goes to the next free worker; those of a group go to the same one, largest group first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(test: str) -> str:
    """The name of a test's group, which for most is a group of one.

    Faults in real processes compete for nothing but the machine, and their limits of time count on it; those in the
    embedded broker have a clock of their own. Files whose tests share a costly fixture would pay for it once a worker.
    """
    if test.startswith(_ONE_AFTER_THE_OTHER) and not test.startswith(_BY_ITSELF):
        return _ONE_AFTER_THE_OTHER
    return test.partition("::")[0] if test.startswith(_COSTLY_START) else test
