"""Putting a run from disk on the main screen, whole and at once.

Knows run folders; no worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.widgets import Input

from engine.errors import DirscopeError, UsageError
from engine.results import CurveResult, Event
from sessions.catalogue import RUNS
from sessions.reader import Run, read_run
from tui.edits import as_curves
from tui.picture import Picture
from tui.screens.opening import screen_of
from tui.widgets.direction_list import DirectionList

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

NO_CURVES: Final = "This run has no curves: change anything, or press g, to compute some."


def show_stored(screen: ProbeScreen, folder: Path) -> None:
    """Show a run from disk, whole and at once: its tables, over the curves of the last run before it that has some."""
    try:
        run = read_run(folder)
        crowd = bool(run.curves) and run.recipe.experiment != "probe"
        below = run if not crowd and (run.curves or not run.tables) else _curves_before(folder)
    except DirscopeError as error:
        screen.complain(str(error))
        return
    _show_curves(screen, below or replace(run, events=tuple(e for e in run.events if not _is_curve(e[1]))))
    if crowd or (run.tables and not run.curves):
        host = screen if screen.bridge is not None else None
        events = tuple(event for _, event in run.events)
        screen.app.push_screen(screen_of(host, run.recipe, events, folder))


def _is_curve(event: Event) -> bool:
    return isinstance(event, CurveResult)


def _curves_before(folder: Path) -> Run | None:
    """The last run of the same session before one that has curves."""
    earlier = sorted((p for p in folder.parent.glob("[0-9]*") if p.name < folder.name), reverse=True)
    for candidate in earlier if folder.parent.name == RUNS else []:
        try:
            run = read_run(candidate)
        except DirscopeError:
            continue
        if run.curves and run.recipe.experiment == "probe":
            return run
    return None


def _show_curves(screen: ProbeScreen, run: Run) -> None:
    screen.recipe, screen.folder = as_curves(run.recipe), run.folder if run.curves else None
    screen.picture = screen.drawn = Picture()
    screen.beside = None
    screen.cursor_moved = False
    screen.query_one("#prompt", Input).value = run.recipe.site.prompt
    for _, event in run.events:
        screen.take(event)
    if not screen.picture.ended:
        screen.picture = replace(screen.picture, ended=True, status="was cut off")
    if not run.curves:
        screen.complain(NO_CURVES)
    screen.query_one(DirectionList).show(screen.recipe, screen.features)


def warn_of_sae(screen: ProbeScreen, info: Mapping[str, Any]) -> None:
    """Say aloud, once, that an SAE is suspect: at the end of a line it might not be seen."""
    for text in info.get("warnings", []):
        if "SAE" in text and text not in screen.warned:
            screen.warned.add(text)
            screen.notify(text, title="check this SAE", severity="warning", timeout=12, markup=False)


def as_picture(run: Run) -> Picture:
    """A run from disk as it would stand on the screen at its end."""
    picture = Picture()
    for _, event in run.events:
        picture = picture.after(event)
    return replace(picture, ended=True)


def picture_of_run(folders: Sequence[Path]) -> tuple[Picture, Path]:
    """The last of some runs that has curves, as a picture, and its folder.

    Raises:
        RunFolderError: A folder is damaged.
        UsageError: None has curves.
    """
    for folder in reversed(folders):
        run = read_run(folder)
        if run.curves:
            return as_picture(run), folder
    raise UsageError(f"{folders[-1].name} has no curves to lay over: its runs are tables.")
