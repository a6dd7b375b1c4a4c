"""Sites that train privately learn together no less than Opacus learns from as many images as one of them has."""

from dataclasses import replace

import pytest

from fl.examples.digits.shares import deal
from fl.examples.digits.study import NEAR
from fl.examples.privacy import ALIKE, UNLIKE, Task, federated, opacus_alone

AT = Task()
OPACUS_DOES_BEST = replace(AT, lrate=0.5)  # of the rates in the README's table


@pytest.fixture(scope="module")
def alone() -> float:
    """What Opacus reaches in one place."""
    return opacus_alone(OPACUS_DOES_BEST, seed=0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("alpha", "rate"), [(ALIKE, 0.5), (UNLIKE, 2.0)])
def test_five_sites_at_epsilon_8_learn_what_opacus_learns_from_as_many_images_as_one_has(
    alpha: float, rate: float, alone: float
) -> None:
    # Given digits dealt to sites, and the same network, epochs, batches, clipping and budget for both
    assert (AT.epsilon, AT.delta) == (8.0, 1e-5)
    # When
    together = federated(deal(alpha=alpha, seed=0), replace(AT, lrate=rate), seed=0)
    # Then
    assert together >= alone - NEAR
    # And not because neither has learned anything: who guesses is right in a tenth of all cases
    assert alone > 0.3
