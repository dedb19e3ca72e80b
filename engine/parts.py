"""Finding attention and MLP inside a block, by asking the block rather than knowing its architecture.

Modules are proposed by the names families use and accepted only when the numbers fit: what attention and MLP add must
sum to what the block adds, and a change of attention's output tells whether the MLP sees it. Knows modules; no hooks
by name, no recipes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import torch
from torch import Tensor, nn

_ATTENTION: Final = ("self_attn", "attn", "attention", "self_attention")
_MLP: Final = ("mlp", "ffn", "feed_forward", "block_sparse_moe")
_FROM_HEADS: Final = ("o_proj", "c_proj", "out_proj", "dense", "wo")
_FROM_NEURONS: Final = ("down_proj", "c_proj", "fc_out", "fc2", "dense_4h_to_h", "proj_out", "wo")
RELATIVE_TOLERANCE: Final = 1e-3
"""Of the largest entry the block adds: float32 sums of three terms are off by some 1e-7, a wrong module by about 1;
bfloat16 sums by up to 1e-2, see `_tolerance`."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Where a block computes what. A module that is None is not there under any form that could be checked."""

    attn_out: nn.Module | None
    """Its output is what attention adds to the residual stream, [batch, pos, d_model]."""
    mlp_out: nn.Module | None
    """Its output is what the MLP adds to the residual stream, [batch, pos, d_model]."""
    from_heads: nn.Module | None
    """Its input is the heads' results, [batch, pos, n_heads * d_head]."""
    from_neurons: nn.Module | None
    """Its input is the neurons' activations (gated, where the MLP has gates), [batch, pos, d_mlp]."""
    parallel: bool
    """Whether the MLP reads the block's input and not attention's output."""


def first(output: Any) -> Tensor:
    """The tensor a module returned, alone or first in a tuple."""
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states a block was called with."""
    tensor: Tensor = args[0] if args else kwargs["hidden_states"]
    return tensor


@torch.no_grad()
def find_parts(network: nn.Module, layer: nn.Module, ids: Tensor) -> Parts:
    """Find the parts of one block.

    Args:
        network: the whole model.
        layer: the block.
        ids: some tokens [1, pos] to ask it with.
    """
    children = dict(layer.named_children())
    attention = next((children[n] for n in _ATTENTION if n in children), None)
    mlp = next((children[n] for n in _MLP if n in children), None)
    heads = None if attention is None else _last_named(attention, _FROM_HEADS)
    neurons = _last_named(layer if mlp is None else mlp, _FROM_NEURONS, but_not=attention)
    norms = [m for n, m in children.items() if "norm" in n or n.startswith("ln")]
    asked = [m for m in (attention, heads, mlp, neurons, *norms) if m is not None]
    with _watching(layer, asked) as seen:
        network(input_ids=ids, use_cache=False)
    if seen.before is None or seen.after is None:
        return Parts(None, None, None, None, False)
    attentions = _with_norms([m for m in (attention, heads) if m in seen.outputs], norms, seen)
    mlps = _with_norms([m for m in (mlp, neurons) if m in seen.outputs], norms, seen)
    for a, m in product(attentions, mlps):
        total = seen.before + seen.outputs[a] + seen.outputs[m]
        if (total - seen.after).abs().max() <= _tolerance(seen.after) * (seen.after - seen.before).abs().max():
            parallel = not _reaches(network, layer, ids, a, m, seen.outputs[m])
            return Parts(
                a,
                m,
                heads if heads is not None and _produces(heads, (attention, a), seen) else None,
                neurons if neurons is not None and _produces(neurons, (mlp, m), seen) else None,
                parallel,
            )
    return Parts(None, None, None, None, False)


def _tolerance(tensor: Tensor) -> float:
    return 0.03 if tensor.dtype in (torch.bfloat16, torch.float16) else RELATIVE_TOLERANCE


def _last_named(root: nn.Module, names: Sequence[str], but_not: nn.Module | None = None) -> nn.Module | None:
    """The last submodule whose own name is one of these, outside of another module."""
    excluded = set() if but_not is None else set(but_not.modules())
    found = [m for path, m in root.named_modules() if path.rsplit(".", 1)[-1] in names and m not in excluded]
    with_weight = [m for m in found if isinstance(getattr(m, "weight", None), Tensor)]
    return with_weight[-1] if len(with_weight) == 1 else None


@dataclass
class _Seen:
    before: Tensor | None
    after: Tensor | None
    inputs: dict[nn.Module, Tensor]
    outputs: dict[nn.Module, Tensor]


@contextlib.contextmanager
def _watching(layer: nn.Module, modules: Sequence[nn.Module]) -> Iterator[_Seen]:
    seen = _Seen(None, None, {}, {})

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.before = hidden(args, kwargs).clone()

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.after = first(output).clone()

    def of(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # Cloned: some blocks go on adding to the same tensor in place.
        shape = (1, -1, first(output).shape[-1])
        seen.outputs[module] = first(output).clone().reshape(shape)
        if args or "hidden_states" in kwargs:
            seen.inputs[module] = hidden(args, kwargs).clone()

    handles = [layer.register_forward_pre_hook(before, with_kwargs=True), layer.register_forward_hook(after)]
    handles += [m.register_forward_hook(of, with_kwargs=True) for m in dict.fromkeys(modules)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _with_norms(modules: Sequence[nn.Module], norms: Sequence[nn.Module], seen: _Seen) -> list[nn.Module]:
    """Each module, and before it the norm its output goes through on the way to the stream, where there is one."""
    after = [
        n
        for n in norms
        for m in modules
        if n in seen.inputs
        and seen.inputs[n].numel() == seen.outputs[m].numel()
        and torch.equal(seen.inputs[n].reshape(seen.outputs[m].shape), seen.outputs[m])
    ]
    return [*dict.fromkeys(after), *modules]


def _produces(projection: nn.Module, outer: Sequence[nn.Module | None], seen: _Seen) -> bool:
    """Whether one of the outer modules gives what the projection gave, so that its input is all they depend on."""
    mine = seen.outputs.get(projection)
    if mine is None:
        return False
    return any(m is not None and m in seen.outputs and torch.equal(seen.outputs[m], mine) for m in outer)


def _reaches(
    network: nn.Module, layer: nn.Module, ids: Tensor, attn_out: nn.Module, mlp_out: nn.Module, before: Tensor
) -> bool:
    """Whether the MLP's output changes when attention's does."""

    def doubled(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return (2 * output[0], *output[1:]) if isinstance(output, tuple) else 2 * output

    handle = attn_out.register_forward_hook(doubled)
    try:
        with _watching(layer, [mlp_out]) as seen:
            network(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    return not torch.equal(seen.outputs[mlp_out], before)
