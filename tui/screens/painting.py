"""Putting a picture on the main screen: which widget shows which part of it.

Knows widgets and pictures; changes neither recipe nor run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.charts import chart
from tui.screens import first_steps
from tui.screens.keeping import behind, legend
from tui.status import plot_title, readout, recipe_line, site_text, status_text, token_title
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.lines import Lines
from tui.widgets.tables import KindTable, NextTokens
from tui.widgets.token_strip import TokenStrip

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

ROOMY: Final = 22
"""Rows from which one is to spare for hints."""
HINT: Final = "p edits the prompt · ←→ picks the base token · d ticks directions · ? all keys"


def paint(screen: ProbeScreen) -> None:
    """Bring every widget up to the screen's picture."""
    picture, drawn = screen.picture, screen.drawn
    screen.query_one("#status", Lines).put([status_text(screen, screen.size.width)])
    line = screen.query_one("#site", Static)
    line.set_class(bool(screen.problem), "error")
    wide = screen.size.width
    said = screen.problem or (site_text(picture, screen.recipe, wide) if picture.site else HINT)
    if said != screen.said:  # laying out anew costs more than all else that is drawn
        screen.said = said
        line.update(said)
    first = screen.query_one("#hint", Lines)
    first.display = bool(first_steps.line(screen)) and screen.size.height >= ROOMY
    first.put([Text(first_steps.line(screen))])
    if picture.site and screen.site_is_current:  # or a key pressed meanwhile would be taken back
        screen.query_one(TokenStrip).show(picture.site["tokens"], picture.site["position"])
    # A run that failed leaves the curves of the one before: they stay, and say so.
    # So does a replay of a session when it comes to tables.
    tables = picture.info.get("n_curves") == 0
    old = bool(drawn.curves or drawn.sketches) and drawn.info is not picture.info and (picture.ended or tables)
    screen.set_class(old, "-old")
    _entitle(screen.query_one("#directions"), "border_subtitle", Content(recipe_line(screen.recipe)))
    plot = screen.query_one(CurvePlot)
    others = behind(screen)
    room = screen.size.width // 3
    title = plot_title(screen.recipe.path.mode, drawn, screen.view, screen.size.width, legend(others, room))
    _entitle(plot, "border_title", f"previous run ── {title}" if old else title)
    # Labels hold prompts: brackets in them are no markup.
    _entitle(plot, "border_subtitle", Content(readout(drawn, screen.view)))
    if drawn.curves or drawn.sketches:
        view = screen.view
        plot.show((drawn, view, *others), lambda: chart(drawn, view, others))
    if drawn.curves:
        screen.query_one(KindTable).show(drawn, screen.view.axis)
        screen.query_one(NextTokens).show(drawn, screen.view)
        _entitle(screen.query_one("#next"), "border_title", Content(token_title(drawn, screen.view)))
    elif not drawn.sketches:
        plot.say(f"\n\n{screen.problem or picture.status}")


def _entitle(widget: Widget, which: str, title: str | Content) -> None:
    """Set a title of a widget's border; setting one draws the whole widget again, so only where it changes."""
    content = Content.from_markup(title) if isinstance(title, str) else title
    if (getattr(widget, which) or "") != content.markup:
        setattr(widget, which, content)
