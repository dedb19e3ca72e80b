"""Values at single points rather than along rays, for maps of a plane: many vectors from one base.

Every pass carries the base's own row in front, and whatever else all points are compared with, so that what is compared
was computed in one pass. Knows the laboratory's forward pass; what is made of the readings is the experiment's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.drawing import Base
from engine.laboratory import Laboratory
from engine.layouts import smaller
from engine.memory import is_out_of_memory
from engine.results import Note, Series


@dataclass(frozen=True, eq=False)
class Reading:
    """What some points gave, beside what they are compared with."""

    places: range
    """Which of the points."""
    front_logits: Tensor
    """[1 + n_front, d_vocab]: the base run and the other points in front."""
    front_reads: tuple[Tensor, ...]
    """Of each read hook, in its basis: [1 + n_front, d_read]."""
    logits: Tensor
    """[n, d_vocab]"""
    reads: tuple[Tensor, ...]
    """Of each read hook: [n, d_read]."""


@torch.no_grad()
def readings(
    lab: Laboratory, base: Base, offsets: Series, front: Series | None = None, skip: int = 0
) -> Iterator[Reading | Note]:
    """Read at base + each of `offsets` [n, d_hook], in order.

    Args:
        lab: the laboratory; its layout shrinks when memory runs out.
        base: where they start.
        offsets: in the basis of the write hook, float64.
        front: other offsets [m, d_hook] that ride along in front of every pass, beside the base itself.
        skip: points at the start that are not wanted; passes begin where they would without.
    """
    model, forward = lab.model, lab.forward
    hosts = lab.hosts_of([base])
    row = lab.base_row(base, hosts.raw[0])
    ahead = np.zeros((1, len(row))) if front is None else np.concatenate([np.zeros((1, len(row))), front])
    start, m = 0, len(ahead)
    while start < len(offsets):
        places = range(start, min(start + max(1, lab.layout.rows_per_chunk - m), len(offsets)))
        if places.stop <= skip:
            start = places.stop
            continue
        lab.checkpoint()
        moved = np.concatenate([ahead, offsets[places.start : places.stop]])
        vectors = (row + torch.from_numpy(moved)).to(model.dtype).to(model.device)[None]
        try:
            output = forward.run(hosts, vectors, lab.layout.rule)
            lab.workshop.layouts.check(forward, hosts, vectors, output, lab.layout.rule)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            lab.layout = smaller(lab.layout, model)
            yield Note(f"Out of memory: going on with {lab.layout.rows_per_chunk} rows at a time.", "warning")
            continue
        logits = output.logits[0]
        reads = [model.to_basis(read[0], hook) for hook, read in zip(forward.reads, output.reads, strict=True)]
        yield Reading(places, logits[:m], tuple(r[:m] for r in reads), logits[m:], tuple(r[m:] for r in reads))
        start = places.stop
