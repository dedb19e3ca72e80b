"""Activations of many texts at one hook point: what populations, SAEs and splices are made from.

Passes end at the hook. Knows models and hook points; does not know where texts come from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from engine.hooks import HookPoint
from engine.models import Model
from engine.taps import pausing, reading

POPULATION_ROWS: Final = 256
"""Texts read in one forward pass, fewer where they are long."""
POPULATION_TOKENS: Final = 16384
"""Tokens read in one forward pass."""


class _Stop(Exception):
    """Ends a forward pass once what was asked for is captured."""


@torch.no_grad()
def activations(
    model: Model, hook: HookPoint, token_ids: Tensor, index: int, pause: Callable[[], None] = lambda: None
) -> Tensor:
    """Raw activations [n, d_hook] at a hook and token index of equally long texts [n, pos].

    Args:
        pause: called before every block of every pass; may raise to end the reading.
    """
    at_once = max(1, min(POPULATION_ROWS, POPULATION_TOKENS // token_ids.shape[1]))
    with pausing(model, pause):
        found = [_captured(model, hook, rows, lambda tensor: tensor[:, index]) for rows in token_ids.split(at_once)]
    return torch.cat(found)


@torch.no_grad()
def activations_everywhere(model: Model, hook: HookPoint, token_ids: Tensor) -> Tensor:
    """Raw activations [n, pos, d_hook] at a hook and every token of equally long texts [n, pos]."""
    return _captured(model, hook, token_ids, lambda tensor: tensor)


def _captured(model: Model, hook: HookPoint, token_ids: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    found: list[Tensor] = []

    def take(tensor: Tensor) -> None:
        found.append(part(tensor).clone())
        raise _Stop

    with contextlib.suppress(_Stop), reading(model, hook, take):
        model.network(input_ids=token_ids.to(model.device), use_cache=False)
    return found[0]
