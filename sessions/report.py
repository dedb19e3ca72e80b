"""A run as a page to send to a colleague: what was asked, of which model, what came out, with pictures and caveats.

Markdown; pictures are written beside it where matplotlib is there, and drawn as text where the caller can draw text.
Knows runs and charts; computes nothing that other modules do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.aggregates import quantile
from engine.expect import evaluate, parse_check
from engine.experiments import EXPERIMENTS
from engine.printable import printable
from engine.results import Note
from sessions.blind import EXPERIMENT, told
from sessions.bookmarks import bookmarks
from sessions.cautions import cautions, footnotes, letters
from sessions.caveats import caveats
from sessions.chart import Chart, Drawable
from sessions.crowd import BY_COLUMN, Crowd, CurveGroup
from sessions.digest import number, table_lines
from sessions.figure import draw_figure, has_matplotlib
from sessions.gallery import charts
from sessions.reader import Run
from sessions.separation import across, brief, contrasts
from sessions.stories import columns, stories

Drawer = Callable[[Drawable, int, int], str]
"""Draws a chart as text of so many columns and lines."""
WIDE: Final = 80
TEXT_SIZE: Final = (100, 24)
LONG: Final = 64
"""More rows of a table than these are told by their means."""


def page(run: Run, file: Path | None = None, draw: Drawer | None = None) -> str:
    """The report as Markdown.

    Args:
        run: what came out.
        file: where the page will lie; pictures are written beside it. None writes none.
        draw: draws charts as text; None leaves them out.
    """
    parts = [_head(run), _asked(run), _model(run)]
    crowd = Crowd(run.info, run.curves)
    if run.curves:
        parts += [_groups(crowd), _stories(crowd), _contrasts(crowd, across(run.recipe))]
    if run.recipe.experiment == EXPERIMENT:
        parts += [_test(run)]
    else:
        parts += [_table(name, rows) for name, rows in run.shown_tables.items()]
    parts += [_pictures(charts(run, crowd), file, draw), _bookmarks(run)]
    parts += [_expectations(run), _caveats(run), _again(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Run) -> str:
    experiment = run.recipe.experiment
    summary = EXPERIMENTS[experiment].summary
    n = run.info.get("n_curves")
    far = f", {len(run.curves)} of {n} curves" if n else ""
    status = "not ended yet, or cut off" if run.status == "running" else run.status
    asked = f"{summary[0].upper()}{summary[1:]}{'' if summary.endswith('?') else '.'}"
    return f"# {experiment}: {run.recipe.model.name}\n\n{asked} Status: {status}{far}."


def _asked(run: Run) -> str:
    info, recipe = run.info, run.recipe
    site, population = info.get("site", {}), info.get("population", {})
    tokens, position = site.get("tokens", []), site.get("position")
    token = repr(tokens[position]) if position is not None and position < len(tokens) else "?"
    bases = ", ".join(f"{spec.count} {spec.kind}" for spec in recipe.bases)
    directions = ", ".join(f"{spec.count} {spec.kind}" for spec in recipe.directions)
    lines = [
        "## What was asked",
        "",
        f"- Prompt {recipe.site.prompt!r}, token {token} ({site.get('token_class', '?')}) at position {position}",
        f"- Written at `{site.get('write')}`; read: logits and {', '.join(f'`{r}`' for r in site.get('read', []))}",
        f"- Bases: {bases}. Directions from each: {directions}. Seed {recipe.seed}",
        *([_path(run)] if EXPERIMENTS[recipe.experiment].has_paths else []),
        *([f"- Options: {_options(run)}"] if _options(run) else []),
        f"- Real activations: {population.get('n')} windows of {population.get('source')}, typical distance "
        f"{number(info.get('typical_distance'))}",
    ]
    return "\n".join(printable(line) for line in lines)


def _path(run: Run) -> str:
    path, hooks = run.info.get("path", {}), {row.get("hook") for rows in run.tables.values() for row in rows} - {None}
    text = f"- Path: {path.get('mode')}, {path.get('steps')} steps up to {number(path.get('stop'))} {path.get('unit')}"
    if len(hooks) > 1:  # each has a scale of its own
        stop = run.recipe.path.stop
        text = f"- Path: {path.get('mode')}, {path.get('steps')} steps, stop {stop} at each of {len(hooks)} hooks"
    elif path.get("stop") is None:
        text = f"- Path: {path.get('mode')}, {path.get('steps')} steps, each to its own target"
    return f"{text}; threshold at {run.recipe.metrics.level:g} nats"


def _options(run: Run) -> str:
    given = run.recipe.data().get("options", {})
    return ", ".join(f"{name} = {value}" for name, value in given.items() if value not in ([], False))


def _model(run: Run) -> str:
    info = run.info
    model, versions, sae = info.get("model", {}), info.get("versions", {}), info.get("sae")
    lines = [
        "## Model",
        "",
        f"- {model.get('name')} ({model.get('weights')} weights, {model.get('architecture')}, {model.get('n_layers')} "
        f"layers, d_model {model.get('d_model')}), revision {model.get('revision') or 'none'}",
        f"- Weights sha256 `{str(model.get('weights_sha256', ''))[:16]}`; {info.get('dtype')} on {info.get('device')}",
        "- "
        + ", ".join(f"{name} {versions[name]}" for name in ("dirscope", "torch", "transformers") if name in versions),
    ]
    if sae is not None:
        lines.append(
            f"- SAE {sae['release']} / {sae['sae_id']}: {sae['n_features']} features, L0 {number(sae['l0'])}, "
            f"{sae['unexplained_variance']:.1%} of the variance unexplained, sha256 `{sae['sha256'][:16]}`"
        )
    return "\n".join(lines)


def _groups(crowd: Crowd) -> str:
    found = [cautions(crowd.info, group.summaries) for group in crowd.groups]
    lines = [
        "## Curves",
        "",
        "Medians; in brackets 95 % bootstrap intervals over bases. Curves that never reach the level count as "
        "+infinity.",
        "",
        f"| group | curves | bases | threshold ({crowd.unit}) | quartiles | max-slope step | plateau (L2) | over "
        f"quadratic | "
        "KL near | never |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for group, notes in zip(crowd.groups, found, strict=True):
        cells = [
            _median(group, c) for c in ("threshold", "max_slope_step", "plateau_length", "quadratic_ratio", "kl_near")
        ]
        quartiles = " to ".join(number(_quantile(group, "threshold", q), 3) for q in (0.25, 0.75))
        never = sum(s.censored for s in group.summaries) / len(group.curves)
        lines.append(
            f"| {group.label}{letters(notes)} | {len(group.curves)} | {group.n_bases} | {cells[0]} | {quartiles} | "
            f"{cells[1]} | {cells[2]} | {cells[3]} | {cells[4]} | {never:.0%} |"
        )
    notes_below = footnotes(found)
    return "\n".join([*lines, "", *(f"{text}  " for text in notes_below)]).rstrip()


def _quantile(group: CurveGroup, column: str, q: float) -> float:
    return quantile(group.numbers(column).values, q)


def _stories(crowd: Crowd) -> str:
    found = stories(crowd)
    if not found:
        return ""
    unit = "typical distance" if crowd.typical else "60 degrees"
    lines = [
        "## On the way to the output",
        "",
        f"Medians and quartiles over curves at shares of the {unit}: length of the change at each block's output "
        f"over that "
        "of the push; share of neurons whose sign flipped, by block; norm before the unembedding over the base's; "
        "margin of "
        "the base's most probable token.",
        "",
        f"| group | at | {' | '.join(columns(crowd))} |",
        "|---|---|" + "---|" * len(columns(crowd)),
    ]
    return "\n".join([*lines, *(f"| {t.group} | {t.share:g} | {' | '.join(t.cells)} |" for t in found)])


def _median(group: CurveGroup, column: str) -> str:
    found = group.median(column)
    middle = number(found.value, 3)
    return middle if np.isnan(found.low) else f"{middle} ({number(found.low, 3)} to {number(found.high, 3)})"


def _contrasts(crowd: Crowd, families: bool) -> str:
    found = contrasts(crowd, families)
    if not found:
        return ""
    columns = list(dict.fromkeys(column for c in found for column in c.auc))
    names = " | ".join(BY_COLUMN[column].label for column in columns)
    lines = [
        "## Contrasts",
        "",
        "AUC: chance that a curve of the first group is the more sensitive by that number, ties one half; win rate: "
        "the "
        "same for thresholds of one base. In brackets 95 % over bases.",
        "",
        f"| first / second | n | win rate | {names} |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for c in found:
        cells = " | ".join(brief(c.auc[column]) if column in c.auc else "-" for column in columns)
        flag = " [x]" if c.across else ""
        lines.append(
            f"| {c.first} / {c.second}{flag} | {c.n[0]}, {c.n[1]} | {'-' if c.win is None else brief(c.win)} | "
            f"{cells} |"
        )
    lines += [
        "",
        "Kolmogorov-Smirnov distances of the same, and below what 95 % of them lie when groups are left to chance:",
        "",
        f"| first / second | {names} |",
    ]
    lines += ["|---|" + "---|" * len(columns)]
    for c in found:
        cells = " | ".join(brief(c.ks[column]) if column in c.ks else "-" for column in columns)
        lines.append(f"| {c.first} / {c.second} | {cells} |")
    if any(c.across for c in found):
        lines += ["", "[x] across families: such directions are made in different ways"]
    return "\n".join(lines)


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) > LONG or any(len(str(v)) > WIDE for row in rows for v in row.values()):
        return "\n".join([f"## Table {name}", "", "```", *table_lines(name, rows), "```"])
    columns = list(dict.fromkeys(c for row in rows for c in row if any(r.get(c) is not None for r in rows)))
    lines = [f"## Table {name}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (_cell(row.get(column)) for column in columns)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "-" if value is None else printable(str(value)).replace("|", "\\|")


def _pictures(found: Mapping[str, tuple[str, Drawable]], file: Path | None, draw: Drawer | None) -> str:
    if not found or (file is None and draw is None):
        return ""
    lines = ["## Pictures"]
    drawn = file is not None and has_matplotlib()
    for name, (title, chart) in found.items():
        lines += ["", f"### {title}", ""]
        if drawn and file is not None:
            picture = file.with_name(f"{file.stem}-{name}.svg")
            draw_figure([chart], picture, title)
            lines += [f"![{title}]({picture.name})", ""]
        if draw is not None:
            legend = [", ".join(f"{a} {b}" for a, b, _ in chart.legend)] if isinstance(chart, Chart) else []
            text = [line.rstrip() for line in draw(chart, *TEXT_SIZE).splitlines()]
            lines += ["```", *(line for line in legend if line), *text, "```"]
    if file is not None and not drawn:
        lines += ["", "Pictures as files need matplotlib: pip install 'dirscope[figures]'."]
    return "\n".join(lines)


def _test(run: Run) -> str:
    return "\n".join(["## Blind test", "", "```", *told(run), "```"])


def _bookmarks(run: Run) -> str:
    """What somebody marked, and thought of it."""
    found = bookmarks(run.folder)
    # Notes are people's words: on one line each, and no markup of ours.
    lines = [f"- {_words(mark.place)}: {_words(mark.note)} ({mark.made[:10]})" for mark in found]
    return "\n".join(["## Bookmarks and notes", "", *lines]) if found else ""


def _words(text: str) -> str:
    plain = " ".join(printable(text).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", plain)


def _expectations(run: Run) -> str:
    tables = EXPERIMENTS[run.recipe.experiment].tables
    outcomes = [evaluate(parse_check(e.check, tables), run.summaries, run.tables) for e in run.recipe.expect]
    return "\n".join(["## Expectations", "", *(f"- {o}" for o in outcomes)]) if outcomes else ""


def _caveats(run: Run) -> str:
    notes = [event.text for _, event in run.events if isinstance(event, Note)]
    found = [*dict.fromkeys([*notes, *caveats(run)])]
    return "\n".join(["## Caveats", "", *(f"- {printable(text)}" for text in found)]) if found else ""


def _again(run: Run) -> str:
    return "\n".join(
        [
            "## Run it again",
            "",
            "Save as `recipe.toml`, then `dirscope --batch recipe.toml`; with the run folder itself, `dirscope "
            "replay RUN "
            "--verify` computes every number again and compares.",
            "",
            "```toml",
            run.recipe.toml().strip(),
            "```",
        ]
    )
