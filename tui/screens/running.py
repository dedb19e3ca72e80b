"""What screens of a run share: its title, editing its recipe, stopping and going on, exporting.

Knows recipes, hosts and dialogs; draws nothing itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from textual.screen import Screen

from engine.errors import DirscopeError
from engine.experiments import EXPERIMENTS
from engine.recipe import Recipe
from sessions.chart import Drawable
from sessions.reader import recorded_status
from tui import edits
from tui.plotting import draw
from tui.screens.dialogs import Choose, EditText
from tui.screens.host import Guest, HostScreen

SECTIONS: Final = ("seed", "bases", "directions", "path", "metrics", "options", "population")
"""What defines an experiment beside the model and the site."""


class Shown(Guest, Protocol):
    """A screen that shows a run."""

    recipe: Recipe
    folder: Path | None


def title_of(recipe: Recipe) -> str:
    """What is computed where, on one line."""
    n = recipe.n_bases
    kinds = sum(spec.count for spec in recipe.directions)
    weights = "" if recipe.model.weights == "trained" else " untrained"
    path = f" · {recipe.path.mode} {recipe.path.steps} steps" if EXPERIMENTS[recipe.experiment].has_paths else ""
    name = recipe.model.name.rstrip("/").rsplit("/", 1)[-1]
    return f"{recipe.experiment} · {name}{weights} · {recipe.site.write} · {n} bases x {kinds} directions{path}"


def edit(screen: Screen[None], recipe: Recipe, then: Callable[[Recipe], object]) -> None:
    """Ask for other bases, directions, path and options, as TOML."""

    def use(text: str | None) -> None:
        if text is not None and (new := edits.with_sections(recipe, SECTIONS, text)) != recipe:
            then(new)

    start = edits.sections_toml(recipe, SECTIONS)
    note = "what defines this experiment; a new run is computed, the old one is kept"
    title = f"{recipe.experiment} as TOML"
    screen.app.push_screen(
        EditText(title, start, lambda text: edits.with_sections(recipe, SECTIONS, text), note, tall=True), use
    )


def stop_or_go_on(screen: Shown, host: HostScreen) -> str:
    """Stop what runs, or go on with what was stopped; gives what to say, or nothing."""
    if host.bridge is None:
        return ""
    if not screen.ended:
        host.stop_guest()
        return "stopping"
    if screen.folder is None or recorded_status(screen.folder) == "done":
        return ""
    screen.ended = False
    host.run_for(screen, screen.recipe, stopped=screen.folder)
    return "going on"


def export_from(
    screen: Screen[Any],
    folder: Path | None,
    view: str | None,
    table: str | None = None,
    chart: Drawable | None = None,
) -> None:
    """Ask for a format and write a run into the current directory.

    Args:
        screen: which asks.
        folder: of the run.
        view: the picture by name.
        table: which rows, of a run with several tables.
        chart: the picture as it stands on the screen, in place of one by name.
    """
    from sessions.export import FORMATS, Part, export

    if folder is None:
        screen.notify("This run is not on disk to its end yet: stop it, or wait.", severity="warning", markup=False)
        return

    def use(form: str | None) -> None:
        if form is None:
            return
        file = unused(Path.cwd() / f"dirscope-{session_of(folder)}{folder.name}.{form}")
        try:
            picture = form in ("svg", "png")
            part = Part(table=None if picture else table, view=view if picture else None, chart=chart, draw=as_text)
            export(folder, form, file, part)
        except DirscopeError as error:
            screen.notify(str(error), severity="error", timeout=10, markup=False)
        else:
            screen.notify(str(file), title="exported", markup=False)

    said = {
        "md": "md   a report to send: numbers, pictures, caveats",
        "svg": "svg  this picture",
        "png": "png  this picture",
    }
    others = [f for f in FORMATS if f not in ("md", "svg", "png") and (f != "py" or table is None)]
    order = ["md", "svg", "png", *others]
    if table is not None:
        said |= {form: f"{form:<8}the rows of {table}" for form in ("csv", "parquet", "jsonl")}
    screen.app.push_screen(Choose("export this run as", [(f, said.get(f, f)) for f in order]), use)


def as_text(chart: Any, width: int, height: int) -> str:
    """A chart for a page of text."""
    return draw(chart, width, height).plain


def session_of(folder: Path) -> str:
    """The session's name in front of a run's number, where it is of one."""
    return f"{folder.parent.parent.name}-" if folder.parent.name == "runs" else ""


def unused(file: Path) -> Path:
    """The file, or its name with the first number that nothing has yet."""
    numbered = (file.with_stem(f"{file.stem}-{n}") for n in itertools.count(2))
    return next(f for f in itertools.chain([file], numbered) if not f.exists())
