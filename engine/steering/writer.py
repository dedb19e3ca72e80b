"""Completions of a run's prompt, block by block: drafts on the way, hits of the vocabulary, and how exact the cache is.

Knows laboratories and steers; not what a sweep makes of the texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.laboratory import Laboratory
from engine.layouts import TOLERANCE
from engine.results import Draft, Event, Note, Progress
from engine.steering.rollouts import Sampling, Written, cache_difference, until_end, writing
from engine.steering.steer import NotFiniteError, Steer
from engine.steering.wording import Vocabulary

if TYPE_CHECKING:
    from engine.experiments.steering import SteeringOptions

TABLE: Final = "rollouts"
SAMPLES_AT_ONCE: Final = 16
"""A run can be stopped between two such blocks."""
CHECKED: Final = 4
"""Completions of each point that are compared with a whole pass."""
DRAFT_SECONDS: Final = 0.15


@dataclass(frozen=True, eq=False)
class Completion:
    """One text."""

    text: str
    token_ids: list[int]
    hit: bool | None
    """Whether it holds a word of the vocabulary; None where the model broke before anything was written."""


Rows = Callable[[int, Sequence[Completion]], Iterable[Event]]
NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, eq=False)
class Completions:
    """All texts of a point."""

    texts: Sequence[Completion]
    apart: float | None
    """Largest difference of a drawn token's log-probability from a whole pass; None where the model broke."""


class Writer:
    """Writes the completions of one run.

    Args:
        points: how many times all completions are written, for progress.
    """

    def __init__(self, lab: Laboratory, options: SteeringOptions, points: int) -> None:
        self._lab = lab
        self.samples = 1 if options.temperature == 0 else options.samples
        """Completions of a point; without chance all would be one."""
        self._total = points * self.samples
        self._sampling = Sampling(
            options.tokens, options.temperature, lab.seed, options.top_p, options.frequency_penalty
        )
        self._vocabulary = Vocabulary(options.words)
        self.beside: Sequence[Completion] = ()
        """The completions without steering, which drafts have beside them."""
        self._prompt = str(lab.model.tokenizer.decode(list(lab.where.token_ids)))

    def completions(
        self, steer: Steer | None, done: int, head: Mapping[str, Any] = NOTHING, rows: Rows = lambda first, texts: ()
    ) -> Generator[Event, None, Completions]:
        """All completions with a steer.

        Args:
            done: completions of the run before.
            head: what their rows begin with, for drafts; empty gives none.
            rows: rows(number of the first, texts) of some completions, given as soon as these are written.
        """
        texts: list[Completion] = []
        # Each point finds out for itself, so that one that is gone on with is written as it was.
        broke, apart, cached = False, 0.0, True
        for start in range(0, self.samples, SAMPLES_AT_ONCE):
            block = range(start, min(start + SAMPLES_AT_ONCE, self.samples))
            written, found = yield from self._written(block, steer, head, cached)
            if start == 0 and cached and not found <= TOLERANCE[self._lab.model.dtype]:
                cached = False
                yield Note(
                    f"What '{self._lab.model.name}' writes with its key-value cache differs from a whole pass by "
                    f"{found:.2g} in log-probability here: written without it, which is slow.",
                    "warning",
                )
                written, found = yield from self._written(block, steer, head, cached)
            broke, apart = broke or written is None, max(apart, found)
            fresh = self._read(written, len(block))
            yield from rows(start, fresh)
            texts += fresh
            yield Progress("writing", done + block.stop, self._total)
        return Completions(texts, None if broke else apart)

    def _written(
        self, block: range, steer: Steer | None, head: Mapping[str, Any], cached: bool
    ) -> Generator[Event, None, tuple[Written | None, float]]:
        """Some completions, None where the model breaks, and how far the first are from a whole pass."""
        lab, model, ids = self._lab, self._lab.model, self._lab.where.token_ids
        written, drawn_at, apart = None, time.monotonic(), 0.0
        try:
            for written in writing(model, ids, block, self._sampling, steer, lab.checkpoint, cached):
                if lab.live and head and time.monotonic() - drawn_at >= DRAFT_SECONDS:
                    drawn_at = time.monotonic()
                    texts = enumerate(written.texts(model), block.start)
                    rows = ({"sample": n, "unsteered": self.beside[n].text, "steered": text} for n, text in texts)
                    yield Draft(TABLE, tuple({**head, **row} for row in rows))
            if written is not None and block.start == 0:
                some = Written(written.tokens[:CHECKED], written.log_probabilities[:CHECKED])
                apart = cache_difference(model, ids, some, steer)
        except NotFiniteError as error:
            yield Note(f"{head.get('label')} at strength {head.get('strength')}: {error}", "warning")
            return None, 0.0
        return written, apart

    def _read(self, written: Written | None, n: int) -> list[Completion]:
        if written is None:
            return [Completion("", [], None)] * n
        model = self._lab.model
        kept = [until_end(row.tolist(), model.eos) for row in written.tokens]
        return [self._completion(ids) for ids in kept]

    def _completion(self, token_ids: list[int]) -> Completion:
        decode = self._lab.model.tokenizer.decode
        whole = str(decode([*self._lab.where.token_ids, *token_ids]))
        # A word that the prompt's last one goes on to be is judged as a whole; what stood there before is no hit.
        hit = self._vocabulary.hit(whole, len(self._prompt) if whole.startswith(self._prompt) else 0)
        return Completion(str(decode(token_ids)), token_ids, hit)
