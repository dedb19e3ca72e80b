"""Hook points under their TransformerLens names: the residual stream, and what attention and MLP add to it.

Knows names and their order along a block. Does not know models; no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from engine.errors import HookError, did_you_mean

STAGES: Final = ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_resid_mid", "mlp.hook_post", "hook_mlp_out")
"""Within a block, in the order in which they are computed; `hook_resid_post` is the next block's first."""
RESID_PRE, HOOK_Z, ATTN_OUT, RESID_MID, HOOK_POST, MLP_OUT = range(len(STAGES))
_POST: Final = "hook_resid_post"
_PATTERN: Final = re.compile(r"blocks\.(\d+)\.(" + "|".join(re.escape(s) for s in (*STAGES, _POST)) + ")")


@dataclass(frozen=True, order=True)
class HookPoint:
    """One place of the network; places compare in the order in which they are computed.

    `blocks.1.hook_resid_pre` and `blocks.0.hook_resid_post` are the same place under two names.
    """

    layer: int
    """The block that computes it, or whose input it is; n_layers after the last one."""
    stage: int
    name: str

    @property
    def place(self) -> tuple[int, int]:
        """What two names of the same vector have in common."""
        return self.layer, self.stage

    @property
    def in_stream(self) -> bool:
        """Whether it lies on the residual stream between two blocks."""
        return self.stage == RESID_PRE

    @property
    def wide_as_stream(self) -> bool:
        """Whether its vectors are d_model wide and add to the residual stream, so that its basis is theirs."""
        return self.stage not in (HOOK_Z, HOOK_POST)


FIRST: Final = HookPoint(0, RESID_PRE, f"blocks.0.{STAGES[RESID_PRE]}")
"""Where the residual stream enters the first block."""


def hook_names(n_layers: int) -> list[str]:
    """All hook points that can be written and read, in the order in which they are computed."""
    return [f"blocks.{i}.{stage}" for i in range(n_layers) for stage in (*STAGES, _POST)]


def stream_names(n_layers: int) -> list[str]:
    """Those of the residual stream between blocks."""
    return [f"blocks.{i}.{stage}" for i in range(n_layers) for stage in (STAGES[RESID_PRE], _POST)]


def parse_hook(name: str, n_layers: int) -> HookPoint:
    """Look a hook point up by name.

    Raises:
        HookError: The name is no hook point that can be written and read, or its layer is out of range.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise HookError(f"Unknown hook point '{name}'{did_you_mean(name, hook_names(n_layers))}")
    layer = int(match[1])
    if layer >= n_layers:
        raise HookError(
            f"Hook point '{name}' asks for layer {layer}, but the model has {n_layers} layers: use 0 to {n_layers - 1}."
        )
    if match[2] == _POST:
        return HookPoint(layer + 1, RESID_PRE, name)
    return HookPoint(layer, STAGES.index(match[2]), name)


def default_read(n_layers: int) -> str:
    """The last block's output."""
    return f"blocks.{n_layers - 1}.{_POST}"
