"""Holding parts of a model at what they gave in the base run, while the rest sees the perturbed stream.

Every pass has the base's own row in front, so that what is held is taken from the pass itself. Attention and MLP are
held by what they add to the stream. A norm is held by its divisor: it stays a linear map, the base run's, of what
enters it. How a norm computes is asked of it with a few tokens, not known by class. Knows modules and arrangements; no
recipes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from engine.errors import HookError
from engine.hooks import ATTN_OUT, MLP_OUT, HookPoint
from engine.models import Model
from engine.parts import first, hidden
from engine.taps import editing, module_at

Part = Literal["mlp", "attn", "norm"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
HOOKS: Final = {"mlp": MLP_OUT, "attn": ATTN_OUT}
RELATIVE_TOLERANCE: Final = 1e-3
"""How far a norm may be from linear over its divisor: float32 rounds to some 1e-6, other formulas are off by 1."""


@dataclass(frozen=True)
class Frozen:
    """Parts of some blocks."""

    part: Part
    layers: tuple[int, ...]
    """n_layers stands for what lies behind the last block, where only a norm is."""


@dataclass(frozen=True, eq=False)
class _Norm:
    module: nn.Module
    centres: bool
    """Whether it takes the mean away before it divides."""


Arrange = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Freezer:
    """What is held, found in one model. Make one with `freezer`."""

    model: Model
    what: tuple[Frozen, ...]
    norms: tuple[_Norm, ...]

    @contextlib.contextmanager
    def holding(self, split: Arrange, join: Callable[[Tensor, Tensor], Tensor], rows: int) -> Iterator[None]:
        """The parts give what they give for copy 0.

        Args:
            split: what passes a module [batch, pos, d] as copies [contexts, copies, length, d].
            join: copies, and what they were split from, as they were.
            rows: the batch.
        """

        def held(fed: Tensor) -> Tensor:
            copies = split(fed)
            # Cloned: some families add to it in place.
            return join(_base(copies).expand_as(copies).clone(), fed)

        with contextlib.ExitStack() as stack:
            for frozen in self.what:
                for layer in frozen.layers:
                    if frozen.part != "norm":
                        stack.enter_context(editing(self.model, HookPoint(layer, HOOKS[frozen.part], ""), held))
            for norm in self.norms:
                stack.callback(norm.module.register_forward_hook(_divided(norm, split, join, rows)).remove)
            yield


def _base(copies: Tensor) -> Tensor:
    """Copy 0 of each context; what is held has no derivative."""
    tensor: Tensor = forward_ad.unpack_dual(copies[:, :1]).primal
    return tensor


def _divided(
    norm: _Norm, split: Arrange, join: Callable[[Tensor, Tensor], Tensor], rows: int
) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        width = output.shape[-1]
        x, y = (split(t.reshape(rows, -1, width)) for t in (args[0], output))
        bias = getattr(module, "bias", None)
        y = y if bias is None else y - bias
        y = y * _ratio(x, y, norm.centres)
        y = y if bias is None else y + bias
        return join(y, output.reshape(rows, -1, width)).reshape(output.shape)

    return hook


def _ratio(x: Tensor, y: Tensor, centres: bool) -> Tensor:
    """Divisor of each copy over that of copy 0: [contexts, copies, length, 1].

    y = w (x - m) / s gives y x0 = (s0 / s) y0 x for every coordinate, whatever the weights w.
    """
    if centres:
        x = x - x.mean(-1, keepdim=True)
    ours, theirs = (y * _base(x)).double(), (_base(y) * x).double()
    above, below = (theirs * theirs).sum(-1, keepdim=True), (ours * theirs).sum(-1, keepdim=True)
    # A stream of zeros, as some families embed padding, stays one whatever it is divided by.
    return torch.where(below == 0, torch.ones_like(above), above / torch.where(below == 0, 1.0, below)).to(y.dtype)


def freezer(model: Model, what: Sequence[Frozen]) -> Freezer:
    """Find what is to be held.

    Raises:
        HookError: A block has no such part in a form that could be checked.
    """
    norms: list[_Norm] = []
    for frozen in what:
        for layer in frozen.layers:
            if frozen.part == "norm":
                norms += _norms(model, layer)
            else:
                module_at(model, HookPoint(layer, HOOKS[frozen.part], f"blocks.{layer}.{HOOKS[frozen.part]}"))
    return Freezer(model, tuple(what), tuple(norms))


def _norms(model: Model, layer: int) -> list[_Norm]:
    """The norms of a block, or the one behind the last."""
    if layer == model.n_layers:
        inside = {m for block in model.layers for m in block.modules()}
        named = [(n, m) for n, m in model.network.named_modules() if m not in inside and not list(m.children())]
        # Embeddings may be normalised too, but in front of the blocks.
        candidates = [m for n, m in named if _is_named_norm(n) and "embed" not in n]
    else:
        candidates = [m for n, m in model.layers[layer].named_children() if _is_named_norm(n)]
    found = [norm for m in candidates if (norm := _asked(model, m)) is not None]
    if not found:
        where = "behind the last block" if layer == model.n_layers else f"of block {layer}"
        raise HookError(
            f"No norm {where} of '{model.name}' can be held: none is found that divides by one number. Freeze 'mlp' or "
            "'attn' alone."
        )
    return found


def _is_named_norm(name: str) -> bool:
    own = name.rsplit(".", 1)[-1]
    return "norm" in own or own.startswith("ln")


@torch.no_grad()
def _asked(model: Model, module: nn.Module) -> _Norm | None:
    """Whether a module is a norm, and of which form; None where it is neither."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        seen.append((hidden(args, kwargs).clone(), first(output).clone()))

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        model.network(input_ids=model.probe, use_cache=False)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0][0].shape != seen[0][1].shape:
        return None
    x, y = (t.reshape(1, -1, 1, t.shape[-1]) for t in seen[0])
    bias = getattr(module, "bias", None)
    y = y if bias is None else y - bias
    for centres in (True, False):
        ratio = _ratio(x, y, centres)
        inner = x - x.mean(-1, keepdim=True) if centres else x
        # w / s0 of copy 0 must do for every copy once its divisor is that of copy 0.
        difference = (y * ratio * inner[:, :1] - y[:, :1] * inner).abs().max()
        if difference <= RELATIVE_TOLERANCE * (y[:, :1] * inner).abs().max():
            return _Norm(module, centres)
    return None
