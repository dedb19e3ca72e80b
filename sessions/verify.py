"""`replay --verify`: compute a run again from its stored vectors and compare with its tables.

The stored bases and directions are used exactly as they are, so that a difference is one of computing; the recipe's
draws are repeated beside them and compared too, so that a difference of seeds or texts shows as one. Sampled texts
are compared letter by letter: another processor may round a probability across a drawn number.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from engine.client import Worker
from engine.directions.vector import unpacked
from engine.errors import RunFolderError
from engine.protocol import Held, RunRequest
from engine.results import BaseResult, CurveResult, Event, RowResult, RunStarted
from engine.shards import Layout
from sessions.differences import differences
from sessions.reader import Run, read_run
from sessions.runner import run_to_end, seal_of

TOLERANCES: Final[dict[str, tuple[float, float]]] = {
    "kl": (1e-5, 1e-4),
    "js": (1e-5, 1e-4),
    "kl_quadratic": (1e-5, 1e-3),
    "l2": (1e-4, 1e-4),
    "cosine": (1e-5, 0.0),
    "top1_flip": (0.0, 0.0),
    "margin": (1e-4, 1e-4),
    "norm": (1e-5, 1e-5),
    "flips": (1e-3, 0.0),
    "distance": (1e-9, 1e-9),
    "angle": (1e-6, 1e-6),
    "tables": (1e-4, 1e-3),
    "bases": (1e-4, 1e-4),
    "directions": (1e-4, 1e-4),
}
"""metric: (absolute, relative). On one device with one thread count every deviation is 0; another processor or thread
count changes float32 logits by some 1e-6 (5e-6 measured), residuals of norm 10 to 100 by about 1e-5 relative."""


@dataclass(frozen=True)
class Deviation:
    """How far one metric is off at worst."""

    metric: str
    largest: float
    """Largest absolute difference."""
    excess: float
    """Largest difference as a multiple of its tolerance; above 1 is a failure."""
    compared: int
    """Values compared."""

    @property
    def ok(self) -> bool:
        return self.excess <= 1

    def __str__(self) -> str:
        absolute, relative = TOLERANCES[self.metric]
        word = "ok" if self.ok else "OVER"
        return (
            f"{self.metric:<13} {self.largest:<11.3g} {absolute:g} + {relative:g} x value   {self.compared:>8}  {word}"
        )


@dataclass(frozen=True)
class Verified:
    """What came of computing a run again."""

    deviations: tuple[Deviation, ...]
    """One per metric."""
    differences: tuple[str, ...]
    """What is not as it was when the run was recorded."""

    @property
    def ok(self) -> bool:
        return all(d.ok for d in self.deviations)


HEADER: Final = f"{'metric':<13} {'deviation':<11} {'tolerance':<21} {'compared':>8}"


def verify(folder: Path, worker: Worker) -> Verified:
    """Compute the run in `folder` again.

    Raises:
        RunFolderError: The run holds nothing to compare, or its tables are missing.
        DirscopeError: What the worker reported.
    """
    run = read_run(folder)
    for name in ("curves.parquet", "arrays.safetensors", "summary.parquet", "bases.parquet"):
        if not (folder / name).is_file():
            raise RunFolderError(
                f"{folder} lacks {name}, so there is nothing to verify against: a run that was cut off gets its tables "
                f"with dirscope --batch {folder} --out {folder} --resume."
            )
    try:
        comparison = _read_stored(folder)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunFolderError(
            f"The tables of {folder} are damaged or do not fit together ({type(error).__name__}: {error}): "
            f"dirscope --batch {folder} --out {folder} --resume writes them again from its events."
        ) from None
    if not comparison.directions and not comparison.rows:
        raise RunFolderError(f"{folder} holds neither curves nor tables: there is nothing to verify.")
    held = Held(
        curves=_not_measured(run, set(comparison.directions)),
        base_vectors=comparison.bases,
        direction_vectors=comparison.directions,
        layout=Layout.recorded(run.record.get("layout") or {}),
        seal=seal_of(run),
    )

    run_to_end(worker, RunRequest(1, run.recipe, held), comparison.take)
    missing = comparison.unseen()
    if missing:
        raise RunFolderError(
            f"{folder}: {missing} stored curves or rows were not computed again; its files do not fit together."
        )
    if comparison.beyond and run.status == "done":
        raise RunFolderError(
            f"{folder} says that it is done, but {comparison.beyond} rows that were computed again are not in its "
            "tables: they are not whole."
        )
    return Verified(tuple(comparison.deviations()), tuple(differences(run.info, comparison.info)))


def _read_stored(folder: Path) -> _Comparison:
    vectors = load_file(folder / "arrays.safetensors")
    curves = pq.read_table(folder / "summary.parquet")["curve"].to_pylist()
    bases = pq.read_table(folder / "bases.parquet")["base"].to_pylist()
    comparison = _Comparison(_stored_series(folder))
    comparison.bases = dict(zip(bases, vectors["bases"], strict=True))
    comparison.directions = dict(zip(curves, vectors["directions"], strict=True))
    comparison.rows = {file.stem: pq.read_table(file).to_pylist() for file in sorted(folder.glob("tables/*.parquet"))}
    return comparison


def _not_measured(run: Run, measured: set[int]) -> frozenset[int]:
    """Curves of the recipe that a stopped run never reached."""
    total = int(run.info["n_curves"])
    return frozenset(range(total)) - measured


Key = tuple[int, str, str]


def _stored_series(folder: Path) -> dict[Key, np.ndarray]:
    """Series of `curves.parquet` by (curve, read, metric), in step order; distance and angle by curve."""
    frame = pq.read_table(folder / "curves.parquet").sort_by(
        [("curve", "ascending"), ("read", "ascending"), ("metric", "ascending"), ("step", "ascending")]
    )
    columns = {name: np.array(frame[name].to_pylist(), dtype=object) for name in ("curve", "read", "metric")}
    values = {name: frame[name].to_numpy() for name in ("value", "distance", "angle")}
    keys = list(zip(columns["curve"], columns["read"], columns["metric"], strict=True))
    edges = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]] + [len(keys)]
    series: dict[Key, np.ndarray] = {}
    for start, end in itertools.pairwise(edges):
        curve, read, metric = keys[start]
        series[(curve, read, metric)] = values["value"][start:end]
        series[(curve, "", "distance")] = values["distance"][start:end]
        series[(curve, "", "angle")] = values["angle"][start:end]
    return series


def _numbers(stored: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Two rows as numbers, those of lists and vectors among them; what is no number counts as 0 where it is the same
    and as infinitely far where not."""
    pairs: list[tuple[Any, Any]] = []
    for name in dict.fromkeys([*stored, *again]):
        a, b = (_listed(name, row.get(name)) for row in (stored, again))
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            pairs += zip(a, b, strict=True)
        else:
            pairs.append((a, b))
    left, right = np.zeros(len(pairs)), np.zeros(len(pairs))
    for i, (a, b) in enumerate(pairs):
        if isinstance(a, int | float) and isinstance(b, int | float):
            left[i], right[i] = a, b
        elif a != b:
            right[i] = np.inf
    return left, right


def _listed(name: str, value: Any) -> Any:
    """A vector that a table holds as text, as numbers; anything else as it is."""
    if name == "vector" and isinstance(value, str):
        with contextlib.suppress(ValueError):  # a damaged one is compared as the text it is
            return unpacked(value).tolist()
    return value


class _Comparison:
    def __init__(self, stored: dict[Key, np.ndarray]) -> None:
        self._stored = stored
        self._seen: set[Key] = set()
        self._found: dict[str, Deviation] = {}
        self.bases: dict[int, np.ndarray] = {}
        self.directions: dict[int, np.ndarray] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._rows_seen: Counter[str] = Counter()
        self.info: Mapping[str, Any] = {}
        self.beyond = 0
        """Rows computed that were not stored."""

    def take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.info = event.info
        elif isinstance(event, BaseResult) and event.base in self.bases:
            self._compare("bases", self.bases[event.base], event.vector)
        elif isinstance(event, CurveResult):
            curve = event.summary.curve
            self._compare("directions", self.directions[curve], event.direction)
            series = {("", "distance"): event.distance, ("", "angle"): event.angle}
            for read, metrics in event.values.items():
                series.update({(read, metric): values for metric, values in metrics.items()})
            for (read, metric), values in series.items():
                key = (curve, read, metric)
                self._seen.add(key)
                self._compare(metric, self._stored.get(key, np.zeros(0)), values)
        elif isinstance(event, RowResult):
            number = self._rows_seen[event.table]
            stored = self.rows.get(event.table, [])[number : number + 1]
            self._rows_seen[event.table] += 1
            if stored:
                self._compare("tables", *_numbers(stored[0], event.values))
            else:  # a stopped run never reached the rest
                self.beyond += 1

    def _compare(self, metric: str, stored: np.ndarray, again: np.ndarray) -> None:
        absolute, relative = TOLERANCES[metric]
        if stored.shape != again.shape:
            deviation = Deviation(metric, np.inf, np.inf, 0)
        else:
            a, b = stored.astype(np.float64), again.astype(np.float64)
            difference = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
            difference = np.where(np.isnan(difference), np.inf, difference)
            # Vectors are judged by their length, since a coordinate near zero has no scale of its own.
            scale = np.linalg.norm(a) if metric in ("bases", "directions") else np.abs(a)
            allowed = absolute + relative * scale
            excess = np.divide(difference, allowed, out=np.where(difference > 0, np.inf, 0.0), where=allowed > 0)
            deviation = Deviation(metric, float(difference.max()), float(np.nanmax(excess)), a.size)
        old = self._found.get(metric, Deviation(metric, 0.0, 0.0, 0))
        self._found[metric] = Deviation(
            metric,
            max(old.largest, deviation.largest),
            max(old.excess, deviation.excess),
            old.compared + deviation.compared,
        )

    def unseen(self) -> int:
        rows = sum(max(0, len(rows) - self._rows_seen[table]) for table, rows in self.rows.items())
        return rows + len({curve for curve, _, _ in self._stored.keys() - self._seen})

    def deviations(self) -> list[Deviation]:
        return [self._found[m] for m in TOLERANCES if m in self._found]
