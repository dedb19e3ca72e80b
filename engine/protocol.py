"""What passes between the terminal process and the worker: frozen requests and replies.

Torch-free, so that both sides can import it. Metrics cross the border, logits never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.dictionaries.evidence import FeatureEvidence
from engine.drawing import Vector
from engine.recipe import Recipe
from engine.results import Event
from engine.shards import Layout


@dataclass(frozen=True)
class Held:
    """What a run folder already holds, when a run goes on or is verified."""

    curves: frozenset[int] = frozenset()
    """Not computed again."""
    bases: frozenset[int] = frozenset()
    """Not reported again."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """How many rows of each table are not computed again, the first ones."""
    base_vectors: Mapping[int, Vector] = field(default_factory=dict)
    """Used in place of what would be drawn."""
    direction_vectors: Mapping[int, Vector] = field(default_factory=dict)
    """Used in place of what would be drawn; what is drawn is still what is reported."""
    layout: Layout | None = None
    """As recorded, used again."""


@dataclass(frozen=True)
class RunRequest:
    """Compute a recipe; a newer request ends an older one."""

    id: int
    recipe: Recipe
    held: Held = Held()
    live: bool = False
    """Whether curves are wanted before they are whole."""


@dataclass(frozen=True)
class FeaturesRequest:
    """List the SAE features active at the recipe's site."""

    id: int
    recipe: Recipe


@dataclass(frozen=True)
class ContinueRequest:
    """Write on from the recipe's prompt, with a vector added at its position and every later one, and without."""

    id: int
    recipe: Recipe
    direction: Vector
    """[d_hook], before normalising."""
    coordinate: float
    """How far along the recipe's path, in its unit."""


@dataclass(frozen=True)
class CancelRequest:
    """Stop what is running between two chunks."""

    id: int


@dataclass(frozen=True)
class Shutdown:
    """End the worker."""


Request = RunRequest | FeaturesRequest | ContinueRequest | CancelRequest | Shutdown


@dataclass(frozen=True)
class ActiveFeature:
    """One feature that is on at a base."""

    index: int
    activation: float
    share_of_l1: float
    evidence: FeatureEvidence | None = None
    """What it seems to stand for, where that lies beside the SAE."""


@dataclass(frozen=True)
class FeatureList:
    """Active features, most active first."""

    sae: str
    rows: tuple[ActiveFeature, ...]
    problem: str = ""
    """Why there are none to show: no SAE for this hook, say."""


@dataclass(frozen=True)
class Continuations:
    """What the model writes after the prompt, unsteered and steered; both of a pair drew the same random numbers."""

    pairs: tuple[tuple[str, str], ...]
    added_norm: float
    share_of_norm: float
    """Of the base's own length."""
    problem: str = ""


@dataclass(frozen=True)
class Failed:
    """A request ended in an error; `error` names a class of `engine.errors`."""

    error: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Reply:
    """What the worker says about one request."""

    id: int
    body: Event | FeatureList | Continuations | Failed
