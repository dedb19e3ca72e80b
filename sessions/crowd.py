"""The curves of a run, sorted into groups that are compared: kinds of direction, kinds of base, or both.

Each group has a name (the selector that an expectation would use), a letter and a colour. Knows curves and looks;
draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from engine.aggregates import REAL, REAL_KINDS, Aggregate, bootstrap_interval, numbers, quantile
from engine.contrasts import Group, Measured
from engine.directions import DIRECTIONS
from engine.results import CurveResult, Series, Summary
from sessions.kinds import Look, look

LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PALETTE: Final = (
    (0, 178, 130), (230, 120, 30), (86, 180, 233), (204, 121, 167), (240, 190, 60), (150, 150, 150),
    (213, 94, 94), (0, 130, 200), (140, 150, 90), (190, 160, 230),
)  # fmt: skip


@dataclass(frozen=True)
class Scalar:
    """One number of a curve."""

    column: str
    label: str
    sooner_is_less: bool = True
    """Whether a smaller number means that the output moves sooner."""
    unit: str = ""
    """`path` for the path's own, `steps`, `L2`, or what stands here."""


SCALARS: Final = (
    Scalar("threshold", "threshold", unit="path"),
    Scalar("threshold_0_1", "at 0.1 nats", unit="path"),
    Scalar("threshold_1", "at 1 nat", unit="path"),
    Scalar("max_slope_step", "max-slope step", unit="steps"),
    Scalar("area", "mean KL", sooner_is_less=False, unit="nats"),
    Scalar("plateau_length", "plateau length", unit="L2"),
    Scalar("quadratic_ratio", "over quadratic"),
    Scalar("kl_near", "KL near", sooner_is_less=False, unit="nats"),
)
BY_COLUMN: Final = {scalar.column: scalar for scalar in SCALARS}


@dataclass(frozen=True, eq=False)
class CurveGroup:
    """Curves of one kind of direction from one kind of base."""

    name: str
    """As an expectation would select it."""
    label: str
    """What tells it from the others: its kind of direction, its kind of base, or both."""
    base_kind: str
    kind: str
    look: Look
    curves: tuple[CurveResult, ...]

    @property
    def family(self) -> str:
        return DIRECTIONS[self.kind].family if self.kind in DIRECTIONS else ""

    @property
    def summaries(self) -> list[Summary]:
        return [curve.summary for curve in self.curves]

    @property
    def n_bases(self) -> int:
        return len({curve.summary.base for curve in self.curves})

    def numbers(self, column: str) -> Group:
        """A column of the summaries, with what cannot be told left out."""
        return numbers(self.summaries, column)

    def median(self, column: str) -> Measured:
        """Of a column, what never happens counting as +infinity, with its 95 % interval over bases."""
        interval = bootstrap_interval(Aggregate("median", (column, self.kind)), self.summaries)
        return Measured(quantile(self.numbers(column).values, 0.5), *interval)


@dataclass(frozen=True, eq=False)
class Crowd:
    """A run's curves by group, with what is needed to read them."""

    info: Mapping[str, Any]
    curves: tuple[CurveResult, ...]

    @property
    def unit(self) -> str:
        return str(self.info.get("path", {}).get("unit", "L2"))

    @property
    def level(self) -> float:
        return float(self.info.get("level", 0.5))

    @property
    def typical(self) -> float | None:
        """Typical distance, where the axis is one of distances."""
        return self.info.get("typical_distance") if self.unit == "L2" else None

    @property
    def reads(self) -> list[str]:
        return list(self.info.get("site", {}).get("read", []))

    @property
    def x_label(self) -> str:
        return "L2 distance" if self.unit == "L2" else "angle, degrees"

    @property
    def stop(self) -> float:
        """Where the axis ends."""
        stop = self.info.get("path", {}).get("stop")
        return float(stop or max((float(c.coordinate[-1]) for c in self.curves), default=1.0))

    @cached_property
    def groups(self) -> tuple[CurveGroup, ...]:
        """In order of appearance."""
        found: dict[tuple[str, str], list[CurveResult]] = {}
        together = {curve.summary.base_kind for curve in self.curves} >= REAL_KINDS
        for curve in self.curves:
            base = curve.summary.base_kind
            # Both are real activations in their own text.
            base = REAL if together and base in REAL_KINDS else base
            found.setdefault((base, curve.summary.kind), []).append(curve)
        bases, kinds = ({pair[i] for pair in found} for i in (0, 1))
        looks = _looks(list(found), several_bases=len(bases) > 1, several_kinds=len(kinds) > 1)
        groups = []
        for (base, kind), curves in found.items():
            name = f"{kind}@{base}" if len(bases) > 1 else kind
            label = base if len(bases) > 1 and len(kinds) == 1 else name
            groups.append(CurveGroup(name, label, base, kind, looks[base, kind], tuple(curves)))
        return tuple(groups)

    def metrics(self) -> list[tuple[str, str]]:
        """(read, metric) of everything measured along the curves, KL first and the last read before the others."""
        if not self.curves:
            return [("logits", "kl")]
        values = self.curves[0].values
        found = [("logits", m) for m in values["logits"] if m != "kl_quadratic"]
        found += [(read, m) for read in reversed(self.reads) for m in values.get(read, ())]
        return found


def _looks(pairs: Sequence[tuple[str, str]], several_bases: bool, several_kinds: bool) -> dict[tuple[str, str], Look]:
    """A letter and a colour for each group, no letter twice."""
    taken: set[str] = set()
    found = {}
    for number, (base, kind) in enumerate(pairs):
        usual = look(kind if several_kinds or not several_bases else base)
        colour = PALETTE[number % len(PALETTE)] if several_bases and several_kinds else usual.rgb
        letter = usual.letter if usual.letter not in taken else next((c for c in LETTERS if c not in taken), "?")
        taken.add(letter)
        found[base, kind] = Look(letter, colour)
    return found


def series(curve: CurveResult, read: str, metric: str) -> Series:
    """What was measured along a curve; `size` at a read is its L2 over the length of the push."""
    if metric == "size":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(curve.distance > 0, curve.values[read]["l2"] / curve.distance, np.nan))
    return curve.values[read][metric]
