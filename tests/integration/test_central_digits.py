"""Hundreds of clients with two images each, protected as a whole, learn nearly what they learn without protection."""

import numpy as np

from fl.examples.central_privacy import Task, Way, accuracy_after, deal, private, spec_of, study

AT = Task()


def test_clients_at_epsilon_8_lose_little_though_the_first_clip_norm_is_far_off() -> None:
    # Given a clip norm that is a thirtieth of the best one, and follows the updates'
    budget = private(Way("", 0.1, adaptive=True), 8.0, AT.delta)
    # When
    protected, plain = (accuracy_after(AT, spec_of(AT, privacy), 0) for privacy in (budget, None))
    # Then
    assert plain > 0.9
    assert protected > plain - 0.06


def test_the_images_of_clients_and_those_of_nobody_are_all_images_once() -> None:
    dealt, test = deal(AT.clients, seed=3)

    assert {len(digits) for digits in dealt.values()} == {2, 3}
    assert sum(map(len, dealt.values())) + len(test) == 1797
    everything = np.concatenate([*(digits.x for digits in dealt.values()), test.x])
    assert everything.sum() == deal(1, seed=0)[0]["client-0000"].x.sum() + deal(1, seed=0)[1].x.sum()


def test_each_line_of_the_table_has_all_columns() -> None:
    lines = list(study(Task(clients=20, rounds=2, rate=0.5), [50.0], [0]))

    assert [line.count("|") for line in lines] == [8, 8, 8, 8]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| none", "| 50"]
