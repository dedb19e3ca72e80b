"""What a batch run prints: a run in a few lines, as csv, or as json.

Knows runs; prints nothing.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from engine.errors import UsageError
from engine.expect import Outcome
from engine.printable import printable
from sessions.blind import EXPERIMENT, told
from sessions.cautions import cautions
from sessions.crowd import Crowd
from sessions.digest import aligned, digest, digest_lines, number, table_lines, win_rates
from sessions.export import as_cell
from sessions.reader import Run
from sessions.schema import plain
from sessions.separation import across, contrast_lines, contrasts
from sessions.stories import columns, stories


def summary_text(run: Run, outcomes: Sequence[Outcome], form: str) -> str:
    """The summary of a run as text, csv (a row per curve) or json."""
    if form == "csv":
        tables = run.shown_tables
        if len(tables) > 1:
            raise UsageError(f"csv holds one table, this run has {', '.join(tables)}: use --format json.")
        rows: list[Mapping[str, Any]] = [asdict(s) for s in run.summaries]
        rows = next(iter(tables.values()), rows)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else ["curve"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: as_cell(value) for name, value in row.items()} for row in rows)
        return buffer.getvalue()
    if form == "json":
        document: dict[str, Any] = {
            "run": str(run.folder),
            "status": run.status,
            "experiment": run.recipe.experiment,
            "typical_distance": run.info.get("typical_distance"),
            "unit": run.info.get("path", {}).get("unit"),
            "kinds": [asdict(d) for d in digest(run.summaries)],
            "win_rates": [asdict(w) for w in win_rates(run.summaries)],
            "contrasts": [c.data() for c in contrasts(Crowd(run.info, run.curves), across(run.recipe))],
            "curves": [asdict(s) for s in run.summaries],
            "tables": run.shown_tables,
            "expect": [asdict(o) for o in outcomes],
        }
        return json.dumps(plain(document), indent=2, allow_nan=False) + "\n"
    info = run.info
    site = info["site"]
    what = f"{len(run.curves)} curves, typical distance {number(info.get('typical_distance') or math.nan)}"
    if run.tables:
        what = ", ".join(f"{len(rows)} rows of {name}" for name, rows in run.shown_tables.items())
    lines = [
        f"{run.recipe.experiment}: {printable(info['model']['name'])}, {site['write']} at position {site['position']} "
        f"({site['tokens'][site['position']]!r}), {what}",
        *digest_of(run),
        *(str(o) for o in outcomes),
    ]
    return "\n".join(lines) + "\n"


def digest_of(run: Run) -> list[str]:
    """A run in a few lines: its kinds of direction and how they compare, or its tables."""
    if run.recipe.experiment == EXPERIMENT:
        return told(run)
    if run.tables:
        return [line for name, rows in run.shown_tables.items() for line in table_lines(name, rows)]
    unit = run.info.get("path", {}).get("unit", "")
    lines = [*digest_lines(run.summaries, unit), *(str(w) for w in win_rates(run.summaries))]
    crowd = Crowd(run.info, run.curves)
    several = any(group.n_bases > 1 for group in crowd.groups)
    return [
        *lines,
        *(contrast_lines(contrasts(crowd, across(run.recipe))) if several else ()),
        *_stories(crowd),
        *_cautioned(crowd),
    ]


def _stories(crowd: Crowd) -> list[str]:
    found = stories(crowd)
    if not found:
        return []
    header = ["medians at typical distances" if crowd.typical else "medians at shares of 60 degrees", *columns(crowd)]
    # Quartiles stand in the report: here there is no room for them.
    rows = [[f"{t.group} {t.share:g}", *(cell.partition(" ")[0] for cell in t.cells)] for t in found]
    return aligned([header, *rows])


def _cautioned(crowd: Crowd) -> list[str]:
    """Each caution once, with the groups that it is for."""
    found: dict[str, list[str]] = {}
    for group in crowd.groups:
        for caution in cautions(crowd.info, group.summaries):
            found.setdefault(caution.text, []).append(group.label)
    return [f"caution, {', '.join(names)}: {text}" for text, names in found.items()]
