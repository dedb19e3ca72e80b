"""What passes between the process that hands out work and the actors that do it.

Frozen values. Results travel packed, so that what unpacks them owns its memory and nothing stays in Ray's store. No
torch, no Ray.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.protocol import Held
from engine.results import Event
from engine.shards import Layout, Rule, Shard


@dataclass(frozen=True)
class Setup:
    """How an actor is set up."""

    cache: Path | None
    """Directory for what is worth keeping on the actor's disk."""
    threads: int
    """Of the processor."""
    version: str
    """Of dirscope, where work is handed out."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that hold there too."""


@dataclass(frozen=True)
class Opened:
    """An actor has its model and the recipe on the bench."""

    info: Mapping[str, Any]
    """As `RunStarted`."""
    layout: Layout
    """What it would choose by itself, or was told."""
    seconds: float
    """Since it was asked to."""
    node: str
    """The host's name."""
    pid: int


@dataclass(frozen=True)
class CurveTask:
    """One shard of a run of curves."""

    shard: Shard
    held: Held
    """Of this shard's curves and bases."""
    layout: Layout


@dataclass(frozen=True)
class Done:
    """A shard that was computed, whole."""

    events: tuple[Event, ...]
    """Its bases, its curves, and notes."""
    layout: Layout
    """As it ended up: smaller where memory ran out."""
    seconds: float
    steps: int


@dataclass(frozen=True)
class Refused:
    """An arrangement of passes turned out to be wrong for the model: everyone goes on by the next."""

    rule: Rule
    difference: float
    """From a plain pass, in log-probability."""


@dataclass(frozen=True)
class Wanted:
    """A block of directions that the leading actor gives to others."""

    number: int
    block: bytes


@dataclass(frozen=True)
class Led:
    """The leading actor is through with its experiment."""

    problem: Any = None
    """`Failed`, `Refused`, or None where all is well."""


@dataclass(frozen=True)
class Sign:
    """That an actor is alive, and what it does."""

    text: str
    """What takes long just now; empty while it measures."""
    silent: float
    """Seconds since it last came by a place where it can be stopped; 0 where it loads or has nothing to do."""


def pack(value: Any) -> bytes:
    """Any value of ours as bytes."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Any:
    """What was packed by another process of the same run."""
    return pickle.loads(data)
