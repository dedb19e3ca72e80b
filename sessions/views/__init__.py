"""Pictures of many curves, one per file: bands, examples, distributions, predictions, layers.

A module of this package registers one view in `VIEWS`; the app's experiment screen and reports show whatever is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from engine.registry import Registry
from sessions.chart import DIM, Chart, Drawable
from sessions.crowd import SCALARS, Crowd, CurveGroup, Scalar


@dataclass(frozen=True)
class Choice:
    """What of a crowd is looked at."""

    scalar: Scalar = SCALARS[0]
    read: str = "logits"
    metric: str = "kl"
    group: int = 0
    """Where a view shows one group at a time."""


@dataclass(frozen=True)
class View:
    """What the registry holds."""

    name: str
    rank: int
    """Order in which views are gone through."""
    title: Callable[[Crowd, Choice], str]
    make: Callable[[Crowd, Choice], Drawable | None]
    """None where this crowd has nothing of the sort."""
    depends: frozenset[Literal["scalar", "metric", "group"]] = frozenset()
    """What of a choice it looks at."""
    applies: Callable[[Crowd], bool] = lambda crowd: bool(crowd.curves)
    """Whether a crowd has something of the sort; told without drawing it."""


VIEWS: Registry[View] = Registry("view", __name__)


def views() -> list[View]:
    """All of them, in the order in which they are gone through."""
    return sorted(VIEWS.values(), key=lambda view: view.rank)


METRIC_LABELS: Final = {
    "kl": "KL(base || perturbed), nats",
    "js": "JS divergence, nats",
    "top1_flip": "share whose top token flipped",
    "margin": "margin of the base's top token, nats",
    "l2": "L2",
    "cosine": "cosine",
    "norm": "norm over the base's",
    "flips": "share of coordinates whose sign flipped",
    "size": "L2 over the length of the push",
}


def metric_label(read: str, metric: str) -> str:
    """For an axis."""
    label = METRIC_LABELS.get(metric, metric)
    return label if read == "logits" else f"{label} at {read}"


def frame(crowd: Crowd, choice: Choice) -> Chart:
    """What charts along the path have in common: axes, the typical distance, the groups' names."""
    return Chart(
        (),
        x_stop=crowd.stop,
        verticals=((crowd.typical, DIM),) if crowd.typical else (),
        x_label=crowd.x_label,
        y_label=metric_label(choice.read, choice.metric),
        legend=legend_of(crowd.groups),
    )


def legend_of(groups: tuple[CurveGroup, ...]) -> tuple[tuple[str, str, tuple[int, int, int]], ...]:
    """Letter, name with n, and colour of each group."""
    return tuple((g.look.letter, f"{g.label} (n = {len(g.curves)})", g.look.rgb) for g in groups)
