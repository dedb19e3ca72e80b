"""Charts of tables: what a table of a known name looks like. Others are shown as numbers only.

Knows rows and plotting values; no widgets. A new picture is a function and an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tui.kinds import look
from tui.plotting import BRIGHT, GREY, Chart, Line, Mark

Rows = Sequence[Mapping[str, Any]]
PALETTE: Final = ((0, 178, 130), (230, 120, 30), (150, 150, 150), (86, 180, 233))


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([np.nan if row.get(name) is None else float(row[name]) for row in rows])


def _explained(rows: Rows) -> Chart:
    """Fraction explained against k; the first vector of several."""
    first = [row for row in rows if row.get("of") == rows[0].get("of")]
    k = _column(first, "k")
    names = {"encoder_explained": "E", "pursuit_explained": "P", "explained": "o", "random_explained": "r"}
    shown = [(name, letter) for name, letter in names.items() if name in first[0]]
    lines = [Line(k, _column(first, name), PALETTE[i], letter) for i, (name, letter) in enumerate(shown)]
    legend = ", ".join(f"{letter} {_SETS[name]}" for name, letter in shown)
    return Chart(tuple(lines), x_stop=float(k[-1]), y_stop=1.05, x_label=f"features used; share explained: {legend}")


_SETS: Final = {
    "encoder_explained": "encoder",
    "pursuit_explained": "gradient pursuit",
    "explained": "other features",
    "random_explained": "random dictionary",
}


def _cosines(rows: Rows) -> Chart:
    middle = (_column(rows, "low") + _column(rows, "high")) / 2
    names = {"decoder": "D", "covariance_matched": "m", "isotropic": "i", "decoder_nearest": "n"}
    lines = []
    for i, (name, letter) in enumerate(names.items()):
        y = _column(rows, name)
        peak = float(middle[int(np.nanargmax(y))])
        lines.append(Line(middle, y, PALETTE[i], letter, letter_x=peak))
    legend = "D decoder, n its nearest, m covariance-matched, i isotropic"
    return Chart(tuple(lines), x_start=-1.0, x_stop=1.0, x_label=f"cosine; share of pairs: {legend}")


def _l0(rows: Rows) -> Chart:
    """Histograms over a logarithmic axis, the base's own number marked."""
    l0 = _column(rows, "l0")
    # A TopK SAE has the same number on for any input: what is told apart lies before that choice.
    fixed = np.ptp(l0[[row["input"] != "base" for row in rows]]) == 0 if len(rows) > 1 else False
    positive = _column(rows, "positive")
    numbers = np.maximum(positive if fixed and np.isfinite(positive).all() else l0, 0.5)
    stop = float(np.log10(numbers.max()) * 1.05 + 0.1)
    edges = np.linspace(0, stop, 41)
    lines = []
    letters = {"real": "R", "random": "r", "isotropic": "i"}
    for kind, letter in letters.items():
        chosen = numbers[[row["input"] == kind for row in rows]]
        if len(chosen):
            y = np.histogram(np.log10(chosen), edges)[0] / len(chosen)
            x = (edges[:-1] + edges[1:]) / 2
            lines.append(Line(x, y, look(_KINDS[kind]).rgb, letter, letter_x=float(x[int(y.argmax())])))
    base = [float(np.log10(n)) for n, row in zip(numbers, rows, strict=True) if row["input"] == "base"]
    label = "log10 of features active; share of inputs: R real, r random, i isotropic; the base marked"
    return Chart(tuple(lines), x_stop=stop, verticals=tuple((x, BRIGHT) for x in base), x_label=label)


_KINDS: Final = {"real": "real-other", "random": "random", "isotropic": "isotropic"}


def _ranking(rows: Rows) -> Chart:
    """Thresholds in order."""
    found = np.sort(_column([r for r in rows if r.get("threshold") is not None], "threshold"))
    x = np.arange(1.0, len(found) + 1)
    line = Line(x, found, look("sae-feature").rgb, "f")
    return Chart((line,), x_stop=float(max(len(rows), 1)), x_label="features, most sensitive first; threshold")


def _scatter(rows: Rows) -> Chart:
    x, y = _column(rows, "encoder"), _column(rows, "pursuit")
    on = (x != 0) | (y != 0)
    stop = float(max(x.max(initial=0), y.max(initial=0), 1e-3)) * 1.05
    marks = tuple(Mark(float(a), float(b), "•", PALETTE[0]) for a, b in zip(x[on], y[on], strict=True))
    same = Line(np.array([0, stop]), np.array([0, stop]), GREY, thin=True)
    return Chart((same,), marks, x_stop=stop, y_stop=stop, x_label="encoder activation; pursuit weight")


def _readers(rows: Rows) -> Chart:
    marks = []
    for row in rows:
        if row["threshold"] is not None:
            style = look(str(row["kind"]))
            marks.append(Mark(float(row["cosine_read_in"]), float(row["threshold"]), style.letter, style.rgb))
    top = max((m.y for m in marks), default=1.0) * 1.1
    return Chart((), tuple(marks), y_stop=top, x_label="largest cosine with what later blocks read; threshold")


PICTURES: Final[Mapping[str, Callable[[Rows], Chart]]] = {
    "parts": _explained,
    "explained": _explained,
    "cosines": _cosines,
    "l0": _l0,
    "ranking": _ranking,
    "scatter": _scatter,
    "readers": _readers,
}


def picture_of(table: str, rows: Rows) -> Chart | None:
    """The chart of a table; None where it has none."""
    make = PICTURES.get(table)
    return make(rows) if make is not None and rows else None
