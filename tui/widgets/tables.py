"""The tables under the plot: kinds of direction, and next tokens before and after."""

from __future__ import annotations

from dataclasses import replace

from rich.text import Text

from engine.aggregates import REAL, REAL_KINDS
from engine.printable import printable
from engine.results import Summary
from sessions.cautions import Caution, cautions, footnotes, letters
from sessions.digest import against_control, digest, number
from sessions.kinds import look
from tui.axes import axis_of, summaries
from tui.charts import View
from tui.picture import Picture, TokenRow
from tui.widgets.lines import Lines


class KindTable(Lines):
    """Per kind: n, median threshold and quartiles, max-slope step, censored share."""

    def show(self, picture: Picture, axis: str = "") -> None:
        """Show the digest of a picture's curves; real bases in their own texts are counted together.

        Args:
            axis: the unit of thresholds; the path's own without one.
        """
        rows = summaries(picture, axis)
        together = {s.base_kind for s in rows} == REAL_KINDS
        rows = _together(rows) if together else rows
        several = len({s.base_kind for s in rows}) > 1
        # Which is sooner is told on the path that was walked, whatever the axis.
        wins = against_control(_together(picture.summaries)) if together else {}
        unit = "" if axis in ("", "L2") and picture.unit == "L2" else f" {axis_of(picture, axis).title}"
        last = (
            f"sooner than control{' on the path' if unit else ''}" if together else f"{'max-slope':>9} {'censored':>8}"
        )
        name = f"threshold{unit}" if len(unit) < 3 else unit.strip()[:9]
        head = f"{'kind':<17}{'n':>4} {name:>9} {'quartiles':>13} {last}"
        lines = [Text(head, style="dim", no_wrap=True)]
        found: list[list[Caution]] = []
        for d in digest(rows):
            style = look(d.kind)
            of_group = [r for r in rows if (r.base_kind, r.kind) == (d.base_kind, d.kind)]
            found.append(cautions(picture.info, of_group))
            name = f"{d.kind}@{d.base_kind}" if several else d.kind
            quartiles = f"{number(d.threshold_low, 3)}-{number(d.threshold_high, 3)}"
            line = Text(no_wrap=True)
            line.append(f"{style.letter} ", style=f"bold {style.style}")
            line.append(f"{name:<15.15}{d.n:>4} {number(d.threshold, 3):>9} {quartiles:>13}")
            if not together:
                line.append(f" {number(d.max_slope_step, 3):>9} {d.censored:>8.0%}")
            elif d.kind in wins:
                win = wins[d.kind]
                line.append(f" {win.rate:.2f} ({win.low:.2f}-{win.high:.2f})")
            line.append(letters(found[-1]), style="yellow")
            lines.append(line)
        lines += [Text(note, style="yellow", no_wrap=True) for note in footnotes(found)]
        self.put(lines)


def _together(rows: tuple[Summary, ...]) -> tuple[Summary, ...]:
    return tuple(replace(s, base_kind=REAL) for s in rows)


class NextTokens(Lines):
    """The most probable next tokens, unperturbed and at the cursor."""

    def on_mount(self) -> None:
        self.put([Text("next tokens appear with the first curve", style="dim")])

    def show(self, picture: Picture, view: View, rows: int = 5) -> None:
        """Show the tokens at the cursor of a picture."""
        if not 0 <= view.curve < len(picture.curves):
            return
        curve = picture.curves[view.curve]
        before, here = picture.tokens(curve, view.step, rows)
        if not before:
            self.put([Text("this experiment keeps no next tokens", style="dim")])
            return
        lines = [Text(f"{'unperturbed':<22}{'here':<22}", style="dim", no_wrap=True)]
        known = {row.token for row in before}
        for old, new in zip(before, here, strict=True):
            line = Text(_cell(old), no_wrap=True)
            line.append(_cell(new), style="" if new.token in known else "bold")
            lines.append(line)
        self.put(lines)


def _cell(row: TokenRow) -> str:
    token = printable(row.token.replace("\n", "⏎").replace("<|endoftext|>", "<end>"))
    return f"{token:<13.13} {row.probability:>6.3f}  "
