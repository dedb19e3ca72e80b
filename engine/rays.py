"""The loop that most experiments are: every direction from every base, one curve each, shard by shard.

Knows the laboratory and the order of work. What is acknowledged is skipped, so a stopped run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from engine.drawing import Base, Direction
from engine.laboratory import Laboratory
from engine.paths import Ray, grid
from engine.results import BaseResult, CurveResult, Event, Note, Series, Sketch, Sketches
from engine.shards import Shard, shards
from engine.summarise import curve_result
from engine.sweep import Start, Sweep

OVERFLOWED: Final = Note(
    "The model's output is not finite at some steps, since its activations overflow there: those values are missing "
    "from the curves.",
    "warning",
)
SKETCHED: Final = 128
"""Of more curves, nobody looks at the first points of each."""


def rays(lab: Laboratory) -> Iterator[Event]:
    """Yields the bases of each shard, then its curves as they are done."""
    order, known = lab.direction_order, lab.held
    drawn = enumerate(lab.bases())
    bases: dict[int, Base] = {}
    done, steps, seconds, overflowed = len(known.curves), 0, 0.0, False
    for shard in shards(lab.n_bases, len(order), lab.layout):
        while shard.bases.stop > max(bases, default=-1) + 1:
            number, base = next(drawn)
            if number not in known.bases:
                yield base_result(lab, number, base)
            bases[number] = replace(base, vector=known.base_vectors.get(number, base.vector))
        if known.curves.issuperset(shard.curves):
            continue
        lab.checkpoint()
        work = Work(lab, shard, [bases[number] for number in shard.bases])
        for event in work.run():
            yield event
            if isinstance(event, CurveResult):
                done += 1
                rate = (steps + work.sweep.steps_done) / max(1e-9, seconds + work.sweep.seconds)
                yield lab.progress(done, rate)
        lab.layout = work.sweep.layout
        if work.sweep.overflows and not overflowed:
            overflowed = True
            yield OVERFLOWED
        steps, seconds = steps + work.sweep.steps_done, seconds + work.sweep.seconds


def base_result(lab: Laboratory, number: int, base: Base) -> BaseResult:
    """A base as it is told of."""
    row = {} if base.population_row is None else {"population_row": base.population_row}
    detail = {**row, **base.detail}
    return BaseResult(number, base.kind, base.label, base.vector, base.token_ids, lab.where.position, detail)


class Work:
    """One shard: its directions drawn, its rays put into a sweep, what comes out made into curves."""

    def __init__(self, lab: Laboratory, shard: Shard, bases: list[Base]) -> None:
        self._lab, self._shard, self._bases = lab, shard, bases
        order, known = lab.direction_order, lab.held
        specs = [order[place] for place in shard.directions]
        self._directions: list[list[Direction]] = [
            [lab.draw(spec, base, index) for spec, index in specs] for base in bases
        ]
        self._rays: list[list[Ray]] = [
            [
                lab.ray(base, known.direction_vectors.get(shard.curve(number, place), drawn.vector), drawn.label)
                for place, drawn in zip(shard.directions, directions, strict=True)
            ]
            for number, base, directions in zip(shard.bases, bases, self._directions, strict=True)
        ]
        hosts = lab.hosts_of(bases)
        starts = [
            Start(
                lab.base_row(base, raw),
                rays,
                [grid(lab.stop if lab.stop is not None else ray.native, lab.recipe.path.steps) for ray in rays],
            )
            for base, raw, rays in zip(bases, hosts.raw, self._rays, strict=True)
        ]
        self.sweep = Sweep(
            forward=lab.forward,
            hosts=hosts,
            starts=starts,
            layout=lab.layout,
            book=lab.workshop.layouts,
            extra=lab.recipe.metrics.extra,
            keeps_tokens=lab.experiment.keeps_tokens,
            wanted=self._is_wanted,
        )

    def _is_wanted(self, direction: int) -> bool:
        return any(not self._is_held(b, direction) for b in range(len(self._bases)))

    def _is_held(self, b: int, direction: int) -> bool:
        return self._number(b, direction) in self._lab.held.curves

    def _number(self, b: int, direction: int) -> int:
        """Of a curve within its run."""
        return self._shard.curve(self._shard.bases[b], self._shard.directions[direction])

    def _values(self, b: int, direction: int, steps: list[int] | slice) -> dict[str, dict[str, Series]]:
        """What was measured along a curve: values[read][metric], copied."""
        return {
            read: {metric: np.array(values[b, direction, steps]) for metric, values in by.items()}
            for read, by in self.sweep.measured.values.items()
        }

    def run(self) -> Iterator[Event]:
        for swept in self.sweep.run():
            if isinstance(swept, Note):
                yield swept
                continue
            if swept.steps and self._lab.live and self._lab.n_curves <= SKETCHED:
                yield Sketches(tuple(self._sketches(list(swept.steps))))
            for direction in swept.directions:
                for b in range(len(self._bases)):
                    if not self._is_held(b, direction):
                        yield self._curve(b, direction)

    def _sketches(self, steps: list[int]) -> Iterator[Sketch]:
        for b, start in enumerate(self.sweep.starts):
            for direction in range(len(start.rays)):
                if self._is_held(b, direction):
                    continue
                drawn = self._directions[b][direction]
                yield Sketch(
                    curve=self._number(b, direction),
                    base_kind=self._bases[b].kind_and_host(self._lab.where.token_ids),
                    kind=drawn.kind,
                    label=drawn.label,
                    coordinate=start.coordinates[direction][steps],
                    values=self._values(b, direction, steps),
                )

    def _curve(self, b: int, direction: int) -> CurveResult:
        measured, start = self.sweep.measured, self.sweep.starts[b]
        tokens = None
        if measured.token_ids is not None and measured.token_probabilities is not None:
            tokens = (measured.token_ids[b, direction], measured.token_probabilities[b, direction])
        return curve_result(
            self._lab,
            curve=self._number(b, direction),
            number=self._shard.bases[b],
            base=self._bases[b],
            direction=self._directions[b][direction],
            ray=self._rays[b][direction],
            coordinate=start.coordinates[direction],
            values=self._values(b, direction, slice(None)),
            fisher=float(measured.fisher[b, direction]),
            entropy=float(measured.entropy[b]),
            tokens=tokens,
        )
