"""What a user takes away: copies to the terminal's clipboard (OSC 52), each in a file as well, and screenshots.

A terminal never says whether it took a copy, so the file is what can be relied on. Knows run folders and widgets.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.app import App
from textual.screen import Screen

from engine.durable import make_private, replace_file
from engine.errors import DirscopeError
from sessions.paths import places
from sessions.reader import RECIPE_FILE, read_run
from tui.screens.dialogs import Choose
from tui.screens.host import HostScreen
from tui.screens.running import as_text, unused
from tui.status import readout
from tui.widgets.curve_plot import CurvePlot

if TYPE_CHECKING:
    from engine.results import CurveResult
    from sessions.export import Part
    from tui.screens.guest import GuestScreen
    from tui.screens.probe import ProbeScreen

COPY_FILE: Final = "last-copy.txt"
TERMINALS_TAKE: Final = 74_994
"""Bytes that common terminals and tmux take in one OSC 52 sequence of 100,000 characters of base64."""

Copies = dict[str, tuple[str, Callable[[], str]]]
"""What can be copied: by name, in words, and its text."""


def to_clipboard(app: App[Any], text: str, what: str) -> None:
    """Send text to the terminal's clipboard as configured, keep it in a file, and say where it went."""
    way = getattr(app, "clipboard_way", "osc52")
    said = []
    if way == "osc52":
        app.copy_to_clipboard(text)
        said.append("sent to the terminal's clipboard (OSC 52)")
        if len(text.encode()) > TERMINALS_TAKE:
            said.append("which may cut so much text off")
    if way != "off":
        file = places().state / COPY_FILE
        try:
            make_private(file.parent)
            replace_file(file, text)
            said.append(f"{'and ' if said else ''}written to {file}")
        except (DirscopeError, OSError) as error:
            said.append(f"not to a file: {error}")
    message = ", ".join(said) if said else 'not copied: clipboard = "off" in the configuration'
    app.notify(message, title=what, markup=False)


def _choose(screen: Screen[Any], copies: Copies) -> None:
    def use(name: str | None) -> None:
        if name is None:
            return
        try:
            text = copies[name][1]()
        except (DirscopeError, OSError) as error:
            # The main screen has a place where errors stay.
            if isinstance(screen, HostScreen):
                screen.complain(str(error))
            else:
                screen.notify(str(error), severity="error", timeout=10, markup=False)
        else:
            to_clipboard(screen.app, text, name)

    screen.app.push_screen(Choose("copy", [(n, f"{n:<9}{said}") for n, (said, _) in copies.items()]), use)


def _plot_of(screen: Screen[Any]) -> Copies:
    plots = [plot for plot in screen.query(CurvePlot) if plot.display and plot.has_chart]
    return {"plot": ("the plot as text", lambda: plots[0].plain)} if plots else {}


def _exported(folder: Path, form: str, part: Part) -> str:
    from sessions.export import export

    with tempfile.TemporaryDirectory(prefix="dirscope-") as room:
        file = Path(room) / f"copy.{form}"
        export(folder, form, file, part)
        return file.read_text(encoding="utf-8")


def copy_from_main(screen: ProbeScreen) -> None:
    """Ask what of the run on the main screen is copied."""
    from sessions.export import Part, markdown

    folder = screen.whole_run("copied")
    if folder is None:
        return
    curves, view = screen.drawn.curves, screen.view
    copies: Copies = {"table": ("the summary, a row per kind, as Markdown", lambda: markdown(read_run(folder)))}
    if 0 <= view.curve < len(curves):
        curve = curves[view.curve]
        copies["place"] = ("what stands under the cursor", lambda: readout(screen.drawn, view))
        copies["curve"] = ("the curve under the cursor, tab-separated", lambda: _tsv(curve))
        part = Part(curve.summary.curve)
        copies["python"] = ("that curve as transformer-lens code", lambda: _exported(folder, "py", part))
    copies["recipe"] = ("the recipe as TOML", lambda: (folder / RECIPE_FILE).read_text(encoding="utf-8"))
    _choose(screen, {**copies, **_plot_of(screen)})


def _tsv(curve: CurveResult) -> str:
    """Distance, angle and every metric of one curve, a row per step."""
    columns = {"distance": curve.distance, "angle": curve.angle}
    for read, metrics in curve.values.items():
        columns |= {f"{metric} {read}": values for metric, values in metrics.items()}
    out = io.StringIO()
    out.write("\t".join(["step", *columns]) + "\n")
    for step, row in enumerate(zip(*columns.values(), strict=True)):
        out.write("\t".join([str(step), *(f"{v:.10g}" for v in row)]) + "\n")
    return out.getvalue()


def copy_from_run(screen: GuestScreen) -> None:
    """Ask what of an experiment is copied."""
    from sessions.export import Part
    from sessions.report import page

    folder, table = screen.folder, screen.table
    copies = _plot_of(screen)
    if folder is not None:
        rows = f"the rows of {table}" if table else "every number"
        copies = {
            "report": ("numbers, pictures and caveats, as Markdown", lambda: page(read_run(folder), None, as_text)),
            "csv": (rows, lambda: _exported(folder, "csv", Part(table=table))),
            "recipe": ("the recipe as TOML", lambda: (folder / RECIPE_FILE).read_text(encoding="utf-8")),
            **copies,
        }
    if copies:
        _choose(screen, copies)
    else:
        screen.notify("There is nothing to copy yet: wait for the first results.", severity="warning", markup=False)


def screenshot(app: App[Any]) -> None:
    """This screen as a picture into the current directory."""
    file = unused(Path.cwd() / "dirscope-screen.svg")
    try:
        app.save_screenshot(file.name, path=str(file.parent))
    except OSError as error:
        app.notify(f"Cannot write {file}: {error.strerror or error}.", severity="error", markup=False)
    else:
        app.notify(str(file), title="screenshot", markup=False)
