"""Who does what next: every task once, whoever dies, and nobody waits for a slow member."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cluster.sharing import LOSSES, Sharing
from engine.errors import RunFailedError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 5), st.integers(0, 2**32))
def test_every_task_counts_once_whoever_dies(tasks: int, members: int, seed: int) -> None:
    draw, now, born = random.Random(seed), 0.0, members
    sharing = Sharing(iter(range(tasks)))
    has: dict[int, list[int]] = {member: [] for member in range(members)}
    counted: list[int] = []
    deaths = 0
    while not sharing.over:
        now += draw.random()
        member = draw.choice(sorted(has))
        if deaths < 2 and draw.random() < 0.1:  # fewer than the losses that a task may cause
            del has[member]
            sharing.lost(member)
            has[born], born, deaths = [], born + 1, deaths + 1
        elif has[member] and draw.random() < 0.5:
            number = has[member].pop(0)
            counted += [number] if sharing.finished(number, member, now) else []
        elif len(has[member]) < 2:
            found = sharing.next(member, now)
            if found is not None:
                assert found[0] == found[1]
                has[member].append(found[0])
    assert sorted(counted) == list(range(tasks))
    assert sharing.done == tasks


def test_a_slow_member_holds_nobody() -> None:
    sharing = Sharing(iter("abc"))
    slow, first = sharing.next("slow", 0.0), sharing.next("fast", 0.0)
    assert slow == (0, "a")
    assert first == (1, "b")
    assert sharing.finished(1, "fast", 1.0)
    assert sharing.next("fast", 1.0) == (2, "c")
    assert sharing.finished(2, "fast", 2.0)
    assert sharing.next("fast", 1.9) is None  # not yet longer than twice what a task takes
    assert sharing.next("slow", 9.0) is None  # it has it already
    assert sharing.next("fast", 2.1) == (0, "a")
    assert sharing.next("third", 9.0) is None  # two are enough
    assert sharing.finished(0, "fast", 3.0)
    assert sharing.over
    assert not sharing.finished(0, "slow", 30.0)  # the same again counts no more


def test_what_two_have_is_not_given_out_again_when_one_dies() -> None:
    sharing = Sharing(iter("ab"))
    sharing.next("one", 0.0)
    sharing.next("two", 0.0)
    sharing.finished(1, "two", 1.0)
    assert sharing.next("two", 5.0) == (0, "a")
    sharing.lost("one")
    assert sharing.redone == 0
    assert sharing.finished(0, "two", 6.0)
    assert sharing.over


def test_a_task_that_takes_members_down_ends_the_run() -> None:
    sharing = Sharing(iter("a"))
    for number in range(LOSSES - 1):
        assert sharing.next(number, 0.0) == (0, "a")
        sharing.lost(number)
    assert sharing.redone == LOSSES - 1
    sharing.next(LOSSES, 0.0)
    with pytest.raises(RunFailedError, match="same shard"):
        sharing.lost(LOSSES)
