"""`steering`: what each vector makes the model write, and what it costs, at several strengths.

Completions with and without (Turner et al., arXiv 2308.10248), the share of them that hold a word of a vocabulary, and
the loss that the vector adds on held-out text, after Conmy & Nanda ("Activation Steering with SAEs", GDM mechanistic
interpretability team's progress update #1, 2024). Both texts of a row draw the same random numbers. A vocabulary
misses successes and can be satisfied by nonsense: read success with damage and with the texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from engine.experiments import EXPERIMENTS, Experiment, Names, NoOptions, distinct
from engine.steering.strength import Unit

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

Strengths = Annotated[tuple[Annotated[float, Strict(False)], ...], Strict(False), AfterValidator(distinct)]
Tokens = Annotated[tuple[int, ...], Strict(False), Field(min_length=1), AfterValidator(distinct)]


def _some(words: tuple[str, ...]) -> tuple[str, ...]:
    if not any(word.strip() for word in words):
        raise ValueError("success is a completion with one of these words, so there must be at least one")
    return words


SAD = ("sad", "cry", "cried", "crying", "tears", "upset", "sorry", "alone")


class SteeringOptions(NoOptions):
    """How to steer, what to write, what counts as success and on what damage is measured."""

    strengths: Strengths = Field((0.25, 0.5, 1.0), min_length=1, description="a list of different strengths")
    unit: Unit = Field("native", description="'native', 'norm', 'fraction', 'max-activation' or 'kl'")
    at: Literal["onwards", "site", "aligned"] | Tokens = Field(
        "onwards", description="'onwards', 'site', 'aligned' or a list of token indices"
    )
    also: Names = Field((), description="a list of hook points beside the write hook")
    samples: int = Field(8, ge=1, description="a whole number of at least 1")
    tokens: int = Field(40, ge=1, description="a whole number of at least 1")
    temperature: float = Field(0.7, ge=0, description="a finite number of at least 0; 0 takes the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="a probability above 0, up to 1")
    frequency_penalty: float = Field(0.0, description="a finite number")
    words: Annotated[Names, AfterValidator(_some)] = Field((), description="a list of words that are not empty")
    held_out: str = Field("bundled-evaluation", min_length=1, description="texts, as population.prompts")
    texts: int = Field(32, ge=1, description="a whole number of at least 1")
    text_tokens: int | None = Field(None, ge=3, description="a whole number of at least 3: tokens of a held-out text")
    budget: float = Field(0.5, gt=0, description="a finite number of nats above 0: the loss that `best` may add")


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.steering.sweep import Sweep

    options = lab.recipe.options
    assert isinstance(options, SteeringOptions)
    yield from Sweep(lab, options).run()


_PUSH = ("strength", "added_norm", "share_of_norm")
_SUCCESS = ("success", "success_low", "success_high", "change", "change_low", "change_high")
_FORM = ("repetition", "distinct_1", "distinct_2")
_COST = (
    "ce_clean",
    "ce_steered",
    "delta_ce",
    "delta_low",
    "delta_high",
    "kl",
    "kl_prompts",
    "behind",
    "counted",
    "texts",
)

EXPERIMENTS.register(
    Experiment(
        name="steering",
        summary="what the model writes with each vector, and what that costs",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "steering", "plus": "Tim felt sad", "minus": "Tim felt happy"},),
        default_options={"words": SAD},
        has_paths=False,
        options=SteeringOptions,
        tables={
            "vectors": ("length", "share_of_norm"),
            "rollouts": (*_PUSH, "unsteered_hit", "steered_hit", "hit_change", *_FORM),
            "points": (*_PUSH, "factor", "samples", *_SUCCESS, *_FORM, *_COST, "cache_difference"),
            "frontier": ("strength", "success", "change", "delta_ce", "kl"),
            "best": (*_PUSH, *_SUCCESS, "delta_ce", "kl", "repetition", "distinct_2", "budget"),
        },
    )
)
