"""Playing a recorded run: pause, step, speed, scrubbing, by a clock that only the test moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.results import CurveResult, Event, RunStarted
from sessions.reader import EVENTS_FILE, read_run
from tests.sessions.test_catalogue import session_with_runs
from tests.sessions.test_store import INFO, base, curve
from tui.player import Player

RESULTS = (CurveResult,)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of a session; in the first, a curve each second from the first on."""
    folder = session_with_runs(tmp_path, 2)
    first, second = sorted((folder / "runs").iterdir())
    lines = [json.loads(line) for line in (first / EVENTS_FILE).read_text().splitlines()]
    kinds = [line["type"] for line in lines]
    at = kinds.index("curve")
    more = []
    for i in range(5):
        line = json.loads(json.dumps(lines[at]))
        line["t"] = 1.0 + i
        more.append(line)
    lines[at : at + 1] = more
    lines[-1]["t"] = 6.0
    (first / EVENTS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [first, second]


def drained(player: Player) -> list[Event]:
    found: list[Event] = []
    while part := player.due():
        found += part
    return found


def curves(events: list[Event]) -> int:
    return sum(isinstance(e, CurveResult) for e in events)


def test_it_plays_at_its_pace_and_at_another(runs: list[Path]) -> None:
    clock = Clock()
    player = Player(runs, clock=clock)
    clock.now = 2.5
    assert curves(drained(player)) == 2
    player.faster(2)
    clock.now = 3.0  # another second of the recording
    assert curves(drained(player)) == 1
    assert "x2" in player.caption
    clock.now = 100
    assert curves(drained(player)) == 2 + 1, "the rest, and the second run"
    assert player.finished
    assert player.folder == runs[1]


def test_a_pause_holds_it_and_the_end_starts_again(runs: list[Path]) -> None:
    clock = Clock()
    player = Player(runs, clock=clock)
    clock.now = 1.5
    assert curves(drained(player)) == 1
    player.pause()
    clock.now = 50
    assert drained(player) == []
    assert "paused" in player.caption
    player.pause()
    clock.now = 51
    assert curves(drained(player)) == 1
    clock.now = 500
    drained(player)
    player.pause()
    assert not player.finished
    assert not player.paused


def test_a_step_is_one_result_whichever_way(runs: list[Path]) -> None:
    player = Player(runs, clock=Clock())
    seen = 0
    for n in range(1, 6):
        assert player.step(1) is False
        seen += curves(drained(player))
        assert seen == n
    assert player.step(-1) is True, "what is shown has to be built again"
    assert curves(drained(player)) == 4
    for _ in range(10):
        player.step(-1)
    assert curves(drained(player)) == 0
    for _ in range(20):
        player.step(1)
    drained(player)
    assert player.finished


def test_a_step_while_it_plays_starts_from_where_it_is(runs: list[Path]) -> None:
    clock = Clock()
    player = Player(runs, clock=clock)
    clock.now = 3.5
    assert curves(drained(player)) == 3
    assert player.step(-1) is True
    assert curves(drained(player)) == 2


def test_scrubbing_shows_what_would_have_been_shown_there(runs: list[Path]) -> None:
    player = Player(runs, clock=Clock())
    player.pause()
    assert player.seek(3.5) is False
    assert curves(drained(player)) == 3
    assert player.seek(1.2) is True
    assert curves(drained(player)) == 1
    assert player.seek(-5) is True
    assert drained(player) == []
    assert player.seek(1e9) is False
    whole = drained(player)
    stored = [event for run in map(read_run, runs) for _, event in run.events]
    assert [type(e) for e in whole] == [type(e) for e in stored]


def test_runs_are_skipped_to(runs: list[Path]) -> None:
    player = Player(runs, clock=Clock())
    player.pause()
    player.skip(1)
    found = drained(player)
    assert isinstance(found[-1], RunStarted)
    assert player.folder == runs[1]
    assert player.skip(-1) is True
    drained(player)
    assert player.folder == runs[0]
    player.skip(1)
    player.skip(1)
    drained(player)
    assert player.finished


def test_the_fixtures_are_what_they_say() -> None:
    assert INFO["n_curves"] >= 1
    assert base().base == curve().summary.base
