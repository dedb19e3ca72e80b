"""What a user keeps of the main screen: runs laid over later ones, and bookmarks with notes.

Knows pictures, run folders and dialogs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import DirscopeError
from engine.printable import printable
from sessions import bookmarks
from sessions.bookmarks import Bookmark
from sessions.catalogue import run_folders, whole_of
from tui.charts import Behind
from tui.picture import Picture
from tui.screens.dialogs import AskLine, Choose
from tui.screens.showing import picture_of_run, show_stored
from tui.status import readout

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

LETTERS: Final = "123456789"
TWIN: Final = {"trained": "t", "reinitialised": "u"}
"""Of runs that are laid over, and of twins by their weights: no kind of direction has them."""


def toggle_pin(screen: ProbeScreen) -> None:
    """Keep the run on the screen behind those to come, or let it go."""
    drawn = screen.drawn
    if not drawn.curves or not drawn.ended:
        screen.complain("A run can be pinned once it has ended with curves: a moment.")
        return
    pinned = [pin for pin in screen.pins if not is_shown(screen, pin)]
    if len(pinned) == len(screen.pins):
        lay_over(screen, drawn, screen.folder if drawn is screen.picture else None)
    else:
        screen.pins = tuple(pinned)
        screen.mark_stale()


def behind(screen: ProbeScreen) -> tuple[Behind, ...]:
    """Runs whose medians are seen behind the curves: what is pinned, and the untrained twin."""
    found = tuple(pin for pin in screen.pins if not is_shown(screen, pin))
    twin = screen.beside
    if twin is None or twin is screen.drawn:
        return found
    weights = str(twin.info["model"]["weights"])
    return (*found, Behind(twin, TWIN[weights], weights))


def is_shown(screen: ProbeScreen, pin: Behind) -> bool:
    """Whether a pinned run is the one on the screen, be it drawn anew from disk."""
    return pin.picture is screen.drawn or (
        pin.folder is not None and pin.folder == screen.folder and screen.drawn is screen.picture
    )


def lay_over(screen: ProbeScreen, picture: Picture, folder: Path | None = None) -> None:
    """One more run behind the curves."""
    name = name_of(picture)
    free = [letter for letter in LETTERS if letter not in {pin.letter for pin in screen.pins}]
    if not free:
        screen.complain(f"{len(LETTERS)} runs are pinned, as many as have letters: U lets them go.")
        return
    screen.pins = (*screen.pins, Behind(picture, free[0], name, folder))
    screen.problem = ""
    screen.notify(f"{free[0]}: {printable(name)}", title="pinned behind the runs to come", markup=False)
    screen.mark_stale()


def unpin_all(screen: ProbeScreen) -> None:
    """Nothing behind the curves."""
    screen.pins = ()
    screen.mark_stale()


def lay_over_run(screen: ProbeScreen, folder: Path) -> None:
    """The last run with curves of a session or run from disk, behind the curves."""
    try:
        picture, run = picture_of_run(run_folders(folder))
    except DirscopeError as error:
        screen.complain(str(error))
    else:
        lay_over(screen, picture, run)


def name_of(picture: Picture) -> str:
    """A few words for a run, from its own record: token and its place, hook, path, model."""
    site, model = picture.site, picture.info["model"]
    token = str(site["tokens"][site["position"]]).strip() or "␣"
    parts = [f"{token}/{site['position']}", site["write"].removeprefix("blocks.").replace("hook_", "")]
    parts += ["sphere"] if picture.unit == "degrees" else []
    parts.append(str(model["name"]).rstrip("/").rsplit("/", 1)[-1])
    return " ".join([*parts, *(["untrained"] if model["weights"] != "trained" else [])])


def bookmark(screen: ProbeScreen) -> None:
    """Mark the place under the cursor, with a note."""
    folder = screen.whole_run("bookmarked")
    curves = screen.drawn.curves
    if folder is None:
        return
    chosen = 0 <= screen.view.curve < len(curves)
    place = readout(screen.drawn, screen.view) if chosen else "the run"
    number = curves[screen.view.curve].summary.curve if chosen else None
    step = screen.view.step

    def use(note: str | None) -> None:
        if note is None:
            return
        try:
            bookmarks.add(folder, Bookmark.now(note, place, number, step))
        except DirscopeError as error:
            screen.complain(str(error))
        else:
            screen.notify(place, title="bookmarked", markup=False)
            screen.mark_stale()

    screen.app.push_screen(AskLine("bookmark: what is to be seen here?", note=place), use)


def pick_bookmark(screen: ProbeScreen) -> None:
    """Ask which bookmark of this session to go to."""
    folders = _runs_here(screen)
    found = [(folder, mark) for folder in folders for mark in bookmarks.bookmarks(folder)]
    if not found:
        screen.complain("No bookmarks yet: B marks the place under the cursor, with a note.")
        return

    def use(key: str | None) -> None:
        if key is not None:
            _go_to(screen, *found[int(key)])

    labels = [(f"{i}", f"{f.name}  {printable(m.place)}  {printable(m.note)}") for i, (f, m) in enumerate(found)]
    screen.app.push_screen(Choose("bookmarks of this session", labels, wide=True), use)


def _runs_here(screen: ProbeScreen) -> list[Path]:
    """Runs of the session on the screen."""
    if screen.folder is None:
        return []
    try:
        return run_folders(whole_of(screen.folder))
    except DirscopeError:
        return []


def _go_to(screen: ProbeScreen, folder: Path, mark: Bookmark) -> None:
    screen.history.did(screen.step)
    if folder != screen.folder:
        if screen.player is None:
            screen.drop_run()
        show_stored(screen, folder)
    numbers = [c.summary.curve for c in screen.drawn.curves]
    if mark.curve in numbers:
        screen.cursor_moved = True
        screen.look(replace(screen.view, curve=numbers.index(mark.curve), step=mark.step))
    if mark.note:
        screen.notify(printable(mark.note), title="note", markup=False)


def legend(behind: tuple[Behind, ...], room: int) -> str:
    """Which letter is which run, in as many words as there is room for."""
    whole = "  ".join(f"{b.letter}: {b.name}" for b in behind)
    return whole if len(whole) <= room else "  ".join(f"{b.letter}: {b.name.split()[0]}" for b in behind)
