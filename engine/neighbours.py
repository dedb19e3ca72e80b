"""What a user is likely to turn to next: the tokens beside the base, the layers beside the write hook.

Knows recipes; torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import HookError
from engine.hooks import STAGES, parse_hook
from engine.recipe import Recipe


def neighbours(recipe: Recipe, n_layers: int) -> Iterator[Recipe]:
    """Recipes one key away, those of the nearest keys first; some may be out of range."""
    site = recipe.site
    for step in (-1, 1):
        position = site.position + step
        if (position < 0) == (site.position < 0):  # over the edge it would be the other end
            yield recipe.model_copy(update={"site": site.model_copy(update={"position": position})})
    try:
        hook = parse_hook(site.write, n_layers)
    except HookError:
        return
    if hook.layer < n_layers:
        for layer in (hook.layer + 1, hook.layer - 1):
            if 0 <= layer < n_layers:
                write = f"blocks.{layer}.{STAGES[hook.stage]}"
                yield recipe.model_copy(update={"site": site.model_copy(update={"write": write})})
