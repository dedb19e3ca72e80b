"""How unusual one direction's threshold is among null directions of its family from the same base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.drawing import Vector

if TYPE_CHECKING:
    from engine.laboratory import Laboratory

NULLS: Final = 200


@dataclass(frozen=True)
class Unusual:
    """An observed threshold and those of the null, in the path's unit; None where the level is never reached."""

    label: str
    null_kind: str
    observed: float | None
    nulls: tuple[float | None, ...]
    p: float
    """(1 + #{null <= observed}) / (1 + n)."""


@dataclass(frozen=True)
class AgainstNulls:
    """One direction from the site."""

    label: str
    family: str
    """`toward` or `along`."""
    direction: Vector
    """[d_hook], before normalising."""

    def answer(self, lab: Laboratory) -> Unusual:
        """Measure it and the nulls in the same way."""
        from engine.thresholds import NULL_KINDS, empirical_p, null_vectors, thresholds

        vectors = [self.direction, *null_vectors(lab, lab.site, self.family, NULLS)]
        found = dict(thresholds(lab, lab.site, vectors, [self.label, *["a null"] * NULLS]))
        nulls = tuple(found[i] for i in range(1, len(vectors)))
        return Unusual(self.label, NULL_KINDS[self.family], found[0], nulls, empirical_p(found[0], nulls))
