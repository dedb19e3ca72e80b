"""What passes between the terminal process and the worker: frozen requests and replies.

Torch-free, so that both sides can import it. Metrics cross the border, logits never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.drawing import Vector
from engine.questions import Question
from engine.recipe import Recipe
from engine.results import Event
from engine.sealing import Seal
from engine.shards import Layout


@dataclass(frozen=True)
class Held:
    """What a run folder already holds, when a run goes on or is verified."""

    curves: frozenset[int] = frozenset()
    """Not computed again."""
    bases: frozenset[int] = frozenset()
    """Not reported again."""
    rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By table, the first ones: not computed again."""
    base_vectors: Mapping[int, Vector] = field(default_factory=dict)
    """Used in place of what would be drawn."""
    direction_vectors: Mapping[int, Vector] = field(default_factory=dict)
    """Used in place of what would be drawn; what is drawn is still what is reported."""
    layout: Layout | None = None
    """As recorded, used again."""
    seal: Seal | None = None
    """Of a blind test that is computed again without its rows: which test it is."""

    def count(self, table: str) -> int:
        """How many rows of a table there are already."""
        return len(self.rows.get(table, ()))


@dataclass(frozen=True)
class RunRequest:
    """Compute a recipe; a newer request ends an older one."""

    id: int
    recipe: Recipe
    held: Held = Held()
    live: bool = False
    """Whether curves are wanted before they are whole."""


@dataclass(frozen=True)
class AskRequest:
    """Find something out at the recipe's site."""

    id: int
    recipe: Recipe
    question: Question


@dataclass(frozen=True)
class CancelRequest:
    """Stop what is running between two chunks."""

    id: int


@dataclass(frozen=True)
class Shutdown:
    """End the worker."""


Request = RunRequest | AskRequest | CancelRequest | Shutdown


@dataclass(frozen=True)
class Answer:
    """What came of a question."""

    found: Any = None
    """As the question's `answer` says; None where there is a problem."""
    problem: str = ""
    """Why there is none, in a sentence."""


@dataclass(frozen=True)
class Failed:
    """A request ended in an error; `error` names a class of `engine.errors`."""

    error: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Alive:
    """Said every second while something is computed, so that a worker that hangs can be told from a busy one."""


@dataclass(frozen=True)
class Reply:
    """What the worker says about one request."""

    id: int
    body: Event | Answer | Failed | Alive
