"""Reading a run folder back: everything comes from `events.jsonl`, which a crash can cut but not spoil.

Knows files of one run; computes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.errors import RecipeError, RunFolderError
from engine.recipe import Recipe, parse_recipe, parse_toml, read_recipe
from engine.results import BaseResult, CurveResult, Event, RowResult, RunEnded, RunStarted, Summary
from engine.sealing import TABLE as SEAL
from sessions import sound
from sessions.records import read_record
from sessions.schema import from_line

RECIPE_FILE: Final = "recipe.toml"
RECORD_FILE: Final = "run.json"
EVENTS_FILE: Final = "events.jsonl"
ARRAYS_FILE: Final = "arrays.safetensors"
TABLES: Final = ("curves", "summary", "bases", "tokens")
"""Parquet files that runs have, the last only those that keep tokens."""
CUT_OFF: Final = "cut off"
"""The status of a run whose process is gone and could not say so."""
DAMAGE: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What a line that is no event ends in."""


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
    """Of the last `run` event; every section empty when the model never loaded."""
    mended: tuple[str, ...] = ()
    """Files that were damaged or gone; what they said is taken from the events, or computed again by resuming."""

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


def recorded_status(folder: Path, record: Mapping[str, Any] | None = None) -> str:
    """How a run is doing without reading its events: what `run.json` says, `cut off` where it says that it is running
    but nobody writes it, `damaged` where it cannot be read.

    Args:
        record: `run.json`, where it was read already.
    """
    status = (read_record(folder / RECORD_FILE) if record is None else record).get("status")
    if not isinstance(status, str):
        return "damaged"
    return CUT_OFF if status == "running" and not is_written(folder) else status


def is_written(folder: Path) -> bool:
    """Whether a process has the run open to write; true where that cannot be told."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        with (folder / EVENTS_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Its events are enough: a recipe or record that a power cut emptied is taken from them.

    Raises:
        RunFolderError: It is not there, lacks its events, or holds a line that is not an event before others that are.
        RecipeError: Its recipe is not valid.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no run folder {folder}.")
    file = folder / EVENTS_FILE
    if not file.is_file():
        raise RunFolderError(
            f"{folder} lacks {EVENTS_FILE}, so it is no whole run folder: restore the file or run the recipe again."
        )
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise RunFolderError(f"Cannot read {folder} ({error.strerror}): look at its permissions.") from None
    events, good_bytes = _events(raw, file)
    info = next((dict(e.info) for _, e in reversed(events) if isinstance(e, RunStarted)), {})
    mended = [] if good_bytes == raw.rfind(b"\n") + 1 else [EVENTS_FILE]
    _fit_together(events, info, file)
    widths = {len(e.vector) for _, e in events if isinstance(e, BaseResult)}
    widths |= {len(e.direction) for _, e in events if isinstance(e, CurveResult)}
    if len(widths) > 1:
        raise RunFolderError(f"{file} holds vectors of {min(widths)} and of {max(widths)} numbers: it is damaged.")
    record = read_record(folder / RECORD_FILE)
    if not isinstance(record.get("status"), str):
        _lack(folder, RECORD_FILE, bool(info))
        ends = [e for _, e in events if isinstance(e, RunEnded)]
        record = {"schema_version": 1, "status": ends[-1].status if ends else "running", "why": "", **info}
        mended.append(RECORD_FILE)
    recipe, stored = _recipe_of(folder), info.get("recipe")
    if recipe is None or isinstance(recipe, RecipeError):
        if recipe is not None and not isinstance(stored, str):
            raise recipe
        _lack(folder, RECIPE_FILE, isinstance(stored, str))
        recipe = parse_recipe(parse_toml(str(stored), f"The recipe in {file}"))
        mended.append(RECIPE_FILE)
    return Run(folder, recipe, record, tuple(events), good_bytes, info or sound.info({}), tuple(mended))


def _fit_together(events: list[tuple[float, Event]], info: Mapping[str, Any], file: Path) -> None:
    """Refuse events that each are sound but belong to no run.

    Raises:
        RunFolderError: A curve is of no base, or was not measured as the run says.
    """
    results = [e for _, e in events if isinstance(e, BaseResult | CurveResult | RowResult)]
    if results and not info:
        raise RunFolderError(f"{file} holds results, but not the line that says what they are of: it is damaged.")
    bases = {e.base for e in results if isinstance(e, BaseResult)}
    first: dict[str, Any] = {}
    for curve in results:
        if not isinstance(curve, CurveResult):
            continue
        number, wanted = curve.summary.curve, {"logits", *info["site"]["read"]}
        if curve.summary.base not in bases:
            raise RunFolderError(f"{file} holds curve {number}, but not its base {curve.summary.base}: it is damaged.")
        if wanted != curve.values.keys() or not {"kl", "kl_quadratic"} <= curve.values["logits"].keys():
            raise RunFolderError(f"{file} holds curve {number} without what was read: it is damaged.")
        measured = {read: metrics.keys() for read, metrics in curve.values.items()}
        if measured != (first := first or measured):
            raise RunFolderError(f"{file} holds curve {number}, measured otherwise than the first: it is damaged.")
        if not all({"l2", "cosine"} <= curve.values[read].keys() for read in info["site"]["read"]):
            raise RunFolderError(f"{file} holds curve {number} without L2 and cosine: it is damaged.")


def _recipe_of(folder: Path) -> Recipe | RecipeError | None:
    """The recipe's own file; what is wrong with it; or None where there is none."""
    file = folder / RECIPE_FILE
    try:
        return read_recipe(file) if file.is_file() and file.stat().st_size else None
    except RecipeError as error:
        return error


def _lack(folder: Path, name: str, stands_elsewhere: bool) -> None:
    if not stands_elsewhere:
        raise RunFolderError(
            f"{folder} lacks {name}, or it is damaged, and its events do not say it: restore the file or run the "
            "recipe again."
        )


def _events(raw: bytes, file: Path) -> tuple[list[tuple[float, Event]], int]:
    """Events, and the length of what they stand in.

    A line without its newline was never acknowledged; a power cut may leave others at the end that hold something
    else than was written, which nobody saw on the disk either.

    Raises:
        RunFolderError: A line is damaged and others after it are not.
    """
    found: list[tuple[float, Event]] = []
    good = 0
    broken: str = ""
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            entry = from_line(line)
        except DAMAGE as error:
            broken = broken or f"Line {number} of {file} is damaged ({type(error).__name__}: {str(error)[:120]})"
            continue
        if broken:
            raise RunFolderError(f"{broken}: restore the file or run again.")
        good += len(line) + 1
        if entry is not None:  # an event of a later version
            found.append(entry)
    return found, good
