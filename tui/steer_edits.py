"""What a key of the steering screen does to its recipe: vectors composed, dropped, strengths and words changed.

Pure functions from one valid recipe to the next; each vector is one `[[directions]]` table. Knows recipes; no widgets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from engine.directions import SingleSpec
from engine.errors import RecipeError
from engine.recipe import Recipe
from tui import edits

PAIRS: Final = ("steering", "steering-sae", "steering-features")
"""Kinds that have two sides."""
BETWEEN: Final = "|"
"""Stands between prompts of one side."""
SPACE: Final = " "
"""What shorter prompts are padded with."""


def with_vector(recipe: Recipe, table: dict[str, Any]) -> Recipe:
    """One more vector, unless the very same is there.

    Raises:
        RecipeError: It is there, or not valid.
    """
    held = edits.direction_data(recipe)
    new = edits.with_directions(recipe, [*held, table])
    if edits.direction_data(new)[-1] in held:
        raise RecipeError("This vector is among those of the run already: choose another.")
    return new


def without_vector(recipe: Recipe, at: int) -> Recipe:
    """One vector less.

    Raises:
        RecipeError: It is the last one.
    """
    held = edits.direction_data(recipe)
    if len(held) < 2:
        raise RecipeError("A run needs at least one vector: add another before you drop this one.")
    return edits.with_directions(recipe, [*held[:at], *held[at + 1 :]])


def tables_by_number(recipe: Recipe) -> list[int]:
    """Which table each vector of a run comes from, in the run's order: tables of several take turns."""
    counts = [spec.count for spec in recipe.directions]
    return [table for i in range(max(counts)) for table, count in enumerate(counts) if i < count]


def pair_of(recipe: Recipe, at: int) -> dict[str, Any] | None:
    """Plus, minus, alignment and padding of a table that has two sides."""
    table = edits.direction_data(recipe)[at]
    if table["kind"] not in PAIRS:
        return None
    return {key: table[key] for key in ("plus", "minus", "align", "pad")}


def contrast(plus: str, minus: str) -> dict[str, Any]:
    """A vector from two prompts, or two lists of prompts with `BETWEEN` between them."""
    return {"kind": "steering", "plus": _side(plus), "minus": _side(minus)}


def _side(text: str) -> str | list[str]:
    prompts = [part.strip() for part in text.split(BETWEEN) if part.strip()]
    return prompts if len(prompts) > 1 else text


def by_token(recipe: Recipe, at: int) -> Recipe:
    """A contrast token by token beside the others; what has one row is added at the site's token alone from here on.

    Raises:
        RecipeError: It is no contrast, or there already.
    """
    table = {"kind": "steering", **_pair(recipe, at), "align": "tokens", "pad": SPACE}
    return with_vector(edits.edited(recipe, "options", at="aligned"), table)


def rebuilt(recipe: Recipe, at: int) -> dict[str, Any]:
    """A pair's vector as the SAE rebuilds it.

    Raises:
        RecipeError: It is no pair's.
    """
    return {"kind": "steering-sae", **_pair(recipe, at)}


def of_features(recipe: Recipe, at: int, features: Collection[int]) -> dict[str, Any]:
    """A pair's vector from some of its features, each times the difference of its activations.

    Raises:
        RecipeError: It is no pair's, or no feature is named.
    """
    if not features:
        raise RecipeError("No feature is ticked, so there is nothing to add up: tick some with space.")
    return {"kind": "steering-features", **_pair(recipe, at), "features": sorted(features)}


def projected(recipe: Recipe, at: int, features: Collection[int]) -> dict[str, Any]:
    """A vector without some features.

    Raises:
        RecipeError: No feature is named.
    """
    if not features:
        raise RecipeError("No feature is ticked, so there is nothing to take away: tick some with space.")
    table = edits.direction_data(recipe)[at]
    return {**table, "project_out": sorted({*table["project_out"], *features})}


def summed(recipe: Recipe, first: int, second: int, weight: float) -> dict[str, Any]:
    """One vector plus another times a weight.

    Raises:
        RecipeError: A table of several vectors cannot be a term.
    """
    tables = edits.direction_data(recipe)
    for at in (first, second):
        if not isinstance(recipe.directions[at], SingleSpec) and recipe.directions[at].count > 1:
            raise RecipeError("A table of several vectors cannot be a term: edit it as TOML, with count = 1.")
    return {"kind": "sum", "terms": [tables[first], {**tables[second], "weight": weight}]}


def with_strength(recipe: Recipe, strength: float) -> Recipe:
    """One more strength in the sweep, in order.

    Raises:
        RecipeError: It is there already.
    """
    held = recipe.data()["options"]["strengths"]
    return edits.edited(recipe, "options", strengths=sorted([*held, strength]))


def with_words(recipe: Recipe, text: str) -> Recipe:
    """Another vocabulary: words or phrases, one on each line or between commas.

    Raises:
        RecipeError: There is none.
    """
    words = [word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()]
    if not words:
        raise RecipeError("The vocabulary is empty: success is a completion with one of its words, so give some.")
    return edits.edited(recipe, "options", words=list(dict.fromkeys(words)))


def _pair(recipe: Recipe, at: int) -> dict[str, Any]:
    pair = pair_of(recipe, at)
    if pair is None:
        raise RecipeError("This vector is no contrast of two prompts, so it has no features to choose: select one.")
    return pair


def turned(strength: float, by: int, strengths: Sequence[float]) -> float:
    """A strength one notch up or down: a quarter more or a fifth less, to three digits."""
    if strength == 0:
        return by * min((abs(s) for s in strengths if s), default=1.0) / 4
    return float(f"{strength * 1.25 ** (by if strength > 0 else -by):.3g}")
