"""Private runs: who trains on which terms, who will not train any more, and what a spec may ask."""

from typing import Any

import pytest

from fl.errors import ConfigError
from fl.run.apply import apply
from fl.run.closing import close
from fl.run.commands import Append, Drop, Hold, SendInit, SendJoinReply, SendPrivacy
from fl.run.events import Cause, ClientFailed, ClientsOut, ClientsReady, InitAnswered, Note, RoundCommitted, Trouble
from fl.run.step import step
from fl.run.terms import PrivacySettled, Terms
from tests.unit.run.histories import (
    LEADS,
    W,
    a_spec,
    a_state,
    admitted,
    initialised,
    join,
    opened,
    out,
    reply,
    results,
    trained,
    training,
)
from tests.unit.run.tables import Row, check, table

PRIVACY = {"budget": (8.0, 1e-5), "sclip_norm": 1.0}
PRIVATE = a_spec(register=2, privacy=PRIVACY)
INITIALISING = (LEADS, admitted("a", "b"), initialised())
TERMS = Terms(1.5, 30, 0.25, ("losses",), ("delta is large",))
OTHERS = Terms(1.1, 20, 0.0)
SPENT = ClientFailed("b", Trouble.REFUSED, "the budget is spent", 1, W[0].digest)
REFUSED = Note("b", "the budget is spent", Cause.REFUSED)
REFUSED_AND_COMMITTED = (
    *training("a", "b"),
    ClientsOut((REFUSED,)),
    RoundCommitted(1, trained(1).kind, results("a"), (REFUSED,), weights=W[1]),
)


@table(
    Row("who has built the model has still to say how it trains", PRIVATE, INITIALISING, InitAnswered("a"), ()),
    Row("terms are held", PRIVATE, INITIALISING, PrivacySettled("a", TERMS), (Hold(),)),
    Row(
        "terms that come twice are held twice",
        PRIVATE,
        (*INITIALISING, PrivacySettled("a", TERMS)),
        PrivacySettled("a", TERMS),
        (Hold(),),
    ),
    Row(
        "who will not train on what the run asks is out",
        PRIVATE,
        INITIALISING,
        ClientFailed("b", Trouble.REFUSED, "the cap is 2"),
        (out("b", "the cap is 2", Cause.REFUSED),),
    ),
    Row(
        "terms of somebody who was not admitted have no effect",
        PRIVATE,
        INITIALISING,
        PrivacySettled("c", TERMS),
        (Drop("initialised without being admitted"),),
    ),
    Row(
        "a late joiner is ready with its terms",
        PRIVATE,
        (*training("a", "b"), admitted("c")),
        PrivacySettled("c", TERMS),
        (Append((ClientsReady(("c",), terms=(("c", TERMS),)),)),),
    ),
    Row(
        "who was restarted, and settles anew, is as ready as before",
        PRIVATE,
        training("a", "b"),
        PrivacySettled("b", TERMS),
        (),
    ),
)
def test_a_private_run_waits_for_terms(row: Row) -> None:
    check(row)


def test_the_terms_of_all_are_in_the_log_in_the_order_of_their_names() -> None:
    state = a_state(PRIVATE, *INITIALISING, PrivacySettled("b", OTHERS), PrivacySettled("a", TERMS))

    assert close(state) == (Append((ClientsReady(("a", "b"), terms=(("a", TERMS), ("b", OTHERS))),)),)


def test_a_run_knows_the_terms_of_each_client() -> None:
    state = a_state(PRIVATE, *INITIALISING, ClientsReady(("a", "b"), terms=(("a", TERMS), ("b", OTHERS))))

    assert {name: client.terms for name, client in state.clients.items()} == {"a": TERMS, "b": OTHERS}


def test_a_refusal_in_a_round_is_not_a_failure() -> None:
    state = a_state(PRIVATE, *training("a", "b"), reply("a"))

    _, commands = step(state, SPENT)

    assert commands == (Append((ClientsOut((REFUSED,)),)),)


def test_who_has_refused_is_asked_no_more() -> None:
    state = a_state(PRIVATE, *REFUSED_AND_COMMITTED)

    assert state.ready == ("a",)
    assert state.lacking == (Note("b", "the budget is spent"),)


def test_who_has_refused_may_join_again() -> None:
    state = a_state(a_spec(register=2, privacy=PRIVACY), *REFUSED_AND_COMMITTED, opened(2, "a"))

    _, commands = step(state, join("b"))
    again = apply(state, ClientsReady(("b",), terms=(("b", TERMS),)))

    assert commands == (SendJoinReply("b", accepted=True), SendInit("b"), SendPrivacy("b"))
    assert again.ready == ("a", "b")


# ---- specs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("privacy", "training_", "problem"),
    [
        ({"budget": (0.0, 1e-5)}, {}, "epsilon is 0.0: use a number above 0"),
        ({"budget": (-1.0, 1e-5)}, {}, "epsilon is -1.0: use a number above 0"),
        ({"budget": (8.0, 1.0)}, {}, "delta is 1.0: use a number between 0 and 1"),
        ({"sclip_norm": 0.0}, {}, "sclip_norm is 0.0: use a number above 0"),
        ({"accountant": "rpd"}, {}, "there is no accountant 'rpd': did you mean 'rdp'"),
        ({"seed": 3}, {}, "who knows the seed of the noise can take it off again"),
        ({"epsilon": 3.0}, {}, "unknown key 'epsilon'"),
        ({}, {"n_epoch": None, "timeout": 3.0}, "set training.n_epoch or n_steps"),
        ({}, {"replacement": True}, "leave training.replacement out"),
    ],
)
def test_what_no_site_could_keep_to_is_refused_in_words(
    privacy: dict[str, Any], training_: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        a_spec(privacy={**PRIVACY, **privacy}, training={"batch_size": 8, **training_})

    assert problem in str(refused.value)
