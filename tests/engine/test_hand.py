"""What runs in an actor, without one: the experiment that it leads is the local one, whoever measures its blocks."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from engine.cluster.hand import Hand
from engine.cluster.messages import Led, Opened, Setup, Wanted, unpack
from engine.laboratory import Laboratory
from engine.protocol import Failed, Held
from engine.recipe import parse_recipe
from engine.results import RowResult
from engine.workshop import Workshop

RECIPE = parse_recipe(
    {
        "experiment": "rank-features",
        "site": {"prompt": "Once upon a time, there was a little girl who"},
        "model": {"device": "cpu"},
        "population": {"n": 60},
        "path": {"steps": 10},
        "options": {"which": "active", "nulls": 40},
    }
)


def led(hand: Hand, run: int, held: Held = Held(), until: int = 10_000) -> list[RowResult]:  # noqa: B008  (frozen)
    """Lead the experiment, its blocks measured by the same actor as if by another."""
    layout, rows = hand.lead(run, held), list[RowResult]()
    while len(rows) < until:
        for item in unpack(hand.more()):
            if isinstance(item, Wanted):
                hand.deliver(item.number, hand.block(run, item.block, layout))
            elif isinstance(item, RowResult):
                rows.append(item)
            elif isinstance(item, Led):
                assert item.problem is None
                return rows
    return rows


def test_what_an_actor_leads_is_the_local_run_and_goes_on_behind_what_is_held(embedded: Any) -> None:
    lab = Laboratory(embedded, RECIPE, Workshop())
    here = [event for event in lab.experiment.run(lab) if isinstance(event, RowResult)]
    hand = Hand(Setup(None, 1, version("dirscope")))
    assert isinstance(hand.open(1, RECIPE, Held()), Opened)
    assert led(hand, 1) == here
    assert isinstance(hand.open(2, RECIPE, Held()), Opened)
    rows: dict[str, list[Any]] = {}
    for row in here[:45]:  # all nulls, and five features
        rows.setdefault(row.table, []).append(row.values)
    assert led(hand, 2, Held(rows=rows)) == here[45:]
    hand.stop(2)
    assert unpack(hand.block(2, b"", lab.layout)) is None


def test_another_version_is_refused() -> None:
    found = Hand(Setup(None, 1, "0.0.1")).open(1, RECIPE, Held())
    assert isinstance(found, Failed)
    assert "0.0.1" in found.message
    assert "one version on all" in found.message
