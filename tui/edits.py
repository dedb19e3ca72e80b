"""What a key does to a recipe: pure functions from one valid recipe to the next.

The app holds a recipe and nothing else that decides what is computed. Knows recipes; no widgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import tomli_w

from engine.directions import DIRECTIONS, SingleSpec
from engine.errors import RecipeError
from engine.experiments import EXPERIMENTS
from engine.hooks import hook_names, parse_hook
from engine.recipe import Recipe, parse_recipe, parse_toml, tables_toml

DEFAULT_COUNT: Final = 8
SEVERAL: Final = 7
"""Other real bases beside the prompt."""


def edited(recipe: Recipe, section: str, **values: Any) -> Recipe:
    """The recipe with values of one section replaced; None removes a key.

    Raises:
        RecipeError: The result is not a valid recipe.
    """
    data = recipe.data()
    table = {**data.get(section, {}), **values}
    data[section] = {k: v for k, v in table.items() if v is not None}
    return parse_recipe(data)


def with_directions(recipe: Recipe, specs: Sequence[Mapping[str, Any]]) -> Recipe:
    """The recipe with these directions.

    Raises:
        RecipeError: There are none left, or one is not valid.
    """
    if not specs:
        raise RecipeError("A recipe needs at least one kind of direction: tick another before clearing this one.")
    data = recipe.data()
    data["directions"] = [dict(s) for s in specs]
    return parse_recipe(data)


def with_vector(recipe: Recipe, label: str, data: str) -> Recipe:
    """The recipe with a vector as one more direction, in place of one of the same name.

    Args:
        data: base64 of little-endian float32.
    """
    others = [s for s in direction_data(recipe) if s["kind"] != "vector" or s["label"] != label]
    return with_directions(recipe, [*others, {"kind": "vector", "label": label, "data": data}])


def direction_data(recipe: Recipe) -> list[dict[str, Any]]:
    """The directions as plain tables."""
    directions: list[dict[str, Any]] = recipe.data()["directions"]
    return directions


def count_of(recipe: Recipe, kind: str) -> int:
    """How many directions of a kind the recipe asks for."""
    return sum(spec.count for spec in recipe.directions if spec.kind == kind)


def toggled_kind(recipe: Recipe, kind: str) -> Recipe:
    """A kind ticked or cleared; SAE features start with the three most active."""
    specs = direction_data(recipe)
    if any(s["kind"] == kind for s in specs):
        return with_directions(recipe, [s for s in specs if s["kind"] != kind])
    if issubclass(DIRECTIONS[kind].spec, SingleSpec):
        return with_directions(recipe, [*specs, {"kind": kind}])
    return with_directions(recipe, [*specs, {"kind": kind, "count": 3 if kind == "sae-feature" else DEFAULT_COUNT}])


def with_count(recipe: Recipe, kind: str, change: int) -> Recipe:
    """More or fewer directions of a kind; kinds that their options determine are left alone."""
    specs = direction_data(recipe)
    for spec in specs:
        single = issubclass(DIRECTIONS[spec["kind"]].spec, SingleSpec)
        if spec["kind"] == kind and not single and not any(key in spec for key in ("index", "prompt")):
            spec["count"] = max(1, spec["count"] + change)
            return with_directions(recipe, specs)
    return recipe


def ticked_features(recipe: Recipe) -> set[int]:
    """Feature indices that the recipe names."""
    return {s["index"] for s in direction_data(recipe) if s["kind"] == "sae-feature" and "index" in s}


def toggled_feature(recipe: Recipe, feature: int) -> Recipe:
    """One SAE feature ticked or cleared by its index; naming features replaces "the most active ones"."""
    specs = direction_data(recipe)
    if feature in ticked_features(recipe):
        return with_directions(recipe, [s for s in specs if s.get("index") != feature or s["kind"] != "sae-feature"])
    kept = [s for s in specs if s["kind"] != "sae-feature" or "index" in s]
    return with_directions(recipe, [*kept, {"kind": "sae-feature", "index": feature}])


def with_steering(recipe: Recipe, plus: str, minus: str) -> Recipe:
    """One steering direction, plus minus minus, in place of any other."""
    specs = [s for s in direction_data(recipe) if s["kind"] != "steering"]
    return with_directions(recipe, [*specs, {"kind": "steering", "plus": plus, "minus": minus}])


def options_toml(recipe: Recipe, kind: str) -> str:
    """The tables of a kind as TOML to edit, `kind` left out; what to start from where the recipe has none."""
    tables = [spec for spec in direction_data(recipe) if spec["kind"] == kind]
    if not tables:
        return DIRECTIONS[kind].example or f"count = {DEFAULT_COUNT}"
    plain = [{k: v for k, v in table.items() if k != "kind" and v != []} for table in tables]
    return "\n[[and]]\n".join(tomli_w.dumps(table) for table in plain).strip()


def _example(kind: str) -> str:
    return DIRECTIONS[kind].example.splitlines()[0] if DIRECTIONS[kind].example else "count = 8"


def with_options(recipe: Recipe, kind: str, text: str) -> Recipe:
    """The recipe with these tables of a kind in place of any other; `[[and]]` begins a further one.

    Raises:
        RecipeError: The text is not TOML, or not options of the kind.
    """
    specs = direction_data(recipe)
    tables = [
        {"kind": kind, **parse_toml(part, f"The text for {kind}", _example(kind))} for part in text.split("[[and]]")
    ]
    at = next((i for i, s in enumerate(specs) if s["kind"] == kind), len(specs))
    kept = [s for s in specs if s["kind"] != kind]
    return with_directions(recipe, [*kept[:at], *tables, *kept[at:]])


def toggled_bases(recipe: Recipe) -> Recipe:
    """From this prompt to this and some others, each a real text with a base of its own; or back."""
    data = recipe.data()
    alone = len(recipe.bases) == 1 and recipe.bases[0].kind == "prompt"
    others = [{"kind": "real-other", "count": SEVERAL}] if alone else []
    return parse_recipe({**data, "bases": [{"kind": "prompt"}, *others]})


def with_experiment(recipe: Recipe, name: str, options: Mapping[str, Any]) -> Recipe:
    """Another experiment at the same site with the same directions, from the prompt alone."""
    data = {**recipe.data(), "experiment": name, "options": dict(options), "bases": [{"kind": "prompt"}]}
    return parse_recipe({k: v for k, v in data.items() if k != "expect"})


def experiment_at(recipe: Recipe, name: str) -> Recipe:
    """An experiment of its own bases, directions and path on the same model, prompt, token and hook.

    Raises:
        RecipeError: It cannot be made of this recipe.
    """
    data = recipe.data()
    site = {k: v for k, v in data["site"].items() if k not in ("read", "read_position")}
    kept: dict[str, Any] = {k: data[k] for k in ("seed", "model", "population", "sae")}
    return parse_recipe({**kept, "site": site, "experiment": name, "metrics": {"level": recipe.metrics.level}})


def sections_toml(recipe: Recipe, sections: Sequence[str]) -> str:
    """Some sections of a recipe as TOML to edit, what is not set left out."""
    data = recipe.data()
    found = {name: _said(data[name]) for name in sections if name in data}
    lists = {k: v for k, v in found.items() if isinstance(v, list)}
    text = tomli_w.dumps({k: v for k, v in found.items() if k not in lists and v != {}})
    tables = [table for key, items in lists.items() for table in tables_toml(key, items)]
    return "\n".join([text, *tables]).strip() + "\n"


def _said(value: Any) -> Any:
    """Without what is empty, such as features that are not projected out."""
    if isinstance(value, dict):
        return {k: _said(v) for k, v in value.items() if v != []}
    return [_said(v) for v in value] if isinstance(value, list) else value


def with_sections(recipe: Recipe, sections: Sequence[str], text: str) -> Recipe:
    """The recipe with these sections as the text has them; what the text leaves out has its default.

    Raises:
        RecipeError: The text is not TOML, has another section, or gives no valid recipe.
    """
    given = parse_toml(text, "The text", 'bases = [{kind = "prompt"}]')
    strange = [name for name in given if name not in sections]
    if strange:
        raise RecipeError(f"'{strange[0]}' is not one of the sections to edit here: {', '.join(sections)}.")
    data = {k: v for k, v in recipe.data().items() if k not in (*sections, "expect")}
    return parse_recipe({**data, **given})


def as_curves(recipe: Recipe) -> Recipe:
    """The recipe itself where it gives curves; else curves of the same directions at the same site."""
    return with_experiment(recipe, "probe", {}) if EXPERIMENTS[recipe.experiment].tables else recipe


def with_write(recipe: Recipe, hook: str, n_layers: int) -> Recipe:
    """Another write hook; reads that would come before it fall back to the last block."""
    boundary = parse_hook(hook, n_layers).place
    reads = [r for r in recipe.site.read or () if parse_hook(r, n_layers).place >= boundary]
    return edited(recipe, "site", write=hook, read=reads or None)


def shifted_write(recipe: Recipe, layers: int, n_layers: int) -> Recipe:
    """The write hook some layers up or down, staying on the same side of its block."""
    names = hook_names(n_layers)
    if recipe.site.write not in names:
        return recipe
    at = names.index(recipe.site.write) + len(hook_names(1)) * layers
    return with_write(recipe, names[at], n_layers) if 0 <= at < len(names) else recipe


def with_prompt(recipe: Recipe, prompt: str) -> Recipe:
    """Another prompt, its last token the base; a position counted from the front would move under the user."""
    return edited(recipe, "site", prompt=prompt, position=-1, read_position=None)
