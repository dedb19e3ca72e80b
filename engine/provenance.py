"""What a run's record says of where its numbers come from: versions, model, site, population, path, layout.

Turns a laboratory into a JSON-able tree. Knows no files.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np
import torch

from engine.activations import POPULATION_ROWS
from engine.crosscheck import SelfCheck
from engine.curves import PLATEAU_FIT_SHARE
from engine.definitions import DEFINITIONS
from engine.laboratory import Laboratory
from engine.sweep import DERIVATIVES_AT_ONCE
from engine.texts import resolved_source
from engine.token_class import CARRIERS, token_class
from engine.workshop import room_for

ROUNDINGS: Final = 4
"""Units in the last place of a vector's norm below which a step is mostly lost in rounding."""
PACKAGES: Final = (
    "dirscope",
    "torch",
    "transformers",
    "tokenizers",
    "transformer-lens",
    "sae-lens",
    "numpy",
    "pyarrow",
    "textual",
    "plotext",
)


@cache
def versions() -> dict[str, str]:
    """Installed versions of what the numbers and files depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _prompts(lab: Laboratory) -> list[dict[str, Any]]:
    """Every text the run feeds, with its token ids and strings."""
    texts = [lab.recipe.site.prompt]
    for spec in lab.recipe.directions:
        texts.extend(spec.prompts)
    encoded = ((text, lab.model.encode(text, lab.recipe.site.bos)) for text in dict.fromkeys(texts))
    return [{"text": text, "token_ids": ids, "tokens": lab.model.strings(ids)} for text, ids in encoded]


def _grid_warning(lab: Laboratory) -> list[str]:
    """A grid too coarse to see the start of a curve cannot measure plateaus."""
    fit = PLATEAU_FIT_SHARE * lab.population.typical_distance
    if lab.stop is None or lab.recipe.path.mode == "sphere" or lab.stop / lab.recipe.path.steps < fit:
        return []
    return [
        f"The first step, {lab.stop / lab.recipe.path.steps:.3g}, is not below {PLATEAU_FIT_SHARE} typical distances, "
        "so plateau lengths cannot be measured: use more steps."
    ]


def _rounding_warning(lab: Laboratory) -> list[str]:
    """Steps too small for the numbers that carry them measure rounding."""
    if lab.stop is None or lab.recipe.path.mode == "sphere":
        return []
    step, norm = lab.stop / lab.recipe.path.steps, float(np.linalg.norm(lab.site.vector.astype(np.float64)))
    least = ROUNDINGS * torch.finfo(lab.model.dtype).eps * norm
    if step >= least:
        return []
    return [
        f"The first step, {step:.3g}, is below {least:.2g}, where {lab.recipe.model.dtype} rounds a vector of norm "
        f"{norm:.3g}: the first values of each curve are rounding, and so is what is told of plateaus."
    ]


def _slow_warning(lab: Laboratory) -> list[str]:
    """Where nothing of a prompt can be shared between rows, that is said: it costs many times the time."""
    if lab.layout.rule != "full":
        return []
    return [
        f"'{lab.model.name}' runs by whole forward passes, which is exact but slower: its architecture keeps no keys "
        "and values that rows could share, or the faster ways were found to differ from a plain pass."
    ]


def site_record(lab: Laboratory) -> dict[str, Any]:
    """Where the run perturbs and reads, with every `auto` resolved, and how the base lies among real activations."""
    recipe, where, population = lab.recipe, lab.where, lab.population
    x = lab.site.vector.astype(np.float64)
    norms = np.linalg.norm(population.vectors.astype(np.float64), axis=1)
    return {
        "prompt": recipe.site.prompt,
        "token_ids": list(where.token_ids),
        "tokens": list(where.strings),
        "bos": where.bos,
        "position": where.position,
        "token_class": _token_class(lab),
        "read_position": where.read_position,
        "write": where.write.name,
        "read": [h.name for h in where.reads],
        "basis": "centred" if lab.centred else "raw",
        "norm": float(np.linalg.norm(x)),
        "norm_percentile": float((norms < np.linalg.norm(x)).mean() * 100),
        "distance_from_mean": float(np.linalg.norm(x - population.mean)),
    }


def _token_class(lab: Laboratory) -> str:
    where = lab.where
    return token_class(where.strings[where.position], where.bos and where.position == 0)


def _class_warning(lab: Laboratory) -> list[str]:
    found = _token_class(lab)
    if found not in CARRIERS or found == "BOS":  # of which the population says more
        return []
    return [
        f"The base token {lab.where.strings[lab.where.position]!r} is a {found}: such residuals carry far context more "
        "than a meaning of their own, so compare it with bases of its class."
    ]


def run_warnings(lab: Laboratory) -> list[str]:
    """What a reader of the run should know before its curves; of the SAE only where one was asked for."""
    of_path = [*_grid_warning(lab), *_rounding_warning(lab)]
    return [*lab.population.warnings, *_class_warning(lab), *of_path, *_slow_warning(lab), *lab.sae_warnings]


def _sae_record(lab: Laboratory) -> dict[str, Any]:
    sae, fit = lab.features, lab.sae_fit
    return {
        "release": sae.release,
        "sae_id": sae.sae_id,
        "sha256": sae.sha256,
        "architecture": sae.architecture,
        "n_features": sae.n_features,
        "unexplained_variance": fit.unexplained,
        "l0": fit.l0,
        "constant_share_of_error": fit.constant,
        "declared": {"unexplained_variance": sae.declared.unexplained, "l0": sae.declared.l0},
        "trained_on_mean": sae.uncentred,
        "neuronpedia": sae.neuronpedia,
    }


def describe(lab: Laboratory, check: SelfCheck) -> dict[str, Any]:
    """The record of a run, with every `auto` resolved."""
    model, population, recipe = lab.model, lab.population, lab.recipe
    source, seed = resolved_source(recipe.population, model, room_for(population.token_ids.shape[1]))
    return {
        "experiment": recipe.experiment,
        "versions": versions(),
        "device": str(model.device),
        "device_name": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": recipe.model.dtype,
        "model": {
            "name": model.name,
            "revision": model.revision,
            "weights": recipe.model.weights,
            "weights_sha256": model.weights_sha256,
            "architecture": type(model.network).__name__,
            "model_type": lab.origin.architecture,
            "n_layers": model.n_layers,
            "d_model": model.d_model,
            "d_vocab": model.d_vocab,
            "context": model.context,
        },
        "check": {
            "log_prob_difference_full_forward": check.full_forward,
            "refused": {rule: float(apart) for rule, apart in check.refused.items()},
            "log_prob_difference_transformer_lens": check.bridge,
            "transformer_lens_problem": check.bridge_problem,
        },
        "tokenizer": {"class": type(model.tokenizer).__name__, "bos_id": model.bos},
        "site": site_record(lab),
        "prompts": _prompts(lab),
        "population": {
            "source": source,
            "seed": seed,
            "n": len(population.vectors),
            "index": population.index,
            "hash": population.hash,
        },
        "typical_distance": population.typical_distance,
        "path": {
            "mode": recipe.path.mode,
            "unit": "L2" if recipe.path.mode == "straight" else "degrees",
            "steps": recipe.path.steps,
            "stop": lab.stop,
        },
        "level": recipe.metrics.level,
        "layout": {
            **lab.layout.data(),
            "derivatives_at_once": DERIVATIVES_AT_ONCE,
            "population_rows": POPULATION_ROWS,
        },
        "noise_floor": None if lab.noise is None else {"kl": lab.noise.kl, "l2": dict(lab.noise.l2)},
        "sae": _sae_record(lab) if recipe.needs_sae and not lab.experiment.brings_saes else None,
        "n_bases": lab.n_bases,
        "n_curves": lab.n_curves,
        "warnings": run_warnings(lab),
        "definitions": dict(DEFINITIONS),
        "tables": {},
    }
