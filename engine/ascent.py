"""Turning directions from a base toward where the output moves most, at a fixed place of the path.

The score is the L2 distance at the last read hook between the base run and the point where the path along u has a given
coordinate. Each step first tries the power step, u = the gradient, which is the power iteration for the leading
singular vector where the response is linear (Mack & Turner, "Mechanistically Eliciting Latent Behaviors in Language
Models", LessWrong 2024, maximise the same response at a fixed radius); where that does not raise the score, u is turned
toward the gradient by smaller and smaller angles. No step lowers a score. Knows the laboratory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.drawing import Base
from engine.forward import Output
from engine.laboratory import Laboratory
from engine.layouts import smaller
from engine.memory import is_out_of_memory

SMALLEST: Final = 0.1
"""Degrees: a direction that a smaller turn does not improve has arrived."""
SHRINK: Final = 0.4


@dataclass(frozen=True, eq=False)
class Ascended:
    """All directions after a step."""

    step: int
    u: NDArray[np.float64]
    """Unit directions [n, d_hook]."""
    score: NDArray[np.float64]
    """[n]"""
    arrived: NDArray[np.bool_]
    """Which no longer move [n]."""


def ascend(
    lab: Laboratory, base: Base, starts: NDArray[np.float64], coordinate: float, steps: int
) -> Iterator[Ascended]:
    """The starts and every step after them, until all have arrived.

    Args:
        starts: unit directions [n, d_hook], orthogonal to the base on the sphere.
        coordinate: where on the path the output is looked at, in its unit.
    """
    climb = _Climb(lab, base, coordinate)
    u = starts
    score, gradient = climb.look(u)
    turn = np.full(len(u), np.inf)
    arrived = np.zeros(len(u), dtype=bool)
    yield Ascended(0, u, score, arrived)
    for step in range(1, steps + 1):
        lab.checkpoint()
        tried = _turned(u, gradient, turn)
        new_score, new_gradient = climb.look(tried)
        better = (new_score > score) & ~arrived
        u = np.where(better[:, None], tried, u)
        score, gradient = np.where(better, new_score, score), np.where(better[:, None], new_gradient, gradient)
        limit = _between(u, gradient)
        turn = np.where(better, turn * 2, np.minimum(turn, limit) * SHRINK)
        arrived = arrived | (np.minimum(turn, limit) < SMALLEST)
        yield Ascended(step, u, score, arrived)
        if arrived.all():
            return


def _between(u: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees from each direction to its gradient."""
    along = np.einsum("nd,nd->n", u, gradient)
    across = np.linalg.norm(gradient - along[:, None] * u, axis=1)
    return np.asarray(np.degrees(np.arctan2(across, along)))


def _turned(u: NDArray[np.float64], gradient: NDArray[np.float64], degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit directions turned toward their gradients, by so much or all the way."""
    across = gradient - np.einsum("nd,nd->n", u, gradient)[:, None] * u
    length = np.linalg.norm(across, axis=1, keepdims=True)
    t = np.radians(np.minimum(degrees, _between(u, gradient)))[:, None]
    turned = np.cos(t) * u + np.sin(t) * np.where(length > 0, across / np.maximum(length, 1e-300), 0.0)
    return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True))


class _Climb:
    """The score of directions and its gradient."""

    def __init__(self, lab: Laboratory, base: Base, coordinate: float) -> None:
        self._lab, self._base, self._coordinate = lab, base, coordinate
        self._hosts = lab.hosts_of([base])
        self._row = lab.base_row(base, self._hosts.raw[0])
        self._x = base.vector.astype(np.float64)

    def look(self, u: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores [n], and gradients [n, d_hook] along which u may turn: on the sphere without their part along x."""
        lab, found = self._lab, list[tuple[NDArray[np.float64], NDArray[np.float64]]]()
        start = 0
        while start < len(u):
            some = u[start : start + max(1, lab.layout.rows_per_chunk - 1)]
            try:
                found.append(self._some(some))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                lab.layout = smaller(lab.layout, lab.model)
                continue
            start += len(some)
        scores, gradients = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return scores, gradients

    def _some(self, u: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same of directions that fit into one pass, the base's own row in front."""
        lab = self._lab
        model, read, rule = lab.model, lab.where.reads[-1], lab.layout.rule
        rays = [lab.ray(self._base, row.astype(np.float32), "a direction on its way") for row in u]
        of_x, of_u = rays[0].weights(self._coordinate)
        # As the ray has it, whose float32 direction is what is recorded.
        units = np.stack([ray.u for ray in rays])
        moved = np.concatenate([np.zeros((1, len(self._x))), float(of_x) * self._x + float(of_u) * units])
        vectors = (self._row + torch.from_numpy(moved)).to(model.dtype).to(model.device)[None]

        def score(output: Output) -> Tensor:
            lab.workshop.layouts.check(lab.forward, self._hosts, vectors, output, rule)
            stream = model.to_basis(output.reads[-1], read)
            gap = stream - stream[:, :1].detach()
            gap = gap.float() if gap.dtype == torch.bfloat16 else gap
            # The root has no derivative at the base itself, whose row rides along.
            return (gap.square().sum(-1) + torch.finfo(gap.dtype).tiny).sqrt()

        scores, gradient = lab.forward.gradient(self._hosts, vectors, score, rule)
        found = model.to_basis(gradient[0, 1:], lab.where.write).double().cpu().numpy()
        if lab.recipe.path.mode == "sphere":
            along = self._x / np.linalg.norm(self._x)
            found = found - (found @ along)[:, None] * along
        return scores[0, 1:].double().cpu().numpy(), found
