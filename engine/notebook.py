"""The notebook bridge: curves of a model, an SAE or a tensor that is in memory, in a few lines.

The same pieces as the app and batch runs, without a worker and without files. Knows the laboratory; no sessions.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine.crosscheck import check_arrangements
from engine.dictionaries.loading import wrap_sae
from engine.directions.vector import packed
from engine.drawing import Vector
from engine.errors import DirectionError, RecipeError
from engine.experiments import EXPERIMENTS, run_rays
from engine.foreign import as_model
from engine.frames import curve_frame, summary_frame
from engine.laboratory import Laboratory
from engine.layouts import exactly
from engine.provenance import run_warnings, site_record
from engine.recipe import Recipe, parse_recipe
from engine.results import BaseResult, CurveResult, Event, Note
from engine.site import resolve_site
from engine.workshop import Workshop


@dataclass(frozen=True, eq=False)
class Probe:
    """What came of `probe`."""

    recipe: Recipe
    """Every default written out; `recipe.toml()` runs again in the app or in batch where the model has a name."""
    site: Mapping[str, Any]
    """Tokens, position, hooks, norm and typical distance."""
    bases: tuple[BaseResult, ...]
    results: tuple[CurveResult, ...]
    warnings: tuple[str, ...]

    @property
    def curves(self) -> Any:
        """Every value as a pandas DataFrame: curve, base, step, kind, distance, angle, read, metric, value."""
        return curve_frame(self.results)

    @property
    def summary(self) -> Any:
        """A row per curve as a pandas DataFrame: kind, label, threshold, plateau_length, ..."""
        return summary_frame(self.results)


def probe(
    model: Any,
    prompt: str,
    *,
    directions: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    sae: Any = None,
    tokenizer: Any = None,
    write: str | None = None,
    **sections: Any,
) -> Probe:
    """Curves from one place of a prompt.

    Args:
        model: a name ("embedded", a directory, a Hub id), a Hugging Face causal model, a transformer-lens model, or
            what `as_model` gave.
        prompt: its last token is the base, unless `site={"position": ...}` says otherwise.
        directions: tables as in a recipe; or a mapping from kind to count, in which a tensor or array under any other
            name is a direction of its own. Default: 8 each of random, real-other and isotropic.
        sae: a sae-lens SAE in memory, or "RELEASE:SAE_ID"; for kinds that need one.
        tokenizer: for a network in memory.
        write: the hook that is perturbed; default `blocks.1.hook_resid_pre`.
        sections: any other section of a recipe as a table, such as `path={"mode": "sphere"}`, or `seed=1`; and `dtype`,
            `device` and `weights` of a model by name.

    Raises:
        DirscopeError: In one sentence, as everywhere.
    """
    options = {name: sections.pop(name) for name in ("dtype", "device", "weights") if name in sections}
    loaded = as_model(model, tokenizer, **options)
    site = {**sections.pop("site", {}), "prompt": prompt, **({"write": write} if write is not None else {})}
    data: dict[str, Any] = {"site": site, **sections}
    if directions is not None:
        data["directions"] = _tables(directions)
    if isinstance(sae, str):
        release, _, sae_id = sae.partition(":")
        data["sae"] = {"release": release, **({"sae_id": sae_id} if sae_id else {})}
    data["model"] = {"name": loaded.name, **options}
    recipe = parse_recipe(data)
    if EXPERIMENTS[recipe.experiment].tables:
        raise RecipeError(f"'{recipe.experiment}' gives tables instead of curves: run it with dirscope --batch.")
    workshop = Workshop()
    for rule in check_arrangements(loaded)[1]:
        workshop.layouts.refuse(loaded, rule)
    if sae is not None and not isinstance(sae, str):
        hook = resolve_site(recipe, loaded).write
        workshop.keep_sae(loaded, recipe.sae, hook, wrap_sae(sae, loaded, hook, "memory", "SAE"))

    def attempt() -> tuple[Laboratory, list[Event]]:
        lab = Laboratory(loaded, recipe, workshop)
        lab.use_threads()
        return lab, list(run_rays(lab))

    threads = torch.get_num_threads()
    try:
        lab, events = exactly(attempt)
    finally:
        torch.set_num_threads(threads)
    return Probe(
        recipe=recipe,
        site={**site_record(lab), "typical_distance": lab.population.typical_distance},
        bases=tuple(e for e in events if isinstance(e, BaseResult)),
        results=tuple(sorted((e for e in events if isinstance(e, CurveResult)), key=lambda c: c.summary.curve)),
        warnings=(*run_warnings(lab), *(e.text for e in events if isinstance(e, Note))),
    )


def _tables(directions: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Directions as tables of a recipe."""
    if not isinstance(directions, Mapping):
        return [dict(table) for table in directions]
    tables: list[dict[str, Any]] = []
    for name, value in directions.items():
        if isinstance(value, numbers.Integral):
            tables.append({"kind": name, "count": int(value)})
        elif isinstance(value, Mapping):
            tables.append({"kind": name, **value})
        else:
            tables.append({"kind": "vector", "label": name, "data": packed(_vector(name, value))})
    return tables


def _vector(name: str, value: Any) -> Vector:
    """A tensor or array [d], or [1, d]."""
    if isinstance(value, torch.Tensor) and not value.is_complex():
        value = value.detach().cpu().double().numpy()
    array = np.asarray(value)
    shape = array.shape[1:] if array.ndim == 2 and len(array) == 1 else array.shape
    if array.dtype.kind not in "fiu" or len(shape) != 1:
        raise DirectionError(
            f"directions[{name!r}] is {type(value).__name__} of shape {array.shape}, {array.dtype}: give a count, a "
            "table of options, or a real vector [d_hook]."
        )
    return np.asarray(array.reshape(shape), dtype=np.float32)
