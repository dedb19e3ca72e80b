"""Changes of the main screen's recipe that need no question, and taking them back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widgets import Input

from engine.recipe import Recipe
from sessions.reader import is_run
from tui import edits
from tui.charts import View
from tui.picture import Picture
from tui.screens.showing import show_stored
from tui.widgets.direction_list import DirectionList

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen


@dataclass(frozen=True)
class Step:
    """What a change replaces: what is computed, and how it is looked at."""

    recipe: Recipe
    view: View
    beside: Picture | None = None
    """The untrained twin behind it."""


def toggle_path(screen: ProbeScreen) -> None:
    """Straight lines or the sphere."""
    mode = "straight" if screen.recipe.path.mode == "sphere" else "sphere"
    screen.change(lambda r: edits.edited(r, "path", mode=mode, stop="auto"))


def toggle_bases(screen: ProbeScreen) -> None:
    """One prompt or several."""
    screen.change(edits.toggled_bases)


def next_seed(screen: ProbeScreen) -> None:
    """Other random directions."""
    screen.change(lambda r: r.model_copy(update={"seed": r.seed + 1}))


def shift_layer(screen: ProbeScreen, by: int) -> None:
    """Perturb another layer."""
    if screen.n_layers:
        screen.change(lambda r: edits.shifted_write(r, by, screen.n_layers))


def undo(screen: ProbeScreen) -> None:
    """Take the last change back."""
    step = screen.history.undo(screen.step)
    if step is None:
        screen.complain("Nothing to undo: nothing was changed here yet.")
    else:
        _go_to(screen, step)


def redo(screen: ProbeScreen) -> None:
    """Make the change again that was last taken back."""
    step = screen.history.redo(screen.step)
    if step is None:
        screen.complain("Nothing to redo: nothing was taken back.")
    else:
        _go_to(screen, step)


def _go_to(screen: ProbeScreen, step: Step) -> None:
    here = screen.view
    screen.view = replace(step.view, curve=here.curve, step=here.step)
    if step.recipe == screen.recipe:
        screen.look(screen.view)
        return
    known = _whole_run_of(screen, step.recipe)
    screen.recipe = step.recipe
    screen.query_one("#prompt", Input).value = step.recipe.site.prompt
    screen.query_one(DirectionList).show(step.recipe, screen.features)
    if known is None:
        screen.start_run()
        screen.beside = step.beside
        return
    # It is on disk, to the last digit: nothing is computed twice.
    screen.drop_run()
    show_stored(screen, known)
    screen.recipe, screen.beside = step.recipe, step.beside


def _whole_run_of(screen: ProbeScreen, recipe: Recipe) -> Path | None:
    folder = screen.whole_runs.get(recipe.toml())
    return folder if folder is not None and is_run(folder) else None
