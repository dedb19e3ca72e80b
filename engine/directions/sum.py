"""`sum`: other directions, each times a weight and added up.

A term is a direction's table of its own, with `weight` (1 where it is left out), and, for steering token by token, the
`token` from 0 that it is added at. For sums, differences and scalings of vectors, saved ones among them.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, Field, Strict, ValidationError, field_validator

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec, SingleSpec
from engine.directions.drawn import NOTHING, draw_direction
from engine.drawing import Base, Direction, DrawContext
from engine.errors import DirectionError

LAST_TOKEN: Final = 4095
"""A sum has a row for each token up to the last that is named."""


class _Share(BaseModel):
    """What a term has beside its direction."""

    weight: float = Field(1.0, allow_inf_nan=False)
    token: int | None = Field(None, ge=0, le=LAST_TOKEN, strict=True)


class SumSpec(SingleSpec):
    """At least one term."""

    terms: Annotated[tuple[dict[str, Any], ...], Strict(False)] = Field(
        min_length=1, description="a list of tables, each a direction with a kind, a weight and perhaps a token"
    )

    @field_validator("terms")
    @classmethod
    def _valid(cls, terms: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for i, term in enumerate(terms):
            try:
                _parsed(term)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                raise ValueError(f"terms.{i}{f'.{place}' if place else ''}: {first['msg']}") from None
        return terms

    @cached_property
    def parsed(self) -> tuple[tuple[DirectionSpec, _Share], ...]:
        """Each term as what is drawn, and its share."""
        return tuple(map(_parsed, self.terms))

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(prompt for spec in self.within for prompt in spec.prompts)

    @property
    def within(self) -> tuple[DirectionSpec, ...]:
        return tuple(spec for spec, _ in self.parsed)


def _parsed(term: dict[str, Any]) -> tuple[DirectionSpec, _Share]:
    share = _Share.model_validate({k: v for k, v in term.items() if k in ("weight", "token")})
    kind = term.get("kind")
    if not isinstance(kind, str):
        raise ValueError('each term needs a kind, such as kind = "steering"')
    table = {k: v for k, v in term.items() if k not in ("weight", "token")}
    if not issubclass(DIRECTIONS[kind].spec, SingleSpec):
        table.setdefault("count", 1)
        if table["count"] != 1:
            raise ValueError(f"a term is one direction, so count must be 1; got {table['count']!r}")
    return DIRECTIONS[kind].spec.model_validate(table), share


def _draw(spec: SumSpec, context: DrawContext, base: Base, index: int) -> Direction:
    by_hook: dict[str, dict[int, np.ndarray]] = {}
    write, labels, longest, by_token = context.origin.hook, [], 0.0, False
    numbers = Counter[str]()
    for i, (term, share) in enumerate(spec.parsed):
        # Terms from a random stream are draws of their own, as tables of a recipe are.
        drawn = draw_direction(term, context, base, numbers[term.kind] if term.drawn else 0)
        numbers[term.kind] += 1
        labels.append(f"{share.weight:.3g} x {drawn.label}")
        rows = drawn.rows or {write: drawn.vector[None]}
        if share.token is not None and drawn.by_token:
            raise DirectionError(f"terms.{i} goes token by token itself, so token = {share.token} must be left out.")
        several = share.token is not None or drawn.by_token
        if i and several != by_token:
            raise DirectionError(
                f"terms.{i} is {'' if several else 'not '}placed token by token, unlike those before it: give every "
                "term a token, or none."
            )
        by_token = several
        for hook, held in rows.items():
            for t, row in enumerate(held, share.token or 0):
                added = share.weight * row.astype(np.float64)
                longest = max(longest, float(np.linalg.norm(added)))
                by_hook.setdefault(hook, {})[t] = by_hook.get(hook, {}).get(t, 0.0) + added
    tokens = 1 + max(t for held in by_hook.values() for t in held)
    nothing = np.zeros(len(base.vector))
    summed = {hook: np.array([held.get(t, nothing) for t in range(tokens)]) for hook, held in by_hook.items()}
    if max(float(np.linalg.norm(held, axis=1).max()) for held in summed.values()) <= NOTHING * longest:
        raise DirectionError("The terms of the sum cancel, so nothing is left to add: change a weight.")
    here = summed.get(write)
    if here is None:
        raise DirectionError(f"No term of the sum is at {write}: set site.write to one of {', '.join(summed)}.")
    small = {hook: held.astype(np.float32) for hook, held in summed.items()}
    plain = set(small) == {write} and not by_token
    return Direction("sum", " + ".join(labels), here.mean(0).astype(np.float32), {}, None if plain else small, by_token)


DIRECTIONS.register(
    DirectionKind(
        "sum",
        "along",
        SumSpec,
        _draw,
        "other directions times weights, added up",
        example='terms = [{kind = "isotropic"}, {kind = "random-mixture", weight = -0.5}]',
    )
)
