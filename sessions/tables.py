"""The tables of a run, derived from its events: parquet and safetensors.

Knows columns and types; computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from engine.durable import FOLDER_MODE, replacing
from engine.errors import RunFolderError
from engine.frames import curve_columns
from sessions.reader import ARRAYS_FILE, Run

CURVES: Final = pa.schema(
    [
        ("curve", pa.int64()),
        ("base", pa.int64()),
        ("step", pa.int64()),
        ("kind", pa.string()),
        ("distance", pa.float64()),
        ("angle", pa.float64()),
        ("read", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
SUMMARY: Final = pa.schema(
    [
        ("curve", pa.int64()),
        ("base", pa.int64()),
        ("base_kind", pa.string()),
        ("kind", pa.string()),
        ("label", pa.string()),
        ("native_norm", pa.float64()),
        ("native_angle", pa.float64()),
        ("threshold", pa.float64()),
        ("censored", pa.bool_()),
        ("max_slope_step", pa.int64()),
        ("plateau_length", pa.float64()),
        ("plateau_censored", pa.bool_()),
        ("fisher", pa.float64()),
        ("final_kl", pa.float64()),
        ("kl_near", pa.float64()),
        ("quadratic_near", pa.float64()),
        ("quadratic_ratio", pa.float64()),
        ("near_share", pa.float64()),
        ("threshold_0_1", pa.float64()),
        ("threshold_1", pa.float64()),
        ("area", pa.float64()),
        ("base_entropy", pa.float64()),
    ]
)
BASES: Final = pa.schema(
    [
        ("base", pa.int64()),
        ("kind", pa.string()),
        ("label", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("position", pa.int64()),
    ]
)
TOKENS: Final = pa.schema(
    [
        ("curve", pa.int64()),
        ("step", pa.int64()),
        ("rank", pa.int64()),
        ("token_id", pa.int64()),
        ("token", pa.string()),
        ("prob", pa.float64()),
    ]
)


def curve_table(run: Run) -> pa.Table:
    """Every value of every curve, one a row."""
    pieces = [pa.table(dict(curve_columns(curve)), schema=CURVES) for curve in run.curves]
    return pa.concat_tables(pieces) if pieces else CURVES.empty_table()


def summary_table(run: Run) -> pa.Table:
    """One row per curve."""
    return pa.Table.from_pylist([asdict(s) for s in run.summaries], schema=SUMMARY)


def base_table(run: Run) -> pa.Table:
    """One row per base."""
    rows = [
        {"base": b.base, "kind": b.kind, "label": b.label, "token_ids": list(b.token_ids), "position": b.position}
        for b in run.bases
    ]
    return pa.Table.from_pylist(rows, schema=BASES)


def row_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of a table that is not a ray."""
    try:
        return pa.Table.from_pylist([dict(row) for row in rows])
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise RunFolderError(f"The rows of a table do not fit together: {error}.") from None


def token_table(run: Run) -> pa.Table | None:
    """The most probable next tokens along each curve; None when the run keeps none."""

    def pieces() -> Iterator[pa.Table]:
        for curve in run.curves:
            if curve.tokens is not None:
                steps, ranks = curve.tokens.ids.shape
                ids = curve.tokens.ids.ravel()
                yield pa.table(
                    {
                        "curve": np.full(steps * ranks, curve.summary.curve),
                        "step": np.repeat(np.arange(steps), ranks),
                        "rank": np.tile(np.arange(ranks), steps),
                        "token_id": ids.astype(np.int64),
                        "token": pa.array([curve.tokens.strings[int(i)] for i in ids]),
                        "prob": curve.tokens.probabilities.ravel(),
                    },
                    schema=TOKENS,
                )

    found = list(pieces())
    return pa.concat_tables(found) if found else None


def arrays(run: Run) -> dict[str, np.ndarray]:
    """Base vectors and directions, rows as in the base and summary tables."""
    width = len(run.bases[0].vector) if run.bases else 0
    return {
        "bases": np.stack([b.vector for b in run.bases]) if run.bases else np.zeros((0, width), np.float32),
        "directions": np.stack([c.direction for c in run.curves]) if run.curves else np.zeros((0, width), np.float32),
    }


def write_tables(run: Run) -> dict[str, list[str]]:
    """Write all tables of a run; gives the columns of those below `tables/`."""
    _write(curve_table(run), run.folder / "curves.parquet")
    _write(summary_table(run), run.folder / "summary.parquet")
    _write(base_table(run), run.folder / "bases.parquet")
    tokens = token_table(run)
    if tokens is not None:
        _write(tokens, run.folder / "tokens.parquet")
    with replacing(run.folder / ARRAYS_FILE) as part:
        save_file(arrays(run), part)
    for name, rows in run.tables.items():
        (run.folder / "tables").mkdir(exist_ok=True, mode=FOLDER_MODE)
        _write(row_table(rows), run.folder / "tables" / f"{name}.parquet")
    return {name: list(rows[0]) for name, rows in run.tables.items()}


def write_parquet(table: pa.Table, path: Path) -> None:
    """A table as a file.

    Raises:
        RunFolderError: Parquet has no place for what a cell holds.
        OSError: The file cannot be written.
    """
    try:
        pq.write_table(table, path)
    except pa.ArrowException as error:
        raise RunFolderError(f"{path.name} cannot be written as parquet: {error}") from None


def _write(table: pa.Table, path: Path) -> None:
    with replacing(path) as part:
        write_parquet(table, part)
