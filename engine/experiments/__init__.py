"""Experiments, one per file: each turns a recipe into a stream of results.

A module of this package registers one experiment in `EXPERIMENTS`; nothing else has to change. Importing an
experiment imports no torch: the model and its forward pass reach it through the laboratory it is run in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from engine.registry import Registry

if TYPE_CHECKING:
    from engine.hooks import HookPoint
    from engine.laboratory import Laboratory
    from engine.results import Event


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False)]
"""A list of texts in `[options]`."""


class NoOptions(BaseModel):
    """`[options]` of an experiment that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class CurveOptions(NoOptions):
    """`[options]` of an experiment that yields curves."""

    across: bool = Field(False, description="true or false: whether families of directions are compared too")


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A validator of lists whose entries stand for conditions of their own."""
    if len(set(values)) < len(values):
        raise ValueError(f"each entry may stand once; got {list(values)}")
    return values


def always(options: Any) -> bool:
    """For what holds whatever the options are."""
    return True


def never(options: Any) -> bool:
    """For what holds with no options."""
    return False


@dataclass(frozen=True)
class Experiment:
    """What the registry holds."""

    name: str
    summary: str
    run: Callable[[Laboratory], Iterator[Event]]
    """Yields `BaseResult`, `CurveResult`, `RowResult` (a row of a table that is not a ray) and `Note` events as they
    come; looks at the laboratory for what is already done."""
    default_bases: tuple[dict[str, Any], ...]
    default_directions: tuple[dict[str, Any], ...]
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Defaults of its own for keys of other sections, by section."""
    default_options: Mapping[str, Any] = field(default_factory=dict)
    """Options that go with `default_directions`, where a recipe leaves these out."""
    reads: Callable[[HookPoint, int], tuple[str, ...]] | None = None
    """reads(write, n_layers): what is read where a recipe does not say; the last block's output without."""
    options: type[BaseModel] = CurveOptions
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For one that yields rows in place of curves: its tables and their numeric columns, which an expectation may
    aggregate. Empty for one that yields curves."""
    optional_tables: frozenset[str] = frozenset()
    """Those of its tables that only some options bring."""
    brings_saes: bool = False
    """Whether its own options name SAEs, and its rows say which they were."""
    has_paths: bool = True
    """Whether it goes along the recipe's path."""
    needs_sae: Callable[[Any], bool] = never
    """needs_sae(options): whether it uses the write hook's SAE whatever the directions are."""
    keeps_tokens: bool = False
    """Whether each curve carries its next-token table, so that replay can show it without a model."""


def run_rays(lab: Laboratory) -> Iterator[Event]:
    """Every direction from every base; torch is imported only now."""
    from engine.rays import rays

    return rays(lab)


def unheld(run: Callable[[Laboratory], Iterator[Event]]) -> Callable[[Laboratory], Iterator[Event]]:
    """A run without the rows that its folder holds already: for tables that are quick to make again."""

    @wraps(run)
    def rest(lab: Laboratory) -> Iterator[Event]:
        from engine.results import RowResult

        made = Counter[str]()
        for event in run(lab):
            if isinstance(event, RowResult):
                made[event.table] += 1
                if made[event.table] <= lab.held.count(event.table):
                    continue
            yield event

    return rest


EXPERIMENTS: Registry[Experiment] = Registry("experiment", __name__)
