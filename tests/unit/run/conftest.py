import pytest

pytest.register_assert_rewrite(
    "tests.unit.run.audit", "tests.unit.run.driver", "tests.unit.run.simulation", "tests.unit.run.tables"
)
