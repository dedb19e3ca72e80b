"""What many perturbed copies of a position share: the keys and values in front of it, and who may see whom.

Two arrangements of N copies of a suffix of S tokens. *Batch*: N rows of a batch, the prefix expanded to each. *Tree*: N
branches side by side in one row, as speculative decoding does, over one prefix, with a mask gathered from the one the
model itself built for that layer in the clean run (so that windows, ALiBi and the like stay the model's own). A single
mask handed to the whole model would be silently wrong where layers have different ones. Knows caches and masks; does
not know hooks.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import DynamicLayer

BIASES: Final = ("alibi", "position_bias")
"""What some blocks are given besides a mask, with a last dimension over keys."""
GATHERED: Final = ("attention_mask", *BIASES)


class _SharedLayer(DynamicLayer):
    """Cached keys and values [B, heads, pos, d_head] that nobody writes to, for B rows or a multiple of B."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys: Tensor = keys
        self.values: Tensor = values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return (
            torch.cat([_repeated(self.keys, len(key_states)), key_states], dim=-2),
            torch.cat([_repeated(self.values, len(value_states)), value_states], dim=-2),
        )


def _repeated(tensor: Tensor, rows: int) -> Tensor:
    """Each of B entries `rows / B` times in a row: [rows, ...]; a view where B is 1."""
    times = rows // len(tensor)
    return tensor[:, None].expand(-1, times, *[-1] * (tensor.dim() - 1)).flatten(0, 1) if times > 1 else tensor


class _RecordingLayer(DynamicLayer):
    """Takes what a block computes of the first positions down for later, and hands everything through."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self._positions = positions
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        # Cloned: a view would hold on to the keys of all the copies behind the prefix.
        kept = key_states[..., : self._positions, :].clone(), value_states[..., : self._positions, :].clone()
        self.kept = kept
        return key_states, value_states


class Recorder:
    """A cache that takes down the prefix while a pass over prefix and copies goes on.

    Args:
        n_layers: blocks of the model.
        start: the first block that runs; those before it need no keys.
        positions: of the prefix.
    """

    def __init__(self, n_layers: int, start: int, positions: int) -> None:
        self._layers = [_RecordingLayer(positions) for _ in range(n_layers)]
        self._start = start

    def cache(self) -> Cache:
        """What the model is given."""
        return Cache(layers=list(self._layers))

    @property
    def prefix(self) -> Prefix:
        """What was taken down.

        Raises:
            LookupError: A block kept nothing, so the model does not run on such a cache.
        """
        kept = [layer.kept for layer in self._layers[self._start :]]
        found = [k for k in kept if k is not None]
        if len(found) < len(kept):
            raise LookupError("a block computed no keys")
        return Prefix(tuple(found), self._start)


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of the positions before the write, of block `start` and later ones: [B, heads, pos, d_head]."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    start: int

    def cache(self) -> Cache:
        """A cache to run on from; blocks read it and leave it as it is."""
        # Blocks that are skipped read nothing, but models ask the first one how long the prefix is.
        skipped = [_SharedLayer(*self.layers[0]) for _ in range(self.start)]
        return Cache(layers=[*skipped, *(_SharedLayer(k, v) for k, v in self.layers)])

    def select(self, rows: Tensor) -> Prefix:
        """Those of some contexts, in any order and number."""
        return Prefix(tuple((k[rows], v[rows]) for k, v in self.layers), self.start)


@dataclass(frozen=True, eq=False)
class LayerMask:
    """What one block was given in the clean run of a context of T tokens."""

    given: Mapping[str, Tensor]
    """`attention_mask` [1, 1 or heads, T, T] and biases [..., T]."""

    def gathered(self, position: int, copies: int, batch: int, with_prefix: bool) -> dict[str, Tensor]:
        """The same for `copies` branches of the tokens from `position` on, side by side behind the prefix.

        Args:
            with_prefix: whether the prefix itself is among the queries.
        """
        mask = self.given["attention_mask"]
        length, device = mask.shape[-1], mask.device
        prefix, suffix = torch.arange(position, device=device), torch.arange(position, length, device=device)
        columns = torch.cat([prefix, suffix.repeat(copies)])
        rows = columns if with_prefix else columns[position:]
        branch = torch.arange(copies, device=device).repeat_interleave(len(suffix))
        strangers = branch[:, None] != branch[None, :]
        # What may not be seen is marked as the model marks it: the first query never sees the last key.
        blocked = mask[..., :1, -1:]
        tree = mask[..., rows, :][..., columns]
        tree[..., -len(branch) :, position:] = torch.where(strangers, blocked, tree[..., -len(branch) :, position:])
        found = {"attention_mask": tree}
        for name in BIASES:
            if name in self.given:
                # MPT's is as long as its context, the keys at its end.
                bias = self.given[name][..., -length:][..., columns]
                found[name] = bias.repeat(batch, *[1] * (bias.dim() - 1)) if name == "alibi" else bias
        return found


@cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Names of what a kind of block is called with, in order; asked in every pass, found once."""
    return tuple(name for name in inspect.signature(forward).parameters if name != "self")


@contextlib.contextmanager
def noting_masks(layers: Sequence[nn.Module], contexts: int, into: dict[int, LayerMask]) -> Iterator[None]:
    """Keep what each block is given in the clean run of `contexts` equally long contexts, where a tree can use it."""

    def note(number: int, layer: nn.Module) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = {**dict(zip(_parameters(type(layer).forward), args, strict=False)), **kwargs}
            given = {k: v for k in GATHERED if isinstance(v := named.get(k), Tensor)}
            if "attention_mask" in given:
                given["attention_mask"] = given["attention_mask"][:1]
                if "alibi" in given and len(given["alibi"]) % contexts == 0:
                    given["alibi"] = given["alibi"][: len(given["alibi"]) // contexts]
                into[number] = LayerMask(given)

        return layer.register_forward_pre_hook(hook, with_kwargs=True)

    handles = [note(number, layer) for number, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def branching(
    layers: Sequence[nn.Module],
    start: int,
    masks: Sequence[LayerMask],
    position: int,
    copies: int,
    batch: int,
    with_prefix: bool,
) -> Iterator[None]:
    """Blocks from `start` on are given gathered masks and biases in place of what the model made for them."""
    gathered: dict[tuple[Any, ...], dict[str, Tensor]] = {}

    def put(number: int, layer: nn.Module) -> Any:
        names = _parameters(type(layer).forward)
        # Blocks that were given the very same tensors are given the same again.
        same = tuple((tensor.data_ptr(), tuple(tensor.shape)) for tensor in masks[number].given.values())
        if same not in gathered:
            gathered[same] = masks[number].gathered(position, copies, batch, with_prefix)
        ours = gathered[same]

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            positional = names[: len(args)]
            new = tuple(ours.get(name, arg) for name, arg in zip(positional, args, strict=False))
            return new, {**kwargs, **{k: v for k, v in ours.items() if k not in positional}}

        return layer.register_forward_pre_hook(hook, with_kwargs=True)

    handles = [put(number, layers[number]) for number in range(start, len(layers))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
