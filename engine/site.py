"""Where a recipe's `[site]` lies in a model: token ids, positions counted from the front, hook points.

Checks what only the model can tell. Knows models and recipes; computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import HookError, PromptError
from engine.experiments import EXPERIMENTS
from engine.hooks import ATTN_OUT, HOOK_POST, HOOK_Z, MLP_OUT, RESID_PRE, HookPoint, default_read, parse_hook
from engine.models import Model
from engine.recipe import Recipe
from engine.taps import parts_of, width


@dataclass(frozen=True)
class Site:
    """Where the recipe's `[site]` lies in this model."""

    token_ids: tuple[int, ...]
    """The whole prompt, BOS included where there is one."""
    strings: tuple[str, ...]
    bos: bool
    position: int
    read_position: int
    write: HookPoint
    reads: tuple[HookPoint, ...]


def resolve_site(recipe: Recipe, model: Model) -> Site:
    """Check prompt, positions and hooks against the model.

    Raises:
        PromptError: Prompt or position do not fit.
        HookError: A hook does not exist or a read comes before the write.
    """
    spec = recipe.site
    ids = model.encode(spec.prompt, spec.bos)
    position = _index("site.position", spec.position, len(ids))
    read_position = position
    if spec.read_position is not None:
        read_position = _index("site.read_position", spec.read_position, len(ids))
        if read_position < position:
            raise PromptError(
                f"site.read_position {read_position} comes before the write position {position}, which cannot "
                "change it: read at the same token or a later one."
            )
    write = parse_hook(spec.write, model.n_layers)
    own = EXPERIMENTS[recipe.experiment].reads
    names = spec.read or (own(write, model.n_layers) if own else (default_read(model.n_layers),))
    reads = tuple(parse_hook(name, model.n_layers) for name in names)
    for read in reads:
        if read.place < write.place or _beside(model, write, read):
            raise HookError(
                f"The read hook {read.name} comes before the write hook {write.name} or beside it, so that writing "
                "cannot change it: read at the same place or later."
            )
    for hook in (write, *reads):
        width(model, hook)  # refuses what this architecture has not
    if len({read.name for read in reads}) < len(reads):
        raise HookError(f"site.read names a hook twice: {', '.join(r.name for r in reads)}. Name each once.")
    if read_position > position and (write.layer == model.n_layers or write.place > (model.n_layers - 1, RESID_PRE)):
        raise HookError(
            f"Nothing after {write.name} moves information between tokens, so writing there at {position} cannot "
            f"change token {read_position}: read at the same token or write earlier."
        )
    return Site(
        token_ids=tuple(ids),
        strings=tuple(model.strings(ids)),
        bos=bool(ids and ids[0] == model.bos),
        position=position,
        read_position=read_position,
        write=write,
        reads=reads,
    )


def _beside(model: Model, write: HookPoint, read: HookPoint) -> bool:
    """Whether the write is part of attention and the read part of an MLP that does not see it."""
    if write.layer != read.layer or write.stage not in (HOOK_Z, ATTN_OUT) or read.stage not in (HOOK_POST, MLP_OUT):
        return False
    return parts_of(model, write.layer).parallel


def _index(name: str, value: int, length: int) -> int:
    if not -length <= value < length:
        raise PromptError(
            f"{name} {value} is outside the prompt: it has {length} tokens, use {-length} to {length - 1}."
        )
    return value % length
