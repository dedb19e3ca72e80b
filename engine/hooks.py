"""Hook points of the residual stream, under their TransformerLens names.

Knows names and their order along the stream. Does not know models; no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import HookError, did_you_mean

_PATTERN = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")


@dataclass(frozen=True, order=True)
class HookPoint:
    """One place of the residual stream.

    `boundary` counts the block boundaries from 0 (before the first block) to n_layers (after the last), so that
    `blocks.1.hook_resid_pre` and `blocks.0.hook_resid_post` are the same vector under two names.
    """

    boundary: int
    name: str


def hook_names(n_layers: int) -> list[str]:
    """All hook points that can be written and read, from the first to the last."""
    return [f"blocks.{i}.hook_resid_{side}" for i in range(n_layers) for side in ("pre", "post")]


def parse_hook(name: str, n_layers: int) -> HookPoint:
    """Look a hook point up by name.

    Raises:
        HookError: The name is not a residual-stream hook point, or its layer is out of range.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise HookError(f"Unknown hook point '{name}'{did_you_mean(name, hook_names(n_layers))}")
    layer = int(match[1])
    if layer >= n_layers:
        raise HookError(
            f"Hook point '{name}' asks for layer {layer}, but the model has {n_layers} layers: use 0 to {n_layers - 1}."
        )
    return HookPoint(layer + (match[2] == "post"), name)


def default_read(n_layers: int) -> str:
    """The last block's output."""
    return f"blocks.{n_layers - 1}.hook_resid_post"
