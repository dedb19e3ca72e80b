"""The kinds of direction to tick, with counts, and the SAE features active at the base."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.directions import DIRECTIONS
from engine.printable import printable
from engine.questions.features import FeatureList
from engine.recipe import Recipe
from sessions.kinds import ORDER, USUAL, look
from tui.edits import count_of, direction_data, ticked_features
from tui.messages import CountChanged, FeatureAsked, FeatureToggled, KindToggled, MoreKindsWanted, OptionsWanted


@dataclass(frozen=True)
class Row:
    """One line of the list: a kind, or a feature below `sae-feature`."""

    kind: str
    feature: int | None
    text: Text
    edit: bool = False
    """Whether ticking it asks for its options again."""
    more: bool = False
    """Whether ticking it asks which other kind is wanted."""

    @property
    def identity(self) -> tuple[str, int | None, bool, bool]:
        """What the row stands for, whatever its text."""
        return self.kind, self.feature, self.edit, self.more


def _options(spec: Mapping[str, Any]) -> str:
    """What a kind that needs options has, in a few words."""
    if "plus" in spec and isinstance(spec["plus"], str):
        return f"{spec['plus']} − {spec.get('minus', 'mean')}"
    return ", ".join(f"{k} {v}" for k, v in spec.items() if k not in ("kind", "count", "data", "project_out"))


def kinds_in_order() -> list[str]:
    """All direction kinds, known ones first."""
    return sorted(DIRECTIONS, key=lambda k: (ORDER.index(k) if k in ORDER else len(ORDER), k))


class DirectionList(ScrollView, can_focus=True):
    """A list with a cursor; space ticks, plus and minus change the count."""

    HELP = """\
## Directions

Which directions are compared, and how many of each. Default contrasts stay within one family: *toward* (a target
minus the base) or *along* (a vector in its own right).

- **space / enter** tick or clear; a kind that needs options, such as `steering` with its two prompts, asks for them
- **o** edits the options of a kind as TOML; the last row has the kinds that are not listed
- **+ / -** more or fewer of the kind
- **up / down** (or k / j) move; SAE features active at this token are listed below `sae-feature`, each with the output
  token it raises most
- **i** the card of a feature: firing rate, output tokens, where it fires
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="directions.up"),
        Binding("down,j", "move(1)", "down", show=False, id="directions.down"),
        Binding("space,enter", "tick", "tick", id="directions.toggle", tooltip="Tick or clear this direction"),
        Binding("plus,equals_sign", "count(1)", "more", id="directions.more", tooltip="One more of this kind"),
        Binding("i", "inspect", "card", show=False, id="directions.card", tooltip="What this feature stands for"),
        Binding("o", "options", "options", id="directions.options", tooltip="Edit the options of this kind"),
        Binding("minus", "count(-1)", "fewer", show=False, id="directions.fewer", tooltip="One fewer of this kind"),
    ]
    DEFAULT_CSS = """
    DirectionList { overflow-x: hidden; scrollbar-size-vertical: 1; }
    """
    cursor: reactive[int] = reactive(0)

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._recipe: Recipe | None = None
        self._features = FeatureList("", ())
        self._rows: list[Row] = []

    def show(self, recipe: Recipe, features: FeatureList) -> None:
        """Show what the recipe asks for and what the SAE says."""
        self._recipe, self._features = recipe, features
        at = self._rows[self.cursor] if self.cursor < len(self._rows) else None
        self._rows = self._build()
        # Rows come and go with the features; the cursor stays on what it was on.
        same = (i for i, r in enumerate(self._rows) if at is not None and r.identity == at.identity)
        self.cursor = next(same, min(self.cursor, len(self._rows) - 1))
        self.virtual_size = Size(self.size.width, len(self._rows))
        self.refresh()

    @property
    def rows(self) -> list[Row]:
        """The lines as they stand."""
        return self._rows

    def _build(self) -> list[Row]:
        recipe = self._recipe
        if recipe is None:
            return []
        named = ticked_features(recipe)
        rows = []
        hidden = 0
        for kind in kinds_in_order():
            count = count_of(recipe, kind)
            if not count and kind not in USUAL:
                hidden += 1
                continue
            style = look(kind)
            text = Text("▣ " if count else "▢ ", style=style.style, no_wrap=True)
            text.append(f"{style.letter} ", style=f"bold {style.style}")
            # The name gives way, never the number.
            width = self.scrollable_content_region.width
            room = min(15, max(4, width - 8)) if width else 15
            text.append(f"{kind:<{room}.{room}}", style="" if count else "dim")
            text.append(f"{count or '':>4}")
            rows.append(Row(kind, None, text))
            if kind == "sae-feature":
                rows.extend(self._feature_rows(named))
            if count and DIRECTIONS[kind].example:
                rows.extend(
                    Row(kind, None, Text(f"  ✎ {_options(spec)}", no_wrap=True), edit=True)
                    for spec in direction_data(recipe)
                    if spec["kind"] == kind
                )
        rows.append(Row("", None, Text(f"… {hidden} more kinds", style="dim", no_wrap=True), more=True))
        return rows

    def _feature_rows(self, named: set[int]) -> list[Row]:
        if self._features.problem:
            width = max(10, self.scrollable_content_region.width - 3)
            lines = textwrap.wrap(self._features.problem, width)[:4]
            return [Row("", None, Text(f"   {line}", style="dim italic")) for line in lines]
        shown = {f.index for f in self._features.rows[:12]}
        rows = []
        for f in self._features.rows:
            if f.index in shown or f.index in named:
                on = f.index in named
                text = Text("  ▣" if on else "  ▢", style=look("sae-feature").style, no_wrap=True)
                raised = f" {printable(f.raised[0]).strip()}" if f.raised else ""
                numbers = f" #{f.index:<5}{f.activation:>6.2f} {f.share_of_l1:>4.0%}"
                text.append(f"{numbers}{raised}", style="" if on else "dim")
                rows.append(Row("sae-feature", f.index, text))
        off = named - {f.index for f in self._features.rows}
        rows.extend(
            Row("sae-feature", i, Text(f"  ▣ #{i:<5}   off", style=look("sae-feature").style)) for i in sorted(off)
        )
        return rows

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        width = self.size.width
        if not 0 <= index < len(self._rows):
            return Strip.blank(width, self.rich_style)
        text = self._rows[index].text.copy()
        text.truncate(width, pad=True)
        if index == self.cursor and self.has_focus:
            text.stylize("reverse")
        return Strip(text.render(self.app.console), width).apply_style(self.rich_style)

    def watch_cursor(self, cursor: int) -> None:
        self.scroll_to(y=max(0, min(self.scroll_offset.y, cursor), cursor - self.size.height + 1), animate=False)
        self.refresh()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self) -> None:
        # Once the new size, scroll bar included, is in force.
        self.call_after_refresh(self._rebuild)

    def _rebuild(self) -> None:
        self._rows = self._build()
        self.virtual_size = Size(self.size.width, len(self._rows))
        self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a replay there is nothing to change: its keys are the player's."""
        return action == "move" or getattr(self.screen, "player", None) is None

    def action_move(self, by: int) -> None:
        if self._rows:
            self.cursor = max(0, min(len(self._rows) - 1, self.cursor + by))

    def action_tick(self) -> None:
        if self._rows:
            row = self._rows[self.cursor]
            if row.more:
                self.post_message(MoreKindsWanted())
            elif row.edit:
                self.post_message(OptionsWanted(row.kind))
            elif row.feature is not None:
                self.post_message(FeatureToggled(row.feature))
            elif row.kind:
                self.post_message(KindToggled(row.kind))

    def action_options(self) -> None:
        row = self._rows[self.cursor] if self._rows else None
        self.post_message(MoreKindsWanted() if row is None or not row.kind else OptionsWanted(row.kind))

    def action_inspect(self) -> None:
        self.post_message(FeatureAsked(self._rows[self.cursor].feature if self._rows else None))

    def action_count(self, change: int) -> None:
        if self._rows and self._rows[self.cursor].kind:
            self.post_message(CountChanged(self._rows[self.cursor].kind, change))

    def on_click(self, event: Click) -> None:
        index = event.y + self.scroll_offset.y
        if 0 <= index < len(self._rows):
            self.cursor = index
            self.action_tick()
