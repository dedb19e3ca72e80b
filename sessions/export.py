"""`dirscope export`: what people take away from a run.

csv, parquet and jsonl hold one value per row (run, curve, step, metric, value), or the rows of a run's table; md is a
page about the run; svg and png are a picture of it; py computes one curve again with plain transformer-lens.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from engine.errors import RunFailedError, UsageError
from engine.printable import printable
from sessions.chart import Drawable
from sessions.crowd import Crowd
from sessions.digest import digest, number, table_lines
from sessions.figure import draw_figure
from sessions.gallery import charts
from sessions.reader import EVENTS_FILE, Run, read_run
from sessions.report import Drawer, page
from sessions.schema import plain
from sessions.snippet import snippet
from sessions.tables import curve_table, row_table, write_parquet


@dataclass(frozen=True)
class Part:
    """Which part of a run is wanted, where a format holds only one."""

    curve: int = 0
    table: str | None = None
    view: str | None = None
    """Which picture; every single curve where they are few, else bands, or a table's own."""
    chart: Drawable | None = None
    """A picture as it stands on a screen, in place of one by name."""
    draw: Drawer | None = None
    """Draws charts as text in a page of Markdown."""


def _tidy(run: Run, part: Part) -> pa.Table:
    tables = run.shown_tables
    name = part.table or next(iter(tables), "")
    if (name and name not in tables) or (len(tables) > 1 and part.table is None):
        raise UsageError(f"This run has the tables {', '.join(tables) or '(none)'}: name one of them with --table.")
    table = row_table(tables[name]) if tables else curve_table(run)
    return table.add_column(0, "run", pa.array([run.folder.name] * len(table), pa.string()))


def as_cell(value: Any) -> Any:
    """A value of a table in csv: lists as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _csv(run: Run, file: Path, part: Part) -> None:
    table = _tidy(run, part)
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(table.column_names)
        for batch in table.to_batches():
            columns = [[as_cell(v) for v in batch.column(i).to_pylist()] for i in range(batch.num_columns)]
            writer.writerows(zip(*columns, strict=True))


def _parquet(run: Run, file: Path, part: Part) -> None:
    write_parquet(_tidy(run, part), file)


def _jsonl(run: Run, file: Path, part: Part) -> None:
    with file.open("w", encoding="utf-8") as handle:
        for row in _tidy(run, part).to_pylist():
            handle.write(json.dumps(plain(row), allow_nan=False) + "\n")


def markdown(run: Run) -> str:
    """The summary of a run as Markdown: site, table of kinds, how to get the numbers again."""
    info, site = run.info, run.info.get("site", {})
    unit = info.get("path", {}).get("unit", "")
    lines = [
        f"**{run.recipe.experiment}** on `{run.recipe.model.name}` ({run.recipe.model.weights}), "
        f"{len(run.rows) or len(run.curves)} {'rows' if run.rows else 'curves'}, {run.status}",
        "",
        f"- prompt: {run.recipe.site.prompt!r}, position {site.get('position')}",
        f"- write `{site.get('write')}`, read logits and `{', '.join(site.get('read', []))}`",
        f"- typical distance {number(info.get('typical_distance'))}, level {run.recipe.metrics.level} nats",
        f"- weights sha256 `{info.get('model', {}).get('weights_sha256', '')[:16]}`, seed {run.recipe.seed}",
        "",
    ]
    if run.tables:
        digests = (line for name, rows in run.shown_tables.items() for line in table_lines(name, rows))
        return "\n".join([*lines, "```", *digests, "```"]) + "\n"
    lines += [
        f"| base | direction | n | threshold ({unit}) | quartiles | max-slope step | censored |",
        "|---|---|---|---|---|---|---|",
    ]
    for d in digest(run.summaries):
        quartiles = f"{number(d.threshold_low)} to {number(d.threshold_high)}"
        lines.append(
            f"| {d.base_kind} | {d.kind} | {d.n} | {number(d.threshold)} | {quartiles} | "
            f"{number(d.max_slope_step)} | {d.censored:.0%} |"
        )
    return "\n".join(lines) + "\n"


def _page(run: Run, file: Path, part: Part) -> str:
    # Names and versions in a record may come from anywhere, and this is read on terminals too.
    return "\n".join(printable(line) for line in page(run, file, part.draw).split("\n"))


def _write_page(run: Run, file: Path, part: Part) -> None:
    file.write_text(_page(run, file, part), encoding="utf-8")


def _snippet(run: Run, file: Path, part: Part) -> None:
    file.write_text(snippet(run, part.curve), encoding="utf-8")


def _figure(run: Run, file: Path, part: Part) -> None:
    shown = [part.chart] if part.chart is not None else _named(run, part)
    site = run.info["site"]
    title = (
        f"{run.recipe.model.name}, {site['write']}, token {site['tokens'][site['position']]!r} of "
        f"{run.recipe.site.prompt!r}"
    )
    draw_figure(shown, file, printable(title))


def _named(run: Run, part: Part) -> list[Drawable]:
    found = charts(run, Crowd(run.info, run.curves))
    names = [part.view] if part.view else [part.table] if part.table else _usual(found)
    unknown = [name for name in names if name not in found]
    if unknown or not names:
        raise UsageError(f"This run has no picture '{', '.join(unknown)}'; it has {', '.join(found) or 'none'}.")
    return [found[name][1] for name in names]


def _usual(found: Mapping[str, object]) -> list[str]:
    """KL and L2 side by side, every curve where they are few; a table's first picture."""
    for name in ("curves", "bands"):
        if name in found:
            return [name, f"{name}-l2"]
    return list(found)[:1]


FORMATS: Final[dict[str, Callable[[Run, Path, Part], None]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "jsonl": _jsonl,
    "md": _write_page,
    "svg": _figure,
    "png": _figure,
    "py": _snippet,
}


def export(folder: Path, form: str, file: Path, part: Part = Part()) -> None:
    """Write a run, or a part of it, in one of `FORMATS`.

    Raises:
        UsageError: The format is unknown or the file cannot be written.
        RunFailedError: The run holds no results.
    """
    if form not in FORMATS:
        raise UsageError(f"Cannot export as '{form}': expected one of {', '.join(FORMATS)}.")
    suffix = file.suffix.lstrip(".").lower()
    if suffix in FORMATS and suffix != form:
        raise UsageError(f"{file.name} says {suffix} but --format says {form}: make them agree.")
    if any((parent / EVENTS_FILE).exists() for parent in file.resolve().parents):
        raise UsageError(f"{file} lies in a run folder, whose files are its record: write it somewhere else.")
    if part.view is not None and form not in ("svg", "png"):
        raise UsageError(f"--view picks what svg and png draw; {form} holds what the run has.")
    run = read_run(folder)
    if not run.curves and not run.tables:
        raise RunFailedError(f"{folder} holds no results yet: there is nothing to export.")
    if not run.curves and form == "py":
        raise UsageError(f"{folder} holds tables and no curve: use csv, parquet, jsonl, md, svg or png.")
    # Beside it first: what is there already is kept where the disk is full.
    beside = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    try:
        if form == "md":  # whose pictures go by its name
            beside.write_text(_page(run, file, part), encoding="utf-8")
        else:
            FORMATS[form](run, beside, part)
        os.replace(beside, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise UsageError(f"Cannot write {file} ({error.strerror or error}): choose another --out.") from None
