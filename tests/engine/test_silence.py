"""Telling a worker that hangs from one that is busy or loads."""

from __future__ import annotations

import pytest

from engine.errors import RunFailedError
from engine.protocol import Alive
from engine.results import Note, Progress
from engine.silence import CANCEL_SECONDS, NEWER_SECONDS, Silence


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hangs(silence: Silence) -> bool:
    try:
        silence.check()
    except RunFailedError:
        return True
    return False


def test_a_busy_worker_is_alive_as_long_as_it_says_so(clock: Clock) -> None:
    silence = Silence(5, clock)
    silence.asked(idle=True)
    for body in [Note("on my way"), *[Alive()] * 100]:
        silence.heard(body)
        clock.now += 5
        assert not hangs(silence)
    clock.now += 0.1
    assert hangs(silence)


def test_loading_takes_as_long_as_it_takes(clock: Clock) -> None:
    silence = Silence(5, clock)
    silence.asked(idle=True)
    clock.now += 10_000  # it imports torch
    assert not hangs(silence)
    silence.heard(Progress("loading a large model"))
    silence.asked(idle=False)
    silence.cancelled()
    clock.now += 10_000
    assert not hangs(silence)
    silence.heard(Progress("checking the forward pass"))
    clock.now += 6
    assert hangs(silence)


@pytest.mark.parametrize(("what", "seconds"), [("asked", NEWER_SECONDS), ("cancelled", CANCEL_SECONDS)])
def test_whoever_wants_something_else_waits_less(clock: Clock, what: str, seconds: float) -> None:
    silence = Silence(1000, clock)
    silence.heard(Alive())
    clock.now += 100
    silence.asked(idle=False) if what == "asked" else silence.cancelled()
    clock.now += seconds
    assert not hangs(silence)
    clock.now += 0.1
    assert hangs(silence)
    silence.heard(Alive())  # between two chunks, where it looks for such a wish
    clock.now += seconds + 1
    assert not hangs(silence)


def test_a_worker_with_nothing_to_do_is_listened_to_from_its_next_request_on(clock: Clock) -> None:
    silence = Silence(5, clock)
    silence.heard(Alive())
    clock.now += 3600
    silence.asked(idle=True)
    assert silence.seconds == 0
    clock.now += 4
    assert not hangs(silence)
