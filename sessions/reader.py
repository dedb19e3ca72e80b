"""Reading a run folder back: everything comes from `events.jsonl`, which a crash can cut but not spoil.

Knows files of one run; computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.errors import RunFolderError
from engine.recipe import Recipe, read_recipe
from engine.results import BaseResult, CurveResult, Event, RowResult, RunEnded, RunStarted, Summary
from engine.sealing import TABLE as SEAL
from sessions.schema import from_line

RECIPE_FILE: Final = "recipe.toml"
RECORD_FILE: Final = "run.json"
EVENTS_FILE: Final = "events.jsonl"


@dataclass(frozen=True)
class Run:
    """A run as far as it got."""

    folder: Path
    recipe: Recipe
    record: dict[str, Any]
    """`run.json`."""
    events: tuple[tuple[float, Event], ...]
    """Acknowledged events with the second at which each came."""
    good_bytes: int
    """Length of `events.jsonl` up to the end of its last whole line."""
    info: dict[str, Any] = field(default_factory=dict)
    """Of the last `run` event; empty when the model never loaded."""

    @property
    def bases(self) -> tuple[BaseResult, ...]:
        """In order of number."""
        found = {e.base: e for _, e in self.events if isinstance(e, BaseResult)}
        return tuple(found[k] for k in sorted(found))

    @property
    def curves(self) -> tuple[CurveResult, ...]:
        """In order of number."""
        found = {e.summary.curve: e for _, e in self.events if isinstance(e, CurveResult)}
        return tuple(found[k] for k in sorted(found))

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One row per curve."""
        return tuple(c.summary for c in self.curves)

    @property
    def rows(self) -> tuple[RowResult, ...]:
        """Rows of tables that are not rays."""
        return tuple(e for _, e in self.events if isinstance(e, RowResult))

    @property
    def tables(self) -> dict[str, list[Mapping[str, Any]]]:
        """The same by table, in order."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            found.setdefault(row.table, []).append(row.values)
        return found

    @property
    def shown_tables(self) -> dict[str, list[Mapping[str, Any]]]:
        """Those that people are shown; a seal is none of them."""
        return {name: rows for name, rows in self.tables.items() if name != SEAL}

    @property
    def status(self) -> str:
        """`done`, `stopped`, `failed`, or `running` for one that was cut off."""
        ends = [e for _, e in self.events if isinstance(e, RunEnded | RunStarted)]
        return ends[-1].status if ends and isinstance(ends[-1], RunEnded) else "running"


def is_run(folder: Path) -> bool:
    """Whether a directory looks like a run folder, whole or not."""
    return any((folder / name).exists() for name in (RECIPE_FILE, RECORD_FILE, EVENTS_FILE))


def recorded_status(folder: Path) -> str:
    """What `run.json` says of a run without reading its events; `unknown` where it cannot be read."""
    try:
        return str(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunFolderError: It is not there, lacks a file, or holds a line that is not an event.
        RecipeError: Its recipe is not valid.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no run folder {folder}.")
    for name in (RECIPE_FILE, RECORD_FILE, EVENTS_FILE):
        if not (folder / name).is_file():
            raise RunFolderError(
                f"{folder} lacks {name}, so it is no whole run folder: restore the file or run the recipe again."
            )
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        raw = (folder / EVENTS_FILE).read_bytes()
    except OSError as error:
        raise RunFolderError(f"Cannot read {folder} ({error.strerror}): look at its permissions.") from None
    except ValueError as error:
        raise RunFolderError(f"{folder / RECORD_FILE} is damaged ({error}): restore it or run again.") from None
    good_bytes = raw.rfind(b"\n") + 1  # a line without its newline was never acknowledged
    events: list[tuple[float, Event]] = []
    info: dict[str, Any] = {}
    for number, line in enumerate(raw[:good_bytes].decode("utf-8", errors="replace").splitlines(), start=1):
        try:
            entry = from_line(line)
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"Line {number} of {folder / EVENTS_FILE} is damaged ({type(error).__name__}: {error}): restore the "
                "file or run again."
            ) from None
        if entry is None:
            continue  # an event of a later version
        if isinstance(entry[1], RunStarted):
            info = dict(entry[1].info)
        events.append(entry)
    return Run(folder, read_recipe(folder / RECIPE_FILE), record, tuple(events), good_bytes, info)
