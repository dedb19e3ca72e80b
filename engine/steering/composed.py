"""The vectors of a recipe as they are added to a run: at which hooks and tokens, and how long they are there.

Knows laboratories and directions; not what the model makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine.activations import activations_everywhere
from engine.directions import needs_sae
from engine.directions.drawn import NOTHING, projected
from engine.drawing import Direction
from engine.elsewhere import at, moved
from engine.errors import DirectionError, HookError, PromptError
from engine.hooks import HookPoint, parse_hook
from engine.laboratory import Laboratory
from engine.steering.steer import Rows, Steer
from engine.steering.strength import Scale

Where = Literal["onwards", "site", "aligned"] | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Composed:
    """A vector, and how it is added at its own length."""

    direction: Direction
    steer: Steer
    scale: Scale
    shares: Mapping[HookPoint, Sequence[float]]
    """Of each row, its length over that of the residual there."""


@dataclass(frozen=True)
class Placing:
    """Where the vectors of a run go.

    Args:
        where: `onwards` is the site's token and all later ones, `site` that token alone, `aligned` one row after
            another from the first token behind a BOS (vectors of one row at the site's token), else token indices.
        also: names of hooks beside the write hook.
    """

    where: Where
    also: tuple[str, ...]

    def composed(self, lab: Laboratory, spec: Any, index: int) -> Composed:
        """One of the recipe's directions.

        Raises:
            DirectionError: It cannot be drawn, or does not go where it should.
            HookError: There is no such further hook.
            PromptError: A token index lies outside the context.
        """
        direction = lab.draw(spec, lab.site, index)
        rows = self._by_hook(lab, spec, index, direction)
        tokens = len(next(iter(rows.values())))
        if any(len(held) != tokens for held in rows.values()):
            raise DirectionError(f"{direction.label} has {tokens} rows at one hook and another number at another.")
        steer = Steer(rows, lab.position, self._positions(lab, direction, tokens))
        shares = {hook: _shares(lab, hook, steer) for hook in rows}
        hook, row = max(
            ((h, i) for h, held in shares.items() for i in range(len(held))), key=lambda p: shares[p[0]][p[1]]
        )
        if not shares[hook][row] > NOTHING:
            raise DirectionError(f"{direction.label} has no length, so there is nothing to add: choose another.")
        length = float(np.linalg.norm(rows[hook][row]))
        return Composed(direction, steer, Scale(length, shares[hook][row], _largest(lab, direction)), shares)

    def _by_hook(self, lab: Laboratory, spec: Any, index: int, direction: Direction) -> dict[HookPoint, Rows]:
        write, n_layers = lab.where.write, lab.model.n_layers
        given = direction.rows or {write.name: direction.vector[None]}
        rows = {parse_hook(name, n_layers): held.astype(np.float64) for name, held in given.items()}
        places = {hook.place for hook in rows}
        for name in self.also:
            hook = parse_hook(name, n_layers)
            if hook.place in places:
                continue
            if not (hook.wide_as_stream and write.wide_as_stream):
                raise HookError(f"options.also adds the same kind of vector at {name}, which is not d_model wide.")
            places.add(hook.place)
            plain = spec.model_copy(update={"project_out": ()})
            if spec.kind in ("vector", "file") or needs_sae(plain):
                # What belongs to one hook's SAE, or came as it is, is the same vector wherever it is added.
                rows[hook] = next(iter(rows.values()))
                continue
            there = at(lab, moved(lab.recipe, site={"write": name, "read": None}))
            # Features that are projected out are those of the write hook, here too.
            drawn = projected(there.draw(plain, there.site, index), spec.project_out, lab)
            held = drawn.rows[name] if drawn.rows else drawn.vector[None]
            rows[hook] = held.astype(np.float64)
        return rows

    def _positions(self, lab: Laboratory, direction: Direction, tokens: int) -> tuple[int, ...] | None:
        label, first = direction.label, int(lab.where.bos)
        if self.where == "onwards" or self.where == "site":
            if direction.by_token:
                raise DirectionError(
                    f'{label} goes token by token, with {tokens} rows, which options.at = "{self.where}" cannot place: '
                    'use "aligned" or a list of as many token indices.'
                )
            return None if self.where == "onwards" else (lab.position,)
        if self.where == "aligned":
            positions = tuple(range(first, first + tokens)) if direction.by_token else (lab.position,)
        else:
            positions = _indices(self.where, lab)
            if direction.by_token and tokens != len(positions):
                raise DirectionError(f"{label} has {tokens} rows and options.at {len(positions)} tokens: give as many.")
        if positions[-1] >= lab.model.context:
            raise PromptError(f"{label} ends at token {positions[-1]}, and the context has {lab.model.context} tokens.")
        return positions


def _indices(where: Sequence[int], lab: Laboratory) -> tuple[int, ...]:
    """Token indices counted from the front, in order."""
    length = len(lab.where.token_ids)
    low = [i for i in where if i < -length]
    if low:
        raise PromptError(f"options.at asks for token {low[0]}, but the prompt has {length}: use {-length} or more.")
    return tuple(sorted({i % length if i < 0 else i for i in where}))


def _shares(lab: Laboratory, hook: HookPoint, steer: Steer) -> list[float]:
    """Length of each row over that of the residual that it is added to; of one row at several tokens, the largest.

    A token behind the prompt counts as its last one.
    """
    ids = lab.model.tensor([lab.where.token_ids])
    raw = activations_everywhere(lab.model, hook, ids)[0]
    norms = lab.model.to_basis(raw, hook).double().norm(dim=-1).cpu().numpy()
    lengths = np.linalg.norm(steer.rows[hook], axis=1)
    positions = [min(p, len(norms) - 1) for p in (steer.positions or (steer.start,))]
    if len(lengths) == 1:
        return [float(lengths[0] / norms[positions].min())]
    return [float(length / norms[position]) for length, position in zip(lengths, positions, strict=True)]


def _largest(lab: Laboratory, direction: Direction) -> float | None:
    """What makes a feature's vector that of its largest activation on the population."""
    told = direction.detail
    if direction.kind != "sae-feature" or told["vector"] != "decoder" or "project_out" in told:
        return None
    largest = float(lab.firing.largest[told["feature"]])
    return largest / abs(told["activation"] or 1.0) if largest > 0 else None
