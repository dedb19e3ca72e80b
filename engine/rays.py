"""The loop that most experiments are: every direction from every base, one curve each, numbered in order.

Knows the laboratory. What is acknowledged is skipped, so a stopped run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from engine.laboratory import Laboratory
from engine.results import BaseResult, Event

DERIVATIVES_AT_ONCE: Final = 32


def rays(lab: Laboratory) -> Iterator[Event]:
    """Yields each base, then its curves as they are done."""
    order = lab.direction_order
    known = lab.held
    for number, drawn in enumerate(lab.bases()):
        first = number * len(order)
        base = replace(drawn, vector=known.base_vectors.get(number, drawn.vector))
        if number not in known.bases:
            detail = {} if base.population_row is None else {"population_row": base.population_row}
            yield BaseResult(number, base.kind, base.label, drawn.vector, base.token_ids, lab.where.position, detail)
        if known.curves.issuperset(range(first, first + len(order))):
            continue
        host = lab.host_of(base)
        for block in range(0, len(order), DERIVATIVES_AT_ONCE):
            curves = range(first + block, first + min(block + DERIVATIVES_AT_ONCE, len(order)))
            if known.curves.issuperset(curves):
                continue
            lab.checkpoint()
            directions = [lab.draw(spec, base, i) for spec, i in order[block : block + DERIVATIVES_AT_ONCE]]
            used = [known.direction_vectors.get(c, d.vector) for c, d in zip(curves, directions, strict=True)]
            paths = [lab.ray(base, v, d.label) for v, d in zip(used, directions, strict=True)]
            # All derivatives of a block together: one pass instead of one per direction.
            fishers = lab.fisher(lab.base_row(base, host), host, paths)
            for curve, direction, ray, fisher in zip(curves, directions, paths, fishers, strict=True):
                if curve not in known.curves:
                    yield lab.measure(curve, number, base, direction, host, ray, fisher)
                    yield lab.progress(curve + 1)
