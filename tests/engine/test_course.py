"""One run on a crew whose answers are written here: what is asked of whom, what is told, what happens when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from engine.cluster.course import AT_ONCE, LEADS_TOO_MANY, Course
from engine.cluster.messages import CurveTask, Done, Led, Opened, Refused, Wanted, pack
from engine.cluster.tally import Tally
from engine.errors import RunFailedError
from engine.protocol import Failed, Held, RunRequest
from engine.recipe import parse_recipe
from engine.results import BaseResult, Note, Progress, RowResult, RunEnded, RunStarted
from engine.shards import Layout

LAYOUT = Layout("tree", 256, 4)
INFO = {
    "n_bases": 1,
    "n_curves": 40,
    "layout": LAYOUT.data(),
    "model": {"weights_sha256": "a" * 64},
    "population": {"hash": "b" * 32},
    "device_name": "one",
}
RECIPE = parse_recipe({"site": {"prompt": "One day"}, "directions": [{"kind": "random", "count": 40}]})
RANKING = parse_recipe({"site": {"prompt": "One day"}, "experiment": "rank-features"})


@dataclass(eq=False)
class Actor:
    node: str = ""
    pid: int = 0


@dataclass
class Bench:
    """What was asked, and what was told."""

    recipe: Any = RECIPE
    held: Held = field(default_factory=Held)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.tally = Tally(lambda: self.now)
        self.course = Course(RunRequest(1, self.recipe, self.held), 1, self.call, self.told.append, self.tally)

    def call(self, member: Any, then: Any, method: str, *arguments: Any) -> None:
        self.asked.append((member, then, method, *arguments))

    def of(self, method: str) -> list[tuple[Any, ...]]:
        return [call for call in self.asked if call[2] == method]

    def answer(self, method: str, value: Any, which: int = 0) -> tuple[Any, ...]:
        """Let one of the open calls come back."""
        call = self.of(method)[which]
        self.asked.remove(call)
        self.now += 1
        call[1](call[0], value)
        return call

    def opened(self, member: Actor, node: str = "n", **info: Any) -> None:
        self.course.join(member)
        self.answer("open", Opened({**INFO, **info}, LAYOUT, 1.0, node, 7))


def done(task: CurveTask, layout: Layout = LAYOUT) -> bytes:
    base = BaseResult(0, "prompt", "prompt", np.zeros(2, np.float32), (0,), 0)
    return pack(Done((base, Note("the same")), layout, 1.0, 400))


def test_shards_go_to_who_is_free_and_bases_and_notes_are_told_once() -> None:
    bench, one, two = Bench(), Actor(), Actor()
    bench.opened(one, "left")
    bench.opened(two, "right")
    assert [call[0] for call in bench.of("curves")] == [one] * AT_ONCE + [two] * AT_ONCE
    seen = []
    while bench.of("curves"):
        (_, _, _, run, task) = bench.answer("curves", done(task=bench.of("curves")[0][4]))
        assert run == 1
        seen += task.shard.curves
    assert sorted(seen) == list(range(40))
    assert [type(event) for event in bench.told] == [RunStarted, BaseResult, Note, RunEnded]
    assert bench.told[-1].status == "done"
    assert not bench.of("stop")
    assert bench.tally.rates().keys() == {"left", "right"}


def test_what_another_was_faster_with_is_stopped() -> None:
    bench, slow, fast = Bench(), Actor(), Actor()
    bench.opened(slow)
    bench.opened(fast)
    while any(call[0] is fast for call in bench.of("curves")):
        which = next(i for i, call in enumerate(bench.of("curves")) if call[0] is fast)
        bench.answer("curves", done(bench.of("curves")[which][4]), which)
        bench.now += 100
        bench.course.look()
    assert bench.told[-1] == RunEnded("done")
    assert [(call[0], call[3]) for call in bench.of("stop")] == [(slow, 1)]


def test_what_is_held_is_not_asked_for() -> None:
    held = Held(curves=frozenset(range(39)), bases=frozenset([0]), base_vectors={0: np.ones(2, np.float32)})
    bench = Bench(held=held)
    bench.opened(Actor())
    ((_, _, _, _, task),) = bench.of("curves")
    assert task.shard.curves == [36, 37, 38, 39]  # in the company it would have
    assert task.held.curves == {36, 37, 38}
    assert task.held.bases == {0}
    assert task.held.base_vectors.keys() == {0}
    bench.answer("curves", done(task))
    assert not any(isinstance(event, BaseResult) for event in bench.told)


def test_a_run_whose_curves_are_all_there_ends() -> None:
    bench = Bench(held=Held(curves=frozenset(range(40)), bases=frozenset([0])))
    bench.opened(Actor())
    assert not bench.of("curves")
    assert bench.told[-1] == RunEnded("done")


def test_a_refused_arrangement_starts_everybody_anew_and_old_answers_count_no_more() -> None:
    bench, one, two = Bench(), Actor(), Actor()
    bench.opened(one)
    bench.opened(two)
    bench.answer("curves", done(bench.of("curves")[0][4]))
    old = bench.of("curves")
    bench.answer("curves", pack(Refused("tree", 0.01)))
    assert any(isinstance(event, Note) and "tree" in event.text for event in bench.told)
    assert [call[3:] for call in bench.of("open")] == [(2, RECIPE, Held(), ("tree",))] * 2
    before = len(bench.told)
    old[1][1](old[1][0], done(old[1][4]))
    assert len(bench.told) == before
    bench.asked = bench.of("open")
    bench.answer("open", Opened(INFO, replace(LAYOUT, rule="batch"), 1.0, "n", 7))
    assert {call[4].layout.rule for call in bench.of("curves")} == {"batch"}


def test_less_memory_is_recorded_and_goes_for_all() -> None:
    bench, one = Bench(), Actor()
    bench.opened(one)
    bench.answer("curves", done(bench.of("curves")[0][4], replace(LAYOUT, rows_per_chunk=64)))
    started = [event for event in bench.told if isinstance(event, RunStarted)]
    assert started[-1].info["layout"]["rows_per_chunk"] == 64
    assert bench.of("curves")[-1][4].layout.rows_per_chunk == 64


@pytest.mark.parametrize("other", [{"model": {"weights_sha256": "c" * 64}}, {"population": {"hash": "d" * 32}}])
def test_a_node_with_other_files_ends_the_run(other: dict[str, Any]) -> None:
    bench = Bench()
    bench.opened(Actor(), "left")
    bench.opened(Actor(), "right", **other)
    assert isinstance(bench.told[-1], Failed)
    assert "right has another" in bench.told[-1].message


def test_another_device_is_said_once() -> None:
    bench = Bench()
    bench.opened(Actor(), "left")
    bench.opened(Actor(), "right", device_name="two")
    bench.opened(Actor(), "right", device_name="two")
    assert [event.text.split(":")[0] for event in bench.told if isinstance(event, Note)] == [
        "right differs from left in device_name"
    ]


def test_what_a_dead_member_had_goes_to_others() -> None:
    bench, one, two = Bench(), Actor(), Actor()
    bench.opened(one)
    bench.opened(two)
    lost = [call[4].shard.index for call in bench.of("curves") if call[0] is one]
    bench.asked = [call for call in bench.asked if call[0] is two]
    bench.course.lost(one)
    seen = []
    while bench.of("curves"):
        seen.append(bench.answer("curves", done(bench.of("curves")[0][4]))[4].shard.index)
    assert set(lost) < set(seen)
    assert sorted(seen) == list(range(10))
    assert bench.course.redone == AT_ONCE


def test_tables_are_led_by_one_and_measured_by_all() -> None:
    bench, one, two = Bench(recipe=RANKING), Actor(), Actor()
    bench.opened(one, n_curves=0, n_bases=0)
    assert not bench.course.wants_all
    bench.answer("lead", LAYOUT)
    bench.answer("more", pack([Wanted(1, b"first"), Wanted(2, b"second"), Wanted(3, b"third")]))
    assert bench.course.wants_all
    bench.opened(two, n_curves=0, n_bases=0)
    assert [(call[0], call[4]) for call in bench.of("block")] == [(one, b"first"), (one, b"second"), (two, b"third")]
    bench.answer("block", b"found", which=2)
    assert bench.of("deliver")[0][0] is one
    assert bench.of("deliver")[0][3:] == (3, b"found")
    row, progress = RowResult("ranking", {"feature": 1}), Progress("ranking", 1, 3)
    bench.answer("more", pack([row, progress]))
    assert bench.told[-2] == row
    assert "2 actors" in bench.told[-1].text
    bench.answer("more", pack([Led()]))
    assert bench.told[-1] == RunEnded("done")


def test_when_the_leader_dies_another_goes_on_behind_its_rows() -> None:
    bench, one, two = Bench(recipe=RANKING), Actor(), Actor()
    bench.opened(one)
    bench.opened(two)
    bench.answer("lead", LAYOUT)
    bench.answer("more", pack([RowResult("nulls", {"null": 0})]))
    bench.asked.clear()
    bench.course.lost(one)
    bench.answer("open", Opened(INFO, LAYOUT, 1.0, "n", 7))
    ((member, _, _, run, held),) = bench.of("lead")
    assert member is two
    assert run == 2
    assert held.rows == {"nulls": [{"null": 0}]}
    for _ in range(LEADS_TOO_MANY - 2):
        bench.course.lost(bench.course._lead)
        bench.opened(Actor())
    with pytest.raises(RunFailedError, match="led this run"):
        bench.course.lost(bench.course._lead)
