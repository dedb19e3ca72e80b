"""How unusual one threshold is: the observed one among those of null directions, as numbers and a small histogram."""

from __future__ import annotations

from typing import Final

import numpy as np
from rich.text import Text

from engine.printable import printable
from engine.questions.null import Unusual
from sessions.digest import number
from tui.screens.dialogs import Reading

BINS: Final = 16
WIDTH: Final = 40


class NullDialog(Reading):
    """Waits for the nulls to be measured."""

    WAITING = "measuring 200 null directions ..."

    def __init__(self, label: str, unit: str) -> None:
        super().__init__()
        self._label = label
        self._unit = unit

    def head(self) -> Text:
        return Text(f"{printable(self._label)} against its null\n\n", style="bold")

    def body(self, found: Unusual) -> Text:
        nulls = np.array([np.inf if t is None else t for t in found.nulls])
        never = int(np.isinf(nulls).sum())
        text = Text(f"threshold {number(found.observed)}{self._unit}, ", style="not bold")
        text.append(f"p = {found.p:.3g}", style="bold")
        text.append(f" of {len(nulls)} {found.null_kind} directions from the same base\n")
        text.append(
            "(1 + nulls that reach the level at least as soon) / (1 + n); one direction, not the best of many\n\n"
        )
        finite = nulls[np.isfinite(nulls)]
        if len(finite):
            values = finite if found.observed is None else np.append(finite, found.observed)
            edges = np.linspace(values.min(), values.max() + 1e-9, BINS + 1)
            counts = np.histogram(finite, edges)[0]
            for count, low, high in zip(counts, edges, edges[1:], strict=False):
                here = found.observed is not None and low <= found.observed < high
                bar = "█" * round(WIDTH * count / counts.max())
                text.append(f"{low:>8.3g} {bar}", style="not dim" if here else "dim")
                text.append(f" ◀ {printable(self._label)}\n" if here else "\n", style="bold")
        if never:
            text.append(f"   never {never}\n", style="dim")
        return text
