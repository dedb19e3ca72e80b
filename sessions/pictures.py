"""Charts of tables: what a table of a known name looks like. Others are shown as numbers only.

Knows rows and plotting values; no widgets. A new picture is a function and an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from engine.contrasts import mean_of
from sessions import mechanism_pictures as mechanism
from sessions import mixture_pictures as mixed
from sessions import steering_pictures as steering
from sessions.chart import BRIGHT, GREY, Chart, Drawable, Fill, Line, Mark
from sessions.kinds import look
from sessions.maps import MAPS

Rows = Sequence[Mapping[str, Any]]
Picture = Callable[[Rows, Mapping[str, Rows]], Drawable]
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
    diagonal = np.linspace(0, stop, 60)
    same = Line(diagonal, diagonal, GREY, thin=True)
    return Chart((same,), marks, x_stop=stop, y_stop=stop, x_label="encoder activation; pursuit weight")


def _readers(rows: Rows) -> Chart:
    marks = []
    for row in rows:
        if row["threshold"] is not None:
            style = look(str(row["kind"]))
            marks.append(Mark(float(row["cosine_read_in"]), float(row["threshold"]), style.letter, style.rgb))
    top = max((m.y for m in marks), default=1.0) * 1.1
    return Chart((), tuple(marks), y_stop=top, x_label="largest cosine with what later blocks read; threshold")


def _whole(numbers: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Ticks at whole numbers, not too many of them."""
    places = sorted({int(n) for n in numbers})
    return tuple((float(n), str(n)) for n in places[:: max(1, len(places) // 12)])


def _layers(rows: Rows) -> Chart:
    """Mean win rate by layer, with its interval over bases; one half is no difference."""
    layers = sorted({int(row["layer"]) for row in rows})
    found = [mean_of(_column([row for row in rows if row["layer"] == layer], "win_rate")) for layer in layers]
    middle, low, high = (np.array([getattr(m, side) for m in found]) for side in ("value", "low", "high"))
    x = np.array(layers, dtype=float)
    rgb = PALETTE[0]
    edges = [Line(x, side, rgb, thin=True) for side in (low, high)]
    marks = tuple(Mark(float(a), float(b), "•", rgb) for a, b in zip(x, middle, strict=True))
    return Chart(
        (*edges, Line(x, middle, rgb, "w")),
        marks,
        x_start=x[0] - 0.2,
        x_stop=x[-1] + 0.2,
        y_stop=1.0,
        levels=(0.5,),
        x_ticks=_whole(layers),
        x_label="layer",
        y_label="win rate of the first kind, mean and 95 % over bases",
        bands=(Fill(x, low, high, rgb),),
    )


def _short(sae_id: str) -> str:
    """An SAE's id without what most of them have in common."""
    return sae_id.removeprefix("blocks.").replace(".hook_resid_pre", "")


def _ratios(rows: Rows) -> Chart:
    """KL of SAE(x) over KL of each control, by SAE, with intervals; 1 is no difference."""
    last = str(rows[-1]["replaced"])
    chosen = [row for row in rows if row["kl_ratio"] is not None and row["replaced"] == last]
    places = {int(row["place"]): _short(str(row["sae_id"])) for row in rows}
    controls = list(dict.fromkeys(str(row["control"]) for row in chosen))
    lines, marks, legend = [], [], []
    for i, control in enumerate(controls):
        rgb, letter = PALETTE[i % len(PALETTE)], control[0]
        legend.append((letter, control, rgb))
        for row in (row for row in chosen if row["control"] == control):
            x = float(row["place"]) + 0.16 * (i - (len(controls) - 1) / 2)
            if row["kl_low"] is not None:
                lines.append(Line(np.array([x, x]), np.array([row["kl_low"], row["kl_high"]]), rgb))
            marks.append(Mark(x, float(row["kl_ratio"]), letter, rgb))
    top = max([1.1, *(float(row["kl_high"] or row["kl_ratio"]) for row in chosen)]) * 1.05
    return Chart(
        tuple(lines),
        tuple(marks),
        x_start=-0.5,
        x_stop=max(places) + 0.5,
        y_stop=top,
        levels=(1.0,),
        x_ticks=tuple((float(place), name) for place, name in places.items()),
        x_label="SAE, by its block",
        y_label=f"KL of SAE(x) over KL of a change as long, {last}",
        legend=tuple(legend),
    )


def _truncated(rows: Rows) -> Chart:
    """How alike the base and the base of a cut prompt are, by layer; one line for each length."""
    lengths = sorted({int(row["tokens"]) for row in rows})
    shown = [n for n in (1, 2, 5, 10) if n in lengths] or lengths[:4]
    lines, legend = [], []
    for i, length in enumerate(shown):
        mine = [row for row in rows if row["tokens"] == length]
        rgb, letter = PALETTE[i % len(PALETTE)], "abcd"[i]
        lines.append(Line(_column(mine, "layer"), _column(mine, "cosine_centred"), rgb, letter))
        legend.append((letter, f"last {length} token{'s' if length > 1 else ''}", rgb))
    layers = [float(row["layer"]) for row in rows]
    low = min((float(np.nanmin(line.y)) for line in lines), default=0.0)
    return Chart(
        tuple(lines),
        x_stop=max([1.0, *layers]) * 1.02,
        y_start=min(low - 0.02, 0.9),
        y_stop=1.0,
        x_ticks=_whole(layers),
        x_label="layer",
        y_label="mean-centred cosine with the cut prompt",
        legend=tuple(legend),
    )


def _plateau(rows: Rows) -> Chart:
    """KL along the directions, on whose axis natural variation is set."""
    x, rgb = _column(rows, "coordinate"), look("random").rgb
    low, high = _column(rows, "low"), _column(rows, "high")
    lines = (Line(x, low, rgb, thin=True), Line(x, high, rgb, thin=True), Line(x, _column(rows, "median"), rgb, "r"))
    return Chart(
        lines,
        x_stop=float(x[-1]),
        x_label="angle, degrees" if rows[0].get("axis") == "degrees" else "L2 distance",
        y_label="KL, nats",
        bands=(Fill(x, low, high, rgb),),
        legend=(("r", "the recipe's directions, median and quartiles", rgb),),
    )


_SORTS: Final = {
    "prompt": ("P", "prompts", look("real-other").rgb),
    "truncated": ("c", "cut prompts", look("sae-feature").rgb),
    "other token": ("x", "of another last token", GREY),
}


def _cloud(rows: Rows, tables: Mapping[str, Rows]) -> Chart:
    """Prompts and cut prompts by distance and KL, over the band of the directions; where most of those cross."""
    behind = _plateau(tables["plateau"]) if tables.get("plateau") else Chart(())
    coordinate = "angle" if rows[0]["axis"] == "degrees" else "distance"
    marks = []
    for row in rows:
        if row["kl"] is not None:
            letter, _, rgb = _SORTS[str(row["sort"])]
            marks.append(Mark(float(row[coordinate]), float(row["kl"]), letter, rgb))
    ends = next((row["plateau_ends"] for row in rows if row["plateau_ends"] is not None), None)
    top = max([1.0, *(m.y for m in marks if ends is None or m.x <= ends)]) * 1.1
    verticals = () if ends is None else ((float(ends), BRIGHT),)
    # What lies beyond is all crossed already.
    stop = behind.x_stop if ends is None else min(behind.x_stop, max([1.5 * float(ends), *(1.05 * m.x for m in marks)]))
    sorts = [_SORTS[sort] for sort in dict.fromkeys(str(row["sort"]) for row in rows)]
    return replace(
        behind, marks=tuple(marks), x_stop=stop, y_stop=top, verticals=verticals, legend=(*sorts, *behind.legend)
    )


def _alone(make: Callable[[Rows], Chart]) -> Picture:
    return lambda rows, tables: make(rows)


def _map(name: str) -> Picture:
    """The first map of a table, in its first shade."""
    kind = MAPS[name]
    return lambda rows, tables: kind.surface(kind.of(rows, 0), kind.shades[0])


PICTURES: Final[Mapping[str, Picture]] = {
    "parts": _alone(_explained),
    "explained": _alone(_explained),
    "cosines": _alone(_cosines),
    "l0": _alone(_l0),
    "ranking": _alone(_ranking),
    "scatter": _alone(_scatter),
    "readers": _alone(_readers),
    "layers": _alone(_layers),
    "ratios": _alone(_ratios),
    "plateau": _alone(_plateau),
    "cloud": _cloud,
    "truncated": _alone(_truncated),
    "slices": _alone(mixed.slices),
    "optima": _alone(mixed.optima),
    "mixtures": _alone(mixed.contours),
    "pairs": _alone(mixed.pairs),
    "combined": _alone(mixed.combined),
    "profiles": _alone(mechanism.profiles),
    "mechanism": _alone(mechanism.held),
    "ascent": _alone(mechanism.ascent),
    "found": _alone(mechanism.found),
    "items": _alone(mechanism.items),
    "minima": _alone(mixed.minima),
    "points": _alone(steering.by_loss),
    "frontier": steering.by_kl,
    **{name: _map(name) for name in MAPS},
}


def picture_of(table: str, tables: Mapping[str, Rows]) -> Drawable | None:
    """The chart of one of a run's tables; None where it has none."""
    make = PICTURES.get(table)
    return make(tables[table], tables) if make is not None and tables.get(table) else None
