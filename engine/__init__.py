"""Everything that computes: model loading, directions, the perturbed forward pass, metrics and experiments.

Knows nothing of terminals, of sessions or of where files live. Importing this package imports no torch; the names it
offers to notebooks are looked up when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.dictionaries.decompose import decompose as decompose
    from engine.dictionaries.loading import load_sae as load_sae
    from engine.dictionaries.pursuit import pursue as pursue
    from engine.foreign import as_model as as_model
    from engine.laboratory import Laboratory as Laboratory
    from engine.models import load_model as load_model
    from engine.notebook import Probe as Probe
    from engine.notebook import probe as probe
    from engine.recipe import parse_recipe as parse_recipe
    from engine.workshop import Workshop as Workshop

_WHERE = {
    "Laboratory": "engine.laboratory",
    "Probe": "engine.notebook",
    "Workshop": "engine.workshop",
    "as_model": "engine.foreign",
    "decompose": "engine.dictionaries.decompose",
    "load_model": "engine.models",
    "load_sae": "engine.dictionaries.loading",
    "parse_recipe": "engine.recipe",
    "probe": "engine.notebook",
    "pursue": "engine.dictionaries.pursuit",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
