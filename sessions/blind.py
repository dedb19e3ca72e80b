"""Answering a blind test: the seal is opened, the answer scored, and both kept in the run's `answer.json`.

A test is answered once: the first answer stands. Beside it stand rules that look at one number of each curve, scored in
the same way. Knows run folders; no model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.contrasts import Group, auc
from engine.durable import replace_file
from engine.errors import RunFolderError, UsageError
from engine.experiments.blind_test import ITEMS
from engine.sealing import unseal
from sessions.digest import number
from sessions.reader import Run, read_run
from sessions.runner import seal_of

EXPERIMENT: Final = "blind-test"
ANSWER_FILE: Final = "answer.json"


@dataclass(frozen=True)
class Rule:
    """A classifier that takes the items that act soonest, by one number, for real."""

    name: str
    right: float
    """Items that it tells right, shared among ties."""
    auc: float
    """P(a real item acts sooner than a made-up one by that number), ties counting one half."""


@dataclass(frozen=True)
class Item:
    """One curve of the test, once it is answered."""

    name: str
    said_real: bool
    real: bool
    label: str

    @property
    def right(self) -> bool:
        """Whether it was told right."""
        return self.said_real == self.real


@dataclass(frozen=True)
class Verdict:
    """An answer and what it was worth."""

    items: tuple[Item, ...]
    rules: tuple[Rule, ...]
    by_chance: float
    """P(at least as many right by tagging as many at random)."""
    answered: str
    """When, UTC."""

    @property
    def right(self) -> int:
        """Items told right."""
        return sum(item.right for item in self.items)

    def lines(self) -> list[str]:
        """As text."""
        words = {True: "real   ", False: "made up"}
        table = [
            f"  {item.name}  you said {words[item.said_real]}  it is {words[item.real]}  "
            f"{'right' if item.right else 'WRONG'}  {item.label}"
            for item in self.items
        ]
        n = len(self.items)
        rules = [f"  {rule.name}: {rule.right:g} of {n} right, AUC {rule.auc:.2f}" for rule in self.rules]
        return [
            f"{self.right} of {n} right; as many or more by chance: {self.by_chance:.0%}",
            *table,
            "Taking those for real that act soonest by one number would have had:",
            *rules,
        ]


def curves_of(run: Run) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each item of a test, in order of its steps."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.tables.get(ITEMS, []):
        found.setdefault(str(row["item"]), []).append(row)
    return found


def item_lines(run: Run) -> list[str]:
    """A test before its answer: a line for each item, and how to answer."""
    lines = ["item  threshold  max-slope step  KL at the end"]
    for name, rows in curves_of(run).items():
        first, last = rows[0], rows[-1]
        reached = "never" if first["threshold"] is None else number(first["threshold"])
        lines.append(f"{name:<4}  {reached:<9}  {first['max_slope_step']:<14}  {number(last['kl'])}")
    return [*lines, f"half of them are SAE features: dirscope answer {run.folder} --real A,C,... tells which"]


def told(run: Run) -> list[str]:
    """A test in lines: its items, or how it was answered."""
    verdict = verdict_of(run.folder)
    return item_lines(run) if verdict is None else verdict.lines()


def verdict_of(folder: Path) -> Verdict | None:
    """What was answered; None before.

    Raises:
        RunFolderError: The file is damaged.
    """
    file = folder / ANSWER_FILE
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        items = tuple(Item(**item) for item in data["items"])
        rules = tuple(Rule(**rule) for rule in data["rules"])
        return Verdict(items, rules, float(data["by_chance"]), str(data["answered"]))
    except (OSError, RecursionError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{file} is damaged ({type(error).__name__}: {error}), so it cannot be shown: put back a copy."
        ) from None


def answer(folder: Path, said_real: Collection[str]) -> Verdict:
    """Open the test in a run folder and score an answer.

    Args:
        folder: of a whole run.
        said_real: names of the items that are taken for real features; all others are taken for made up.

    Raises:
        UsageError: The run is no test, is not whole, was answered before, or has no such item.
        RunFolderError: Its seal was damaged or changed.
    """
    run = read_run(folder)
    closed = seal_of(run)
    curves = curves_of(run)
    if run.recipe.experiment != EXPERIMENT:
        raise UsageError(f"{folder} is no blind test: make one with dirscope --batch blind-test.")
    if run.status != "done" or closed is None:
        raise UsageError(f"The test in {folder} is not whole ({run.status}): go on with --resume before you answer.")
    if (folder / ANSWER_FILE).exists():
        raise UsageError(f"The test in {folder} was answered before, and its labels are known: run a new one.")
    unknown = sorted(set(said_real) - curves.keys())
    if unknown:
        raise UsageError(f"There is no item {', '.join(unknown)}: this test has {', '.join(curves)}.")
    truth = unseal(closed)["items"]
    items = tuple(
        Item(name, name in said_real, bool(true["real"]), str(true["label"]))
        for name, true in zip(curves, truth, strict=True)
    )
    real = np.array([item.real for item in items])
    rules = tuple(_rules(curves, real))
    when = datetime.now(UTC).isoformat(timespec="seconds")
    verdict = Verdict(items, rules, _by_chance(items), when)
    replace_file(folder / ANSWER_FILE, json.dumps(asdict(verdict), indent=2) + "\n")
    return verdict


def _rules(curves: Mapping[str, Sequence[Mapping[str, Any]]], real: np.ndarray) -> Iterator[Rule]:
    """Each of a few numbers of a curve, taken for a classifier."""
    number = np.arange(len(real))
    scores = {
        "smallest threshold": [_or_never(rows[0]["threshold"]) for rows in curves.values()],
        "smallest max-slope step": [_or_never(rows[0]["max_slope_step"]) for rows in curves.values()],
        "largest KL at half of the path": [-float(rows[len(rows) // 2]["kl"] or 0) for rows in curves.values()],
    }
    for name, values in scores.items():
        found = np.array(values)
        first, second = Group(found[real], number[real]), Group(found[~real], number[~real])
        yield Rule(name, _right_of(found, real), auc(first, second).value)


def _or_never(value: Any) -> float:
    return math.inf if value is None else float(value)


def _right_of(values: np.ndarray, real: np.ndarray) -> float:
    """Items told right by taking as many as are real, smallest first; ties at the edge share their places."""
    many = int(real.sum())
    edge = np.sort(values)[many - 1]
    below, at = values < edge, values == edge
    share = (many - below.sum()) / at.sum()
    said = np.where(below, 1.0, np.where(at, share, 0.0))
    return float(np.where(real, said, 1 - said).sum())


def _by_chance(items: Sequence[Item]) -> float:
    """Hypergeometric: as many tags on items at random, at least as many of them right."""
    n, real = len(items), sum(item.real for item in items)
    said, hits = sum(item.said_real for item in items), sum(item.said_real and item.real for item in items)
    ways = sum(math.comb(real, k) * math.comb(n - real, said - k) for k in range(hits, min(real, said) + 1))
    return ways / math.comb(n, said)
