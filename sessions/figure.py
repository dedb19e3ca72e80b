"""Charts and maps by matplotlib, for papers and reports: svg or png, by the file's suffix.

Needs matplotlib, which is an extra. Draws the same values as the terminal does; computes nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.errors import UsageError
from sessions.chart import Chart, Drawable, HeatMap, Surface
from sessions.kinds import RGB
from sessions.raster import extent, raster

SUFFIXES: Final = (".svg", ".png")
WIDTH: Final = 5.2
HEIGHT: Final = 3.8
TITLE: Final = 72
"""Characters above one chart."""
PIXELS: Final = 240
"""Of a map, across."""


def has_matplotlib() -> bool:
    """Whether pictures can be drawn here."""
    try:
        _pyplot()
    except UsageError:
        return False
    return True


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt
    except ImportError:
        raise UsageError("svg and png need matplotlib: pip install 'dirscope[figures]'.") from None
    return plt


def draw_figure(charts: Sequence[Drawable], file: Path, title: str) -> None:
    """Draw charts side by side.

    Raises:
        UsageError: matplotlib is not installed, or the file's suffix is neither svg nor png.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"A picture is written as .svg or .png; got {file.name}.")
    plt = _pyplot()
    # Element ids are random unless they are salted: the same run gives the same file.
    plt.rcParams["svg.hashsalt"] = "dirscope"
    plt.rcParams["text.parse_math"] = False  # a prompt about $5 and $6 is no formula
    figure, axes = plt.subplots(
        1, len(charts), figsize=(WIDTH * len(charts), HEIGHT), layout="constrained", squeeze=False
    )
    try:
        for chart, axis in zip(charts, axes[0], strict=True):
            if isinstance(chart, HeatMap):
                _heat(figure, axis, chart)
            elif isinstance(chart, Surface):
                _surface(figure, axis, chart)
            else:
                _chart(axis, chart)
        figure.suptitle("\n".join(textwrap.wrap(title, TITLE * len(charts))), fontsize="small")
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix.lower() == ".svg" else None)
    finally:
        plt.close(figure)


def _colour(rgb: RGB) -> tuple[float, float, float]:
    # The terminal's colours stand on black: what is near white there would vanish on paper.
    red, green, blue = (c / 255 for c in rgb)
    dark = 0.45 if min(red, green, blue) > 0.8 else 1.0
    return red * dark, green * dark, blue * dark


def _chart(axis: Any, chart: Chart) -> None:
    for fill in chart.bands:
        axis.fill_between(fill.x, fill.low, fill.high, color=_colour(fill.rgb), alpha=0.18, linewidth=0)
    for line in chart.lines:
        if chart.bands and line.thin:
            continue  # the edges of a band
        style = {"linestyle": ":" if line.thin else "-", "linewidth": 1.3 if line.letter else 0.7}
        axis.plot(line.x, line.y, color=_colour(line.rgb), **style)
        if line.letter and not chart.legend and len(line.x):
            axis.annotate(line.letter, (line.x[-1], line.y[-1]), fontsize="x-small", color=_colour(line.rgb))
    for character, rgb in dict.fromkeys((mark.character, mark.rgb) for mark in chart.marks):
        points = [m for m in chart.marks if (m.character, m.rgb) == (character, rgb)]
        # One drawn letter for each point would be slow and unreadable: dots have the legend's colour.
        axis.scatter([m.x for m in points], [m.y for m in points], color=_colour(rgb), s=9, alpha=0.7, linewidths=0)
    for level in chart.levels:
        axis.axhline(level, color="black", linewidth=0.6, linestyle=":")
    if chart.floor is not None:
        axis.axhline(chart.floor, color="grey", linewidth=0.6, label="noise")
    for place, _ in chart.verticals:
        axis.axvline(place, color="black", linewidth=0.6, linestyle="--")
    for _, name, rgb in chart.legend:
        axis.plot([], [], color=_colour(rgb), label=name)
    if chart.legend:
        axis.legend(fontsize="x-small", frameon=False)
    if chart.x_ticks:
        axis.set_xticks([place for place, _ in chart.x_ticks], [name for _, name in chart.x_ticks], fontsize="x-small")
    axis.set_xlim(chart.x_start, chart.x_stop)
    axis.set_ylim(bottom=chart.y_start if chart.y_stop is not None else None, top=chart.y_stop)
    axis.set_xlabel(chart.x_label, fontsize="small")
    axis.set_ylabel(chart.y_label, fontsize="small")
    axis.tick_params(labelsize="small")


def _heat(figure: Any, axis: Any, heat: HeatMap) -> None:
    mesh = axis.pcolormesh(
        heat.x, np.arange(len(heat.rows)), heat.values, shading="nearest", cmap="viridis", vmin=heat.low, vmax=heat.high
    )
    axis.set_yticks(np.arange(len(heat.rows)), heat.rows, fontsize="x-small")
    axis.set_xlabel(heat.x_label, fontsize="small")
    axis.set_title(heat.label, fontsize="x-small")
    figure.colorbar(mesh, ax=axis)


def _surface(figure: Any, axis: Any, surface: Surface) -> None:
    """Every pixel like the nearest known place."""
    left, right, bottom, top = extent(surface)
    columns = PIXELS
    rows = max(2, round(columns * (top - bottom) / max(right - left, 1e-12))) if surface.square else PIXELS
    cells = raster(surface, columns, min(rows, 4 * PIXELS))
    values = np.where(cells.inside, surface.values[cells.nearest], np.nan)
    style: dict[str, Any] = {"extent": (left, right, bottom, top), "aspect": "equal" if surface.square else "auto"}
    style["interpolation"] = "nearest"
    never = np.where(cells.inside & np.isnan(values), 0.0, np.nan)
    axis.imshow(never, cmap="gray", vmin=-3, vmax=1, **style)
    if surface.sorts:
        picture = np.ones((*values.shape, 4)) * (1, 1, 1, 0)
        for place, (_, name, rgb) in enumerate(surface.sorts):
            picture[values == place] = (*_colour(rgb), 1)
            axis.scatter([], [], s=20, marker="s", color=_colour(rgb), label=name)
        axis.imshow(picture, **style)
        axis.legend(fontsize="x-small", loc="upper right")
    else:
        scale: dict[str, Any] = {"cmap": "viridis"}
        if surface.centre is not None:
            far = float(np.nanmax(np.abs(values - surface.centre), initial=0.0)) or 1.0
            scale = {"cmap": "coolwarm", "vmin": surface.centre - far, "vmax": surface.centre + far}
        bar = figure.colorbar(axis.imshow(values, **scale, **style), ax=axis)
        bar.set_label(surface.label.partition(":")[0], fontsize="x-small")
    for mark in surface.marks:
        character = "min" if mark.character == "▼" else mark.character
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
        axis.annotate(character, (mark.x, mark.y), ha="center", va="center", fontsize="small", bbox=box)
    if surface.x_label:
        axis.set_xlabel(surface.x_label, fontsize="small")
        axis.set_ylabel(surface.y_label, fontsize="small")
        axis.tick_params(labelsize="small")
    else:
        axis.set_axis_off()
    axis.set_title("\n".join(textwrap.wrap(surface.label, TITLE)), fontsize="x-small")
