"""Charts of tables about held parts, searches and blind tests.

Knows rows and plotting values; no widgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from engine.contrasts import mean_of, median_of
from sessions.chart import BRIGHT, Chart, Line, Mark
from sessions.kinds import look
from sessions.mixture_pictures import SHADES, column_of, values_of

Rows = Sequence[Mapping[str, Any]]


_HELD: Final = {"nothing": ("n", BRIGHT), "mlp": ("m", SHADES[1]), "attn": ("a", SHADES[2]), "norm": ("o", SHADES[0])}


def profiles(rows: Rows) -> Chart:
    """L2 at the last read hook as a share of its end, parts of all blocks held; a straight line has no plateau."""
    mode = rows[0]["mode"]
    lines, legend = [], []
    stop = 0.0
    for held, (letter, rgb) in _HELD.items():
        mine = [r for r in rows if r["mode"] == mode and r["frozen"] == held and r["at"] in ("-", "all")]
        if mine:
            x = column_of(mine, "coordinate")
            stop = max(stop, float(x.max()))
            lines.append(Line(x, column_of(mine, "l2_share"), rgb, letter, letter_x=float(x[len(x) // 3])))
            legend.append((letter, f"{held} held", rgb))
    return Chart(
        (*lines, Line(np.array([0.0, stop]), np.array([0.0, 1.0]), (120, 120, 120), thin=True)),
        x_stop=stop or 1.0,
        y_stop=1.0,
        x_label="angle, degrees" if mode == "sphere" else "L2 distance",
        y_label="L2 at the last read hook, share of its end",
        legend=tuple(legend),
    )


def held(rows: Rows) -> Chart:
    """Mean width of the rise with each block's part held, first mode; 0.8 is a straight line."""
    mode = rows[0]["mode"]
    mine = [row for row in rows if row["mode"] == mode and row["width"] is not None]
    plain = mean_of(column_of([row for row in mine if row["frozen"] == "nothing"], "width"))
    lines, legend, marks = [], [], []
    for part, (letter, rgb) in _HELD.items():
        of_part = [row for row in mine if row["frozen"] == part and row["layer"] is not None]
        layers = sorted({int(row["layer"]) for row in of_part})
        if layers:
            found = [mean_of(column_of([r for r in of_part if r["layer"] == n], "width")) for n in layers]
            x, y = np.array(layers, float), np.array([m.value for m in found])
            lines.append(Line(x, y, rgb, letter))
            marks += [Mark(float(a), float(b), "•", rgb) for a, b in zip(x, y, strict=True)]
            legend.append((letter, f"{part} held", rgb))
    layers = sorted({int(row["layer"]) for row in mine if row["layer"] is not None})
    values = [float(v) for line in lines for v in line.y] + [plain.value, 0.8]
    final = {int(row["layer"]) for row in mine if row["at"] == "final"}
    return Chart(
        tuple(lines),
        tuple(marks),
        x_start=(layers[0] if layers else 0) - 0.2,
        x_stop=(layers[-1] if layers else 1) + 0.2,
        y_start=min(values) - 0.02,
        y_stop=max(values) + 0.02,
        levels=(plain.value, 0.8),
        x_ticks=tuple((float(n), "final" if n in final else str(n)) for n in layers),
        x_label="block whose part is held",
        y_label="width of the rise (0.8: a line; the other level: nothing held)",
        legend=tuple(legend),
    )


def ascent(rows: Rows) -> Chart:
    """The score of each start by step, from the last base."""
    lines, kinds = [], values_of(rows, "kind")
    last = [row for row in rows if row["base"] == rows[-1]["base"]]
    for start in values_of(last, "start"):
        mine = [row for row in last if row["start"] == start]
        style = look(str(mine[0]["kind"]))
        lines.append(Line(column_of(mine, "step"), column_of(mine, "score"), style.rgb, style.letter))
    return Chart(
        tuple(lines),
        x_stop=max(1.0, *(float(line.x[-1]) for line in lines)),
        x_label="step",
        y_label="L2 at the last read hook",
        legend=tuple((look(str(k)).letter, str(k), look(str(k)).rgb) for k in kinds),
    )


def items(
    rows: Rows,
    metric: str = "kl",
    chosen: str = "",
    truth: Mapping[str, bool] | None = None,
    level: float | None = None,
) -> Chart:
    """The curves of a blind test by their names; once it is answered, by what they are."""
    lines = []
    for place, name in enumerate(values_of(rows, "item")):
        mine = [row for row in rows if row["item"] == name]
        rgb = SHADES[place % len(SHADES)]
        if truth is not None:
            rgb = SHADES[0] if truth[name] else (150, 150, 150)
        if chosen and name != chosen:
            rgb = (rgb[0] * 55 // 100, rgb[1] * 55 // 100, rgb[2] * 55 // 100)
        if name == chosen and truth is None:
            rgb = BRIGHT
        lines.append((name != chosen, Line(column_of(mine, "coordinate"), column_of(mine, metric), rgb, str(name))))
    # The chosen one last, on top of the others.
    ordered = tuple(line for _, line in sorted(lines, key=lambda pair: not pair[0]))
    labels = {"kl": "KL, nats", "l2": "L2 at the last read hook", "cosine": "cosine at the last read hook"}
    return Chart(
        ordered,
        x_stop=max((float(line.x[-1]) for line in ordered), default=1.0),
        y_start=min((float(np.nanmin(line.y)) for line in ordered), default=0.0) if metric == "cosine" else 0.0,
        levels=(level,) if metric == "kl" and level is not None else (),
        x_label="angle, degrees" if rows[0]["axis"] == "degrees" else "L2 distance",
        y_label=labels[metric],
    )


def found(rows: Rows) -> Chart:
    """Threshold of what was found against that of its start."""
    known = [r for r in rows if r["threshold"] is not None and r["threshold_at_start"] is not None]
    ends = [float(r[c]) for r in known for c in ("threshold", "threshold_at_start")] or [1.0]
    top = max(ends) * 1.05
    marks = [
        Mark(
            float(r["threshold_at_start"]), float(r["threshold"]), look(str(r["kind"])).letter, look(str(r["kind"])).rgb
        )
        for r in known
    ]
    kinds = values_of(rows, "kind")
    middle = median_of(column_of(known, "threshold"))
    return Chart(
        (Line(np.array([0.0, top]), np.array([0.0, top]), (120, 120, 120), thin=True),),
        tuple(marks),
        x_stop=top,
        y_stop=top,
        levels=(middle.value,) if known else (),
        x_label="threshold at the start",
        y_label="threshold of what was found, and its median",
        legend=tuple((look(str(k)).letter, str(k), look(str(k)).rgb) for k in kinds),
    )
