"""The recipe's own rays at another hook, with other directions or another SAE: a laboratory within a laboratory.

For experiments that measure curves in several places and record a few numbers of each base. Knows laboratories; what
is made of the curves is the experiment's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.laboratory import Laboratory
from engine.protocol import Held
from engine.rays import rays
from engine.recipe import Recipe, parse_recipe
from engine.results import CurveResult, Event, Note


def moved(recipe: Recipe, **sections: Any) -> Recipe:
    """The recipe with sections changed: tables are merged, lists replaced; as one of curves, without expectations.

    Raises:
        RecipeError: The result is not valid.
    """
    data = {**recipe.data(), "experiment": "sensitive-directions", "options": {}}
    del data["expect"]
    for name, value in sections.items():
        data[name] = {**data.get(name, {}), **value} if isinstance(value, Mapping) else value
    return parse_recipe({k: _without_none(v) if isinstance(v, Mapping) else v for k, v in data.items()})


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in table.items() if v is not None}


def at(lab: Laboratory, recipe: Recipe, bases_done: int = 0) -> Laboratory:
    """A laboratory for another recipe on the same model; curves of the first bases are not measured again."""
    there = Laboratory(lab.model, recipe, lab.workshop, Held(layout=lab.layout), lab.should_stop)
    each = len(there.direction_order)
    held = Held(curves=frozenset(range(bases_done * each)), bases=frozenset(range(bases_done)), layout=lab.layout)
    there.held = held
    return there


def curves_by_base(there: Laboratory) -> Iterator[tuple[int, list[CurveResult]] | Event]:
    """Measure; gives each base's number with all of its curves, in order, and whatever notes come between."""
    each = len(there.direction_order)
    waiting: dict[int, list[CurveResult]] = {}
    upcoming = len(there.held.bases)
    for event in rays(there):
        if isinstance(event, CurveResult):
            waiting.setdefault(event.summary.base, []).append(event)
        elif isinstance(event, Note):
            yield event
        while len(waiting.get(upcoming, ())) == each:
            curves = sorted(waiting.pop(upcoming), key=lambda c: c.summary.curve)
            yield upcoming, curves
            upcoming += 1
