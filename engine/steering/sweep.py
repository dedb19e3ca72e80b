"""A sweep of steering: each strength of each vector, what the model writes with it, and what it costs.

One row per vector, hook and token in `vectors`, one per completion in `rollouts`, one per vector and strength in
`points`, the first of them without steering; then the `frontier` of success against damage, and the `best` point of
each vector within the budget. Knows laboratories; the recipe's side of it is `engine.experiments.steering`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from engine.contrasts import mean_of
from engine.directions.vector import packed
from engine.errors import DirectionError, PromptError, RecipeError
from engine.laboratory import Laboratory
from engine.results import Event, Note, RowResult
from engine.steering.composed import Composed, Placing
from engine.steering.cost import COSTS, Costs
from engine.steering.pareto import best_within, frontier
from engine.steering.steer import NotFiniteError, Steer
from engine.steering.strength import CLOSE, factor
from engine.steering.wording import distinct, paired_difference, repetition, wilson
from engine.steering.writer import TABLE as ROLLOUTS
from engine.steering.writer import Completion, Completions, Writer

if TYPE_CHECKING:
    from engine.experiments.steering import SteeringOptions

VECTORS, POINTS, FRONTIER, BEST = "vectors", "points", "frontier", "best"
UNSTEERED: Final = "unsteered"
FORMS: Final[dict[str, Callable[[Sequence[int]], float | None]]] = {
    "repetition": repetition,
    "distinct_1": lambda tokens: distinct(tokens, 1),
    "distinct_2": lambda tokens: distinct(tokens, 2),
}
"""What is told of each completion's form."""
SUCCESS: Final = ("success", "success_low", "success_high", "change", "change_low", "change_high")
KEPT: Final = ("strength", "added_norm", "share_of_norm", *SUCCESS, "delta_ce", "kl", "repetition", "distinct_2")
"""What is told of the best points."""


class Sweep:
    """One recipe's sweep.

    Raises:
        RecipeError: No vocabulary, texts too short for what is counted, a vector or unit that does not apply.
        PromptError: The prompt leaves no room in the context.
    """

    def __init__(self, lab: Laboratory, options: SteeringOptions) -> None:
        if not options.words:
            raise RecipeError(
                "options.words is empty: success is a completion with a word of it, so give a list of at least one."
            )
        if len(lab.where.token_ids) >= lab.model.context:
            raise PromptError(
                f"The prompt fills the context of {lab.model.context} tokens, so nothing can be written behind it: "
                "shorten it."
            )
        self._lab, self._options = lab, options
        placing = Placing(options.at, options.also)
        self._vectors = [placing.composed(lab, spec, index) for spec, index in lab.direction_order]
        for vector in self._vectors:
            if options.unit == "max-activation":
                factor(1.0, options.unit, vector.scale, lambda times: 0.0)  # refuses before anything is computed
        self._costs = Costs(lab, options, [vector.steer for vector in self._vectors])
        self._todo = list(product(options.strengths, enumerate(self._vectors)))
        self._writer = Writer(lab, options, 1 + len(self._todo))
        self._made = Counter[str]()
        """Rows so far, by table."""
        self._plain: Sequence[Completion] = ()
        """The completions without steering, which each row has beside it."""

    def run(self) -> Iterator[Event]:
        """Everything, as it comes; rows that are held are not given again."""
        points = [dict(row) for row in self._lab.held.rows.get(POINTS, ())]
        if not points:
            yield from self._notes()
        for i, vector in enumerate(self._vectors):
            yield from self._rows(VECTORS, _described(i, vector))
        plain = yield from self._writer.completions(None, 0)
        self._plain = self._writer.beside = plain.texts
        if not points:
            head = _head(None, UNSTEERED, UNSTEERED, 0.0, 0.0, 0.0)
            points.append(head | self._came_to(0.0, plain, self._vectors[0].steer.times(0.0)))
            yield RowResult(POINTS, points[0])
        for number, (strength, (i, vector)) in enumerate(self._todo, 1):
            if number < len(points):
                self._made[ROLLOUTS] += int(points[number]["samples"])
                continue
            points.append((yield from self._point(number * self._writer.samples, i, vector, strength)))
            yield RowResult(POINTS, points[-1])
        yield from self._rows(FRONTIER, [_short(point) for point in frontier(points)])
        yield from self._rows(BEST, [self._best(i, points) for i in range(len(self._vectors))])

    def _notes(self) -> Iterator[Note]:
        """What a reader should know before the first row."""
        options, lab = self._options, self._lab
        room = lab.model.context - len(lab.where.token_ids)
        if room < options.tokens:
            yield Note(f"Completions end after {room} tokens, with the context of {lab.model.context}.", "warning")
        if self._writer.samples < options.samples:
            yield Note("At temperature 0 all completions of a point are one: one is written.", "warning")
        last = len(lab.where.token_ids) - 1
        for vector in self._vectors:
            positions = vector.steer.positions
            if positions is not None and positions[0] > last:
                yield Note(
                    f"{vector.direction.label} is added from token {positions[0]} on, behind the prompt's last, "
                    f"{last}: to tokens as they are written, and to none of an unrelated prompt.",
                    "warning",
                )
        for text in self._costs.notes:
            yield Note(text, "warning")

    def texts_at(self, number: int, strength: float) -> tuple[float, float, tuple[tuple[str, str], ...]]:
        """One vector at a strength: the length added, its share of the residual's, texts without and with it.

        Raises:
            DirectionError: There is no such vector, or the model breaks.
        """
        if not 0 <= number < len(self._vectors):
            raise DirectionError(f"There is no vector {number}: the recipe has {len(self._vectors)}.")
        vector = self._vectors[number]
        times, _ = self._factor(vector, strength)
        plain, steered = (_drained(self._writer.completions(s, 0)) for s in (None, vector.steer.times(times)))
        if any(text.hit is None for text in steered.texts):
            raise DirectionError(f"The model gives NaN at strength {strength:g}: turn it down.")
        pairs = tuple((a.text, b.text) for a, b in zip(plain.texts, steered.texts, strict=True))
        return abs(times) * vector.scale.length, abs(times) * vector.scale.share, pairs

    def _rows(self, table: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[RowResult]:
        """Rows of a table, in order over the run, without those that are held."""
        for values in rows:
            self._made[table] += 1
            if self._made[table] > self._lab.held.count(table):
                yield RowResult(table, values)

    # One point

    def _point(self, done: int, i: int, vector: Composed, strength: float) -> Generator[Event, None, dict[str, Any]]:
        """One vector at one strength.

        Args:
            done: completions before.
        """
        direction = vector.direction
        try:
            times, missed = self._factor(vector, strength)
        except DirectionError as error:
            yield Note(f"{direction.label} at strength {strength:g}: {error}", "warning")
            return self._nothing(_head(i, direction.kind, direction.label, strength, None, None))
        if missed is not None:
            yield Note(
                f"{direction.label} has no strength with a KL of {strength:g} nats, as it jumps there: the largest "
                f"below it was taken, with {missed:.3g}.",
                "warning",
            )
        scale, steer = vector.scale, vector.steer.times(times)
        head = _head(i, direction.kind, direction.label, strength, abs(times) * scale.length, abs(times) * scale.share)

        def rows(first: int, texts: Sequence[Completion]) -> Iterator[RowResult]:
            return self._rows(ROLLOUTS, [self._row(head, n, text) for n, text in enumerate(texts, first)])

        written = yield from self._writer.completions(steer, done, head, rows)
        return head | self._came_to(times, written, steer)

    def _nothing(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """A point that there is no strength for; its completions are missing too."""
        empty = dict.fromkeys((*SUCCESS, *COSTS, *FORMS))
        return {**head, **empty, "unit": self._options.unit, "factor": None, "samples": 0, "cache_difference": None}

    def _factor(self, vector: Composed, strength: float) -> tuple[float, float | None]:
        """What a vector is multiplied with; of a budget that is not met, also the KL that it came to."""
        found: dict[float, float] = {}

        def kl_at(times: float) -> float:
            try:
                found[times] = self._costs.held_out(vector.steer.times(times)).kl
            except NotFiniteError:
                found[times] = float("inf")
            return found[times]

        times = factor(strength, self._options.unit, vector.scale, kl_at)
        if self._options.unit != "kl" or abs(found.get(times, 0.0) - abs(strength)) <= CLOSE * abs(strength):
            return times, None
        return times, found[times]

    def _row(self, head: Mapping[str, Any], sample: int, text: Completion) -> dict[str, Any]:
        plain = self._plain[sample]
        return {
            **head,
            "sample": sample,
            "unsteered": plain.text,
            "steered": text.text,
            "unsteered_hit": plain.hit,
            "steered_hit": text.hit,
            "hit_change": None if text.hit is None or plain.hit is None else float(text.hit) - float(plain.hit),
            **{name: of(text.token_ids) for name, of in FORMS.items()},
            "token_ids": text.token_ids,
        }

    def _came_to(self, times: float, written: Completions, steer: Steer) -> dict[str, Any]:
        """The numbers of a point."""
        told = {**self._success(written.texts), **self._costs.of(steer), **_form(written.texts)}
        how = {"unit": self._options.unit, "factor": times, "samples": len(written.texts)}
        return {**told, **how, "cache_difference": written.apart}

    def _success(self, texts: Sequence[Completion]) -> dict[str, Any]:
        """How many completions hold a word of the vocabulary; nothing where the model broke."""
        if any(text.hit is None for text in texts):
            return dict.fromkeys(SUCCESS)
        with_it, without = ([bool(text.hit) for text in side] for side in (texts, self._plain))
        interval = wilson(sum(with_it), len(texts))
        change = (sum(with_it) - sum(without)) / len(texts)
        values = (sum(with_it) / len(texts), *interval, change, *paired_difference(with_it, without))
        return dict(zip(SUCCESS, values, strict=True))

    def _best(self, number: int, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A vector's most successful point within the budget; no numbers where none is better than no steering."""
        own = [point for point in points if point["number"] == number]
        best = best_within([p for p in own if (p["change"] or 0) > 0], self._options.budget)
        row = {name: own[0][name] for name in ("number", "kind", "label")} | dict.fromkeys(KEPT)
        return row | {"budget": self._options.budget} | ({name: best[name] for name in KEPT} if best else {})


def _drained(events: Generator[Event, None, Completions]) -> Completions:
    """What a generator comes to, its events let go."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            found: Completions = end.value
            return found


def _head(
    number: int | None, kind: str, label: str, strength: float, added_norm: float | None, share: float | None
) -> dict[str, Any]:
    """What a point is, in front of all that came of it."""
    told = {"number": number, "kind": kind, "label": label, "strength": strength}
    return {**told, "added_norm": added_norm, "share_of_norm": share}


def _described(number: int, vector: Composed) -> list[dict[str, Any]]:
    """A vector as it came: a row for each hook and token."""
    steer, direction = vector.steer, vector.direction
    found = []
    for hook, rows in steer.rows.items():
        for i, row in enumerate(rows):
            where = steer.positions if len(rows) == 1 else (steer.positions or ())[i : i + 1]
            found.append(
                {
                    "number": number,
                    "kind": direction.kind,
                    "label": direction.label,
                    "hook": hook.name,
                    "token": i,
                    "at": f"{steer.start} and later" if where is None else ", ".join(map(str, where)),
                    "length": float(np.linalg.norm(row)),
                    "share_of_norm": vector.shares[hook][i],
                    "made": json.dumps(dict(direction.detail), default=str),
                    "vector": packed(row.astype(np.float32)),
                }
            )
    return found


def _form(texts: Sequence[Completion]) -> dict[str, float | None]:
    """How much the completions of a point repeat themselves, on average."""
    found: dict[str, float | None] = {}
    for name, of in FORMS.items():
        values = np.array([value for text in texts if (value := of(text.token_ids)) is not None])
        found[name] = mean_of(values).value if len(values) else None
    return found


def _short(point: Mapping[str, Any]) -> dict[str, Any]:
    return {name: point[name] for name in ("kind", "label", "strength", "success", "change", "delta_ce", "kl")}
