"""Looking at the same picture of the main screen otherwise: metric, axis, zoom, small multiples. Computes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tui.axes import after, coordinates
from tui.picture import METRICS

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen


def next_metric(screen: ProbeScreen) -> None:
    """The next of KL, L2, cosine and the share of KL."""
    metric = METRICS[(METRICS.index(screen.view.metric) + 1) % len(METRICS)]
    screen.look(replace(screen.view, metric=metric))


def next_axis(screen: ProbeScreen) -> None:
    """The next unit of the x axis that the curves on the screen have."""
    picture, axis = screen.drawn, screen.view.axis
    curves = picture.curves
    for _ in range(5):
        axis = after(picture, axis)
        if not curves or coordinates(picture, curves[0], axis) is not None:
            break
    screen.look(replace(screen.view, axis=axis))


def toggle_zoom(screen: ProbeScreen) -> None:
    """Up to three times the threshold level: the threshold is one of KL, so that is what is shown."""
    zoomed = not (screen.view.zoomed and screen.view.metric == "kl")
    screen.look(replace(screen.view, zoomed=zoomed, metric="kl"))


def toggle_split(screen: ProbeScreen) -> None:
    """Small multiples, or all in one."""
    screen.look(replace(screen.view, split=not screen.view.split))


def toggle_ascii(screen: ProbeScreen) -> None:
    """Without braille, or with it."""
    screen.look(replace(screen.view, ascii=not screen.view.ascii))
    screen.app.refresh_css(animate=False)  # every line is another one


def toggle_lower(screen: ProbeScreen) -> None:
    """Kinds or next tokens, where there is room for one."""
    screen.toggle_class("-show-tokens")
