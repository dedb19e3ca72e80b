"""What the browser of sessions shows beside its list: a picture of a session, and what is known of its runs.

Reads run folders, in whichever thread it is asked; no widgets.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from engine.errors import DirscopeError
from engine.printable import printable
from sessions.bookmarks import bookmarks
from sessions.catalogue import Entry, run_folders
from sessions.crowd import Crowd
from sessions.gallery import charts
from sessions.reader import RECORD_FILE, read_run
from sessions.records import read_record
from tui.charts import View, one_chart
from tui.panels import Shown
from tui.screens.showing import as_picture

RUNS_TOLD: Final = 6


def in_bytes(n: int) -> str:
    """A size for people."""
    size, unit = float(n), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def last_picture(folder: Path, ascii: bool) -> Shown | None:
    """The curves of the last run that has some, else a picture of its tables."""
    run = read_run(run_folders(folder)[-1])
    if run.curves and run.recipe.experiment == "probe":
        return one_chart(as_picture(run), View(ascii=ascii, curve=-1))
    found = charts(run, Crowd(run.info, run.curves))
    chart = next((drawn for _, drawn in found.values()), None)
    return None if chart is None else replace(chart, ascii=ascii)


def told(e: Entry) -> str:
    """What is known of a session, a line each."""
    lines = [printable(e.prompt)]
    try:
        runs = run_folders(e.folder)
    except DirscopeError as error:
        return str(error)
    for folder in reversed(runs[-RUNS_TOLD:]):
        lines.append(_run_line(folder))
        lines += [f"  ◆ {printable(m.place)}: {printable(m.note)}" for m in bookmarks(folder)]
    if len(runs) > RUNS_TOLD:
        lines.append(f"and {len(runs) - RUNS_TOLD} earlier runs")
    return "\n".join(lines)


def _table(record: dict[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _run_line(folder: Path) -> str:
    """A run on one line: what tells it from the others."""
    record = read_record(folder / RECORD_FILE)
    if "status" not in record:
        return f"{folder.name}: damaged"
    site, path, model = _table(record, "site"), _table(record, "path"), _table(record, "model")
    tokens, position = site.get("tokens"), site.get("position")
    inside = isinstance(tokens, list) and isinstance(position, int) and 0 <= position < len(tokens)
    token = str(tokens[position]) if inside and isinstance(tokens, list) and isinstance(position, int) else ""
    parts = [
        record.get("experiment", ""),
        record["status"],
        repr(token) if token else "",
        str(site.get("write", "")).removeprefix("blocks.").replace("hook_", ""),
        "sphere" if path.get("unit") == "degrees" else "",
        "" if model.get("weights", "trained") == "trained" else "untrained",
        f"{record.get('device', '')} {record.get('dtype', '')}".strip(),
    ]
    return printable(f"{folder.name}: {' '.join(str(part) for part in parts if part)}")
