"""What is on the screen of a run: its events so far, and where the cursor is.

Frozen; each event gives the next picture. Widgets draw a picture and nothing else, so that a live run and a replay
look the same. Knows results; no widgets, no plotting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.results import (
    BaseResult,
    CurveResult,
    Event,
    Note,
    Progress,
    RunEnded,
    RunStarted,
    Series,
    Sketch,
    Sketches,
    Summary,
)

METRICS = ("kl", "l2", "cosine", "share")
"""What the plot can show; `share` is KL over KL at the end of the path, in which curves of any height compare."""


@dataclass(frozen=True)
class TokenRow:
    """A next token and its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class Picture:
    """A run as far as it has come."""

    info: Mapping[str, Any] = field(default_factory=dict)
    curves: tuple[CurveResult, ...] = ()
    sketches: Mapping[int, Sketch] = field(default_factory=dict)
    """Curves that are still being measured, by number."""
    note: str = ""
    """The last warning of the run itself."""
    done: int = 0
    total: int = 0
    rate: float | None = None
    status: str = "starting"
    """What the worker is doing, or how the run ended."""
    ended: bool = False

    def after(self, event: Event) -> Picture:
        """The picture with one more event."""
        match event:
            case RunStarted(info):
                return Picture(info=info, status="measuring", total=int(info["n_curves"]), rate=self.rate)
            case Sketches(sketches):
                return replace(self, sketches={**self.sketches, **{s.curve: s for s in sketches}})
            case CurveResult():
                rest = {number: s for number, s in self.sketches.items() if number != event.summary.curve}
                return replace(self, curves=(*self.curves, event), sketches=rest, done=len(self.curves) + 1)
            case Progress(text, steps_per_second=rate):
                return replace(self, status=text, rate=rate or self.rate)
            case RunEnded(status, why):
                return replace(self, status=why or status, ended=True, sketches={})
            case Note(text, "warning"):
                return replace(self, note=text)
            case BaseResult() | Note():
                return self
        return self

    @property
    def site(self) -> Mapping[str, Any]:
        """The resolved site; empty before the run has started."""
        site: Mapping[str, Any] = self.info.get("site", {})
        return site

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One row per curve."""
        return tuple(c.summary for c in self.curves)

    @property
    def unit(self) -> str:
        """The path's unit."""
        return str(self.info.get("path", {}).get("unit", "L2"))

    @property
    def typical_distance(self) -> float | None:
        """In L2; None before the run has started."""
        return self.info.get("typical_distance")

    @property
    def noise_floor(self) -> float | None:
        """KL below which nothing is a result, in nats; None where it was not measured, as for float32."""
        floor: float | None = (self.info.get("noise_floor") or {}).get("kl")
        return floor

    def series(self, curve: CurveResult | Sketch, metric: str) -> Series:
        """A metric along a curve: KL of the logits, KL as a share of its end, L2 and cosine at the last read hook."""
        if metric == "kl":
            return curve.kl
        if metric == "share":
            end = float(curve.kl[-1])
            return curve.kl / end if end > 0 else np.zeros_like(curve.kl)
        last = self.site["read"][-1]
        return curve.values[last][metric]

    def tokens(self, curve: CurveResult, step: int, n: int) -> tuple[list[TokenRow], list[TokenRow]]:
        """The n most probable next tokens, unperturbed and at a step; empty where the run keeps none."""
        table = curve.tokens
        if table is None:
            return [], []

        def rows(at: int) -> list[TokenRow]:
            pairs = zip(table.ids[at][:n], table.probabilities[at][:n], strict=True)
            return [TokenRow(table.strings[int(i)], float(p)) for i, p in pairs]

        return rows(0), rows(min(step, len(table.ids) - 1))

    def first_jump(self, curve: CurveResult) -> int:
        """A step worth looking at: the one at the threshold, else the last."""
        reached = curve.summary.threshold
        if reached is None:
            return len(curve.coordinate) - 1
        return int(np.searchsorted(curve.coordinate, reached))
